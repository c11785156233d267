//! One way to open a connection, and the pace at which a lost one is opened again.
//!
//! lapin's own recovery is not used: it rejects pending confirms only after the reconnect has succeeded, which keeps
//! HTTP requests waiting through a whole outage, and it sleeps up to a minute between tries. Without it every pending
//! future fails the moment the connection is lost; who owns the connection opens a new one, at most a second apart.

use std::time::Duration;

use lapin::types::LongString;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use secrecy::{ExposeSecret, SecretString};

/// Used when the URI names none: a peer that vanished without closing is noticed after twice this time.
const HEARTBEAT_SECONDS: u16 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The frames of connections that receive no messages. lapin keeps two buffers of 32 frames for each connection and fills them with zeros:
/// 8 MiB with the broker's own 128 KiB. Whoever receives messages takes that size, since headers cannot be split.
const SMALL_FRAME: u32 = 32 * 1024;

/// What a connection is for; the end of its name in the broker's management.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Publish,
    Consume,
    Parked,
    Look,
    Depths,
    Declare,
    Retire,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Parked => "parked",
            Self::Look => "look",
            Self::Depths => "depths",
            Self::Declare => "declare",
            Self::Retire => "retire",
        }
    }

    const fn receives_messages(self) -> bool {
        match self {
            Self::Consume | Self::Parked | Self::Retire => true,
            Self::Publish | Self::Look | Self::Depths | Self::Declare => false,
        }
    }
}

/// Where the broker is, and the name under which a connection appears in its management.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `amqp://` or `amqps://` URI with the virtual host as its path (`%2f` for `/`).
    pub url: SecretString,
    /// For example `webhook-ingest`; `-publish` or `-consume` is appended.
    pub client_name: String,
}

impl BrokerConfig {
    /// A config from its two values.
    #[must_use]
    pub fn new(url: impl Into<String>, client_name: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            client_name: client_name.into(),
        }
    }
}

/// Why no connection could be opened. The URI is never part of the text, since it holds the password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URI does not parse.
    #[error("the broker's address is not an AMQP URI: {reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// The broker did not finish the handshake in time.
    #[error("the broker did not accept the connection within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    /// The broker refused or could not be reached.
    #[error("opening a connection to the broker")]
    Open(#[source] lapin::Error),
}

/// A broker's URL that can be connected to, for a configuration: what is wrong with it is told with everything else that is, and not by
/// the first connection.
///
/// # Errors
/// What is wrong with it, without its password.
pub fn checked_url(url: String) -> Result<SecretString, String> {
    address(&url)
        .map(|_| SecretString::from(url))
        .map_err(|reason| format!("is refused: {reason}"))
}

/// Reads a URL. The library takes one whose host it does not find, or which is an IPv6 address, for one of `localhost`.
fn address(url: &str) -> Result<AMQPUri, String> {
    let uri: AMQPUri = url.parse()?;
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') {
        return Err("it names no host".to_owned());
    }
    if host.starts_with('[') {
        return Err("its host has to be a name or an IPv4 address".to_owned());
    }
    Ok(uri)
}

/// Opens a connection without automatic recovery.
pub(crate) async fn open(config: &BrokerConfig, purpose: Purpose) -> Result<Connection, ConnectError> {
    let mut uri = address(config.url.expose_secret()).map_err(|reason| ConnectError::Address { reason })?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    uri.query
        .connection_timeout
        .get_or_insert(CONNECT_TIMEOUT.as_millis().try_into().unwrap_or(u64::MAX));
    if !purpose.receives_messages() {
        uri.query.frame_max.get_or_insert(SMALL_FRAME);
    }
    let name = LongString::from(format!("{}-{}", config.client_name, purpose.as_str()));
    let properties = ConnectionProperties::default().with_connection_name(name);
    tokio::time::timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties))
        .await
        .map_err(|_| ConnectError::TimedOut)?
        .map_err(ConnectError::Open)
}

/// Closes politely, but not longer than a moment: a broker that does not answer must not hold up a stop.
pub(crate) async fn close(connection: &Connection) {
    let goodbye = connection.close(lapin::protocol::constants::REPLY_SUCCESS, "done".into());
    match tokio::time::timeout(Duration::from_secs(2), goodbye).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the connection was closed already"),
        Err(_) => tracing::debug!("the broker did not answer the closing of a connection"),
    }
}

/// Waiting time between tries: doubles from 50 ms to 1 s. The cap keeps the way back short after a long outage.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = now.saturating_mul(2).min(Self::LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_tries_grows_to_a_second_and_starts_anew_after_a_good_connection() {
        let mut backoff = Backoff::new();
        let pauses = (0..8).map(|_| backoff.step().as_millis()).collect::<Vec<_>>();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        backoff.reset();
        assert_eq!(backoff.step(), Backoff::FIRST);
    }

    #[test]
    fn no_url_leads_anywhere_but_to_the_host_that_it_names() {
        for url in [
            "amqp://broker",
            "amqps://u:p@broker.example:5671/%2f",
            "amqp://127.0.0.1:5672/vhost?heartbeat=5",
            "amqp://u:p%40x@localhost",
        ] {
            assert!(checked_url(url.to_owned()).is_ok(), "{url}");
        }
        for (url, reason) in [
            ("amqp://u:hush@[::1]:5672/", "IPv4"),
            ("amqp://u:hush@:5672/", "host"),
            ("amqp:///vhost", "host"),
            ("amqp://u:hush@broker:port/", "port"),
            ("amqp://u:hush@broker/%2f?heartbeat=often", "digit"),
        ] {
            let error = checked_url(url.to_owned()).expect_err(url);
            assert!(error.contains(reason) && !error.contains("hush"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_wrong_address_is_named_without_its_password() {
        let config = BrokerConfig::new("http://user:hush@host", "test");
        let error = open(&config, Purpose::Publish).await.expect_err("not an AMQP URI");
        assert!(matches!(error, ConnectError::Address { .. }));
        assert!(!error.to_string().contains("hush"));
    }
}
