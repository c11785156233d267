//! Keys of our own callers (`Idempotency-Key`): the same key gets the first answer, and never does a thing twice.
//!
//! A key is claimed in the transaction of its effect: the claim exists if and only if the effect does. The answer is added when there
//! is one; a repeat that finds the claim without an answer works it out from what the first request did.

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use serde_json::Value;

use crate::DbError;
use crate::error::During as _;
use crate::statement::{corrupt, execute, query};

/// A request that carries a key.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// What kind of request, on what, by whom: keys of different scopes are different keys.
    pub scope: &'a str,
    /// 1 to 255 characters.
    pub key: &'a str,
    /// The request itself, in one spelling; only its hash is stored.
    pub request: &'a str,
}

/// What a key comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// Nobody has used it.
    New,
    /// It was used for the same request.
    Repeat {
        /// What that was about.
        subject: Option<String>,
        /// HTTP status and body of the first answer, if there was one yet.
        answer: Option<(u16, Value)>,
    },
    /// It was used for another request.
    OtherRequest,
}

/// Whether a key is in use, by a request that was committed.
///
/// # Errors
/// When the database does not answer.
pub async fn is_key_claimed(conn: &impl GenericClient, keyed: &Keyed<'_>, now: DateTime<Utc>) -> Result<bool, DbError> {
    const OPERATION: &str = "is_key_claimed";
    let sql = "SELECT 1 FROM idempotency_keys WHERE scope = $1 AND key = $2 AND expires_at > $3";
    let statement = conn.prepare_cached(sql).await.during(OPERATION)?;
    let row = conn.query_opt(&statement, &[&keyed.scope, &keyed.key, &now]).await;
    Ok(row.during(OPERATION)?.is_some())
}

/// Claims a key. A second request with the same key waits for the first one's transaction.
///
/// # Errors
/// When the database does not answer.
pub async fn claim_key_in_txn(
    txn: &Transaction<'_>,
    keyed: &Keyed<'_>,
    subject: &str,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<Claim, DbError> {
    const OPERATION: &str = "claim_key";
    let expired = "DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2 AND expires_at <= $3";
    execute(txn, OPERATION, expired, &[&keyed.scope, &keyed.key, &now]).await?;
    let claim = "INSERT INTO idempotency_keys (scope, key, request_hash, subject, created_at, expires_at) \
                 VALUES ($1, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'), $4, $5, $6) ON CONFLICT DO NOTHING";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&keyed.scope, &keyed.key, &keyed.request, &subject, &now, &expires_at];
    if execute(txn, OPERATION, claim, &values).await? == 1 {
        return Ok(Claim::New);
    }
    let sql = "SELECT request_hash = encode(sha256(convert_to($3, 'UTF8')), 'hex'), subject, status, answer \
               FROM idempotency_keys WHERE scope = $1 AND key = $2";
    let rows = query(txn, OPERATION, sql, &[&keyed.scope, &keyed.key, &keyed.request]).await?;
    let row = rows.first().ok_or_else(|| corrupt(OPERATION, "key"))?;
    if !row.get::<_, bool>(0) {
        return Ok(Claim::OtherRequest);
    }
    let status: Option<i32> = row.get(2);
    let status = status.and_then(|status| u16::try_from(status).ok());
    Ok(Claim::Repeat {
        subject: row.get(1),
        answer: status.zip(row.get::<_, Option<Value>>(3)),
    })
}

/// Keeps the first answer.
///
/// # Errors
/// When the database does not answer.
pub async fn store_answer_in_txn(
    txn: &Transaction<'_>,
    keyed: &Keyed<'_>,
    status: u16,
    answer: &Value,
) -> Result<(), DbError> {
    let sql = "UPDATE idempotency_keys SET status = $3, answer = $4 WHERE scope = $1 AND key = $2 AND status IS NULL";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&keyed.scope, &keyed.key, &i32::from(status), &answer];
    execute(txn, "store_answer", sql, &values).await?;
    Ok(())
}
