//! Free ports on loopback.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::Uid;
use rand::Rng;

use crate::Error;

/// Below the ports that the system hands out by itself: a server that is stopped for a while finds its port free again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1_000;
/// In the folder for temporary files, with the user's number.
const COUNTER: &str = "holdfast-ports";

/// `N` ports that nobody listens on, all different, and such as no other process of this machine was given lately: a port is free until its
/// server binds it, which may be seconds later, and what is drawn at random is drawn twice now and then.
///
/// # Errors
/// When no port can be found that is free.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let file = format!("{COUNTER}-{}", Uid::current());
    let mut turn = Turn::take(&std::env::temp_dir().join(file));
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let free = (0..TRIES).find_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, turn.next())).ok());
        let address = free.as_ref().and_then(|listener| listener.local_addr().ok());
        *port = address
            .ok_or(Error::NoPort {
                first: RANGE.start,
                last: RANGE.end - 1,
            })?
            .port();
        held.extend(free);
    }
    turn.keep();
    Ok(ports)
}

/// The next port in turn, kept in a file of this user's that one process has at a time. Where that cannot be, chance has to do.
struct Turn {
    file: Option<Flock<File>>,
    next: u16,
}

impl Turn {
    fn take(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(0o600);
        options.custom_flags(OFlag::O_NOFOLLOW.bits());
        let open = options.open(path).ok();
        let mut file = open.and_then(|file| Flock::lock(file, FlockArg::LockExclusive).ok());
        let mut text = String::new();
        let is_read = file.as_mut().is_some_and(|file| file.read_to_string(&mut text).is_ok());
        let last = text.trim().parse().ok().filter(|_| is_read);
        // A new counter starts anywhere: what an older one gave may be in use.
        let next = last.unwrap_or_else(|| rand::rng().random_range(RANGE));
        Self { file, next }
    }

    fn next(&mut self) -> u16 {
        let port = if RANGE.contains(&self.next) {
            self.next
        } else {
            RANGE.start
        };
        self.next = port.saturating_add(1);
        port
    }

    /// What is not written only makes the next draw less sure.
    fn keep(self) {
        let Some(mut file) = self.file else { return };
        let written = file.set_len(0).and_then(|()| file.rewind());
        drop(written.and_then(|()| write!(file, "{}", self.next)));
    }
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
