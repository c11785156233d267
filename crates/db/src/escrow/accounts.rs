//! What is known of connected accounts, and which escrows have still to be told.
//!
//! An account can be in any number of escrows. A snapshot of it is stored once, in the transaction that holds the event's mark, and
//! marks its recipients; they are told one escrow at a time afterwards, by a nudge or by the timer.
//!
//! No news is lost between the two, because the account's row is a lock. Whoever marks has written it before; whoever takes a mark locks it
//! first, and so waits for what is just being written and reads that, or is waited for, and is marked anew after it. That holds as well
//! where a recipient becomes one that hears news again just then, whom the writer did not see. Whoever takes marks holds no
//! recipient's row while it waits, so that the two do not wait for each other.
//!
//! A recipient that has its share, or is to have none, hears nothing: an account is in any number of escrows that are over. One that is
//! barred and is to be paid after all is told what it has missed ([`super::held`] marks it), and so is one that a command is about.

use deadpool_postgres::{GenericClient, Transaction};
use domain::escrow::facts::Readiness;
use domain::escrow::failure::ErrorCode;
use domain::time::UnixSeconds;
use serde_json::Value;

use super::held_parts::readiness_columns;
use crate::DbError;
use crate::error::During as _;
use crate::statement::{corrupt, execute, query};

/// A snapshot of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountRow {
    /// `acct_…`.
    pub account: String,
    /// Whether it can receive.
    pub readiness: Readiness,
    /// What its owner must do, in Stripe's words: a JSON object.
    pub requirements: Value,
    /// When the snapshot was made, by Stripe's clock.
    pub seen_at: UnixSeconds,
}

/// Keeps a snapshot if it is the newest; of one second, the one that is ready. Answers how many recipients have to be told.
///
/// # Errors
/// When the database does not answer.
pub async fn upsert_account_in_txn(txn: &Transaction<'_>, row: &AccountRow) -> Result<u64, DbError> {
    let sql = "INSERT INTO escrow_accounts AS known (account, readiness, readiness_code, requirements, seen_at) \
               VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (account) DO UPDATE SET readiness = EXCLUDED.readiness, readiness_code = EXCLUDED.readiness_code, \
                   requirements = EXCLUDED.requirements, seen_at = EXCLUDED.seen_at, updated_at = now() \
               WHERE EXCLUDED.seen_at > known.seen_at OR (EXCLUDED.seen_at = known.seen_at AND EXCLUDED.readiness = 'ready')";
    let (word, code) = readiness_columns(row.readiness);
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&row.account, &word, &code, &row.requirements, &row.seen_at.0];
    if execute(txn, "upsert_account", sql, &values).await? == 0 {
        return Ok(0);
    }
    // Also where the mark is set: somebody may be taking it, having read what was known before.
    // A recipient or an escrow that is at its end hears nothing more: what it was paid out is the recipient's.
    let news = "UPDATE escrow_recipients AS r SET account_news = true FROM escrow_transactions AS e \
                WHERE r.account = $1 AND r.status NOT IN ('paid', 'reversed', 'returned') AND e.id = r.escrow_id \
                    AND e.status NOT IN ('refunded', 'canceled', 'distributed')";
    execute(txn, "mark_account_news", news, &[&row.account]).await
}

/// Escrows behind `after` whose recipients have not heard the newest of their accounts, in the order of their ids.
///
/// # Errors
/// When the database does not answer.
pub async fn list_escrows_with_news(
    conn: &impl GenericClient,
    after: &str,
    limit: i64,
) -> Result<Vec<String>, DbError> {
    const OPERATION: &str = "list_escrows_with_news";
    let sql = "SELECT DISTINCT escrow_id FROM escrow_recipients WHERE account_news AND escrow_id > $1 ORDER BY escrow_id LIMIT $2";
    let statement = conn.prepare_cached(sql).await.during(OPERATION)?;
    let rows = conn.query(&statement, &[&after, &limit]).await.during(OPERATION)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Has an escrow hear of its recipients' accounts once more, as they are known now.
///
/// # Errors
/// When the database does not answer.
pub async fn mark_news_in_txn(txn: &Transaction<'_>, escrow: &str) -> Result<(), DbError> {
    // Before the recipients' rows, as everywhere.
    let lock = "SELECT FROM escrow_accounts WHERE account IN (SELECT account FROM escrow_recipients WHERE escrow_id = $1) \
                ORDER BY account FOR SHARE";
    query(txn, "lock_accounts", lock, &[&escrow]).await?;
    let sql = "UPDATE escrow_recipients AS r SET account_news = true WHERE escrow_id = $1 \
               AND EXISTS (SELECT 1 FROM escrow_accounts AS a WHERE a.account = r.account)";
    execute(txn, "mark_account_news", sql, &[&escrow]).await?;
    Ok(())
}

/// Takes the news of an escrow's recipients. The caller holds the escrow's row and tells it in the same transaction.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn take_news_in_txn(txn: &Transaction<'_>, escrow: &str) -> Result<Vec<AccountRow>, DbError> {
    const OPERATION: &str = "take_account_news";
    let marked = "SELECT DISTINCT account FROM escrow_recipients WHERE escrow_id = $1 AND account_news";
    let rows = query(txn, OPERATION, marked, &[&escrow]).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let accounts: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let lock = "SELECT account FROM escrow_accounts WHERE account = ANY ($1) ORDER BY account FOR SHARE";
    query(txn, OPERATION, lock, &[&accounts]).await?;
    // Only these: another account may have been marked meanwhile.
    let take = "UPDATE escrow_recipients SET account_news = false WHERE escrow_id = $1 AND account = ANY ($2) AND account_news";
    execute(txn, OPERATION, take, &[&escrow, &accounts]).await?;
    find_accounts_in_txn(txn, &accounts).await
}

/// What is known of these accounts.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn find_accounts_in_txn(txn: &Transaction<'_>, accounts: &[&str]) -> Result<Vec<AccountRow>, DbError> {
    const OPERATION: &str = "find_accounts";
    let sql = "SELECT account, readiness, readiness_code, requirements, seen_at FROM escrow_accounts WHERE account = ANY ($1)";
    let rows = query(txn, OPERATION, sql, &[&accounts]).await?;
    rows.iter().map(|row| read(OPERATION, row)).collect()
}

fn read(operation: &'static str, row: &tokio_postgres::Row) -> Result<AccountRow, DbError> {
    let code: Option<&str> = row.get(2);
    let readiness = match (row.get::<_, &str>(1), code) {
        ("ready", None) => Readiness::Ready,
        ("not_ready", Some(code)) => Readiness::NotReady(ErrorCode::read(code)),
        _ => return Err(corrupt(operation, "readiness")),
    };
    Ok(AccountRow {
        account: row.get(0),
        readiness,
        requirements: row.get(3),
        seen_at: UnixSeconds(row.get(4)),
    })
}
