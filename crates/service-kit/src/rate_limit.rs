//! Limits per client address, in bounded memory, and who the client behind proxies is.
//!
//! An address is a bucket of `governor`'s GCRA: so many at once, refilled evenly over the period. IPv6 clients are counted by
//! their /64, since one host owns a whole one. When more addresses are seen than the limiter may hold, full buckets are
//! dropped first; what still does not fit shares one bucket, so that memory stays bounded and the limit still holds.
//!
//! `X-Forwarded-For` is believed only as far as the chain of `HOLDFAST_TRUSTED_PROXIES` reaches back from the socket: a
//! client can write anything to the left of what the first trusted proxy appended.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// How many addresses a limiter holds (about 100 bytes each).
const MAX_ADDRESSES: usize = 20_000;
/// After so many new counts, full buckets are dropped.
const SWEEP_EVERY: u32 = 4_096;

/// A limit of events per address and minute.
pub struct AddressLimit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    since_sweep: AtomicU32,
    max_addresses: usize,
}

impl fmt::Debug for AddressLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressLimit")
            .field("addresses", &self.limiter.len())
            .finish_non_exhaustive()
    }
}

impl AddressLimit {
    /// At most `events` per address and minute.
    #[must_use]
    pub fn per_minute(events: NonZeroU32) -> Self {
        Self {
            limiter: DefaultKeyedRateLimiter::keyed(Quota::per_minute(events)),
            clock: DefaultClock::default(),
            since_sweep: AtomicU32::new(0),
            max_addresses: MAX_ADDRESSES,
        }
    }

    /// Counts one event of an address.
    ///
    /// # Errors
    /// The time after which one more is allowed, when the address has used up its limit.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        if self.since_sweep.fetch_add(1, Ordering::Relaxed) >= SWEEP_EVERY {
            self.sweep();
        }
        let key = if self.limiter.len() < self.max_addresses {
            bucket_of(address)
        } else {
            OVERFLOW
        };
        self.limiter
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    fn sweep(&self) {
        self.since_sweep.store(0, Ordering::Relaxed);
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// The bucket that addresses share for which there is no room.
const OVERFLOW: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn bucket_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// The text is not a network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a network")]
pub struct NotANetwork(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: u128,
    mask: u128,
}

/// IPv4 addresses are compared in their IPv6-mapped form.
fn bits_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (widest, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = length.unwrap_or(widest);
        if length > widest {
            return None;
        }
        let host_bits = 128_u32.checked_sub(length.checked_add(offset)?)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Self {
            base: bits_of(address) & mask,
            mask,
        })
    }
}

/// The networks of proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// Parses networks separated by commas: `10.0.0.0/8,fd00::/8,192.0.2.7`.
    ///
    /// # Errors
    /// [`NotANetwork`] names the first that is none.
    pub fn parse(text: &str) -> Result<Self, NotANetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| Network::parse(part).ok_or_else(|| NotANetwork(part.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether this address is one of the proxies.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = bits_of(address);
        self.0.iter().any(|network| bits & network.mask == network.base)
    }

    /// The client's address: from the socket's peer back through the chain that `X-Forwarded-For` tells (the headers in
    /// order), as long as the one who told is trusted. An entry that is no address ends the walk at the one who wrote it.
    #[must_use]
    pub fn client_address<'h>(&self, peer: IpAddr, forwarded_for: impl Iterator<Item = &'h [u8]>) -> IpAddr {
        if self.0.is_empty() || !self.contains(peer) {
            return peer;
        }
        let entries: Vec<&[u8]> = forwarded_for
            .flat_map(|header| header.split(|byte| *byte == b','))
            .collect();
        let mut client = peer;
        for entry in entries.into_iter().rev() {
            let Some(address) = parse_entry(entry) else { break };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

/// An entry of `X-Forwarded-For`: an address, possibly with a port, IPv6 possibly in brackets.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(events: u32) -> AddressLimit {
        AddressLimit::per_minute(NonZeroU32::new(events).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_gets_its_limit_and_no_more() {
        let limit = limit(60);
        for _ in 0..60 {
            assert!(limit.count(ip("192.0.2.1")).is_ok());
        }
        let wait = limit.count(ip("192.0.2.1")).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(limit.count(ip("192.0.2.2")).is_ok(), "another address has its own");
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let limit = limit(1);
        assert!(limit.count(ip("2001:db8:0:1::1")).is_ok());
        assert!(limit.count(ip("2001:db8:0:1::ffff")).is_err());
        assert!(limit.count(ip("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_shares_one_bucket_and_stays_bounded() {
        let mut limit = limit(2);
        limit.max_addresses = 10;
        let refused = (0..100_u32)
            .filter(|n| limit.count(IpAddr::V4(Ipv4Addr::from_bits(*n))).is_err())
            .count();
        assert!(limit.limiter.len() <= 11, "{}", limit.limiter.len());
        assert!(refused >= 87, "{refused}");
    }

    fn client(proxies: &str, peer: &str, headers: &[&str]) -> String {
        let proxies = TrustedProxies::parse(proxies).unwrap();
        proxies
            .client_address(ip(peer), headers.iter().map(|header| header.as_bytes()))
            .to_string()
    }

    #[test]
    fn the_client_behind_proxies() {
        let cases: &[(&str, &str, &[&str], &str)] = &[
            ("", "10.0.0.1", &["1.2.3.4"], "10.0.0.1"),
            ("10.0.0.0/8", "9.9.9.9", &["1.2.3.4"], "9.9.9.9"),
            ("10.0.0.0/8", "10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.1.1.1"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.0/8", "10.0.0.1", &["1.2.3.4, unknown"], "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("::1", "::1", &["1.2.3.4"], "1.2.3.4"),
            ("0.0.0.0/0", "10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
        ];
        for (proxies, peer, headers, expect) in cases {
            assert_eq!(client(proxies, peer, headers), *expect, "{proxies} {peer} {headers:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["10.0.0.0/33", "::/129", "10.0.0", "10.0.0.0/x", "all"] {
            assert_eq!(TrustedProxies::parse(text), Err(NotANetwork(text.to_owned())));
        }
    }
}
