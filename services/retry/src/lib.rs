//! Retry: refused transfers, reversals and refunds are made again by themselves, hourly and at most ten a run.
//!
//! It finds what is due and commands escrow through the broker; it never calls Stripe and changes no escrow ([`run`](self)).

mod api;
mod config;
mod http;
mod run;

use std::sync::Arc;
use std::time::Duration;

use bus::{AlertRaiser, AlertRaiserConfig, BrokerConfig, Publisher, PublisherConfig, Topology, Worker, alerts_into};
use db::escrow::jobs::take_slot;
use db::{Database, DatabaseConfig, OpenError};
use secrecy::ExposeSecret as _;
use service_kit::auth::Authenticator;
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use service_kit::http::Routes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{RetryConfig, RunConfig};
pub use run::{RetryError, RetryReport};

use http::Desk;
use run::Runs;

/// The name in logs, in alerts and in the broker's list of connections.
pub const NAME: &str = "retry";

/// Seconds between two runs, of all replicas.
const RUN_EVERY: i64 = 3_600;
/// How often a replica looks whether the next run is its own.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same after it could not be told.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a job waits for the broker.
const BROKER_LIMIT: Duration = Duration::from_secs(10);

/// Retry at work. Its route goes onto a server that may be shared with other services.
#[derive(Clone)]
pub struct Retry {
    worker: Worker,
    desk: Arc<Desk>,
}

impl Retry {
    /// Starts the timer and returns at once. Cancelling `stop` ends it; [`Self::wait`] then waits for the run in hand. Needs a Tokio
    /// runtime, and the metrics recorder installed.
    ///
    /// # Errors
    /// When the database's URL cannot be used; an absent server is no error.
    pub fn start(config: &RetryConfig, clock: Clock, stop: CancellationToken) -> Result<Self, OpenError> {
        let database = open(&config.run)?;
        let publisher = publisher(&config.run);
        let alerts = AlertRaiser::start(AlertRaiserConfig {
            fallback: Some(alerts_into(database.clone())),
            ..AlertRaiserConfig::new(publisher.clone(), {
                let clock = clock.clone();
                Arc::new(move || clock.now())
            })
        });
        let runs = Runs {
            database: database.clone(),
            publisher: publisher.clone(),
            clock: clock.clone(),
        };
        let mut work = JoinSet::new();
        work.spawn(hourly(runs.clone(), stop.clone()));
        let desk = Arc::new(Desk {
            runs,
            authenticator: Authenticator::new(&config.token_keys, clock, stop),
            reconcile_secret: config.reconcile_secret.clone(),
        });
        Ok(Self {
            worker: Worker::new(NAME, database, publisher, alerts, work),
            desk,
        })
    }

    /// Adds the route.
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

/// Of all replicas the first in an hour runs.
async fn hourly(runs: Runs, stop: CancellationToken) {
    let mut owed = None;
    while !stop.is_cancelled() {
        let pause = match run_if_ours(&runs, &mut owed, &stop).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a run of retries could not begin, if one is due");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Runs where this hour's run is ours. One that failed before it sent anything is `owed`, and made up for within its hour: at a start,
/// or while the database is away, it would be lost otherwise.
async fn run_if_ours(runs: &Runs, owed: &mut Option<i64>, stop: &CancellationToken) -> Result<(), RetryError> {
    let now = runs.clock.now();
    let slot = now.timestamp().div_euclid(RUN_EVERY);
    // Where the broker is away another replica may have one.
    match stop.run_until_cancelled(runs.publisher.wait_ready(BROKER_LIMIT)).await {
        Some(ready) => ready?,
        None => return Ok(()),
    }
    if *owed != Some(slot) {
        let conn = runs.database.conn().await?;
        if !take_slot(&conn, "retry_transfers", slot, now).await? {
            return Ok(());
        }
        *owed = Some(slot);
    }
    runs.run().await?;
    *owed = None;
    Ok(())
}

/// One run by itself, as a job. The calls are made by an escrow service that runs.
///
/// # Errors
/// When the database or the broker cannot be used.
pub async fn run_retries(config: &RunConfig, clock: Clock) -> Result<RetryReport, JobError> {
    let publisher = publisher(config);
    publisher.wait_ready(BROKER_LIMIT).await.map_err(RetryError::from)?;
    let runs = Runs {
        database: open(config)?,
        publisher: publisher.clone(),
        clock,
    };
    let report = runs.run().await;
    publisher.close(BROKER_LIMIT).await;
    Ok(report?)
}

/// Why a job did not run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The database's URL.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The run.
    #[error(transparent)]
    Run(#[from] RetryError),
}

fn open(config: &RunConfig) -> Result<Database, OpenError> {
    Database::open(&DatabaseConfig::new(config.database_url.clone(), NAME))
}

fn publisher(config: &RunConfig) -> Publisher {
    Publisher::start(PublisherConfig {
        topology: Topology::holdfast(),
        channels: 1,
        ..PublisherConfig::new(BrokerConfig::new(config.amqp_url.expose_secret(), NAME))
    })
}
