//! What operators see, and what nobody else takes care of.
//!
//! - Alerts go from the queue `alerts.raise` into their table, one unresolved row per key with a count (`alert_intake`).
//!   Those that say what is so for a while end by themselves once it is not (`upkeep`).
//! - Events that no service owns go from `archive.events` into the archive, byte for byte, ignored by a named rule
//!   (`archive`), so that everything that was answered 200 is there (ING-8).
//! - Partitions are made ahead, and a DEFAULT partition that holds rows is told (`upkeep`).
//! - Admins list and resolve alerts, list events and replay them ([`http`](self), [`replay`]).
//!
//! Invariants: nothing here decides about money or billing state. Every replica may do all of it at the same time.

mod alert_intake;
mod archive;
mod config;
mod consumer;
mod http;
pub mod replay;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use bus::{
    AlertRaiser, AlertRaiserConfig, BrokerConfig, Intake, Publisher, PublisherConfig, Topology, Worker, alerts_into,
    topology,
};
use db::{Database, OpenError};
use secrecy::ExposeSecret;
use service_kit::auth::Authenticator;
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use service_kit::http::Routes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use archive::Rule;
pub use config::AdminConfig;

use alert_intake::AlertIntake;
use archive::Archive;
use consumer::Consumers;
use http::Desk;
use replay::Replayer;

/// The name in logs, in alerts, and in the lists of connections of the broker and the database.
pub const NAME: &str = "admin";

/// Admin at work. Its routes go onto a server that may be shared with other services.
#[derive(Clone)]
pub struct Admin {
    worker: Worker,
    desk: Arc<Desk>,
}

impl Admin {
    /// Starts consuming and returns at once: a broker or a database that is away is waited for. Cancelling `stop` ends intake;
    /// [`Self::wait`] then waits for what is in hand. Needs a Tokio runtime, and the metrics recorder installed.
    ///
    /// `alerts` is where alerts go when the process has a raiser already; otherwise admin has one of its own, which writes to
    /// the database while the broker is away.
    ///
    /// # Errors
    /// When the database's URL cannot be used; an absent server is no error.
    pub fn start(
        config: AdminConfig,
        clock: Clock,
        alerts: Option<AlertRaiser>,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let database = Database::open(&config.database())?;
        let broker = BrokerConfig::new(config.amqp_url.expose_secret(), NAME);
        let publisher = Publisher::start(PublisherConfig {
            topology: Topology::holdfast(),
            ..PublisherConfig::new(broker.clone())
        });
        let alerts = alerts.unwrap_or_else(|| own_raiser(&publisher, &database, &clock));
        let consumers = Consumers {
            broker,
            publisher: publisher.clone(),
            database: database.clone(),
            alerts: alerts.clone(),
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let mut work = JoinSet::new();
        let intake = AlertIntake {
            database: database.clone(),
        };
        let (of_alerts, of_archive) = (Intake::default(), Intake::default());
        work.spawn(consumers.clone().run(topology::ALERTS_RAISE, intake, of_alerts.clone()));
        let archive = Archive::new(database.clone(), clock.clone(), config.livemode);
        work.spawn(consumers.run(topology::ARCHIVE_EVENTS, archive, of_archive.clone()));
        work.spawn(upkeep::count_alerts(database.clone(), stop.clone()));
        work.spawn(upkeep::resolve_what_is_over(
            database.clone(),
            clock.clone(),
            stop.clone(),
        ));
        work.spawn(upkeep::keep_partitions(database.clone(), alerts.clone(), stop.clone()));
        let desk = Desk {
            database: database.clone(),
            replayer: Replayer::new(database.clone(), publisher.clone()),
            authenticator: Authenticator::new(&config.token_keys, clock.clone(), stop),
            clock,
        };
        Ok(Self {
            worker: Worker::new(NAME, database, publisher, alerts, work)
                .watching(topology::ALERTS_RAISE, of_alerts)
                .watching(topology::ARCHIVE_EVENTS, of_archive),
            desk: Arc::new(desk),
        })
    }

    /// Adds the routes.
    pub fn routes(&self, routes: &mut Routes<'_>) {
        self.desk.configure(routes);
    }

    /// Where this process raises alerts: by the broker, else into the database.
    #[must_use]
    pub fn alerts(&self) -> AlertRaiser {
        self.worker.alerts()
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

fn own_raiser(publisher: &Publisher, database: &Database, clock: &Clock) -> AlertRaiser {
    let clock = clock.clone();
    let mut config = AlertRaiserConfig::new(publisher.clone(), Arc::new(move || clock.now()));
    config.fallback = Some(alerts_into(database.clone()));
    AlertRaiser::start(config)
}
