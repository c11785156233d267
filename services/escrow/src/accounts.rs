//! Connected accounts: whether they exist, whether they can receive, and who has to be told.

use chrono::{DateTime, Utc};
use db::escrow::accounts::{
    AccountRow, find_accounts_in_txn, list_escrows_with_news, take_news_in_txn, upsert_account_in_txn,
};
use db::escrow::held::HeldEscrow;
use db::{Transaction, in_txn};
use domain::escrow::facts::Readiness;
use domain::escrow::failure::ErrorCode;
use domain::escrow::input::{Fact, Input};
use domain::escrow::split::Split;
use domain::ids::AccountId;
use domain::time::UnixSeconds;
use serde_json::json;
use stripe_gateway::client::read::ReadError;
use stripe_gateway::views::Account;
use stripe_gateway::views::words::CapabilityStatus;

use crate::change::{Applied, Cause, Learned, apply_in_txn, lock_in_txn};
use crate::error::EscrowError;
use crate::runner::Runner;
use crate::steps::{Ask, Commit};

/// Escrows that are told in one round.
const ROUND: i64 = 100;

/// Why an escrow cannot be for these recipients.
#[derive(Debug)]
pub(crate) enum UnknownAccount {
    /// Stripe does not know the account, or it is not connected to this platform.
    Unknown { place: usize },
    /// Stripe cannot be asked at present.
    Unavailable,
    /// The database.
    Escrow(EscrowError),
}

/// A snapshot of an account, in the words of the domain.
pub(crate) fn snapshot(account: &Account, seen_at: UnixSeconds) -> AccountRow {
    let readiness = match &account.transfers {
        Some(CapabilityStatus::Active) => Readiness::Ready,
        Some(CapabilityStatus::Inactive | CapabilityStatus::Pending | CapabilityStatus::Unknown(_)) | None => {
            Readiness::NotReady(ErrorCode::InsufficientCapabilitiesForTransfer)
        }
    };
    AccountRow {
        account: account.id.clone(),
        readiness,
        requirements: json!({
            "currently_due": account.requirements.currently_due,
            "past_due": account.requirements.past_due,
            "disabled_reason": account.requirements.disabled_reason,
            "current_deadline": account.requirements.current_deadline,
        }),
        seen_at,
    }
}

/// A snapshot of an account that was read, and not sent. It is dated by its answer, in whole seconds, while the account may have become
/// ready between the look and the answer: not ready counts from the second before, or it would outrank the event that says so.
pub(crate) fn snapshot_read(account: &Account, answered_at: UnixSeconds) -> AccountRow {
    let row = snapshot(account, answered_at);
    let seen_at = match row.readiness {
        Readiness::Ready | Readiness::Unknown => answered_at,
        Readiness::NotReady(_) => answered_at.plus(-1),
    };
    AccountRow { seen_at, ..row }
}

/// Sees that every recipient is an account of this platform. Stripe is asked about those that nothing is known of.
pub(crate) async fn check_accounts(runner: &Runner, split: &Split) -> Result<(), UnknownAccount> {
    let accounts: Vec<&str> = split.parts().iter().map(|part| part.account.as_str()).collect();
    let known = runner
        .store
        .read(|txn| {
            let accounts = accounts.clone();
            in_txn(async move { Ok::<_, EscrowError>(find_accounts_in_txn(txn, &accounts).await?) })
        })
        .await
        .map_err(UnknownAccount::Escrow)?;
    for (place, account) in accounts.iter().enumerate() {
        let known = known
            .iter()
            .find(|row| row.account == **account)
            .map(|row| row.readiness);
        let readiness = match known {
            Some(readiness) => readiness,
            None => meet(runner, account, place).await?,
        };
        // An event that said so before the account was known here was nobody's. From now on they are kept, so that one more look is enough,
        // and where it fails the next escrow has another.
        if matches!(readiness, Readiness::NotReady(_))
            && let Err(error) = meet(runner, account, place).await
        {
            tracing::warn!(
                account,
                ?error,
                "an account that cannot receive was not looked at again"
            );
        }
    }
    Ok(())
}

/// Reads an account that an escrow is to be for, keeps what it is, and answers whether it can receive.
async fn meet(runner: &Runner, account: &str, place: usize) -> Result<Readiness, UnknownAccount> {
    let read = runner.stripe.ask(Ask::Recipient, |stripe| stripe.read_account(account));
    let answer = match read.await {
        Ok(answer) => answer,
        Err(error) => return Err(of_read(&error, place)),
    };
    let answered = answer.receipt.answered_at.unwrap_or_else(|| runner.seconds());
    let row = snapshot_read(&answer.content, answered);
    runner
        .store
        .commit(Commit::AccountKept, |txn| {
            let row = row.clone();
            in_txn(async move { Ok::<_, EscrowError>(upsert_account_in_txn(txn, &row).await?) })
        })
        .await
        .map_err(UnknownAccount::Escrow)?;
    Ok(row.readiness)
}

fn of_read(error: &ReadError, place: usize) -> UnknownAccount {
    match error {
        ReadError::InvalidId => UnknownAccount::Unknown { place },
        gone if gone.is_gone() => UnknownAccount::Unknown { place },
        ReadError::Missing
        | ReadError::Refused(_)
        | ReadError::InvalidRelated(_)
        | ReadError::Unreadable { .. }
        | ReadError::Unavailable(_) => {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, "Stripe cannot be asked about an account");
            UnknownAccount::Unavailable
        }
    }
}

/// Why an account could not be read.
#[derive(Debug)]
pub(crate) enum ReadAccountError {
    /// Stripe.
    Stripe(ReadError),
    /// The database, or an escrow that had to be told.
    Escrow(EscrowError),
}

impl Runner {
    /// Reads an account and tells escrows what is new of it.
    pub(crate) async fn read_account(&self, account: &str) -> Result<(), ReadAccountError> {
        self.keep_account(account).await?;
        self.tell_news().await.map_err(ReadAccountError::Escrow)
    }

    /// Reads an account and keeps what it is.
    pub(crate) async fn keep_account(&self, account: &str) -> Result<(), ReadAccountError> {
        let answer = self
            .stripe
            .ask(Ask::Account, |stripe| stripe.read_account(account))
            .await
            .map_err(ReadAccountError::Stripe)?;
        let answered = answer.receipt.answered_at.unwrap_or_else(|| self.seconds());
        let row = snapshot_read(&answer.content, answered);
        self.store
            .commit(Commit::AccountKept, |txn| {
                let row = row.clone();
                in_txn(async move { Ok::<_, EscrowError>(upsert_account_in_txn(txn, &row).await?) })
            })
            .await
            .map(drop)
            .map_err(ReadAccountError::Escrow)
    }

    /// Tells escrows what is new of their recipients' accounts, until all have heard that can: hearing one thing can make an escrow ask what else
    /// it has missed. One that cannot hear keeps no other from it, and is told again the next time.
    pub(crate) async fn tell_news(&self) -> Result<(), EscrowError> {
        while self.tell_all_once().await? > 0 {
            self.pool.notify_one();
            self.relay.notify_one();
        }
        Ok(())
    }

    /// Goes through those that have not heard, and answers how many have now.
    async fn tell_all_once(&self) -> Result<u64, EscrowError> {
        let (mut place, mut told) = (String::new(), 0);
        loop {
            let escrows = list_escrows_with_news(&self.store.reader().await?, &place, ROUND).await?;
            let Some(last) = escrows.last() else { return Ok(told) };
            place.clone_from(last);
            for escrow in &escrows {
                match self.tell_one(escrow).await {
                    Ok(()) => told += 1,
                    Err(error) if error.is_everybodys() => return Err(error),
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(error, escrow, "an escrow cannot hear of its accounts");
                    }
                }
            }
        }
    }

    async fn tell_one(&self, escrow: &str) -> Result<(), EscrowError> {
        let now = self.clock.now();
        self.store
            .commit(Commit::NewsTold, |txn| {
                in_txn(async move {
                    let held = lock_in_txn(txn, escrow).await?;
                    hear_news_in_txn(txn, held, now).await.map(drop)
                })
            })
            .await
    }
}

/// Takes in what is new of the accounts of an escrow that the caller holds.
pub(crate) async fn hear_news_in_txn(
    txn: &Transaction<'_>,
    mut held: HeldEscrow,
    now: DateTime<Utc>,
) -> Result<HeldEscrow, EscrowError> {
    let escrow = held.escrow.terms.id.to_string();
    for news in take_news_in_txn(txn, &escrow).await? {
        let Ok(account) = AccountId::parse(news.account) else {
            continue;
        };
        let input = Input::Fact(Fact::AccountSeen {
            account,
            readiness: news.readiness,
            at: news.seen_at,
        });
        let cause = Cause {
            actor: "stripe",
            action: "account_seen",
            operation: None,
            reason: None,
            at: now,
        };
        match apply_in_txn(txn, &held, &input, &Learned::default(), cause).await? {
            Applied::Changed(next) | Applied::Known(next) => held = *next,
            Applied::Refused(reason) => tracing::warn!(escrow, %reason, "news of an account do not fit"),
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use stripe_gateway::views::Metadata;

    use super::*;

    #[test]
    fn what_was_read_as_not_ready_never_outranks_what_was_sent_in_the_same_second() {
        let account = |transfers| Account {
            id: "acct_1".to_owned(),
            transfers,
            charges_enabled: true,
            payouts_enabled: true,
            requirements: Default::default(),
            metadata: Metadata::default(),
        };
        let seen = |transfers| snapshot_read(&account(transfers), UnixSeconds(100)).seen_at;
        assert_eq!(seen(Some(CapabilityStatus::Active)), UnixSeconds(100));
        for not_ready in [None, Some(CapabilityStatus::Inactive), Some(CapabilityStatus::Pending)] {
            assert_eq!(seen(not_ready), UnixSeconds(99));
        }
    }
}
