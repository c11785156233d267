//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// `N` ports that nobody listened on a moment ago, all different. Another process may take one before it is used: who starts
/// a server on it has to be ready to see that fail.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let unavailable = |source| Error::Spawn {
        program: "a listener on loopback".to_owned(),
        source,
    };
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unavailable)?;
        *port = listener.local_addr().map_err(unavailable)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// `port` if it is free, else any free one.
pub fn preferred_port(port: u16) -> Result<u16, Error> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
        return Ok(port);
    }
    free_ports::<1>().map(|[port]| port)
}
