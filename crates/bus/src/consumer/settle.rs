//! The only place that acks.

use std::sync::Arc;
use std::time::Duration;

use domain::alert::{Alert, AlertKind};
use futures_util::future::join_all;
use lapin::options::BasicAckOptions;
use lapin::{Channel, Connection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{BatchHandler, ConsumerSpec};
use crate::alerts::AlertRaiser;
use crate::connection::Backoff;
use crate::headers::{ATTEMPTS, PARKED_AT, PARKED_ATTEMPTS, PARKED_REASON, PUT_OFF, RETRY_REASON};
use crate::incoming::Incoming;
use crate::outgoing::{Outgoing, PublishError};
use crate::verdict::{Settlement, Verdict, ack_plan, settlement};

/// How long a handler may take to record that no attempt at a message is left.
const GAVE_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a whole batch was settled.
pub(super) enum Settled {
    All,
    /// The connection was lost meanwhile, or the consumer stops; what is not settled comes again.
    Partly {
        unfinished: usize,
    },
}

/// Carries verdicts out for one session.
pub(super) struct Settler<'a> {
    spec: &'a ConsumerSpec,
    connection: &'a Connection,
    cancel: &'a CancellationToken,
    counters: Counters,
}

/// `holdfast_consumer_messages_total{queue, outcome}`, looked up once.
struct Counters {
    done: metrics::Counter,
    retried: metrics::Counter,
    parked: metrics::Counter,
}

impl Counters {
    fn of(queue: &str) -> Self {
        let counter = |outcome: &'static str| metrics::counter!("holdfast_consumer_messages_total", "queue" => queue.to_owned(), "outcome" => outcome);
        Self {
            done: counter("done"),
            retried: counter("retried"),
            parked: counter("parked"),
        }
    }
}

impl<'a> Settler<'a> {
    pub(super) fn new(spec: &'a ConsumerSpec, connection: &'a Connection, cancel: &'a CancellationToken) -> Self {
        Self {
            spec,
            connection,
            cancel,
            counters: Counters::of(&spec.family.name),
        }
    }

    pub(super) const fn put_off_at_most(&self) -> u32 {
        self.spec.put_off_at_most
    }

    pub(super) fn queue(&self) -> &str {
        &self.spec.family.name
    }

    pub(super) fn alerts(&self) -> &AlertRaiser {
        &self.spec.alerts
    }

    pub(super) fn handler_timeout(&self) -> Duration {
        self.spec.handler_timeout
    }

    /// Whether waiting for something that is away still makes sense: the messages are ours and nobody wants us to stop.
    pub(super) fn may_wait(&self) -> bool {
        self.connection.status().connected() && !self.cancel.is_cancelled()
    }

    /// Publishes what has to be published, then acks what is settled: the whole batch with one ack where possible.
    pub(super) async fn settle<H: BatchHandler>(
        &self,
        handler: &Arc<H>,
        channel: &Channel,
        tags: &[u64],
        messages: &[Incoming],
        verdicts: Vec<Option<Verdict>>,
    ) -> Result<Settled, lapin::Error> {
        let settled = join_all(
            messages
                .iter()
                .zip(verdicts)
                .map(|(message, verdict)| self.carry_out(handler, message, verdict)),
        )
        .await;
        let plan = ack_plan(tags.iter().copied().zip(settled.iter().copied()));
        if let Some(last) = plan.prefix {
            channel.basic_ack(last, BasicAckOptions { multiple: true }).await?;
        }
        for tag in plan.singles {
            channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
        }
        let unfinished = settled.into_iter().filter(|settled| !settled).count();
        Ok(if unfinished == 0 {
            Settled::All
        } else {
            Settled::Partly { unfinished }
        })
    }

    /// Does what the verdict asks for, and says whether the message may be acked.
    async fn carry_out<H: BatchHandler>(&self, handler: &Arc<H>, message: &Incoming, verdict: Option<Verdict>) -> bool {
        let Some(verdict) = verdict else { return false };
        let family = &self.spec.family;
        let (outcome, settled) = match settlement(verdict, message.failed_attempts(), family) {
            Settlement::Finish => (&self.counters.done, true),
            Settlement::Delay {
                queue,
                failed_attempts,
                is_put_off,
                reason,
            } => {
                let (queue_name, message_id) = (self.queue(), &message.message_id);
                tracing::warn!(queue = queue_name, %message_id, failed_attempts, %reason, "a message is tried again later");
                let mut copy = message.forward_to(queue);
                let put_off = message.put_off().saturating_add(u32::from(is_put_off));
                copy.headers
                    .set_int(ATTEMPTS, i64::from(failed_attempts))
                    .set_int(PUT_OFF, i64::from(put_off))
                    .set_reason(RETRY_REASON, &reason);
                (&self.counters.retried, self.publish(copy).await)
            }
            Settlement::Park { attempts, reason } => {
                (&self.counters.parked, self.park(message, attempts, &reason).await)
            }
            Settlement::GiveUp { attempts, reason } => {
                self.tell_handler(handler, message, &reason).await;
                (&self.counters.parked, self.park(message, attempts, &reason).await)
            }
        };
        if settled {
            outcome.increment(1);
        }
        settled
    }

    /// Lets the handler leave a record, in a task of its own and for so long only: parking does not hang on it.
    async fn tell_handler<H: BatchHandler>(&self, handler: &Arc<H>, message: &Incoming, reason: &str) {
        let mut task = JoinSet::new();
        let (handler, given_up, why) = (Arc::clone(handler), message.clone(), reason.to_owned());
        task.spawn(async move { handler.gave_up(&given_up, &why).await });
        let problem = match tokio::time::timeout(GAVE_UP_TIMEOUT, task.join_next()).await {
            Ok(Some(Ok(Ok(()))) | None) => return,
            Ok(Some(Ok(Err(error)))) => error.to_string(),
            Ok(Some(Err(error))) => error.to_string(),
            Err(_) => format!("took longer than {GAVE_UP_TIMEOUT:?}"),
        };
        let message_id = &message.message_id;
        tracing::error!(queue = self.queue(), %message_id, %problem, "a message that is parked could not be recorded");
    }

    async fn park(&self, message: &Incoming, attempts: u32, reason: &str) -> bool {
        let family = &self.spec.family;
        let message_id = &message.message_id;
        tracing::error!(queue = self.queue(), %message_id, attempts, reason, "a message is parked");
        let mut copy = message.forward_to(family.parked_queue());
        copy.headers.remove(RETRY_REASON);
        copy.headers
            .set_reason(PARKED_REASON, reason)
            .set_str(
                PARKED_AT,
                (self.spec.clock)().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            )
            .set_int(PARKED_ATTEMPTS, i64::from(attempts));
        let parked = self.publish(copy).await;
        if parked {
            self.spec.parked.add();
            let summary = format!("messages of {} were set aside", family.name);
            let alert = Alert::new(AlertKind::MessageParked, family.name.as_str(), summary)
                .with("message_id", &message.message_id)
                .with("type", &message.kind)
                .with("attempts", attempts)
                .with("reason", reason);
            self.spec.alerts.raise(alert);
        }
        parked
    }

    /// Publishes until it is confirmed; gives up, after trying at least once, when waiting makes no sense any more.
    async fn publish(&self, copy: Outgoing) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let Err(error) = self.spec.publisher.publish(copy.clone()).await else {
                return true;
            };
            let Outgoing {
                routing_key,
                message_id,
                ..
            } = &copy;
            tracing::warn!(to = %routing_key, %message_id, %error, "a copy is not confirmed yet");
            if matches!(error, PublishError::Unroutable { .. }) {
                // The batch waits for it: what is missing has to be made by a person, or by the next start of a service.
                let summary = format!(
                    "a message of {} cannot be put into {routing_key}, and holds up the rest",
                    self.queue()
                );
                let alert = Alert::new(AlertKind::HandlerFailure, format!("{routing_key}/missing"), summary);
                self.spec.alerts.raise(alert.with("error", &error));
            }
            if !self.may_wait() {
                return false;
            }
            backoff.wait().await;
        }
    }
}
