//! The consumer loop: batches in, verdicts out, acks in one place.
//!
//! [`run`] holds a connection of its own and takes messages in batches. A handler judges a batch; what its verdicts
//! mean is decided by `verdict` and carried out by `settle`: a message is acked only after its effects are committed,
//! or after its copy in a retry or parking queue is confirmed. Why it is safe:
//!
//! - One batch is in work at a time and every batch is settled before the next: all tags before a batch are acked, so
//!   one ack with `multiple` covers exactly the batch.
//! - A crash or a lost connection before the ack brings the messages back: handlers see them again and must recognise
//!   repeats. A crash between a copy's confirm and the ack doubles the message, which is the same to a handler.
//! - A handler runs in a task of its own: its panic or hanging is a failed attempt of the message, never the consumer's
//!   end.
//! - Nothing is requeued to try it again; the only messages that go back are those in hand when the consumer stops or
//!   its connection is lost.
//! - On cancellation intake stops first (the broker is told, since dropping the stream would not tell it), then the
//!   batch in work is finished and settled under a deadline, and closing the connection gives the rest back.

mod attempt;
mod intake;
mod settle;
mod spans;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::alerts::AlertRaiser;
use crate::connection::{self, Backoff, BrokerConfig, ConnectError, Purpose};
use crate::incoming::Incoming;
use crate::publisher::Publisher;
use crate::topology::QueueFamily;
use crate::verdict::{BatchError, Verdict};
use intake::InVain;
pub use intake::Intake;
use settle::{Settled, Settler};
pub use watch::ParkedTally;

const CONSUMER_TAG: &str = "holdfast";
/// How long a consumer waits at its start for the publisher to declare the queues.
const TOPOLOGY_WAIT: Duration = Duration::from_secs(10);
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Judges batches. Effects must be committed before a verdict is returned.
pub trait BatchHandler: Send + Sync + 'static {
    /// One verdict per message, in the same order, or an error for the batch as a whole. Called with a single message
    /// when a batch is taken apart, and again for messages that were seen before: repeats are normal.
    fn handle(&self, batch: &[Incoming]) -> impl Future<Output = Result<Vec<Verdict>, BatchError>> + Send;

    /// Called before a message is parked because no attempt is left, so that whoever looks for it elsewhere than in the parking place finds
    /// it. The message is parked whatever comes of this, and after a crash in between it is called again.
    fn gave_up(&self, _message: &Incoming, _reason: &str) -> impl Future<Output = Result<(), BatchError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// What to consume, and how.
#[derive(Clone)]
pub struct ConsumerSpec {
    /// Where the broker is.
    pub broker: BrokerConfig,
    /// The queue, with its retry queues and its parking place. It must have been declared.
    pub family: QueueFamily,
    /// Publishes retries and parked messages, on its own connection.
    pub publisher: Publisher,
    /// Told about parked messages and failing handlers.
    pub alerts: AlertRaiser,
    /// When messages were parked.
    pub clock: Clock,
    /// Most messages in one batch.
    pub max_batch: u16,
    /// How long a batch waits for company after its first message.
    pub batch_wait: Duration,
    /// Messages that the broker may deliver ahead. At least `max_batch`; each lost connection counts as a delivery for
    /// all of them, so much more than two batches gains nothing.
    pub prefetch: u16,
    /// A handler that takes longer has failed.
    pub handler_timeout: Duration,
    /// How long the batch in work may take after cancellation.
    pub drain_deadline: Duration,
    /// How often the company of others excuses a message that is too slow.
    pub put_off_at_most: u32,
    /// How often parked messages are counted.
    pub parked_check: Duration,
    /// What the consumers of this process that share a queue have parked.
    pub parked: Arc<ParkedTally>,
    /// How many of them have it at present; readiness asks.
    pub intake: Intake,
    /// How long it may be that nobody has it before a person is told, and told again.
    pub told_after: Duration,
}

impl ConsumerSpec {
    /// Batches of 64 that wait 5 ms, a minute for a handler, 20 s to drain.
    #[must_use]
    pub fn new(
        broker: BrokerConfig,
        family: QueueFamily,
        publisher: Publisher,
        alerts: AlertRaiser,
        clock: Clock,
    ) -> Self {
        Self {
            broker,
            family,
            publisher,
            alerts,
            clock,
            max_batch: 64,
            batch_wait: Duration::from_millis(5),
            prefetch: 128,
            handler_timeout: Duration::from_secs(60),
            drain_deadline: Duration::from_secs(20),
            // Ten minutes of half a minute each.
            put_off_at_most: 20,
            parked_check: Duration::from_secs(15),
            parked: Arc::default(),
            intake: Intake::default(),
            told_after: Duration::from_secs(60),
        }
    }
}

/// How a consumer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Messages of the batch in work that were not settled before the deadline; the broker delivers them again.
    pub unfinished: usize,
}

/// Why a consumer has to connect again.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("connecting to consume")]
    Connect(#[from] ConnectError),
    #[error("the queue's name is too long")]
    Name,
    #[error("starting to consume")]
    Start(#[source] lapin::Error),
    #[error("taking a message")]
    Delivery(#[source] lapin::Error),
    #[error("the broker ended the consumer")]
    Ended,
    #[error("acknowledging")]
    Ack(#[source] lapin::Error),
}

impl SessionError {
    /// Whether the consumer had its queue before.
    const fn is_after_the_start(&self) -> bool {
        match self {
            Self::Delivery(_) | Self::Ended | Self::Ack(_) => true,
            Self::Connect(_) | Self::Name | Self::Start(_) => false,
        }
    }
}

/// Consumes until `cancel` is cancelled, reconnecting as often as it takes; then drains.
pub async fn run<H: BatchHandler>(spec: ConsumerSpec, handler: H, cancel: CancellationToken) -> Drained {
    let handler = Arc::new(handler);
    // The publisher declares the queues. Without it the broker may still hold them, so the wait has an end.
    tokio::select! {
        () = cancel.cancelled() => return Drained { unfinished: 0 },
        _ = spec.publisher.wait_ready(TOPOLOGY_WAIT) => {}
    }
    let mut backoff = Backoff::new();
    let mut in_vain = InVain::default();
    let queue = spec.family.name.clone();
    while !cancel.is_cancelled() {
        let since = Instant::now();
        match session(&spec, &handler, &cancel).await {
            Ok(drained) => return drained,
            Err(error) => {
                if error.is_after_the_start() && since.elapsed() > SETTLED_AFTER {
                    backoff.reset();
                    in_vain.reset();
                }
                tracing::warn!(%queue, error = &error as &dyn std::error::Error, "the consumer lost its connection, its messages come again");
                in_vain.failed(&spec, &error);
            }
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = backoff.wait() => {}
        }
    }
    Drained { unfinished: 0 }
}

/// One connection's life.
async fn session<H: BatchHandler>(
    spec: &ConsumerSpec,
    handler: &Arc<H>,
    cancel: &CancellationToken,
) -> Result<Drained, SessionError> {
    let connection = tokio::select! {
        () = cancel.cancelled() => return Ok(Drained { unfinished: 0 }),
        opened = connection::open(&spec.broker, Purpose::Consume) => opened?,
    };
    let outcome = consume(&connection, spec, handler, cancel).await;
    connection::close(&connection).await;
    outcome
}

async fn consume<H: BatchHandler>(
    connection: &Connection,
    spec: &ConsumerSpec,
    handler: &Arc<H>,
    cancel: &CancellationToken,
) -> Result<Drained, SessionError> {
    let (channel, mut consumer) = start(connection, spec).await?;
    let _open = spec.intake.open();
    tracing::info!(queue = %spec.family.name, "consuming");
    let settler = Settler::new(spec, connection, cancel);
    let mut watching = std::pin::pin!(watch::parked(connection, spec));
    loop {
        let batch = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                stop_intake(&channel).await;
                return Ok(Drained { unfinished: 0 });
            }
            () = &mut watching => continue,
            batch = collect(&mut consumer, spec) => batch?,
        };
        let size = batch.len();
        let tags = batch.iter().map(|delivery| delivery.delivery_tag).collect::<Vec<_>>();
        let mut messages = batch.into_iter().map(Incoming::take).collect::<Vec<_>>();
        spans::begin(&spec.family.name, &mut messages);
        let messages = Arc::<[Incoming]>::from(messages);
        let work = async {
            let verdicts = attempt::judge(handler, &messages, &settler).await;
            spans::tell(&messages, &verdicts);
            settler.settle(handler, &channel, &tags, &messages, verdicts).await
        };
        tokio::select! {
            biased;
            settled = work => match settled.map_err(SessionError::Ack)? {
                Settled::All => {}
                Settled::Partly { unfinished } if cancel.is_cancelled() => return Ok(Drained { unfinished }),
                Settled::Partly { .. } => return Err(SessionError::Ended),
            },
            () = deadline_after_cancel(&channel, spec, cancel) => {
                let queue = &spec.family.name;
                tracing::warn!(%queue, unfinished = size, "the batch in work was not finished in time");
                return Ok(Drained { unfinished: size });
            }
        }
    }
}

async fn start(connection: &Connection, spec: &ConsumerSpec) -> Result<(Channel, Consumer), SessionError> {
    let queue = ShortString::try_new(spec.family.name.as_str()).map_err(|_| SessionError::Name)?;
    let channel = connection.create_channel().await.map_err(SessionError::Start)?;
    // Per consumer, not per channel: quorum queues refuse `global`.
    let qos = BasicQosOptions { global: false };
    channel
        .basic_qos(spec.prefetch.max(spec.max_batch), qos)
        .await
        .map_err(SessionError::Start)?;
    let options = BasicConsumeOptions {
        // Only matters to connections that consume what they publish.
        no_local: false,
        // Messages stay the broker's until they are settled.
        no_ack: false,
        // Other replicas consume the same queue.
        exclusive: false,
        // A missing queue has to be told here.
        nowait: false,
    };
    let consumer = channel
        .basic_consume(queue, CONSUMER_TAG.into(), options, FieldTable::default())
        .await
        .map_err(SessionError::Start)?;
    Ok((channel, consumer))
}

/// The next batch: what is there, and what comes within a moment.
async fn collect(consumer: &mut Consumer, spec: &ConsumerSpec) -> Result<Vec<Delivery>, SessionError> {
    let max_batch = usize::from(spec.max_batch.max(1));
    let mut batch = Vec::with_capacity(max_batch);
    batch.push(delivery(consumer.next().await)?);
    let deadline = tokio::time::Instant::now() + spec.batch_wait;
    while batch.len() < max_batch {
        let next = match consumer.next().now_or_never() {
            Some(next) => next,
            None => match tokio::time::timeout_at(deadline, consumer.next()).await {
                Ok(next) => next,
                Err(_) => break,
            },
        };
        batch.push(delivery(next)?);
    }
    Ok(batch)
}

fn delivery(next: Option<Result<Delivery, lapin::Error>>) -> Result<Delivery, SessionError> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(SessionError::Delivery(error)),
        None => Err(SessionError::Ended),
    }
}

/// Stops intake when cancelled, and returns when the batch in work has had its time.
async fn deadline_after_cancel(channel: &Channel, spec: &ConsumerSpec, cancel: &CancellationToken) {
    cancel.cancelled().await;
    let deadline = tokio::time::Instant::now() + spec.drain_deadline;
    stop_intake(channel).await;
    tokio::time::sleep_until(deadline).await;
}

async fn stop_intake(channel: &Channel) {
    let cancelling = channel.basic_cancel(CONSUMER_TAG.into(), BasicCancelOptions { nowait: false });
    match tokio::time::timeout(CANCEL_TIMEOUT, cancelling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the consumer was cancelled already"),
        Err(_) => tracing::debug!("the broker did not answer the cancelling of a consumer"),
    }
}
