//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use rand::Rng;

use crate::Error;

/// Below the ports that the system hands out by itself: a server that is stopped for a while finds its port free again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1_000;

/// `N` ports that nobody listened on a moment ago, all different.
///
/// # Errors
/// When no port can be found that is free.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let free =
            (0..TRIES).find_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, rand::rng().random_range(RANGE))).ok());
        let address = free.as_ref().and_then(|listener| listener.local_addr().ok());
        *port = address
            .ok_or(Error::NoPort {
                first: RANGE.start,
                last: RANGE.end - 1,
            })?
            .port();
        held.extend(free);
    }
    Ok(ports)
}

/// `port` if it is free, else any free one.
///
/// # Errors
/// When no port can be found that is free.
pub fn preferred_port(port: u16) -> Result<u16, Error> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
        return Ok(port);
    }
    free_ports::<1>().map(|[port]| port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_taken_and_the_others_differ() {
        let used = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = used.local_addr().unwrap().port();
        assert_ne!(preferred_port(port).unwrap(), port);
        drop(used);
        assert_eq!(preferred_port(port).unwrap(), port);
        let mut ports = free_ports::<8>().unwrap().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
