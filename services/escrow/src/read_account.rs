//! The use case behind `POST /api/escrows/{id}/recipients/{account}/read`: a person has a recipient's account read, where its
//! `account.updated` was lost. Stripe is asked first, outside of any transaction; then the escrow hears what is known, and the audit trail
//! says who wanted it. Other escrows of the account hear of it as of any news.

use chrono::{DateTime, Utc};
use db::escrow::accounts::mark_news_in_txn;
use db::escrow::held::{Lock, lock_escrow_in_txn};
use db::escrow::idempotency::store_answer_in_txn;
use db::{Transaction, in_txn};
use domain::ids::AccountId;
use serde_json::Value;
use stripe_gateway::client::read::ReadError;

use crate::accounts::{ReadAccountError, hear_news_in_txn};
use crate::answer::show_in_txn;
use crate::change::{Cause, lock_in_txn, write_call_in_txn};
use crate::command::{Claimed, Order, Ordered, claim_in_txn};
use crate::error::EscrowError;
use crate::runner::Runner;
use crate::steps::{Commit, Store};

/// Why an account was not read for its escrow.
#[derive(Debug)]
pub(crate) enum NotRead {
    /// It is none of the escrow's recipients.
    NoRecipient,
    /// Stripe does not know the account, or it is not connected to this platform any more.
    Gone,
    /// Stripe cannot be asked at present.
    Unavailable,
    /// The database, or the escrow.
    Escrow(EscrowError),
}

impl From<EscrowError> for NotRead {
    fn from(error: EscrowError) -> Self {
        Self::Escrow(error)
    }
}

/// Reads the account, and gives the escrow as it is then.
pub(crate) async fn read_account(runner: &Runner, order: Order<'_>, account: &AccountId) -> Result<Value, NotRead> {
    if !is_recipient(&runner.store, order.escrow, account).await? {
        return Err(NotRead::NoRecipient);
    }
    match runner.keep_account(account.as_str()).await {
        Ok(()) => {}
        Err(ReadAccountError::Escrow(error)) => return Err(error.into()),
        Err(ReadAccountError::Stripe(error)) => return Err(of_read(&error)),
    }
    let now = runner.clock.now();
    let Ordered { answer, .. } = runner
        .store
        .commit_if(
            Commit::AccountRead,
            |ordered: &Ordered| !ordered.is_repeat,
            |txn| in_txn(hear_in_txn(txn, order, now)),
        )
        .await?;
    runner.pool.notify_one();
    runner.relay.notify_one();
    Ok(answer)
}

fn of_read(error: &ReadError) -> NotRead {
    // Also a 403, which by itself would be taken for a key that may not read.
    if error.is_gone() {
        return NotRead::Gone;
    }
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "Stripe cannot be asked about an account");
    NotRead::Unavailable
}

async fn is_recipient(store: &Store, escrow: &str, account: &AccountId) -> Result<bool, EscrowError> {
    store
        .read(|txn| {
            in_txn(async move {
                let held = lock_escrow_in_txn(txn, escrow, Lock::Shared)
                    .await?
                    .ok_or(EscrowError::Missing)?;
                let mut recipients = held.escrow.recipients.iter();
                Ok(recipients.any(|recipient| recipient.account == *account))
            })
        })
        .await
}

async fn hear_in_txn(txn: &Transaction<'_>, order: Order<'_>, now: DateTime<Utc>) -> Result<Ordered, EscrowError> {
    if let Claimed::Before(answer) = claim_in_txn(txn, order, now).await? {
        return Ok(Ordered {
            answer,
            is_repeat: true,
        });
    }
    let held = lock_in_txn(txn, order.escrow).await?;
    mark_news_in_txn(txn, order.escrow).await?;
    let held = hear_news_in_txn(txn, held, now).await?;
    let cause = Cause {
        actor: order.actor,
        action: order.action,
        operation: None,
        reason: None,
        at: now,
    };
    write_call_in_txn(txn, order.escrow, cause).await?;
    let answer = show_in_txn(txn, &held).await?;
    if let Some(keyed) = &order.keyed {
        store_answer_in_txn(txn, keyed, 202, &answer).await?;
    }
    Ok(Ordered {
        answer,
        is_repeat: false,
    })
}
