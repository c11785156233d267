//! Billing: owns the state of clients.
//!
//! Events come in by [`consumer`], are read at the edge by [`reading`], decided and written by [`pipeline`] in one transaction
//! per batch, and announced by the outbox relay. Clients are registered and shown by [`http`].
//!
//! Invariants: no event changes a client whose payment source is not Stripe, or that its customer does not own. Stripe is only read,
//! never within a transaction, and only for what events leave open ([`hydrate`], [`refresh`]). An event's mark of idempotency commits with its effect or not at all.

mod announcement;
mod api;
mod config;
mod consumer;
mod error;
mod explanation;
mod http;
mod hydrate;
mod pauses;
mod pipeline;
mod reading;
mod refresh;
mod register;
mod releases;
mod request;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use bus::consumer::{self as bus_consumer, ConsumerSpec};
use bus::relay::RelaySpec;
use bus::topology::QueueFamily;
use bus::{
    AlertRaiser, AlertRaiserConfig, BrokerConfig, DatabaseWatch, Publisher, PublisherConfig, Topology, Worker,
    alerts_into, relay_outbox, topology,
};
use db::{Database, DatabaseConfig, OpenError};
use secrecy::ExposeSecret;
use service_kit::auth::Authenticator;
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use service_kit::http::Routes;
use stripe_gateway::client::{Client, ConfigError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use announcement::STATE_CHANGED;
pub use config::BillingConfig;
pub use error::BillingError;
pub use explanation::{Explanation, OfCharge, Payment, SubscriptionWord, Waiting, explain_client};

use consumer::Decider;
use http::Desk;
use hydrate::Hydrator;
use refresh::Refresher;
use waits::{Cause, WaitsWatch};

/// The name in logs, in alerts and in the broker's list of connections.
pub const NAME: &str = "billing";

/// Consumers of this process. Two let one batch be settled while another is being decided.
const CONSUMERS: usize = 2;
/// Events in one batch, and so in one transaction, when so many wait. With fewer a commit and its statements cost more per event; with
/// more, events wait longer for each other and memory grows.
const MAX_BATCH: u16 = 256;
/// The relay looks at the outbox at least this often, should a nudge be lost.
const RELAY_INTERVAL: Duration = Duration::from_secs(1);

/// Why billing cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's URL.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// Stripe's key or base.
    #[error("Stripe cannot be called as configured")]
    Stripe(#[from] ConfigError),
}

/// Billing at work. Its routes go onto a server that may be shared with other services.
#[derive(Clone)]
pub struct Billing {
    worker: Worker,
    desk: Arc<Desk>,
}

impl Billing {
    /// Starts consuming and returns at once: a broker or a database that is away is waited for. Cancelling `stop` ends intake;
    /// [`Self::wait`] then waits for what is in hand. Needs a Tokio runtime, and the metrics recorder installed.
    ///
    /// # Errors
    /// When the database's URL or Stripe's key cannot be used; an absent server is no error.
    pub fn start(config: &BillingConfig, clock: Clock, stop: CancellationToken) -> Result<Self, StartError> {
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
            fallback: Some(alerts_into(database.clone())),
            ..AlertRaiserConfig::new(publisher.clone(), Arc::clone(&time))
        });
        let nudge = Arc::new(Notify::new());
        let stripe = config.stripe.clone().map(Client::new).transpose()?;
        let handler = DatabaseWatch {
            name: NAME,
            handler: Decider {
                database: database.clone(),
                clock: clock.clone(),
                livemode: config.livemode,
                binding: config.binding,
                nudge: Arc::clone(&nudge),
                hydrator: Arc::new(Hydrator::new(stripe.clone(), alerts.clone())),
            },
            database: database.clone(),
            alerts: alerts.clone(),
        };
        let spec = ConsumerSpec {
            max_batch: MAX_BATCH,
            prefetch: MAX_BATCH * 2,
            ..ConsumerSpec::new(
                broker,
                QueueFamily::new(topology::BILLING_EVENTS),
                publisher.clone(),
                alerts.clone(),
                time,
            )
        };
        let waits = WaitsWatch {
            cause: if stripe.is_some() {
                Cause::NotGiven
            } else {
                Cause::NoKey
            },
            database: database.clone(),
            clock: clock.clone(),
            alerts: alerts.clone(),
            no_key: Arc::clone(&handler.handler.hydrator.no_key),
        };
        let mut work = JoinSet::new();
        work.spawn(waits.run(stop.clone()));
        work.spawn(releases::send_released(
            database.clone(),
            Arc::clone(&nudge),
            stop.clone(),
        ));
        for _ in 0..CONSUMERS {
            work.spawn(consume(spec.clone(), handler.clone(), stop.clone()));
        }
        let relay = RelaySpec {
            name: NAME.to_owned(),
            publisher: publisher.clone(),
            alerts: alerts.clone(),
            nudge: Arc::clone(&nudge),
            interval: RELAY_INTERVAL,
        };
        if let Some(stripe) = stripe {
            let refresher = Refresher::new(handler.handler.clone(), stripe, database.clone(), alerts.clone());
            work.spawn(refresher.run(stop.clone()));
        }
        work.spawn(relay_outbox(relay, database.clone(), stop.clone()));
        let authenticator = Authenticator::new(&config.token_keys, clock.clone(), stop);
        let desk = Arc::new(Desk {
            database: database.clone(),
            authenticator,
            clock,
            nudge,
        });
        Ok(Self {
            worker: Worker::new(NAME, database, publisher, alerts, work)
                .watching(topology::BILLING_EVENTS, spec.intake),
            desk,
        })
    }

    /// Adds the routes.
    pub fn routes(&self, routes: &mut Routes<'_>) {
        self.desk.configure(routes);
    }

    /// Adds the checks that the database and the broker answer.
    pub fn register_checks(&self, readiness: &Readiness) {
        for (name, check) in self.worker.checks() {
            readiness.register(name, check);
        }
    }

    /// Waits until everything that was started has ended, which it does after the stop and not before.
    pub async fn wait(&self) {
        self.worker.wait().await;
    }

    /// Sends the alerts that are left and closes the connections. Call it after [`Self::wait`].
    pub async fn close(&self, at_most: Duration) {
        self.worker.close(at_most).await;
    }
}

async fn consume(spec: ConsumerSpec, handler: DatabaseWatch<Decider>, stop: CancellationToken) {
    let drained = bus_consumer::run(spec, handler, stop).await;
    if drained.unfinished > 0 {
        tracing::warn!(
            unfinished = drained.unfinished,
            "billing stopped with events in hand, they come again"
        );
    }
}
