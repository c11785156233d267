//! Takes Stripe's webhooks in: checks the signature, publishes the untouched body, and answers 200 once the broker has
//! confirmed it on replicated queues.
//!
//! Invariants: this room has no database and no Stripe key (ING-4). Nothing unsigned is parsed. Nothing is answered 200
//! that the broker has not confirmed (ING-3); when it does not, the answer is 503, well within a second by default, and Stripe sends the
//! event again (ING-11). It knows no list of event types: whatever is signed and is an event passes (ING-8).
//!
//! A request is read in [`http`](self) within the memory of `bodies`, judged and published in `receive`, and refused by the closed list in [`Refusal`].

mod api;
mod api_versions;
mod bodies;
mod config;
mod endpoint;
mod http;
mod message;
mod meters;
mod receive;
mod refusal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{AlertRaiser, AlertRaiserConfig, BrokerConfig, Publisher, PublisherConfig, Topology};
use secrecy::ExposeSecret;
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use service_kit::http::Routes;

pub use api_versions::NEWEST_KNOWN;
pub use config::IngestConfig;
pub use endpoint::Endpoint;
pub use refusal::Refusal;

use bodies::Bodies;
use http::{Door, Shared};
use receive::{Judge, Receiver};

/// The name in logs, in alerts and in the broker's list of connections.
pub const NAME: &str = "webhook-ingest";

/// How long a delivery waits for its turn when as many as allowed are with the broker.
const ADMISSION_WAIT: Duration = Duration::from_millis(100);
/// Deliveries that may be with the broker at one time.
const MAX_IN_FLIGHT: usize = 1_024;

/// Channels of each worker's connection: while the broker works on one, the other is filled.
const CHANNELS: usize = 2;
/// Messages handed over at one time. Larger clumps cost less each, but put the worker and the broker into lockstep: one
/// rests while the other works (measured with 64 connections on two cores).
const MAX_CLUMP: usize = 16;

/// Ingest at work. Its routes go onto a server that may be shared with other services.
///
/// Every worker thread of the server publishes over a connection of its own, whose tasks run on that same thread: an event
/// then crosses threads only on its way into the broker's socket and back, and what one worker has read at once goes out in
/// one clump.
#[derive(Clone)]
pub struct WebhookIngest {
    config: Arc<IngestConfig>,
    topology: Topology,
    clock: Clock,
    alerts: AlertRaiser,
    alerts_publisher: Publisher,
    judge: Arc<Judge>,
    bodies: Arc<Bodies>,
    workers: Arc<Mutex<Vec<Publisher>>>,
}

impl WebhookIngest {
    /// Starts connecting to the broker and returns at once. Needs a Tokio runtime, and the metrics recorder installed.
    ///
    /// `alerts` is where alerts go when the process has a raiser already; otherwise ingest has one of its own, which keeps
    /// what it cannot publish in bounded memory. `topology` is what this process declares before anything is published: beside escrow
    /// with escrow's bindings, so that no event of escrow's comes before them.
    #[must_use]
    pub fn start(config: IngestConfig, topology: Topology, clock: Clock, alerts: Option<AlertRaiser>) -> Self {
        let alerts_publisher = Publisher::start(PublisherConfig {
            topology: topology.clone(),
            channels: 1,
            ..PublisherConfig::new(broker(&config))
        });
        let alerts = alerts.unwrap_or_else(|| {
            let clock = clock.clone();
            AlertRaiser::start(AlertRaiserConfig::new(
                alerts_publisher.clone(),
                Arc::new(move || clock.now()),
            ))
        });
        Self {
            judge: Arc::new(Judge::new(config.livemode, config.tolerance_seconds)),
            bodies: Bodies::new(config.max_body_bytes),
            config: Arc::new(config),
            topology,
            clock,
            alerts,
            alerts_publisher,
            workers: Arc::default(),
        }
    }

    /// Adds the routes; for `service_kit::http::Server::routes`, which calls it once on each worker thread.
    pub fn routes(&self, routes: &mut Routes<'_>) {
        let publisher = Publisher::start(PublisherConfig {
            topology: self.topology.clone(),
            channels: CHANNELS,
            max_clump: MAX_CLUMP,
            max_in_flight: MAX_IN_FLIGHT,
            admission_wait: ADMISSION_WAIT,
            confirm_timeout: self.config.confirm_timeout,
            ..PublisherConfig::new(broker(&self.config))
        });
        self.lock_workers().push(publisher.clone());
        let (judge, alerts, clock) = (Arc::clone(&self.judge), self.alerts.clone(), self.clock.clone());
        let receiver = Receiver {
            publisher,
            alerts,
            clock,
            judge,
        };
        let shared = Shared::new(receiver, self.config.max_body_bytes, Arc::clone(&self.bodies));
        let platform = self.config.platform_secrets.clone();
        Door::new(Arc::clone(&shared), Endpoint::Platform, platform).configure(routes);
        if let Some(connect) = self.config.connect_secrets.clone() {
            Door::new(shared, Endpoint::Connect, connect).configure(routes);
        }
    }

    /// Adds the check that the broker takes messages from every worker.
    pub fn register_checks(&self, readiness: &Readiness) {
        let ingest = self.clone();
        readiness.register(format!("{NAME}: broker"), move || {
            let answer = ingest.check().map_err(|error| error.to_string());
            async move { answer }
        });
    }

    /// Whether the broker takes messages, from every worker that has started and for alerts.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self) -> Result<(), bus::PublishError> {
        self.alerts_publisher.check()?;
        let workers = self.lock_workers();
        if workers.is_empty() {
            return Err(bus::PublishError::Unavailable);
        }
        workers.iter().try_for_each(Publisher::check)
    }

    /// Sends the alerts that are left and closes their connection. Call it after the server has stopped; the workers'
    /// connections have ended with their threads, after their last request was answered.
    pub async fn close(&self, at_most: Duration) {
        if !self.alerts.flush(at_most / 2).await {
            tracing::warn!(alerts = self.alerts.pending(), "alerts were left unsent");
        }
        self.alerts_publisher.close(at_most / 2).await;
    }

    fn lock_workers(&self) -> MutexGuard<'_, Vec<Publisher>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broker(config: &IngestConfig) -> BrokerConfig {
    BrokerConfig::new(config.amqp_url.expose_secret(), NAME)
}
