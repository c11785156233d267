//! Takes Stripe's webhooks in: checks the signature, publishes the untouched body, and answers 200 once the broker has
//! confirmed it on replicated queues.
//!
//! Invariants: this room has no database and no Stripe key (ING-4). Nothing unsigned is parsed. Nothing is answered 200
//! that the broker has not confirmed (ING-3); when it does not, the answer is 503 well within a second and Stripe sends the
//! event again (ING-11). It knows no list of event types: whatever is signed and is an event passes (ING-8).
//!
//! A request is read in [`http`](self), judged and published in `receive`, and refused by the closed list in [`Refusal`].

mod api_versions;
mod config;
mod endpoint;
mod http;
mod message;
mod meters;
mod receive;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::ServiceConfig;
use bus::{AlertRaiser, AlertRaiserConfig, BrokerConfig, Publisher, PublisherConfig, Topology};
use secrecy::ExposeSecret;
use service_kit::clock::Clock;
use service_kit::health::Readiness;

pub use api_versions::NEWEST_KNOWN;
pub use config::IngestConfig;
pub use endpoint::Endpoint;
pub use refusal::Refusal;

use http::{Door, Shared};
use receive::Receiver;

/// The name in logs, in alerts and in the broker's list of connections.
pub const NAME: &str = "webhook-ingest";

/// How long a delivery waits for the broker's confirm. With [`ADMISSION_WAIT`] it stays well below the second within which
/// every delivery gets its answer; Stripe sends again what was answered 503.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(750);
/// How long a delivery waits for its turn when as many as allowed are with the broker.
const ADMISSION_WAIT: Duration = Duration::from_millis(100);
/// Deliveries that may be with the broker at one time.
const MAX_IN_FLIGHT: usize = 1_024;

/// Ingest at work. Its routes go onto a server that may be shared with other services.
#[derive(Clone)]
pub struct WebhookIngest {
    doors: Vec<Arc<Door>>,
    publisher: Publisher,
    alerts: AlertRaiser,
}

impl WebhookIngest {
    /// Starts connecting to the broker and returns at once. Needs a Tokio runtime, and the metrics recorder installed.
    ///
    /// `alerts` is where alerts go when the process has a raiser already; otherwise ingest has one of its own, which keeps
    /// what it cannot publish in bounded memory.
    #[must_use]
    pub fn start(config: IngestConfig, clock: Clock, alerts: Option<AlertRaiser>) -> Self {
        let broker = BrokerConfig::new(config.amqp_url.expose_secret(), NAME);
        let publisher = Publisher::start(PublisherConfig {
            topology: Topology::holdfast(),
            max_in_flight: MAX_IN_FLIGHT,
            admission_wait: ADMISSION_WAIT,
            confirm_timeout: CONFIRM_TIMEOUT,
            ..PublisherConfig::new(broker)
        });
        let alerts = alerts.unwrap_or_else(|| {
            let clock = clock.clone();
            AlertRaiser::start(AlertRaiserConfig::new(publisher.clone(), Arc::new(move || clock.now())))
        });
        let (livemode, tolerance) = (config.livemode, config.tolerance_seconds);
        let receiver = Receiver::new(publisher.clone(), alerts.clone(), clock, livemode, tolerance);
        let shared = Shared::new(receiver, config.max_body_bytes);
        let platform = Door::new(Arc::clone(&shared), Endpoint::Platform, config.platform_secrets);
        let connect = config
            .connect_secrets
            .map(|secrets| Door::new(shared, Endpoint::Connect, secrets));
        Self {
            doors: std::iter::once(platform).chain(connect).collect(),
            publisher,
            alerts,
        }
    }

    /// Adds the routes; for `service_kit::http::Server::routes`.
    pub fn routes(&self, config: &mut ServiceConfig) {
        for door in &self.doors {
            Arc::clone(door).configure(config);
        }
    }

    /// Adds the check that the broker takes messages.
    pub fn register_checks(&self, readiness: &Readiness) {
        let publisher = self.publisher.clone();
        readiness.register(format!("{NAME}: broker"), move || {
            let answer = publisher.check().map_err(|error| error.to_string());
            async move { answer }
        });
    }

    /// Waits until the broker takes messages.
    ///
    /// # Errors
    /// Why it does not, when it did not in time.
    pub async fn wait_ready(&self, at_most: Duration) -> Result<(), bus::PublishError> {
        self.publisher.wait_ready(at_most).await
    }

    /// Sends what is left and closes the connection. Call it after the server has stopped: until then requests in work
    /// still need it.
    pub async fn close(&self, at_most: Duration) {
        if !self.alerts.flush(at_most / 2).await {
            tracing::warn!(alerts = self.alerts.pending(), "alerts were left unsent");
        }
        self.publisher.close(at_most / 2).await;
    }
}
