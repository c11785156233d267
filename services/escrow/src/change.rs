//! One change of an escrow: decided by the domain, written with everything that follows from it, in one transaction.

use chrono::{DateTime, Utc};
use db::Transaction;
use db::escrow::actions::{NewAction, insert_action_in_txn};
use db::escrow::held::{HeldEscrow, Lock, Stored, lock_escrow_in_txn, store_escrow_in_txn};
use db::escrow::ledger::{PostingOf, insert_postings_in_txn};
use db::escrow::operations::{Work, insert_operation_in_txn};
use db::outbox::insert_outbox_in_txn;
use domain::escrow::decide::{Effect, Reason, decide};
use domain::escrow::decision::Decision;
use domain::escrow::held::Escrow;
use domain::escrow::input::{Command, Input};
use domain::time::UnixSeconds;
use serde_json::{Value, json};
use service_kit::trace::TraceContext;

use crate::commands;
use crate::error::EscrowError;
use crate::notices::{self, tell_in_txn};
use crate::tally::{self, Count};

/// Who changes an escrow, how, and by which call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    /// `service:<who>`, `scheduler` (by its secret), `job`, `sweeper`, `worker`, `retry`, `stripe`.
    pub(crate) actor: &'a str,
    /// In a word.
    pub(crate) action: &'a str,
    /// The call whose outcome it is.
    pub(crate) operation: Option<&'a str>,
    /// Why.
    pub(crate) reason: Option<&'a str>,
    /// When.
    pub(crate) at: DateTime<Utc>,
}

/// What a step has told beside its fact: what Stripe's objects are called, and what a person has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    /// `pi_…`.
    pub(crate) payment_intent: Option<String>,
    /// `ch_…`.
    pub(crate) charge: Option<String>,
    /// Until when a dispute can be answered.
    pub(crate) evidence_due_by: Option<i64>,
}

/// What became of a command or a fact.
#[derive(Debug)]
pub(crate) enum Applied {
    /// The escrow is this now.
    Changed(Box<HeldEscrow>),
    /// It was known; the escrow is what it was, but for ids that were learned.
    Known(Box<HeldEscrow>),
    /// The rules refuse it.
    Refused(Reason),
}

/// The escrow, held exclusively.
pub(crate) async fn lock_in_txn(txn: &Transaction<'_>, id: &str) -> Result<HeldEscrow, EscrowError> {
    lock_escrow_in_txn(txn, id, Lock::Exclusive)
        .await?
        .ok_or(EscrowError::Missing)
}

/// Decides a command or a fact and writes what follows. The caller holds the escrow exclusively.
pub(crate) async fn apply_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    input: &Input,
    learned: &Learned,
    cause: Cause<'_>,
) -> Result<Applied, EscrowError> {
    let now = UnixSeconds(cause.at.timestamp());
    match decide(&held.escrow, input, now) {
        Decision::Refused(reason) => Ok(Applied::Refused(reason)),
        Decision::AlreadyApplied => Ok(Applied::Known(Box::new(
            learn_in_txn(txn, held, learned, cause.at).await?,
        ))),
        Decision::Apply { next, effects } => {
            let next = HeldEscrow {
                is_set_aside: held.is_set_aside || is_left_to_a_person(&next, input),
                escrow: next,
                ..with_ids(held, learned)
            };
            let next = store_in_txn(txn, held, next, cause.at).await?;
            carry_out_in_txn(txn, held, &next, effects, learned, cause).await?;
            write_down_in_txn(txn, held, &next, cause).await?;
            if next.escrow.status != held.escrow.status {
                tally::note(Count::Transition(next.escrow.status));
            }
            Ok(Applied::Changed(Box::new(next)))
        }
    }
}

/// Whether no run of time-outs may give the money back any more: who withdraws a refund has given it back another way or will decide,
/// and so does a person once a dispute was won.
fn is_left_to_a_person(escrow: &Escrow, input: &Input) -> bool {
    let is_withdrawn = *input == Input::Command(Command::WithdrawRefund);
    is_withdrawn || (escrow.has_won_a_dispute() && !escrow.asked.release)
}

/// Keeps ids that were learned, where they are new.
pub(crate) async fn learn_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    learned: &Learned,
    now: DateTime<Utc>,
) -> Result<HeldEscrow, EscrowError> {
    let next = with_ids(held, learned);
    if next == *held {
        return Ok(next);
    }
    store_in_txn(txn, held, next, now).await
}

/// A payment is the escrow's for ever; a charge is the last that was told.
fn with_ids(held: &HeldEscrow, learned: &Learned) -> HeldEscrow {
    HeldEscrow {
        payment_intent: held.payment_intent.clone().or_else(|| learned.payment_intent.clone()),
        charge: learned.charge.clone().or_else(|| held.charge.clone()),
        ..held.clone()
    }
}

/// Writes an escrow, and gives it as it is then.
pub(crate) async fn store_in_txn(
    txn: &Transaction<'_>,
    before: &HeldEscrow,
    next: HeldEscrow,
    now: DateTime<Utc>,
) -> Result<HeldEscrow, EscrowError> {
    match store_escrow_in_txn(txn, before, &next, now).await? {
        Stored::Raced => Err(EscrowError::Raced("an escrow")),
        Stored::Yes => Ok(HeldEscrow {
            version: before.version.saturating_add(1),
            ..next
        }),
    }
}

async fn carry_out_in_txn(
    txn: &Transaction<'_>,
    before: &HeldEscrow,
    next: &HeldEscrow,
    effects: Vec<Effect>,
    learned: &Learned,
    cause: Cause<'_>,
) -> Result<(), EscrowError> {
    let id = next.escrow.terms.id.as_str();
    let (mut postings, mut alerts) = (Vec::new(), Vec::new());
    for effect in effects {
        match effect {
            Effect::Begin { number, task, amount } => {
                let trace = TraceContext::current_header();
                insert_operation_in_txn(txn, id, number, &Work::Job(task), amount, cause.at, trace.as_deref()).await?;
            }
            Effect::Post(posting) => {
                tally::note(Count::Volume {
                    currency: next.escrow.terms.split.amount().currency,
                    kind: posting.kind,
                    minor: posting.moves().iter().map(|it| it.amount).sum(),
                });
                postings.push(posting);
            }
            Effect::ReadAccount(account) => {
                insert_outbox_in_txn(txn, &[commands::read_account(account.as_str())]).await?;
            }
            Effect::Notify(notice) => alerts.push(notices::alert(id, &notice, learned)),
        }
    }
    let of = PostingOf {
        escrow: id,
        currency: next.escrow.terms.split.amount().currency,
        version: before.version,
        operation: cause.operation,
        at: cause.at,
    };
    insert_postings_in_txn(txn, of, &postings).await?;
    tell_in_txn(txn, Some(id), alerts, cause.at).await
}

async fn write_down_in_txn(
    txn: &Transaction<'_>,
    before: &HeldEscrow,
    next: &HeldEscrow,
    cause: Cause<'_>,
) -> Result<(), EscrowError> {
    let action = NewAction {
        at: cause.at,
        actor: cause.actor,
        action: cause.action,
        escrow: Some(next.escrow.terms.id.as_str()),
        operation: cause.operation,
        reason: cause.reason,
        before: Some(&summary(&before.escrow)),
        after: Some(&summary(&next.escrow)),
    };
    insert_action_in_txn(txn, &action).await?;
    Ok(())
}

/// A call whose outcome does not change the escrow is in the audit trail all the same.
pub(crate) async fn write_call_in_txn(
    txn: &Transaction<'_>,
    escrow: &str,
    cause: Cause<'_>,
) -> Result<(), EscrowError> {
    let action = NewAction {
        at: cause.at,
        actor: cause.actor,
        action: cause.action,
        escrow: Some(escrow),
        operation: cause.operation,
        reason: cause.reason,
        before: None,
        after: None,
    };
    insert_action_in_txn(txn, &action).await?;
    Ok(())
}

/// What of an escrow is worth keeping in the audit trail.
pub(crate) fn summary(escrow: &Escrow) -> Value {
    let recipients = escrow.recipients.iter().zip(escrow.recipient_statuses());
    let recipients = recipients.map(|(of, status)| json!([of.account.as_str(), status.as_str(), of.net()]));
    json!({
        "status": escrow.status.as_str(),
        "captured": escrow.payment.captured,
        "refunded": escrow.refunded.total(),
        "recipients": recipients.collect::<Vec<_>>(),
    })
}
