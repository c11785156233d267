//! The marks of idempotency of the escrow consumer, which are the events' rows in the archive.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;

use crate::DbError;
use crate::statement::execute;

/// An event and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct EscrowEvent<'a> {
    /// Stripe's id.
    pub event_id: &'a str,
    /// Stripe's `created`.
    pub created: DateTime<Utc>,
    /// Its type.
    pub kind: &'a str,
    /// `platform` or `connect`.
    pub endpoint: &'a str,
    /// The connected account.
    pub account: Option<&'a str>,
    /// The API version of the body.
    pub api_version: Option<&'a str>,
    /// Live or test.
    pub livemode: Option<bool>,
    /// When ingest took it in.
    pub received_at: DateTime<Utc>,
    /// The body, byte for byte.
    pub payload: &'a str,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventOutcome<'a> {
    /// `applied`, `semantic_duplicate`, `ignored`, `rejected` or `parked`.
    pub outcome: &'a str,
    /// The guard that explains it.
    pub guard: Option<&'a str>,
    /// The rule, by name.
    pub reason: &'a str,
}

/// Inserts an event's row, the mark of idempotency, in the transaction of its effect; or adds to the count of one that is there.
/// Answers whether it is new, or was parked before: only then may it have an effect.
///
/// # Errors
/// When the database does not answer or refuses the row.
pub async fn mark_event_in_txn(
    txn: &Transaction<'_>,
    event: &EscrowEvent<'_>,
    outcome: EventOutcome<'_>,
) -> Result<bool, DbError> {
    let insert = "INSERT INTO billing_events AS e (stripe_event_id, consumer, created, type, endpoint, account, api_version, livemode, \
                      received_at, payload, status, outcome, guard, reason) \
                  VALUES ($1, 'escrow', $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $10 = 'parked' THEN 'parked' ELSE 'decided' END, \
                      $10, $11, $12) \
                  ON CONFLICT (stripe_event_id, consumer, created) DO UPDATE SET status = EXCLUDED.status, \
                      outcome = EXCLUDED.outcome, guard = EXCLUDED.guard, reason = EXCLUDED.reason, deliveries = e.deliveries + 1 \
                  WHERE e.status <> 'decided'";
    let marked = execute(
        txn,
        "mark_event",
        insert,
        &[
            &event.event_id,
            &event.created,
            &event.kind,
            &event.endpoint,
            &event.account,
            &event.api_version,
            &event.livemode,
            &event.received_at,
            &event.payload,
            &outcome.outcome,
            &outcome.guard,
            &outcome.reason,
        ],
    )
    .await?;
    if marked == 1 {
        return Ok(true);
    }
    let count = "UPDATE billing_events SET deliveries = deliveries + 1 \
                 WHERE stripe_event_id = $1 AND created = $2 AND consumer = 'escrow'";
    execute(txn, "count_repeat", count, &[&event.event_id, &event.created]).await?;
    Ok(false)
}

/// Writes what became of an event that was marked in this transaction.
///
/// # Errors
/// When the database does not answer.
pub async fn set_event_outcome_in_txn(
    txn: &Transaction<'_>,
    event: &EscrowEvent<'_>,
    outcome: EventOutcome<'_>,
) -> Result<(), DbError> {
    let sql = "UPDATE billing_events SET outcome = $3, guard = $4, reason = $5 \
               WHERE stripe_event_id = $1 AND created = $2 AND consumer = 'escrow'";
    execute(
        txn,
        "set_event_outcome",
        sql,
        &[
            &event.event_id,
            &event.created,
            &outcome.outcome,
            &outcome.guard,
            &outcome.reason,
        ],
    )
    .await?;
    Ok(())
}
