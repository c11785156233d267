//! The one task that publishes on a channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use tokio::sync::{mpsc, watch};

use super::Job;
use crate::outgoing::{Parts, PublishError};

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const REOPEN_PAUSE: Duration = Duration::from_millis(50);

/// How an owner gathers messages; see [`super::PublisherConfig`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) max_clump: usize,
    pub(super) linger: Duration,
    /// How long a confirm may take. Nobody waits for it any more by then, and it would hold its place for ever: a channel that owes one
    /// is given up with all that it owes.
    pub(super) confirm_limit: Duration,
}

type Link = watch::Receiver<Option<Arc<Connection>>>;
type Jobs = mpsc::UnboundedReceiver<Job>;

/// Why a channel is no longer used.
enum End {
    /// No publisher is left.
    Closed,
    /// The channel or its connection failed, or there is another connection now.
    Lost,
}

/// Owns a channel on the current connection, one after another, until the last publisher is gone.
pub(super) async fn run(mut jobs: Jobs, mut link: Link, open: Arc<AtomicBool>, pace: Pace) {
    loop {
        let Some(connection) = next_connection(&mut link, &mut jobs).await else {
            return;
        };
        match open_channel(&connection).await {
            Ok(channel) => {
                open.store(true, Ordering::Relaxed);
                let end = serve(&channel, &mut jobs, &mut link, pace).await;
                open.store(false, Ordering::Relaxed);
                if matches!(end, End::Closed) {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "could not open a channel for publishing"),
        }
        drop(connection);
        refuse_waiting(&mut jobs);
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// The current connection as soon as there is a live one. What still arrives meanwhile is refused at once.
async fn next_connection(link: &mut Link, jobs: &mut Jobs) -> Option<Arc<Connection>> {
    loop {
        let current = link
            .borrow_and_update()
            .clone()
            .filter(|connection| connection.status().connected());
        if current.is_some() {
            return current;
        }
        tokio::select! {
            changed = link.changed() => changed.ok()?,
            job = jobs.recv() => refuse(job?),
            () = tokio::time::sleep(REOPEN_PAUSE) => {}
        }
    }
}

async fn open_channel(connection: &Connection) -> Result<Channel, lapin::Error> {
    let opening = async {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
        Ok(channel)
    };
    let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
    tokio::time::timeout(OPEN_TIMEOUT, opening)
        .await
        .unwrap_or_else(|_| late())
}

/// Publishes what comes until the channel is lost.
///
/// All futures of the channel are polled by this task alone, and a publish future registers its delivery tag and queues
/// its frames within its first poll: tags and frames keep one order.
async fn serve(channel: &Channel, jobs: &mut Jobs, link: &mut Link, pace: Pace) -> End {
    let mut in_flight = FuturesUnordered::new();
    let mut owed = Owed::default();
    let mut look = tokio::time::interval(pace.confirm_limit / 4);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut clump = Vec::with_capacity(pace.max_clump);
    let current = link.clone();
    let is_blocked = || {
        current
            .borrow()
            .as_ref()
            .is_some_and(|connection| connection.status().blocked())
    };
    let mut blocked = None;
    let mut replaced = std::pin::pin!(link.changed());
    loop {
        tokio::select! {
            biased;
            taken = jobs.recv_many(&mut clump, pace.max_clump) => {
                if taken == 0 {
                    while in_flight.next().await.is_some() {}
                    return End::Closed;
                }
                if taken < pace.max_clump {
                    gather(jobs, &mut clump, pace).await;
                }
                let place = owed.enter(clump.len());
                in_flight.extend(clump.drain(..).map(|job| async move { (place, send(channel, job).await) }));
            }
            Some((place, sent)) = in_flight.next() => {
                owed.leave(place);
                let mut usable = matches!(sent, Sent::Answered);
                while let Some(Some((place, sent))) = in_flight.next().now_or_never() {
                    owed.leave(place);
                    usable &= matches!(sent, Sent::Answered);
                }
                if !usable {
                    return End::Lost;
                }
            }
            _ = look.tick() => {
                // A broker that blocks publishers confirms nothing meanwhile, and has its time again from then on.
                if is_blocked() {
                    blocked = Some(Instant::now());
                }
                let is_late = |since: Instant| since.max(blocked.unwrap_or(since)).elapsed() > pace.confirm_limit;
                if owed.since().is_some_and(is_late) {
                    tracing::warn!(in_flight = in_flight.len(), "a confirm does not come: the channel is given up");
                    return End::Lost;
                }
            }
            _ = &mut replaced => return End::Lost,
        }
    }
}

/// The clumps that are not confirmed yet, oldest first: when each was handed to lapin, and how many of it are open.
#[derive(Default)]
struct Owed {
    clumps: VecDeque<(Instant, usize)>,
    /// The number of the first of them.
    first: usize,
}

impl Owed {
    /// Notes a clump, and gives its number.
    fn enter(&mut self, messages: usize) -> usize {
        let number = self.first.wrapping_add(self.clumps.len());
        self.clumps.push_back((Instant::now(), messages));
        number
    }

    /// Notes an answer for a message of a clump.
    fn leave(&mut self, clump: usize) {
        if let Some((_, open)) = self.clumps.get_mut(clump.wrapping_sub(self.first)) {
            *open = open.saturating_sub(1);
        }
        while self.clumps.front().is_some_and(|(_, open)| *open == 0) {
            self.clumps.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// When the oldest of them was.
    fn since(&self) -> Option<Instant> {
        self.clumps.front().map(|(since, _)| *since)
    }
}

/// Lets whatever else is ready on this thread run first, as long as that brings more messages: under load a clump is then
/// what the thread had to publish anyway, and without load nothing waits.
async fn gather(jobs: &mut Jobs, clump: &mut Vec<Job>, pace: Pace) {
    if !pace.linger.is_zero() {
        tokio::time::sleep(pace.linger).await;
    }
    while clump.len() < pace.max_clump {
        let before = clump.len();
        tokio::task::yield_now().await;
        while clump.len() < pace.max_clump {
            let Ok(job) = jobs.try_recv() else { break };
            clump.push(job);
        }
        if clump.len() == before {
            return;
        }
    }
}

/// Whether the channel answered for a message, or failed.
enum Sent {
    Answered,
    Failed,
}

async fn send(channel: &Channel, job: Job) -> Sent {
    let Job { parts, reply, permit } = job;
    if reply.is_closed() {
        return Sent::Answered;
    }
    let outcome = transmit(channel, parts).await;
    drop(permit);
    let (sent, answer) = match outcome {
        Ok(confirmation) => (Sent::Answered, judge(confirmation)),
        Err(error) => (
            Sent::Failed,
            Err(PublishError::Lost {
                reason: error.to_string(),
            }),
        ),
    };
    if reply.send(answer).is_err() {
        tracing::debug!("a confirm came after its caller had stopped waiting");
    }
    sent
}

async fn transmit(channel: &Channel, parts: Parts) -> Result<Confirmation, lapin::Error> {
    let Parts {
        exchange,
        routing_key,
        mandatory,
        properties,
        body,
    } = parts;
    // RabbitMQ has never implemented `immediate` and closes the connection when it is set.
    let options = BasicPublishOptions {
        mandatory,
        immediate: false,
    };
    let confirm = channel
        .basic_publish(exchange, routing_key, options, &body, properties)
        .await?;
    // The connection has a copy of its own by now.
    drop(body);
    confirm.await
}

/// The only place that says what a confirm means.
fn judge(confirmation: Confirmation) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) => Err(PublishError::Unroutable {
            reply: returned.reply_text.to_string(),
        }),
        Confirmation::Nack(_) => Err(PublishError::Refused),
        Confirmation::NotRequested => Err(PublishError::Lost {
            reason: "the channel does not confirm".to_owned(),
        }),
    }
}

fn refuse_waiting(jobs: &mut Jobs) {
    while let Ok(job) = jobs.try_recv() {
        refuse(job);
    }
}

fn refuse(job: Job) {
    let Job { reply, permit, .. } = job;
    drop(permit);
    if reply.send(Err(PublishError::Unavailable)).is_err() {
        tracing::debug!("a message was refused after its caller had stopped waiting");
    }
}
