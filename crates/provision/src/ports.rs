//! Free ports on loopback.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rand::Rng;

use crate::Error;
use crate::error::file;

/// Below the ports that the system hands out by itself: a server that is stopped for a while finds its port free again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1_000;
/// In the folder for temporary files.
const COUNTER: &str = "holdfast-ports";

/// `N` ports that nobody listens on, all different, and such as no other process of this machine was given lately: a port is free until its
/// server binds it, which may be seconds later, and what is drawn at random is drawn twice now and then.
///
/// # Errors
/// When no port can be found that is free, or the counter's file cannot be used.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let mut turn = Turn::take(&std::env::temp_dir().join(COUNTER))?;
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
    turn.keep()?;
    Ok(ports)
}

/// The next port in turn, kept in a file that one process has at a time.
struct Turn {
    file: Flock<File>,
    path: PathBuf,
    next: u16,
}

impl Turn {
    fn take(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false);
        let open = options.open(path).map_err(file("opening", path))?;
        let locked = Flock::lock(open, FlockArg::LockExclusive);
        let mut locked = locked.map_err(|(_, errno)| file("locking", path)(errno.into()))?;
        let mut text = String::new();
        locked.read_to_string(&mut text).map_err(file("reading", path))?;
        // A new counter starts anywhere: what an older one gave may be in use.
        let next = text.trim().parse().unwrap_or_else(|_| rand::rng().random_range(RANGE));
        Ok(Self {
            file: locked,
            path: path.to_owned(),
            next,
        })
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

    fn keep(mut self) -> Result<(), Error> {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| write!(self.file, "{}", self.next));
        written.map_err(file("writing", &self.path))
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
