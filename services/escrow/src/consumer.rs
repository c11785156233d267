//! The consumer of `escrow.events`: messages in, verdicts out. Each event is decided in a transaction of its own, in which its row, the
//! mark of idempotency, is inserted as well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{BatchError, BatchHandler, Incoming, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use db::escrow::accounts::upsert_account_in_txn;
use db::escrow::actions::find_told_in_txn;
use db::escrow::held::HeldEscrow;
use db::escrow::inbox::{EventOutcome, mark_event_in_txn, set_event_outcome_in_txn};
use db::escrow::operations::find_operation_in_txn;
use db::escrow::owners::{Names, find_owner_in_txn, is_recipient_anywhere};
use db::{Transaction, in_txn};
use domain::alert::{Alert, AlertKind};
use domain::escrow::input::{Fact, Input};
use domain::escrow::operation::{Observation, Status};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::accounts::snapshot_read;
use crate::change::{Applied, Cause, apply_in_txn, lock_in_txn};
use crate::error::EscrowError;
use crate::notices::{self, tell_in_txn};
use crate::reading::{About, Content, Reading, of_related, read};
use crate::runner::{Observed, Runner, observe_in_txn};
use crate::silence::Silence;
use crate::steps::{Ask, Commit};

/// How often an event is decided again because somebody else wrote the same thing at the same moment.
const MAX_RACES: u32 = 5;
/// How long the object of a thin event may take to be read.
const PATIENCE: Duration = Duration::from_secs(8);

/// A refund that came back is told of once within this time.
const LATEST_END_OF_A_REFUND: TimeDelta = TimeDelta::days(180);

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It was decided before.
    Repeat,
    /// This became of it.
    As(EventOutcome<'static>),
}

/// It says what is known, and takes effect once (the guard of intent, as billing has it).
const KNOWN: EventOutcome<'static> = EventOutcome {
    outcome: "semantic_duplicate",
    guard: Some("intent"),
    reason: "known",
};

const fn outcome(outcome: &'static str, reason: &'static str) -> EventOutcome<'static> {
    EventOutcome {
        outcome,
        guard: None,
        reason,
    }
}

/// Decides events.
#[derive(Clone)]
pub(crate) struct Decider {
    pub(crate) runner: Runner,
    pub(crate) livemode: bool,
    /// Wakes whoever tells escrows of their accounts.
    pub(crate) news: Arc<Notify>,
    /// Events are taken from the queue one after the other: where each waited for a Stripe that does not answer, all of them would.
    pub(crate) silence: Silence,
}

impl BatchHandler for Decider {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            verdicts.push(self.one(message).instrument(message.span()).await?);
        }
        self.runner.pool.notify_one();
        self.runner.relay.notify_one();
        Ok(verdicts)
    }

    /// Writes down that an event is parked, so that the archive knows of it; deciding it after a replay replaces this. What is no event has no
    /// place in the archive.
    async fn gave_up(&self, message: &Incoming, _reason: &str) -> Result<(), BatchError> {
        let Ok(reading) = read(message, self.livemode, self.runner.clock.now()) else {
            return Ok(());
        };
        let parked = outcome("parked", "attempts_used_up");
        let marked = self.runner.store.commit_if(
            Commit::EventDecided,
            |marked| *marked,
            |txn| in_txn(async { Ok::<_, EscrowError>(mark_event_in_txn(txn, &reading.row(), parked).await?) }),
        );
        if marked.await.map_err(|error| failed(&error))? {
            record(&reading, Decided::As(parked), self.runner.clock.now());
        }
        Ok(())
    }
}

impl Decider {
    async fn one(&self, message: &Incoming) -> Result<Verdict, BatchError> {
        let mut reading = match read(message, self.livemode, self.runner.clock.now()) {
            Ok(reading) => reading,
            Err(reason) => return Ok(Verdict::Park { reason }),
        };
        self.hydrate(&mut reading).await.map_err(|error| failed(&error))?;
        let decided = self.decide(&reading).await.map_err(|error| failed(&error))?;
        Ok(match (decided, reading.content) {
            (Decided::As(_), Content::Unreadable(reason)) => Verdict::Park { reason },
            (Decided::As(_) | Decided::Repeat, _) => Verdict::Done,
        })
    }

    /// Reads from Stripe what an event does not say: the object that a thin one points to, and whose payment a dispute is about where
    /// the payment is not known here. While Stripe cannot be asked the event waits in the inbox, and is looked at again by `waiting`; so it
    /// does without having been asked for while Stripe does not answer others.
    pub(crate) async fn hydrate(&self, reading: &mut Reading<'_>) -> Result<(), EscrowError> {
        self.read_objects(reading).await?;
        if matches!(reading.content, Content::Waiting) {
            reading.rest(self.runner.clock.now());
        }
        Ok(())
    }

    async fn read_objects(&self, reading: &mut Reading<'_>) -> Result<(), EscrowError> {
        self.read_pointer(reading).await;
        let Content::About(about) = &mut reading.content else {
            return Ok(());
        };
        if !matches!(about.fact, Fact::Disputed { .. }) || self.has_owner(&about.names).await? {
            return Ok(());
        }
        let Some(payment) = about.names.payment_intent.clone() else {
            return Ok(());
        };
        if reading.is_delivered && self.silence.is_on() {
            reading.content = Content::Waiting;
            return Ok(());
        }
        let read = self.runner.stripe.ask(Ask::EventObject, |stripe| {
            timeout(PATIENCE, stripe.read_payment_intent(&payment))
        });
        let asked = Instant::now();
        let is_answered = match read.await {
            Ok(Ok(answer)) => {
                about.belongs_to(&answer.content);
                true
            }
            Ok(Err(error)) if !error.is_transient() => true,
            Ok(Err(_)) | Err(_) => {
                reading.content = Content::Waiting;
                false
            }
        };
        self.silence.note(asked, is_answered);
        Ok(())
    }

    async fn has_owner(&self, names: &Names) -> Result<bool, EscrowError> {
        let owner = self
            .runner
            .store
            .read(|txn| in_txn(async move { Ok::<_, EscrowError>(find_owner_in_txn(txn, names).await?) }))
            .await?;
        Ok(owner.is_some())
    }

    async fn read_pointer(&self, reading: &mut Reading<'_>) {
        let stripe = &self.runner.stripe;
        let points = matches!(reading.content, Content::Pointer { .. } | Content::AccountPointer(_));
        if points && reading.is_delivered && self.silence.is_on() {
            reading.content = Content::Waiting;
            return;
        }
        let asked = Instant::now();
        let content = match &reading.content {
            Content::Pointer { kind, url } => {
                let read = stripe
                    .ask(Ask::EventObject, |stripe| timeout(PATIENCE, stripe.read_related(url)))
                    .await;
                read.map(|answer| answer.map(|answer| of_related(kind, &answer.content)))
            }
            Content::AccountPointer(id) => {
                let read = stripe
                    .ask(Ask::EventObject, |stripe| timeout(PATIENCE, stripe.read_account(id)))
                    .await;
                read.map(|answer| {
                    answer.map(|answer| {
                        let at = answer.receipt.answered_at.unwrap_or_else(|| self.runner.seconds());
                        Content::Account(snapshot_read(&answer.content, at))
                    })
                })
            }
            Content::Ignored(_)
            | Content::Unreadable(_)
            | Content::Waiting
            | Content::Account(_)
            | Content::PayoutFailed(_)
            | Content::PlatformPayoutFailed
            | Content::RefundFailed { .. }
            | Content::About(_) => return,
        };
        reading.content = match content {
            Err(_) => Content::Waiting,
            Ok(Ok(content)) => content,
            Ok(Err(error)) if error.is_gone() => Content::Ignored("object_is_gone"),
            Ok(Err(error)) if error.is_transient() => Content::Waiting,
            Ok(Err(error)) => Content::Unreadable(format!("related_object: {error}")),
        };
        self.silence.note(asked, !matches!(reading.content, Content::Waiting));
    }

    /// Decides an event as it is read, and counts it.
    pub(crate) async fn decide(&self, reading: &Reading<'_>) -> Result<Decided, EscrowError> {
        let mut races = 0;
        loop {
            let decided = self.runner.store.commit_if(
                Commit::EventDecided,
                |decided| *decided != Decided::Repeat,
                |txn| in_txn(self.decide_in_txn(txn, reading)),
            );
            match decided.await {
                Err(error) if error.is_race() && races < MAX_RACES => races += 1,
                decided => {
                    let decided = decided?;
                    if let Content::Account(_) = &reading.content {
                        self.news.notify_one();
                    }
                    record(reading, decided, self.runner.clock.now());
                    return Ok(decided);
                }
            }
        }
    }

    async fn decide_in_txn(&self, txn: &Transaction<'_>, reading: &Reading<'_>) -> Result<Decided, EscrowError> {
        let event = reading.row();
        let first = match &reading.content {
            Content::Ignored(rule) => outcome("ignored", rule),
            Content::Unreadable(_) => outcome("parked", "unreadable"),
            Content::Waiting => outcome("waiting", "object_not_read"),
            Content::Pointer { .. }
            | Content::AccountPointer(_)
            | Content::Account(_)
            | Content::PayoutFailed(_)
            | Content::PlatformPayoutFailed
            | Content::RefundFailed { .. } => outcome("applied", "applied"),
            // Most of what Stripe tells of our own calls is known by then, and its row is written once.
            Content::About(_) => KNOWN,
        };
        if !mark_event_in_txn(txn, &event, first).await? {
            return Ok(Decided::Repeat);
        }
        let last = match &reading.content {
            Content::Ignored(_)
            | Content::Unreadable(_)
            | Content::Waiting
            | Content::Pointer { .. }
            | Content::AccountPointer(_) => first,
            Content::Account(row) => {
                if is_recipient_anywhere(txn, &row.account).await? {
                    upsert_account_in_txn(txn, row).await?;
                    first
                } else {
                    outcome("ignored", "not_a_recipient")
                }
            }
            Content::PayoutFailed(account) => {
                if is_recipient_anywhere(txn, account.as_str()).await? {
                    let summary = format!("A payout of {account} to its bank failed.");
                    let alert = Alert::new(AlertKind::PayoutFailed, account.as_str(), summary);
                    tell_in_txn(txn, None, vec![alert], self.runner.clock.now()).await?;
                    first
                } else {
                    outcome("ignored", "not_a_recipient")
                }
            }
            Content::PlatformPayoutFailed => {
                let summary = "A payout of the platform to its own bank failed.";
                let alert = Alert::new(AlertKind::PayoutFailed, "platform", summary);
                tell_in_txn(txn, None, vec![alert], self.runner.clock.now()).await?;
                first
            }
            Content::RefundFailed { refund, names } => self.refund_failed_in_txn(txn, refund, names).await?,
            Content::About(about) => self.about_in_txn(txn, &reading.kind, about).await?,
        };
        if last != first {
            set_event_outcome_in_txn(txn, &event, last).await?;
        }
        Ok(Decided::As(last))
    }

    /// A refund that was taken for done and came back needs a person. One that failed at its call is refused, and made again or not by
    /// the rules: nobody may pay it by hand beside that. While nobody knows which it is, the event waits.
    async fn refund_failed_in_txn(
        &self,
        txn: &Transaction<'_>,
        refund: &str,
        names: &Names,
    ) -> Result<EventOutcome<'static>, EscrowError> {
        let Some(escrow) = find_owner_in_txn(txn, names).await? else {
            return Ok(outcome("ignored", "not_an_escrow"));
        };
        let held = lock_in_txn(txn, &escrow).await?;
        let row = match &names.operation {
            Some(operation) => find_operation_in_txn(txn, operation).await?,
            None => None,
        };
        let row = row.filter(|row| row.escrow == held.escrow.terms.id.as_str());
        match row.map(|row| row.operation.status) {
            Some(Status::InFlight { .. } | Status::Unknown { .. }) => Ok(outcome("waiting", "call_under_way")),
            Some(Status::Intended | Status::FailedTransient { .. } | Status::FailedPermanent { .. }) => {
                Ok(outcome("ignored", "refund_was_refused"))
            }
            Some(Status::Succeeded { object }) if object.as_str() != refund => {
                Ok(outcome("ignored", "refund_was_refused"))
            }
            // Made by others, or taken for done.
            Some(Status::Succeeded { .. }) | None => {
                let (alert, now) = (notices::refund_came_back(&escrow, refund), self.runner.clock.now());
                // Several events tell of it, and each later change of the refund does.
                let told = find_told_in_txn(txn, &escrow, &alert.key(), now - LATEST_END_OF_A_REFUND).await?;
                if told.is_some() {
                    return Ok(KNOWN);
                }
                tell_in_txn(txn, Some(&escrow), vec![alert], now).await?;
                Ok(outcome("applied", "applied"))
            }
        }
    }

    async fn about_in_txn(
        &self,
        txn: &Transaction<'_>,
        kind: &str,
        about: &About,
    ) -> Result<EventOutcome<'static>, EscrowError> {
        let Some(escrow) = find_owner_in_txn(txn, &about.names).await? else {
            return Ok(outcome("ignored", "not_an_escrow"));
        };
        let mut held = lock_in_txn(txn, &escrow).await?;
        let version = held.version;
        held = self.seen_in_txn(txn, held, about).await?;
        let now = self.runner.clock.now();
        let cause = Cause {
            actor: "stripe",
            action: kind,
            operation: None,
            reason: None,
            at: now,
        };
        let input = Input::Fact(about.fact.clone());
        match apply_in_txn(txn, &held, &input, &about.learned, cause).await? {
            Applied::Changed(_) => Ok(outcome("applied", "applied")),
            Applied::Known(next) if next.version > version => Ok(outcome("applied", "operation_seen")),
            Applied::Known(_) => Ok(KNOWN),
            Applied::Refused(reason) => {
                tracing::warn!(escrow, kind, %reason, "an event does not fit its escrow");
                let summary = format!("{kind} does not fit escrow {escrow}: {reason}.");
                let alert = Alert::new(AlertKind::EscrowAttention, format!("{escrow}/rejected"), summary);
                tell_in_txn(txn, Some(&escrow), vec![alert], now).await?;
                Ok(EventOutcome {
                    outcome: "rejected",
                    guard: Some("transition"),
                    reason: "does_not_fit",
                })
            }
        }
    }

    /// An object that an operation of ours has made tells its outcome, should the answer be lost.
    async fn seen_in_txn(
        &self,
        txn: &Transaction<'_>,
        held: HeldEscrow,
        about: &About,
    ) -> Result<HeldEscrow, EscrowError> {
        let (Some(object), Some(operation)) = (&about.made, &about.names.operation) else {
            return Ok(held);
        };
        let row = find_operation_in_txn(txn, operation).await?;
        let is_ours = row.is_some_and(|row| row.escrow == held.escrow.terms.id.as_str());
        if !is_ours {
            return Ok(held);
        }
        let observation = Observation::Seen(object.clone());
        let rules = (self.runner.rules, self.runner.moment(), self.runner.clock.now());
        observe_in_txn(txn, &held, operation, &observation, &Observed::default(), rules).await
    }
}

fn failed(error: &EscrowError) -> BatchError {
    match error {
        EscrowError::Database(error) => BatchError::of_database(error),
        EscrowError::Raced(_)
        | EscrowError::Missing
        | EscrowError::Refused { .. }
        | EscrowError::Terms(_)
        | EscrowError::WrongObject
        | EscrowError::KeyReused => BatchError::failed(error),
    }
}

/// Counts an event that was decided `now`, in the words that billing has as well.
fn record(reading: &Reading<'_>, decided: Decided, now: DateTime<Utc>) {
    let EventOutcome {
        outcome: word,
        guard,
        reason,
    } = match decided {
        Decided::Repeat => EventOutcome {
            outcome: "duplicate",
            guard: Some("idempotency"),
            reason: "known",
        },
        Decided::As(outcome) => outcome,
    };
    let lag = now.signed_duration_since(reading.created).as_seconds_f64().max(0.0);
    metrics::histogram!("holdfast_event_lag_seconds").record(lag);
    metrics::counter!("holdfast_decisions_total", "outcome" => word, "guard" => guard.unwrap_or("none")).increment(1);
    metrics::counter!("holdfast_events_total", "service" => crate::NAME, "type" => reading.kind.clone(), "outcome" => word)
        .increment(1);
    tracing::debug!(
        event_id = reading.event_id,
        r#type = reading.kind,
        outcome = word,
        reason,
        "decided"
    );
}
