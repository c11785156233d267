//! The first step: is there something to do, and may it be done now.

use db::escrow::held::{HeldEscrow, Stored};
use db::escrow::operations::{
    CallRecord, OperationRow, Work, find_operation_in_txn, hold_operation_in_txn, store_operation_in_txn,
};
use db::{Transaction, in_txn};
use domain::escrow::decision::Decision;
use domain::escrow::held::Task;
use domain::escrow::operation::{self, Call, Instruction, Observation, Reason, Rules, Wish};
use domain::time::UnixSeconds;

use super::Runner;
use super::call::{Errand, Params};
use super::look::Search;
use super::settle::{Observed, report_in_txn};
use crate::change::lock_in_txn;
use crate::error::EscrowError;
use crate::steps::{Ask, Commit};

/// What is to be done about an operation.
#[derive(Debug)]
pub(crate) enum Picked {
    /// Nothing, or not now, or somebody else does it.
    Nothing,
    /// The escrow does not want it any more, and it was not begun: it is over.
    Over,
    /// Its payment's charge has to be known first.
    NeedsCharge {
        /// The payment.
        payment_intent: String,
    },
    /// Make this call.
    Call(Box<Errand>),
    /// Look at Stripe.
    Look(Search),
}

impl Runner {
    /// Decides what is next and marks it as being done.
    pub(super) async fn pick_up(&self, operation: &str, escrow: &str) -> Result<Picked, EscrowError> {
        let name = |picked: &Picked| match picked {
            Picked::Nothing | Picked::NeedsCharge { .. } => None,
            Picked::Over => Some(Commit::LetGo),
            Picked::Call(_) | Picked::Look(_) => Some(Commit::PickedUp),
        };
        self.store
            .commit_as(name, |txn| in_txn(self.pick_up_in_txn(txn, operation, escrow)))
            .await
    }

    async fn pick_up_in_txn(
        &self,
        txn: &Transaction<'_>,
        operation: &str,
        escrow: &str,
    ) -> Result<Picked, EscrowError> {
        let held = lock_in_txn(txn, escrow).await?;
        let row = find_operation_in_txn(txn, operation)
            .await?
            .ok_or(EscrowError::Missing)?;
        let now = self.clock.now();
        let observation = Observation::Due(wish(&held, &row));
        match operation::decide(&self.rules, &row.operation, &observation, self.moment()) {
            Decision::AlreadyApplied => Ok(Picked::Nothing),
            Decision::Refused(Reason::OnHold) => {
                hold_operation_in_txn(txn, operation, now).await?;
                Ok(Picked::Nothing)
            }
            Decision::Refused(
                Reason::Leased
                | Reason::NotDue
                | Reason::WaitsForPerson
                | Reason::LateAnswer
                | Reason::SecondObject { .. }
                | Reason::NotToBeSentOn,
            ) => Ok(Picked::Nothing),
            Decision::Apply { next, effects } => {
                let picked = match instruction(&self.rules, &held, &row, &effects) {
                    Some(Ok(picked)) => picked,
                    Some(Err(Unready::NoPayment)) => {
                        hold_operation_in_txn(txn, operation, now).await?;
                        return Ok(Picked::Nothing);
                    }
                    Some(Err(Unready::NoCharge(payment_intent))) => return Ok(Picked::NeedsCharge { payment_intent }),
                    Some(Err(Unready::OtherParameters)) => {
                        tracing::error!(
                            operation,
                            escrow,
                            "a call would go under its old key with other parameters; it is held back"
                        );
                        hold_operation_in_txn(txn, operation, now).await?;
                        return Ok(Picked::Nothing);
                    }
                    None => Picked::Over,
                };
                report_in_txn(txn, &held, &row, effects, &Observed::default(), now).await?;
                let params = match &picked {
                    Picked::Call(errand) => Some(errand.params.to_string()),
                    Picked::Nothing | Picked::Over | Picked::NeedsCharge { .. } | Picked::Look(_) => None,
                };
                let record = CallRecord {
                    params: params.as_deref(),
                    request_id: None,
                };
                match store_operation_in_txn(txn, &row.operation, &next, record, now).await? {
                    Stored::Yes => Ok(picked),
                    Stored::Raced => Err(EscrowError::Raced("an operation")),
                }
            }
        }
    }
}

/// Whether the escrow wants the operation at this moment.
pub(super) fn wish(held: &HeldEscrow, row: &OperationRow) -> Wish {
    match &row.work {
        Work::CreatePayment if held.escrow.payment.canceled => Wish::Withdrawn,
        Work::CreatePayment => Wish::Wanted,
        Work::Job(_) => held.escrow.wish(row.number),
    }
}

/// Why a call cannot be made yet.
enum Unready {
    /// The payment is not made, or nobody knows.
    NoPayment,
    /// The payment's charge is not known.
    NoCharge(String),
    /// The key in use has gone with other parameters.
    OtherParameters,
}

/// What the protocol wants done, made ready. Calls and looks come one at a time.
fn instruction(
    rules: &Rules,
    held: &HeldEscrow,
    row: &OperationRow,
    effects: &[Instruction],
) -> Option<Result<Picked, Unready>> {
    effects.iter().find_map(|effect| match effect {
        Instruction::Send { key, call, until } => Some(errand(held, row, key, *call, *until)),
        Instruction::Look { attempt } => Some(search(rules, held, row, *attempt)),
        Instruction::Report(_) | Instruction::AskPerson(_) => None,
    })
}

fn errand(
    held: &HeldEscrow,
    row: &OperationRow,
    key: &str,
    call: Call,
    lease_until: UnixSeconds,
) -> Result<Picked, Unready> {
    let params = params(held, row)?;
    let is_first = call.number <= 1;
    if !is_first && row.params.as_ref().is_some_and(|known| *known != params.to_string()) {
        return Err(Unready::OtherParameters);
    }
    Ok(Picked::Call(Box::new(Errand {
        operation: row.operation.id.to_string(),
        escrow: row.escrow.clone(),
        key: key.to_owned(),
        call,
        lease_until,
        amount: row.amount,
        params,
        ask: Ask::of(&row.work),
        metadata: held.metadata.clone(),
    })))
}

fn payment(held: &HeldEscrow) -> Result<String, Unready> {
    held.payment_intent.clone().ok_or(Unready::NoPayment)
}

fn params(held: &HeldEscrow, row: &OperationRow) -> Result<Params, Unready> {
    let amount = row.amount;
    Ok(match &row.work {
        Work::CreatePayment => Params::CreatePayment {
            amount,
            capture: held.escrow.terms.capture,
        },
        Work::Job(Task::Capture) => Params::Capture {
            payment_intent: payment(held)?,
            amount,
        },
        Work::Job(Task::Cancel) => Params::Cancel {
            payment_intent: payment(held)?,
        },
        Work::Job(Task::Refund) => Params::Refund {
            payment_intent: payment(held)?,
            amount,
        },
        Work::Job(Task::Reverse(_, transfer)) => Params::Reverse {
            transfer: transfer.to_string(),
            amount,
        },
        Work::Job(Task::Transfer(account)) => {
            let payment_intent = payment(held)?;
            Params::Transfer {
                account: account.to_string(),
                charge: held.charge.clone().ok_or(Unready::NoCharge(payment_intent))?,
                amount,
            }
        }
    })
}

fn search(rules: &Rules, held: &HeldEscrow, row: &OperationRow, attempt: u32) -> Result<Picked, Unready> {
    let search = Search {
        operation: row.operation.id.to_string(),
        escrow: row.escrow.clone(),
        attempt,
        work: row.work.clone(),
        payment_intent: held.payment_intent.clone(),
        since: row.operation.key_since,
        until: row.operation.settled_at(rules),
        was_told: row.work == Work::Job(Task::Refund) && held.escrow.refunded.in_doubt() >= row.amount.minor,
    };
    if search.payment_intent.is_none() && row.work != Work::CreatePayment {
        return Err(Unready::NoPayment);
    }
    Ok(Picked::Look(search))
}
