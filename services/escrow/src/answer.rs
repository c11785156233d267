//! An escrow as the API shows it.

use db::Transaction;
use db::escrow::accounts::{AccountRow, find_accounts_in_txn};
use db::escrow::held::HeldEscrow;
use db::escrow::ledger::{EntryRow, list_entries_in_txn};
use db::escrow::operations::{OperationRow, Work, list_operations_in_txn};
use domain::escrow::facts::{Readiness, Recipient};
use domain::escrow::failure::{ErrorCode, Failure};
use domain::escrow::held::{Standing, Task};
use domain::escrow::operation::{Cause, Resolve, Status};
use domain::escrow::state::RecipientStatus;
use domain::ids::{AccountId, TransferId};
use serde_json::{Value, json};

use crate::error::EscrowError;

/// The escrow with its recipients, operations and ledger.
pub(crate) async fn show_in_txn(txn: &Transaction<'_>, held: &HeldEscrow) -> Result<Value, EscrowError> {
    let escrow = &held.escrow;
    let id = escrow.terms.id.as_str();
    let accounts: Vec<&str> = escrow.recipients.iter().map(|of| of.account.as_str()).collect();
    let (operations, entries, known) = tokio::try_join!(
        list_operations_in_txn(txn, id),
        list_entries_in_txn(txn, id),
        find_accounts_in_txn(txn, &accounts)
    )?;
    let amount = escrow.terms.split.amount();
    let parts = escrow.terms.split.parts().iter().zip(&escrow.recipients);
    let recipients = parts.zip(escrow.recipient_statuses());
    let recipients = recipients.map(|((part, of), status)| recipient(of, part.amount, status, held, &known));
    let expires_at = chrono::DateTime::from_timestamp(escrow.terms.expires_at.0, 0);
    Ok(json!({
        "escrow_id": id,
        "status": escrow.status.as_str(),
        "amount": amount.minor,
        "currency": amount.currency.as_str(),
        "platform_fee": escrow.terms.split.fee(),
        "capture": escrow.terms.capture.as_str(),
        "on_authorization_expiry": escrow.terms.on_authorization_expiry.as_str(),
        "expires_at": expires_at,
        "metadata": held.metadata,
        "payment_intent_id": held.payment_intent,
        "captured": escrow.payment.captured,
        "refunded": escrow.refunded.total(),
        "set_aside": held.is_set_aside,
        "recipients": recipients.collect::<Vec<_>>(),
        "operations": operations.iter().map(operation).collect::<Vec<_>>(),
        "ledger": entries.iter().map(entry).collect::<Vec<_>>(),
        "created_at": held.created_at,
    }))
}

fn recipient(of: &Recipient, part: i64, status: RecipientStatus, held: &HeldEscrow, known: &[AccountRow]) -> Value {
    let job = held.escrow.job_on(&Task::Transfer(of.account.clone()));
    let refused = job.and_then(|(_, job)| match job.standing {
        Standing::Refused(failure) | Standing::GivenUp(Some(failure)) => Some(failure.code),
        Standing::Open | Standing::GivenUp(None) => None,
    });
    let barred = match of.readiness {
        Readiness::NotReady(code) => Some(code),
        Readiness::Unknown | Readiness::Ready => None,
    };
    let code = match status {
        RecipientStatus::PendingUserSetup => barred,
        RecipientStatus::TransferFailed => refused,
        RecipientStatus::Waiting
        | RecipientStatus::Paying
        | RecipientStatus::Paid
        | RecipientStatus::Reversing
        | RecipientStatus::ReversalFailed
        | RecipientStatus::Reversed
        | RecipientStatus::Returned => None,
    };
    let account = known.iter().find(|row| row.account == of.account.as_str());
    json!({
        "account": of.account.as_str(),
        "amount": part,
        "status": status.as_str(),
        "paid": of.net(),
        "reason": code.map(ErrorCode::as_str),
        "what_to_do": code.map(ErrorCode::advice),
        "requirements": account.filter(|_| barred.is_some()).map(|row| &row.requirements),
        "transfers": of.transfers.keys().map(TransferId::as_str).collect::<Vec<_>>(),
    })
}

fn operation(row: &OperationRow) -> Value {
    let (account, transfer) = match &row.work {
        Work::CreatePayment | Work::Job(Task::Capture | Task::Cancel | Task::Refund) => (None, None),
        Work::Job(Task::Transfer(account)) => (Some(account), None),
        Work::Job(Task::Reverse(account, transfer)) => (Some(account), Some(transfer)),
    };
    let failure = failure(&row.operation.status);
    json!({
        "operation_id": row.operation.id.as_str(),
        "number": row.number,
        "kind": row.work.as_str(),
        "account": account.map(AccountId::as_str),
        "transfer": transfer.map(TransferId::as_str),
        "amount": row.amount.minor,
        "status": row.operation.status.as_str(),
        "reason": failure.map(|failure| failure.code.as_str()),
        "what_to_do": failure.map(|failure| failure.code.advice()),
        "attempts": row.operation.attempt,
        "object": match &row.operation.status {
            Status::Succeeded { object } => Some(object.as_str()),
            Status::Intended
            | Status::InFlight { .. }
            | Status::FailedTransient { .. }
            | Status::FailedPermanent { .. }
            | Status::Unknown { .. } => None,
        },
        "request_id": row.request_id,
    })
}

const fn failure(status: &Status) -> Option<Failure> {
    match status {
        Status::FailedTransient {
            cause: Cause::Refused(failure),
            ..
        }
        | Status::FailedPermanent {
            cause: Cause::Refused(failure),
        } => Some(*failure),
        Status::Unknown {
            resolve: Resolve::Look { refusal },
            ..
        } => *refusal,
        Status::FailedTransient { .. }
        | Status::FailedPermanent { .. }
        | Status::Unknown { .. }
        | Status::Intended
        | Status::InFlight { .. }
        | Status::Succeeded { .. } => None,
    }
}

fn entry(row: &EntryRow) -> Value {
    json!({
        "transaction": row.transaction,
        "kind": row.kind,
        "account": row.account,
        "recipient": row.recipient,
        "amount": row.amount,
        "operation_id": row.operation,
        "posted_at": row.posted_at,
    })
}
