//! Escrow: money that is held for recipients, and moves exactly once.
//!
//! Escrows are created and commanded by [`http`](self), told of by Stripe's events ([`consumer`](self)), and commanded by other services
//! (`commands`). Each of these decides by `domain::escrow` and commits the decision with the intents that follow from it (`change`).
//! The pool (`pool`) makes the calls, one operation at a time (`runner`); the timer gives back what has expired (`timeouts`).
//!
//! Invariants: no call to Stripe within a transaction, and none that was not written down before. Every change of an escrow holds its
//! row. What is told to a person is committed with its cause.

mod accounts;
mod answer;
mod api;
mod change;
mod command;
mod commands;
mod config;
mod consumer;
mod create;
mod error;
mod http;
mod notices;
mod pool;
mod read_account;
mod reading;
mod request;
mod runner;
mod silence;
mod steps;
mod tally;
mod timeouts;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use bus::consumer::{self as bus_consumer, BatchHandler, ConsumerSpec};
use bus::relay::RelaySpec;
use bus::topology::QueueFamily;
use bus::{
    AlertRaiser, AlertRaiserConfig, BrokerConfig, DatabaseWatch, Publisher, PublisherConfig, Topology, Worker,
    alerts_into, relay_outbox, topology,
};
use db::{Database, DatabaseConfig, OpenError};
use domain::escrow::breaker::Limits;
use domain::escrow::operation::Rules;
use secrecy::{ExposeSecret, SecretString};
use service_kit::auth::Authenticator;
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use service_kit::http::Routes;
use stripe_gateway::client::{Client, ClientConfig, ConfigError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use commands::{RETRY, RetryCommand};
pub use config::{EscrowConfig, TimeoutConfig};
pub use error::EscrowError;
pub use steps::{Ask, Commit, Step, Steps};
pub use timeouts::TimeoutReport;

use commands::Commands;
use consumer::Decider;
use http::Desk;
use runner::Runner;
use silence::Silence;
use steps::{Store, Stripe};
use timeouts::Timeouts;

/// The name in logs, in alerts and in the broker's list of connections.
pub const NAME: &str = "escrow";

/// Consumers of events in this process.
const CONSUMERS: usize = 2;
/// Messages in one batch; each is a transaction.
const MAX_BATCH: u16 = 16;
/// Requests, consumers and workers each hold a connection while they change an escrow.
const CONNECTIONS: usize = 20;

/// Why escrow cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's URL.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// Stripe's key or base.
    #[error("Stripe cannot be called as configured")]
    Stripe(#[from] ConfigError),
}

/// What only tests change.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Is told of each step, and may end the process there.
    pub steps: Steps,
    /// The limits of the protocol of operations.
    pub rules: Rules,
    /// Whether the timer gives back what has expired by itself.
    pub has_timer: bool,
    /// How often work is looked for without a nudge.
    pub pace: Pace,
}

/// How often work is looked for without a nudge.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Operations that are due.
    pub operations: Duration,
    /// The outbox.
    pub relay: Duration,
    /// News of accounts.
    pub news: Duration,
    /// Authorisations and time-outs.
    pub timer: Duration,
    /// Events that wait for Stripe.
    pub waiting: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            operations: Duration::from_secs(1),
            relay: Duration::from_secs(1),
            news: Duration::from_secs(5),
            timer: Duration::from_secs(30),
            waiting: Duration::from_secs(5),
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            steps: Steps::default(),
            rules: Rules::STANDARD,
            has_timer: true,
            pace: Pace::default(),
        }
    }
}

/// Escrow at work. Its routes go onto a server that may be shared with other services.
#[derive(Clone)]
pub struct Escrow {
    worker: Worker,
    desk: Arc<Desk>,
}

impl Escrow {
    /// Starts working and returns at once: a broker or a database that is away is waited for. Cancelling `stop` ends intake;
    /// [`Self::wait`] then waits for what is in hand. Needs a Tokio runtime, and the metrics recorder installed.
    ///
    /// # Errors
    /// When the database's URL or Stripe's key cannot be used; an absent server is no error.
    pub fn start(
        config: &EscrowConfig,
        clock: Clock,
        tuning: Tuning,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let database = open(&config.database_url)?;
        let broker = BrokerConfig::new(config.amqp_url.expose_secret(), NAME);
        let publisher = Publisher::start(PublisherConfig {
            topology: Topology::with_escrow(),
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
        let runner = Runner {
            store: Store::new(database.clone(), tuning.steps.clone()),
            clock: clock.clone(),
            stripe: Stripe::new(Client::new(config.stripe.clone())?, tuning.steps),
            rules: tuning.rules,
            relay: Arc::new(Notify::new()),
            pool: Arc::new(Notify::new()),
        };
        let timeouts = Timeouts {
            runner: runner.clone(),
            limits: config.limits.clone(),
        };
        let news = Arc::new(Notify::new());
        let spec = |queue: &str| ConsumerSpec {
            max_batch: MAX_BATCH,
            prefetch: MAX_BATCH * 2,
            ..ConsumerSpec::new(
                broker.clone(),
                QueueFamily::new(queue),
                publisher.clone(),
                alerts.clone(),
                Arc::clone(&time),
            )
        };
        let decider = Decider {
            runner: runner.clone(),
            livemode: config.livemode,
            news: Arc::clone(&news),
            silence: Silence::default(),
        };
        let commands = Commands { runner: runner.clone() };
        let mut work = JoinSet::new();
        let (of_events, of_commands) = (spec(topology::ESCROW_EVENTS), spec(topology::ESCROW_COMMANDS));
        let intakes = (of_events.intake.clone(), of_commands.intake.clone());
        for _ in 0..CONSUMERS {
            let handler = watched(decider.clone(), &database, &alerts);
            work.spawn(consume(of_events.clone(), handler, stop.clone()));
        }
        let handler = watched(commands, &database, &alerts);
        work.spawn(consume(of_commands, handler, stop.clone()));
        let relay = RelaySpec {
            name: NAME.to_owned(),
            publisher: publisher.clone(),
            alerts: alerts.clone(),
            nudge: Arc::clone(&runner.relay),
            interval: tuning.pace.relay,
        };
        work.spawn(relay_outbox(relay, database.clone(), stop.clone()));
        work.spawn(pool::work(runner.clone(), tuning.pace.operations, stop.clone()));
        work.spawn(pool::tell(runner.clone(), news, tuning.pace.news, stop.clone()));
        work.spawn(waiting::work(decider, tuning.pace.waiting, stop.clone()));
        if tuning.has_timer {
            work.spawn(pool::secure(timeouts.clone(), tuning.pace.timer, stop.clone()));
            work.spawn(pool::tick(timeouts.clone(), tuning.pace.timer, stop.clone()));
        }
        let desk = Arc::new(Desk {
            runner,
            timeouts,
            settlement: config.settlement.clone(),
            authenticator: Authenticator::new(&config.token_keys, clock, stop),
            reconcile_secret: config.reconcile_secret.clone(),
        });
        Ok(Self {
            worker: Worker::new(NAME, database, publisher, alerts, work)
                .watching(topology::ESCROW_EVENTS, intakes.0)
                .watching(topology::ESCROW_COMMANDS, intakes.1),
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

/// One run of time-outs by itself, as a job. The calls that follow from it are made by the pool of a service that runs.
///
/// # Errors
/// When the database or Stripe cannot be used as configured, or the database does not answer.
pub async fn run_timeouts(config: &TimeoutConfig, clock: Clock) -> Result<TimeoutReport, JobError> {
    let runner = alone(&config.database_url, &config.stripe, clock)?;
    let timeouts = Timeouts {
        runner,
        limits: Limits::clone(&config.limits),
    };
    // What expired is given back whatever becomes of the other half, which asks Stripe.
    let (secured, report) = tokio::join!(timeouts.secure(), timeouts.run("job"));
    let report = report?;
    secured?;
    Ok(report)
}

/// Why a job did not run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The configuration.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
}

fn alone(database_url: &SecretString, stripe: &ClientConfig, clock: Clock) -> Result<Runner, StartError> {
    Ok(Runner {
        store: Store::new(open(database_url)?, Steps::default()),
        clock,
        stripe: Stripe::new(Client::new(stripe.clone())?, Steps::default()),
        rules: Rules::STANDARD,
        relay: Arc::new(Notify::new()),
        pool: Arc::new(Notify::new()),
    })
}

fn open(url: &SecretString) -> Result<Database, OpenError> {
    Database::open(&DatabaseConfig {
        max_connections: CONNECTIONS,
        ..DatabaseConfig::new(url.clone(), NAME)
    })
}

fn watched<H>(handler: H, database: &Database, alerts: &AlertRaiser) -> DatabaseWatch<H> {
    DatabaseWatch {
        name: NAME,
        handler,
        database: database.clone(),
        alerts: alerts.clone(),
    }
}

async fn consume<H: BatchHandler>(spec: ConsumerSpec, handler: DatabaseWatch<H>, stop: CancellationToken)
where
    DatabaseWatch<H>: BatchHandler,
{
    let drained = bus_consumer::run(spec, handler, stop).await;
    if drained.unfinished > 0 {
        tracing::warn!(
            unfinished = drained.unfinished,
            "escrow stopped with messages in hand, they come again"
        );
    }
}
