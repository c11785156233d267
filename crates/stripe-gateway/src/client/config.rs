//! What the client is told: where Stripe is, with which key, and how long and how often to try.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::retry::Backoff;

/// Where Stripe's own API is.
pub const STRIPE: &str = "https://api.stripe.com";

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The key cannot stand in an HTTP header.
    #[error("the secret key has characters that a header cannot carry")]
    Key,
    /// TLS or the resolver could not be set up.
    #[error("setting up the HTTP client failed")]
    Http(#[source] reqwest::Error),
}

/// Why a text is no place to send a secret key to. The text itself is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBase {
    /// Not a URL, or one without a host.
    #[error("is not a URL with a host")]
    NotAUrl,
    /// Neither `https` nor `http`.
    #[error("has a scheme other than https")]
    Scheme,
    /// `http` to a host that is not this machine: the key would be readable on the way.
    #[error("is http to another machine, which would send the key in the clear")]
    NotLoopback,
    /// A user, a password, a path, a query or a fragment.
    #[error("has more than a scheme, a host and a port")]
    MoreThanAHost,
}

/// The scheme, host and port of Stripe's API, or of something that stands in for it on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiBase(Url);

impl ApiBase {
    /// Takes `https://host[:port]`, or `http://` to a loopback address or `localhost`.
    ///
    /// # Errors
    /// [`InvalidBase`] when the key should not go there.
    pub fn parse(text: &str) -> Result<Self, InvalidBase> {
        let url = Url::parse(text.trim()).map_err(|_| InvalidBase::NotAUrl)?;
        let host = url.host_str().ok_or(InvalidBase::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(InvalidBase::NotLoopback),
            _ => return Err(InvalidBase::Scheme),
        }
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        if bare {
            Ok(Self(url))
        } else {
            Err(InvalidBase::MoreThanAHost)
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of a call. `path` has been checked to need no escapes and to have no dots.
    pub(super) fn join(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("/v1{path}"));
        url.set_query(query.filter(|query| !query.is_empty()));
        url
    }
}

impl fmt::Debug for ApiBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiBase({})", self.0.as_str())
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The configuration of a [`super::Client`].
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where Stripe is.
    pub base: ApiBase,
    /// `sk_…` or `rk_…`. Never printed.
    pub secret_key: SecretString,
    /// How long one attempt may take, from the first byte out to the last byte in.
    pub timeout: Duration,
    /// How often an attempt is repeated, at most.
    pub max_retries: u32,
    /// How long a call may take with all its attempts and the waits between them. A lease on an operation must be longer.
    pub deadline: Duration,
    /// The waits between attempts.
    pub backoff: Backoff,
}

impl ClientConfig {
    /// A configuration whose deadline is twice the time-out: one attempt that hangs leaves room for another.
    #[must_use]
    pub fn new(base: ApiBase, secret_key: SecretString, timeout: Duration, max_retries: u32) -> Self {
        Self {
            base,
            secret_key,
            timeout,
            max_retries,
            deadline: timeout.saturating_mul(2),
            backoff: Backoff::default(),
        }
    }

    pub(super) fn authorization(&self) -> Result<HeaderValue, ConfigError> {
        let text = format!("Bearer {}", self.secret_key.expose_secret());
        let mut value = HeaderValue::from_str(&text).map_err(|_| ConfigError::Key)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The HTTP client: pooled connections, nothing followed, nothing retried behind our back, no proxy out of the environment.
    pub(super) fn http(&self) -> Result<reqwest::Client, ConfigError> {
        // reqwest panics without a provider. One that was installed before stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        reqwest::Client::builder()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .https_only(self.base.is_https())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(self.timeout.min(CONNECT_TIMEOUT))
            .pool_idle_timeout(POOL_IDLE)
            .tcp_nodelay(true)
            .build()
            .map_err(ConfigError::Http)
    }
}

/// A connection that takes longer than this will not come; what is left of the time is better spent on another try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the idle time-outs of load balancers, so that few calls meet a connection that is about to close.
const POOL_IDLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_https_or_on_this_machine_and_nothing_but_a_host() {
        for (text, expect) in [
            ("https://api.stripe.com", Ok(())),
            ("https://api.stripe.com/", Ok(())),
            ("https://stripe.internal:8443", Ok(())),
            ("http://127.0.0.1:12111", Ok(())),
            ("http://127.9.9.9", Ok(())),
            ("http://[::1]:1", Ok(())),
            ("http://localhost:1", Ok(())),
            ("http://LOCALHOST", Ok(())),
            ("", Err(InvalidBase::NotAUrl)),
            ("api.stripe.com", Err(InvalidBase::NotAUrl)),
            ("https://", Err(InvalidBase::NotAUrl)),
            ("ftp://api.stripe.com", Err(InvalidBase::Scheme)),
            ("file:///etc/passwd", Err(InvalidBase::NotAUrl)),
            ("http://api.stripe.com", Err(InvalidBase::NotLoopback)),
            ("http://localhost.example.com", Err(InvalidBase::NotLoopback)),
            ("http://127.0.0.1.example.com", Err(InvalidBase::NotLoopback)),
            ("http://10.0.0.1", Err(InvalidBase::NotLoopback)),
            ("http://0.0.0.0", Err(InvalidBase::NotLoopback)),
            ("http://localhost@example.com", Err(InvalidBase::NotLoopback)),
            ("https://u:p@api.stripe.com", Err(InvalidBase::MoreThanAHost)),
            ("https://api.stripe.com/v1", Err(InvalidBase::MoreThanAHost)),
            ("https://api.stripe.com/?a=b", Err(InvalidBase::MoreThanAHost)),
            ("https://api.stripe.com/#a", Err(InvalidBase::MoreThanAHost)),
        ] {
            assert_eq!(ApiBase::parse(text).map(|_| ()), expect, "{text}");
        }
    }

    #[test]
    fn a_url_is_the_base_the_version_and_the_path() {
        let base = ApiBase::parse("https://api.stripe.com").unwrap();
        let url = |path, query| base.join(path, query).to_string();
        assert_eq!(
            url("/events", Some("limit=1")),
            "https://api.stripe.com/v1/events?limit=1"
        );
        assert_eq!(url("/charges/ch_1", Some("")), "https://api.stripe.com/v1/charges/ch_1");
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_without_being_shown() {
        let base = ApiBase::parse(STRIPE).unwrap();
        let config = ClientConfig::new(base, "sk_test_1\n2".to_owned().into(), Duration::from_secs(1), 0);
        let error = config.authorization().unwrap_err();
        assert!(!format!("{error} {error:?} {config:?}").contains("sk_test"));
    }
}
