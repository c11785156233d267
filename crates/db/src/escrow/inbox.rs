//! The marks of idempotency of the escrow consumer, which are the events' rows in the archive.

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};

use crate::DbError;
use crate::error::During as _;
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
    /// Whether Stripe has delivered it just now, or it is one of those that wait here.
    pub is_delivered: bool,
    /// Where its object could not be read: how often that was, and when it is to be read again.
    pub read_again: Option<(i32, DateTime<Utc>)>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventOutcome<'a> {
    /// `applied`, `semantic_duplicate`, `ignored`, `rejected`, `waiting` or `parked`.
    pub outcome: &'a str,
    /// The guard that explains it.
    pub guard: Option<&'a str>,
    /// The rule, by name.
    pub reason: &'a str,
}

/// Inserts an event's row, the mark of idempotency, in the transaction of its effect; or adds to the count of one that is there.
/// Answers whether it is new, or was parked or waiting before, or was ignored as one of the other mode, which may have been wrongly
/// configured: only then may it have an effect.
///
/// # Errors
/// When the database does not answer or refuses the row.
pub async fn mark_event_in_txn(
    txn: &Transaction<'_>,
    event: &EscrowEvent<'_>,
    outcome: EventOutcome<'_>,
) -> Result<bool, DbError> {
    let insert = "INSERT INTO billing_events AS e (stripe_event_id, consumer, created, type, endpoint, account, api_version, livemode, \
                      received_at, payload, status, outcome, guard, reason, waiting_for, read_failures, read_again_at) \
                  VALUES ($1, 'escrow', $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $10 IN ('parked', 'waiting') THEN $10 ELSE 'decided' END, \
                      $10, $11, $12, CASE WHEN $10 = 'waiting' THEN ARRAY['stripe'] END, $14, $15) \
                  ON CONFLICT (stripe_event_id, consumer, created) DO UPDATE SET status = EXCLUDED.status, \
                      outcome = EXCLUDED.outcome, guard = EXCLUDED.guard, reason = EXCLUDED.reason, \
                      waiting_for = EXCLUDED.waiting_for, deliveries = e.deliveries + $13, \
                      read_failures = EXCLUDED.read_failures, read_again_at = EXCLUDED.read_again_at \
                  WHERE e.status <> 'decided' OR e.reason = 'livemode_mismatch'";
    let (read_failures, read_again_at) = event.read_again.unzip();
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
            &i32::from(event.is_delivered),
            &read_failures,
            &read_again_at,
        ],
    )
    .await?;
    if marked == 1 {
        return Ok(true);
    }
    if !event.is_delivered {
        return Ok(false);
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
    let sql = "UPDATE billing_events SET outcome = $3, guard = $4, reason = $5, \
                   status = CASE WHEN $3 IN ('parked', 'waiting') THEN $3 ELSE 'decided' END, \
                   waiting_for = CASE WHEN $3 = 'waiting' THEN ARRAY['stripe'] END \
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

/// An event whose object could not be read, to be decided again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingEvent {
    /// Stripe's id.
    pub event_id: String,
    /// Its type.
    pub kind: String,
    /// `platform` or `connect`.
    pub endpoint: String,
    /// When ingest took it in.
    pub received_at: DateTime<Utc>,
    /// The body.
    pub payload: String,
    /// How often its object was read in vain.
    pub read_failures: i32,
}

/// A page of the events that wait for Stripe and whose time has come, those first that came first, behind a place: when an event came
/// in, and its id.
///
/// # Errors
/// When the database does not answer.
pub async fn list_waiting_events(
    conn: &impl GenericClient,
    behind: Option<&(DateTime<Utc>, String)>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<WaitingEvent>, DbError> {
    let sql = "SELECT stripe_event_id, type, endpoint, received_at, payload, coalesce(read_failures, 0) FROM billing_events \
               WHERE status = 'waiting' AND consumer = 'escrow' AND payload IS NOT NULL \
                   AND (read_again_at IS NULL OR read_again_at <= $4) \
                   AND ($1::timestamptz IS NULL OR (received_at, stripe_event_id) > ($1, $2)) \
               ORDER BY received_at, stripe_event_id LIMIT $3";
    let (at, id) = behind.map(|(at, id)| (at, id)).unzip();
    let rows = conn
        .query(sql, &[&at, &id, &limit, &now])
        .await
        .during("list_waiting_events")?;
    let read = |row: &tokio_postgres::Row| WaitingEvent {
        event_id: row.get(0),
        kind: row.get(1),
        endpoint: row.get(2),
        received_at: row.get(3),
        payload: row.get(4),
        read_failures: row.get(5),
    };
    Ok(rows.iter().map(read).collect())
}

/// Puts an event off that waits still: how often its object was read in vain, and when it is to be read again.
///
/// # Errors
/// When the database does not answer.
pub async fn put_event_off_in_txn(txn: &Transaction<'_>, event: &EscrowEvent<'_>) -> Result<(), DbError> {
    let sql = "UPDATE billing_events SET read_failures = $3, read_again_at = $4 \
               WHERE stripe_event_id = $1 AND created = $2 AND consumer = 'escrow' AND status = 'waiting'";
    let (failures, again_at) = event.read_again.unzip();
    execute(
        txn,
        "put_event_off",
        sql,
        &[&event.event_id, &event.created, &failures, &again_at],
    )
    .await?;
    Ok(())
}

/// Events that have waited for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongWaits {
    /// How many there are.
    pub count: i64,
    /// The one that waits longest, and since when.
    pub longest: (String, DateTime<Utc>),
}

/// The events that wait since before `since`; none where there is none.
///
/// # Errors
/// When the database does not answer.
pub async fn measure_long_waits(conn: &impl GenericClient, since: DateTime<Utc>) -> Result<Option<LongWaits>, DbError> {
    let sql = "SELECT count(*) OVER (), stripe_event_id, recorded_at FROM billing_events \
               WHERE status = 'waiting' AND consumer = 'escrow' AND recorded_at < $1 ORDER BY recorded_at LIMIT 1";
    let row = conn.query_opt(sql, &[&since]).await.during("measure_long_waits")?;
    Ok(row.map(|row| LongWaits {
        count: row.get(0),
        longest: (row.get(1), row.get(2)),
    }))
}
