//! Configuration of a simulator.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::deliver::{Payload, Schedule};
use crate::version::ApiVersion;

/// A webhook endpoint that exists from the start.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Where to post events.
    pub url: String,
    /// Its own secret; absent: the common one of its kind.
    pub secret: Option<String>,
    /// Its API version; absent: the account's.
    pub api_version: Option<ApiVersion>,
    /// Snapshots of objects, or notices only.
    pub payload: Payload,
}

impl EndpointConfig {
    /// An endpoint with the common secret and version.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secret: None,
            api_version: None,
            payload: Payload::Snapshot,
        }
    }

    /// An endpoint that gets thin events.
    #[must_use]
    pub fn thin(url: impl Into<String>) -> Self {
        Self {
            payload: Payload::Thin,
            ..Self::new(url)
        }
    }
}

/// How a simulator is to be.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The address to listen on; loopback unless said otherwise.
    pub host: IpAddr,
    /// 0 takes a free port.
    pub port: u16,
    /// Decides every id and every chance.
    pub seed: u64,
    /// Unix seconds at which the simulator's clock stands; absent: it runs with the machine's.
    pub start_at: Option<i64>,
    /// Endpoints for the platform's own events.
    pub endpoints: Vec<EndpointConfig>,
    /// Endpoints for the events of connected accounts.
    pub connect_endpoints: Vec<EndpointConfig>,
    /// Signs what goes to `endpoints`; made from the seed when absent.
    pub webhook_secret: Option<String>,
    /// Signs what goes to `connect_endpoints`; made from the seed when absent.
    pub connect_webhook_secret: Option<String>,
    /// The only key that is accepted; absent: every `sk_test_..` and `rk_test_..`.
    pub api_key: Option<String>,
    /// The account's API version: of events, and of answers to calls without `Stripe-Version`.
    pub api_version: ApiVersion,
    /// Waits after failed delivery attempts; the last is used again and again.
    pub retry_backoff: Vec<Duration>,
    /// Attempts after which a delivery is given up.
    pub max_attempts: usize,
    /// How long an endpoint may take to answer.
    pub delivery_timeout: Duration,
    /// Deliveries under way at once to one endpoint. More than one gives the order away.
    pub delivery_concurrency: usize,
    /// Events, and finished deliveries, that are remembered; about 5 kB each.
    pub remembered: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            seed: 1,
            start_at: None,
            endpoints: Vec::new(),
            connect_endpoints: Vec::new(),
            webhook_secret: None,
            connect_webhook_secret: None,
            api_key: None,
            api_version: ApiVersion::newest(),
            retry_backoff: [100, 200, 400, 800, 1_600, 3_200, 5_000]
                .map(Duration::from_millis)
                .to_vec(),
            max_attempts: 1_000,
            delivery_timeout: Duration::from_secs(10),
            delivery_concurrency: 1,
            remembered: 50_000,
        }
    }
}

impl SimConfig {
    pub(crate) fn schedule(&self) -> Schedule {
        Schedule {
            backoff: self.retry_backoff.clone(),
            max_attempts: self.max_attempts.max(1),
            timeout: self.delivery_timeout,
            concurrency: self.delivery_concurrency.max(1),
            remembered: self.remembered,
        }
    }
}
