//! The last step: what was seen of an operation becomes its outcome, the ledger's postings and the escrow's status, in one transaction.

use chrono::{DateTime, Utc};
use db::escrow::held::{HeldEscrow, Stored};
use db::escrow::operations::{CallRecord, OperationRow, Work, find_operation_in_txn, store_operation_in_txn};
use db::{Transaction, in_txn};
use domain::alert::{Alert, AlertKind};
use domain::escrow::decision::Decision;
use domain::escrow::held::Task;
use domain::escrow::input::{Fact, Input, JobOutcome};
use domain::escrow::notice::Notice;
use domain::escrow::operation::{self, Cause as Why, Instruction, Moment, Observation, Outcome, Reason, Rules};
use domain::ids::{StripeObjectId, TransferId};

use super::Runner;
use crate::change::{Applied, Cause, Learned, apply_in_txn, learn_in_txn, lock_in_txn, write_call_in_txn};
use crate::error::EscrowError;
use crate::notices::{self, happened_twice, tell_in_txn};
use crate::steps::Commit;
use crate::tally::{self, Count};

/// What came with an observation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// What Stripe's objects are called.
    pub(crate) learned: Learned,
    /// Stripe's name for the call.
    pub(crate) request_id: Option<String>,
    /// Stripe's words for a refusal.
    pub(crate) reason: Option<String>,
    /// Why Stripe could not be asked, in a word.
    pub(crate) trouble: Option<&'static str>,
    /// What was seen of the payment beside it.
    pub(crate) fact: Option<Fact>,
}

impl Runner {
    pub(super) async fn settle(
        &self,
        operation: &str,
        escrow: &str,
        observation: &Observation,
        observed: &Observed,
    ) -> Result<(), EscrowError> {
        let (rules, moment, now) = (self.rules, self.moment(), self.clock.now());
        self.store
            .commit(Commit::Settled, |txn| {
                in_txn(async move {
                    let held = lock_in_txn(txn, escrow).await?;
                    observe_in_txn(txn, &held, operation, observation, observed, (rules, moment, now))
                        .await
                        .map(drop)
                })
            })
            .await?;
        self.relay.notify_one();
        self.pool.notify_one();
        Ok(())
    }
}

/// Takes an observation of an operation in. The caller holds the escrow exclusively; what it is then is given back.
pub(crate) async fn observe_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    operation: &str,
    observation: &Observation,
    observed: &Observed,
    (rules, moment, now): (Rules, Moment, DateTime<Utc>),
) -> Result<HeldEscrow, EscrowError> {
    let row = find_operation_in_txn(txn, operation)
        .await?
        .ok_or(EscrowError::Missing)?;
    match operation::decide(&rules, &row.operation, observation, moment) {
        Decision::AlreadyApplied => learn_in_txn(txn, held, &observed.learned, now).await,
        Decision::Refused(Reason::SecondObject { known }) => {
            tracing::error!(operation, escrow = row.escrow, %known, "an operation has a second object");
            tell_in_txn(
                txn,
                Some(&row.escrow),
                vec![happened_twice(&row.escrow, operation)],
                now,
            )
            .await?;
            Ok(held.clone())
        }
        Decision::Refused(reason) => {
            tracing::debug!(operation, %reason, "an observation that changes nothing");
            Ok(held.clone())
        }
        Decision::Apply { next, effects } => {
            if let Some(trouble) = observed.trouble {
                let summary = "Calls that move money are not answered by Stripe; they are found out and made again.";
                let alert = Alert::new(
                    AlertKind::StripeApiFailure,
                    format!("{}/{trouble}", crate::NAME),
                    summary,
                );
                tell_in_txn(txn, Some(&row.escrow), vec![alert.with("operation", operation)], now).await?;
            }
            let held = report_in_txn(txn, held, &row, effects, observed, now).await?;
            let record = CallRecord {
                params: None,
                request_id: observed.request_id.as_deref(),
            };
            match store_operation_in_txn(txn, &row.operation, &next, record, now).await? {
                Stored::Yes => Ok(held),
                Stored::Raced => Err(EscrowError::Raced("an operation")),
            }
        }
    }
}

/// Hands what the protocol reports to the escrow, and to a person. Comes before the operation is stored, whose job then stands as it
/// stands.
pub(super) async fn report_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    row: &OperationRow,
    effects: Vec<Instruction>,
    observed: &Observed,
    now: DateTime<Utc>,
) -> Result<HeldEscrow, EscrowError> {
    let mut held = learn_in_txn(txn, held, &observed.learned, now).await?;
    if let Some(fact) = &observed.fact {
        held = seen_in_txn(txn, &held, row, fact, now).await?;
    }
    for effect in effects {
        match effect {
            Instruction::Report(outcome) => held = report_one_in_txn(txn, &held, row, outcome, observed, now).await?,
            Instruction::AskPerson(Why::HappenedTwice) => {
                let alert = happened_twice(&row.escrow, row.operation.id.as_str());
                tell_in_txn(txn, Some(&row.escrow), vec![alert], now).await?;
            }
            // Back in `held` the escrow has no job any more that could tell.
            Instruction::AskPerson(Why::Refused(_) | Why::NeverHappened) if row.work == Work::Job(Task::Capture) => {
                let alert = notices::alert(&row.escrow, &Notice::GaveUp(Task::Capture), &Learned::default());
                tell_in_txn(txn, Some(&row.escrow), vec![alert], now).await?;
            }
            // The escrow itself tells of these.
            Instruction::AskPerson(Why::Refused(_) | Why::NeverHappened | Why::Withdrawn)
            | Instruction::Send { .. }
            | Instruction::Look { .. } => {}
        }
    }
    Ok(held)
}

/// Comes before the outcome, which would say that the payment is as it was asked for.
async fn seen_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    row: &OperationRow,
    fact: &Fact,
    now: DateTime<Utc>,
) -> Result<HeldEscrow, EscrowError> {
    let cause = Cause {
        actor: "worker",
        action: "payment_seen",
        operation: Some(row.operation.id.as_str()),
        reason: None,
        at: now,
    };
    match apply_in_txn(txn, held, &Input::Fact(fact.clone()), &Learned::default(), cause).await? {
        Applied::Changed(next) | Applied::Known(next) => Ok(*next),
        Applied::Refused(reason) => {
            tracing::error!(operation = %row.operation.id, %reason, "the escrow does not take what its payment says");
            Ok(held.clone())
        }
    }
}

async fn report_one_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    row: &OperationRow,
    outcome: Outcome,
    observed: &Observed,
    now: DateTime<Utc>,
) -> Result<HeldEscrow, EscrowError> {
    let action = format!("{}_{}", row.work.as_str(), word(&outcome));
    tally::note(Count::Payment {
        kind: row.work.as_str(),
        outcome: word(&outcome),
    });
    let code = code(&outcome);
    let reason = observed.reason.as_deref().or(code);
    let cause = Cause {
        actor: "worker",
        action: &action,
        operation: Some(row.operation.id.as_str()),
        reason,
        at: now,
    };
    let (input, learned) = match &row.work {
        Work::CreatePayment => match outcome {
            Outcome::Succeeded(payment) => {
                let learned = Learned {
                    payment_intent: Some(payment.to_string()),
                    ..Learned::default()
                };
                let held = learn_in_txn(txn, held, &learned, now).await?;
                write_call_in_txn(txn, &row.escrow, cause).await?;
                return Ok(held);
            }
            Outcome::Refused(_) => {
                write_call_in_txn(txn, &row.escrow, cause).await?;
                return Ok(held.clone());
            }
            Outcome::GivenUp(_) | Outcome::Dropped | Outcome::Abandoned => {
                (Input::Fact(Fact::PaymentCanceled), Learned::default())
            }
        },
        Work::Job(task) => {
            let outcome = job_outcome(task, outcome)?;
            let job = row.number;
            (Input::Fact(Fact::JobDone { job, outcome }), Learned::default())
        }
    };
    match apply_in_txn(txn, held, &input, &learned, cause).await? {
        Applied::Changed(next) | Applied::Known(next) => Ok(*next),
        Applied::Refused(reason) => {
            let escrow = row.escrow.as_str();
            tracing::error!(operation = %row.operation.id, escrow, %reason, "the escrow does not take a call's outcome");
            let summary = format!("The outcome of a call does not fit escrow {escrow}: {reason}.");
            let alert = Alert::new(AlertKind::EscrowAttention, format!("{escrow}/contradiction"), summary);
            tell_in_txn(txn, Some(escrow), vec![alert], now).await?;
            Ok(held.clone())
        }
    }
}

fn job_outcome(task: &Task, outcome: Outcome) -> Result<JobOutcome, EscrowError> {
    Ok(match outcome {
        Outcome::Succeeded(object) => JobOutcome::Done(made_by(task, &object)?),
        Outcome::Refused(failure) => JobOutcome::Refused(failure),
        Outcome::GivenUp(failure) => JobOutcome::GivenUp(failure),
        Outcome::Dropped => JobOutcome::Dropped,
        Outcome::Abandoned => JobOutcome::Abandoned,
    })
}

fn made_by(task: &Task, object: &StripeObjectId) -> Result<Option<TransferId>, EscrowError> {
    match task {
        Task::Transfer(_) => {
            let transfer = TransferId::parse(object.as_str());
            transfer
                .map(Some)
                .map_err(|_| EscrowError::Raced("a transfer without an id"))
        }
        Task::Capture | Task::Cancel | Task::Reverse(..) | Task::Refund => Ok(None),
    }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded(_) => "succeeded",
        Outcome::Refused(_) => "refused",
        Outcome::GivenUp(_) => "given_up",
        Outcome::Dropped => "dropped",
        Outcome::Abandoned => "abandoned",
    }
}

const fn code(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Refused(failure) | Outcome::GivenUp(Some(failure)) => Some(failure.code.as_str()),
        Outcome::Succeeded(_) | Outcome::GivenUp(None) | Outcome::Dropped | Outcome::Abandoned => None,
    }
}
