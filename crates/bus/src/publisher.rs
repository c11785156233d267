//! Confirmed publishing that never lies and never piles up.
//!
//! A [`Publisher`] keeps one connection of its own (publishing and consuming never share one, since a blocked
//! connection sends no acks either) with several channels. Why it is safe:
//!
//! - Each channel is owned by exactly one task. lapin takes the delivery tag and queues the frames under two different
//!   locks; two tasks on one channel get each other's confirms.
//! - Success is the broker's ack without a returned message, nothing else.
//! - A permit is taken before a message enters and given back when its confirm resolves, also when the caller has given
//!   up waiting: what lapin holds in memory is bounded by [`PublisherConfig::max_in_flight`], however long the broker
//!   is away.
//! - A channel that owes a confirm for twice [`PublisherConfig::confirm_timeout`], and a second at least, is given up with all that it
//!   owes: a queue that never confirms takes no place from the others for good.
//! - While there is no connection or the broker blocks publishers, publishing fails at once without touching lapin.
//! - A lost connection fails everything that is in flight at once; a new one is opened at most a second later.
//!
//! Publishes arrive in clumps: an owner takes all that wait, hands them to lapin in one go and only then looks for
//! confirms, so that lapin's thread writes, and the broker works, on many at a time.

mod channel_owner;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, Span};

use crate::connection::{self, Backoff, BrokerConfig, Purpose};
use crate::outgoing::{Outgoing, Parts, PublishError};
use crate::propagation;
use crate::topology::{Topology, TopologyError};

/// A connection that lived this long was a good one: the next loss starts the backoff anew.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// lapin announces a loss as an event; its state is read this often all the same, in case an event was missed.
const STATE_CHECK: Duration = Duration::from_millis(100);
/// The first declaring on an empty cluster makes dozens of replicated queues.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(60);

/// How a [`Publisher`] works. The defaults suit a service that publishes now and then.
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    /// Where the broker is.
    pub broker: BrokerConfig,
    /// Declared on every new connection, so that a broker that comes back empty is usable again; empty to declare
    /// nothing.
    pub topology: Topology,
    /// Channels, each with a task of its own. More of them spread work in the broker, fewer make larger clumps.
    pub channels: usize,
    /// Messages that may wait for their confirm, over all channels. Bounds memory: this many bodies, at most.
    pub max_in_flight: usize,
    /// How long a publish may wait for one of these places before it fails as saturated.
    pub admission_wait: Duration,
    /// How long a publish may wait for its confirm. The message may arrive after that all the same.
    pub confirm_timeout: Duration,
    /// Most messages handed to lapin before confirms are looked at.
    pub max_clump: usize,
    /// Wait this long for company after the first message of a clump (timers tick in milliseconds); with zero, what else is
    /// ready on the same thread runs first and nothing waits.
    pub linger: Duration,
}

impl PublisherConfig {
    /// Defaults for a service that publishes.
    #[must_use]
    pub fn new(broker: BrokerConfig) -> Self {
        Self {
            broker,
            topology: Topology::default(),
            channels: 2,
            max_in_flight: 1_024,
            admission_wait: Duration::from_millis(100),
            confirm_timeout: Duration::from_secs(5),
            max_clump: 256,
            linger: Duration::ZERO,
        }
    }
}

/// Publishes with confirms and reconnects by itself. Clones share one connection; it closes with the last of them.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    slots: Vec<Slot>,
    next_slot: AtomicUsize,
    link: watch::Receiver<Option<Arc<Connection>>>,
    permits: Arc<Semaphore>,
    max_in_flight: usize,
    admission_wait: Duration,
    confirm_timeout: Duration,
    confirm_seconds: metrics::Histogram,
    stop: CancellationToken,
    stopped: CancellationToken,
    _stop_with_last_clone: DropGuard,
}

/// The way into one channel's owner.
struct Slot {
    jobs: mpsc::UnboundedSender<Job>,
    open: Arc<AtomicBool>,
}

/// One message with its way back to the caller.
struct Job {
    parts: Parts,
    reply: oneshot::Sender<Result<(), PublishError>>,
    permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("ready", &self.is_ready())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

impl Publisher {
    /// Starts connecting and returns at once; see [`Self::wait_ready`]. Needs a tokio runtime, and the metrics recorder
    /// installed before.
    #[must_use]
    pub fn start(config: PublisherConfig) -> Self {
        let (link_sender, link) = watch::channel(None);
        let stop = CancellationToken::new();
        let stopped = CancellationToken::new();
        let pace = channel_owner::Pace {
            max_clump: config.max_clump.max(1),
            linger: config.linger,
            confirm_limit: config.confirm_timeout.saturating_mul(2).max(Duration::from_secs(1)),
        };
        let slots = (0..config.channels.max(1))
            .map(|_| {
                let (jobs, incoming) = mpsc::unbounded_channel();
                let open = Arc::new(AtomicBool::new(false));
                tokio::spawn(channel_owner::run(incoming, link.clone(), Arc::clone(&open), pace));
                Slot { jobs, open }
            })
            .collect();
        let max_in_flight = config.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let inner = Inner {
            slots,
            next_slot: AtomicUsize::new(0),
            link,
            permits: Arc::new(Semaphore::new(max_in_flight)),
            max_in_flight,
            admission_wait: config.admission_wait,
            confirm_timeout: config.confirm_timeout,
            confirm_seconds: metrics::histogram!("holdfast_publish_confirm_seconds"),
            stop: stop.clone(),
            stopped: stopped.clone(),
            _stop_with_last_clone: stop.clone().drop_guard(),
        };
        tokio::spawn(async move {
            keep_connected(config.broker, config.topology, link_sender, stop).await;
            stopped.cancel();
        });
        Self { inner: Arc::new(inner) }
    }

    /// Publishes and waits for the broker's confirm. `Ok` means: stored, by a majority where the queue is replicated.
    ///
    /// Dropping the future does not take the message back.
    ///
    /// # Errors
    /// See [`PublishError`]; each comes within `admission_wait` + `confirm_timeout`, most at once.
    pub async fn publish(&self, mut message: Outgoing) -> Result<(), PublishError> {
        let started = Instant::now();
        let span = publish_span(&message);
        propagation::tell(&mut message.headers, &span);
        let outcome = self.try_publish(message).instrument(span.clone()).await;
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        match &outcome {
            Ok(()) => self.inner.confirm_seconds.record(started.elapsed()),
            Err(error) => metrics::counter!("holdfast_publish_failures_total", "reason" => error.code()).increment(1),
        }
        outcome
    }

    async fn try_publish(&self, message: Outgoing) -> Result<(), PublishError> {
        self.check()?;
        let parts = message.into_parts()?;
        let permit = self.admit().await?;
        let (reply, confirmed) = oneshot::channel();
        let slot = self.open_slot().ok_or(PublishError::Unavailable)?;
        slot.jobs
            .send(Job { parts, reply, permit })
            .map_err(|_| PublishError::Unavailable)?;
        match tokio::time::timeout(self.inner.confirm_timeout, confirmed).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(PublishError::Lost {
                reason: "the channel was given up".to_owned(),
            }),
            Err(_) => Err(PublishError::TimedOut),
        }
    }

    /// What publishing would say right now: `Ok` when a channel is open and the broker takes messages.
    ///
    /// # Errors
    /// [`PublishError::Unavailable`] or [`PublishError::Blocked`].
    pub fn check(&self) -> Result<(), PublishError> {
        let link = self.inner.link.borrow();
        let status = link.as_ref().ok_or(PublishError::Unavailable)?.status();
        if status.blocked() {
            return Err(PublishError::Blocked);
        }
        let usable = status.connected() && self.inner.slots.iter().any(|slot| slot.open.load(Ordering::Relaxed));
        if usable { Ok(()) } else { Err(PublishError::Unavailable) }
    }

    /// Whether a publish would be accepted now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.check().is_ok()
    }

    /// Messages that wait for their confirm.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner
            .max_in_flight
            .saturating_sub(self.inner.permits.available_permits())
    }

    /// Waits until publishing is possible.
    ///
    /// # Errors
    /// The last answer of [`Self::check`] when it does not become possible in time.
    pub async fn wait_ready(&self, at_most: Duration) -> Result<(), PublishError> {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            match self.check() {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() >= deadline || self.inner.stop.is_cancelled() => {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Waits for what is in flight, at most `at_most`, and closes the connection. Every later publish fails as
    /// unavailable.
    pub async fn close(&self, at_most: Duration) {
        let all = u32::try_from(self.inner.max_in_flight).unwrap_or(u32::MAX);
        let drained = tokio::time::timeout(at_most, self.inner.permits.acquire_many(all)).await;
        if drained.is_err() {
            tracing::warn!(
                in_flight = self.in_flight(),
                "closing with messages that the broker has not confirmed"
            );
        }
        self.inner.stop.cancel();
        self.inner.stopped.cancelled().await;
    }

    async fn admit(&self) -> Result<OwnedSemaphorePermit, PublishError> {
        if let Ok(permit) = Arc::clone(&self.inner.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let place = Arc::clone(&self.inner.permits).acquire_owned();
        match tokio::time::timeout(self.inner.admission_wait, place).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(PublishError::Saturated),
        }
    }

    /// The next open channel in turn.
    fn open_slot(&self) -> Option<&Slot> {
        let slots = &self.inner.slots;
        let first = self.inner.next_slot.fetch_add(1, Ordering::Relaxed);
        (0..slots.len())
            .filter_map(|step| slots.get(first.wrapping_add(step) % slots.len()))
            .find(|slot| slot.open.load(Ordering::Relaxed))
    }
}

/// A span for a message of something that is traced; what nobody asked for is not traced.
fn publish_span(message: &Outgoing) -> Span {
    if Span::current().is_disabled() {
        return Span::none();
    }
    tracing::info_span!(
        target: "holdfast::trace",
        "publish",
        otel.name = format!("publish {}", message.exchange),
        otel.kind = "producer",
        otel.status_code = tracing::field::Empty,
        messaging.system = "rabbitmq",
        messaging.operation.type = "send",
        messaging.destination.name = %message.exchange,
        messaging.message.id = message.message_id,
        message_type = message.kind,
    )
}

/// Holds a connection open until told to stop, and makes it known through `link`.
async fn keep_connected(
    broker: BrokerConfig,
    topology: Topology,
    link: watch::Sender<Option<Arc<Connection>>>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new();
    while !stop.is_cancelled() {
        let opened = tokio::select! {
            () = stop.cancelled() => break,
            opened = open_with_topology(&broker, &topology) => opened,
        };
        match opened {
            Ok(connection) => {
                let since = Instant::now();
                let connection = Arc::new(connection);
                link.send_replace(Some(Arc::clone(&connection)));
                tracing::info!(client = %broker.client_name, "connected to the broker for publishing");
                until_lost(&connection, &stop).await;
                link.send_replace(None);
                if stop.is_cancelled() {
                    connection::close(&connection).await;
                    break;
                }
                tracing::warn!(client = %broker.client_name, "lost the broker connection for publishing");
                if since.elapsed() > SETTLED_AFTER {
                    backoff.reset();
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(client = %broker.client_name, error, "cannot publish: no usable broker connection");
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = backoff.wait() => {}
        }
    }
    link.send_replace(None);
}

/// What keeps a new connection from being used.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("connecting")]
    Connect(#[from] connection::ConnectError),
    #[error("declaring the topology")]
    Topology(#[from] TopologyError),
    #[error("the broker did not answer while the topology was declared")]
    TimedOut,
}

/// A connection on a broker that has the topology. What exists with other arguments stops a service when it starts, but
/// not one that runs (a newer version may have declared it): whether a message finds its queue, its confirm tells.
async fn open_with_topology(broker: &BrokerConfig, topology: &Topology) -> Result<Connection, OpenError> {
    let connection = connection::open(broker, Purpose::Publish).await?;
    let declared = tokio::time::timeout(DECLARE_TIMEOUT, topology.declare_on(&connection)).await;
    match declared.map_err(|_| OpenError::TimedOut)? {
        Ok(()) => {}
        Err(TopologyError::Conflicts(conflicts)) => {
            for conflict in conflicts {
                tracing::error!(%conflict, "publishing goes on with a topology that is not the declared one");
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(connection)
}

async fn until_lost(connection: &Connection, stop: &CancellationToken) {
    let mut events = std::pin::pin!(connection.events_listener());
    let mut check = tokio::time::interval(STATE_CHECK);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while connection.status().connected() {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => log_event(event),
            _ = check.tick() => {}
        }
    }
}

fn log_event(event: Option<lapin::Event>) {
    match event {
        Some(lapin::Event::ConnectionBlocked(reason)) => {
            tracing::warn!(%reason, "the broker blocks publishers");
        }
        Some(lapin::Event::ConnectionUnblocked) => tracing::info!("the broker takes messages again"),
        Some(lapin::Event::Error(error)) => tracing::warn!(%error, "the broker connection reported an error"),
        Some(_) | None => {}
    }
}
