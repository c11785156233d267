//! Billing: owns the state of clients.
//!
//! Events come in by [`consumer`], are read at the edge by [`reading`], decided and written by [`pipeline`] in one transaction
//! per batch, and announced by the outbox relay. Clients are registered and shown by [`http`].
//!
//! Invariants: no event changes a client whose payment source is not Stripe, or that its customer does not own. No call to Stripe
//! is made here. An event's mark of idempotency commits with its effect or not at all.

mod announcement;
mod config;
mod consumer;
mod error;
mod http;
mod pipeline;
mod reading;
mod register;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::ServiceConfig;
use bus::{
    AlertRaiser, AlertRaiserConfig, BrokerConfig, ConsumerSpec, Publisher, PublisherConfig, Topology,
    consumer as bus_consumer, topology,
};
use db::{Database, DatabaseConfig, OpenError};
use secrecy::ExposeSecret;
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use announcement::STATE_CHANGED;
pub use config::BillingConfig;
pub use error::BillingError;

use consumer::Decider;

/// The name in logs, in alerts and in the broker's list of connections.
pub const NAME: &str = "billing";

/// Consumers of this process. Two let one batch be settled while another is being decided.
const CONSUMERS: usize = 2;
/// Events in one batch, and so in one transaction.
const MAX_BATCH: u16 = 128;

/// Billing at work. Its routes go onto a server that may be shared with other services.
#[derive(Debug)]
pub struct Billing {
    database: Database,
    publisher: Publisher,
    alerts: AlertRaiser,
    nudge: Arc<Notify>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Billing {
    /// Starts connecting to the broker and the database and returns at once. Needs a Tokio runtime, and the metrics recorder
    /// installed. Consumers stop taking messages when `stop` is cancelled.
    ///
    /// # Errors
    /// When the database's URL cannot be used.
    pub fn start(config: &BillingConfig, clock: Clock, stop: CancellationToken) -> Result<Self, OpenError> {
        let database = Database::open(&DatabaseConfig::new(config.database_url.clone(), NAME))?;
        let broker = BrokerConfig::new(config.amqp_url.expose_secret(), NAME);
        let publisher = Publisher::start(PublisherConfig {
            topology: Topology::holdfast(),
            // One channel keeps the order of announcements.
            channels: 1,
            ..PublisherConfig::new(broker.clone())
        });
        let time: bus::Clock = {
            let clock = clock.clone();
            Arc::new(move || clock.now())
        };
        let alerts = AlertRaiser::start(AlertRaiserConfig {
            fallback: Some(relay::alert_fallback(database.clone())),
            ..AlertRaiserConfig::new(publisher.clone(), Arc::clone(&time))
        });
        let nudge = Arc::new(Notify::new());
        let decider = Decider {
            database: database.clone(),
            clock,
            livemode: config.livemode,
            binding: config.binding,
            alerts: alerts.clone(),
            nudge: Arc::clone(&nudge),
        };
        let mut tasks = JoinSet::new();
        let family = Topology::holdfast().family(topology::BILLING_EVENTS).cloned();
        for family in std::iter::repeat_n(family, CONSUMERS).flatten() {
            let spec = ConsumerSpec {
                max_batch: MAX_BATCH,
                prefetch: MAX_BATCH * 2,
                ..ConsumerSpec::new(
                    broker.clone(),
                    family,
                    publisher.clone(),
                    alerts.clone(),
                    Arc::clone(&time),
                )
            };
            let (decider, stop) = (decider.clone(), stop.clone());
            tasks.spawn(async move {
                let drained = bus_consumer::run(spec, decider, stop).await;
                if drained.unfinished > 0 {
                    tracing::warn!(
                        unfinished = drained.unfinished,
                        "billing stopped with events in hand, they come again"
                    );
                }
            });
        }
        tasks.spawn(relay::run(relay::Relay {
            database: database.clone(),
            publisher: publisher.clone(),
            alerts: alerts.clone(),
            nudge: Arc::clone(&nudge),
            stop: stop.clone(),
        }));
        Ok(Self {
            database,
            publisher,
            alerts,
            nudge,
            stop,
            tasks,
        })
    }

    /// What adds the routes; for `service_kit::http::Server::routes`. They need `web::Data<Authenticator>`.
    pub fn routes(&self) -> impl Fn(&mut ServiceConfig) + Clone + Send + Sync + 'static {
        let deps = http::Deps {
            database: self.database.clone(),
            nudge: Arc::clone(&self.nudge),
        };
        move |config| http::configure(config, deps.clone())
    }

    /// Adds the checks that broker and database answer.
    pub fn register_checks(&self, readiness: &Readiness) {
        let publisher = self.publisher.clone();
        readiness.register(format!("{NAME}: broker"), move || {
            let answer = publisher.check().map_err(|error| error.to_string());
            async move { answer }
        });
        let database = self.database.clone();
        readiness.register(format!("{NAME}: database"), move || {
            let database = database.clone();
            async move { database.ping().await.map_err(|error| error.to_string()) }
        });
    }

    /// Waits until consumers and relay have ended after `stop`, and closes the connections.
    pub async fn close(mut self, at_most: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(at_most, async { while self.tasks.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            tracing::warn!("billing did not drain in time; what was in hand comes again");
        }
        if !self.alerts.flush(Duration::from_secs(2)).await {
            tracing::warn!(alerts = self.alerts.pending(), "alerts were left unsent");
        }
        self.publisher.close(Duration::from_secs(2)).await;
    }
}
