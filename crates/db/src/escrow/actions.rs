//! The audit trail of acts on money (ESC-11). Rows are added and never changed.

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use serde_json::Value;
use uuid::Uuid;

use crate::DbError;
use crate::error::During as _;
use crate::statement::{execute, query};

/// An act, a failure or an alert.
#[derive(Debug, Clone, Copy)]
pub struct NewAction<'a> {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `service:<who>`, `scheduler` (by its secret), `job`, `sweeper`, `worker`, `retry`, `stripe`.
    pub actor: &'a str,
    /// What, in a word.
    pub action: &'a str,
    /// To which escrow.
    pub escrow: Option<&'a str>,
    /// By which call.
    pub operation: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// What it was before.
    pub before: Option<&'a Value>,
    /// What it is after.
    pub after: Option<&'a Value>,
}

/// Writes an act down, in the transaction that does it.
///
/// # Errors
/// When the database does not answer.
pub async fn insert_action_in_txn(txn: &Transaction<'_>, action: &NewAction<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO admin_actions (id, at, actor, action, escrow_id, operation_id, reason, before, after) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    execute(
        txn,
        "insert_action",
        sql,
        &[
            &Uuid::now_v7(),
            &action.at,
            &action.actor,
            &action.action,
            &action.escrow,
            &action.operation,
            &action.reason,
            &action.before,
            &action.after,
        ],
    )
    .await?;
    Ok(())
}

/// An act as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRow {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// By which call.
    pub operation: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What it was before.
    pub before: Option<Value>,
    /// What it is after.
    pub after: Option<Value>,
}

/// The acts on one escrow, oldest first, at most `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn list_actions(conn: &impl GenericClient, escrow: &str, limit: i64) -> Result<Vec<ActionRow>, DbError> {
    let sql = "SELECT at, actor, action, operation_id, reason, before, after FROM admin_actions WHERE escrow_id = $1 \
               ORDER BY id LIMIT $2";
    let rows = conn.query(sql, &[&escrow, &limit]).await.during("list_actions")?;
    let read = |row: &tokio_postgres::Row| ActionRow {
        at: row.get(0),
        actor: row.get(1),
        action: row.get(2),
        operation: row.get(3),
        reason: row.get(4),
        before: row.get(5),
        after: row.get(6),
    };
    Ok(rows.iter().map(read).collect())
}

/// How often an alert was told of an escrow, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// At least once.
    pub times: i64,
    /// The last time.
    pub last: DateTime<Utc>,
}

/// How often an alert with this key was written down for an escrow since then; `None` where it was not.
///
/// # Errors
/// When the database does not answer.
pub async fn find_told_in_txn(
    txn: &Transaction<'_>,
    escrow: &str,
    key: &str,
    since: DateTime<Utc>,
) -> Result<Option<Told>, DbError> {
    let sql = "SELECT count(*), max(at) FROM admin_actions \
               WHERE escrow_id = $1 AND action = 'alert' AND reason = $2 AND at >= $3";
    let row = query(txn, "find_told", sql, &[&escrow, &key, &since]).await?.pop();
    Ok(row.and_then(|row| {
        let last: Option<DateTime<Utc>> = row.get(1);
        last.map(|last| Told {
            times: row.get(0),
            last,
        })
    }))
}
