//! Messages that a transaction wrote beside its effect, on their way to the broker.
//!
//! A writer inserts rows in the transaction of the effect. A relay claims the oldest rows, publishes them, deletes what the broker
//! confirmed, and commits; an advisory lock held to the end of that transaction lets one relay work at a time, so that rows leave
//! in the order of their ids, but for those that were set aside. A relay that dies loses its lock with its connection, and the rows are still there: published at
//! least once. A message that the broker does not take is set aside for a while, so that the rest goes on.

use std::time::Duration;

use deadpool_postgres::{GenericClient, Transaction};
use serde_json::Value;
use tokio_postgres::types::{Json, ToSql};

use crate::BODIES_AT_ONCE;
use crate::error::{DbError, During as _};

/// The advisory lock of the relays ("outbox" in ASCII).
const RELAY_LOCK: i64 = 0x6f75_7462_6f78;
/// So large a part of a round, at most, is what was set aside.
const SHARE_OF_ASIDE: i64 = 4;

/// A message to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOutboxRow {
    /// The exchange it goes to.
    pub exchange: String,
    /// At most 255 bytes; the database refuses more, and with it the whole transaction.
    pub routing_key: String,
    /// What consumers recognise a repeat by; at most 255 bytes.
    pub message_id: String,
    /// AMQP `type`; at most 255 bytes.
    pub kind: String,
    /// An object of texts and numbers.
    pub headers: Value,
    /// The body, published byte for byte.
    pub payload: String,
}

/// A message that waits for the relay.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Rows leave in the order of ids, but for those that were set aside.
    pub id: i64,
    /// The message.
    pub message: NewOutboxRow,
    /// When it was written, in Unix seconds.
    pub created_unix: i64,
    /// How long ago that was, in seconds, by the clock of the database.
    pub age: i64,
}

/// Writes messages in the caller's transaction: they exist if and only if its effect does. Ids follow the order of `rows`.
///
/// # Errors
/// When a text is longer than the broker takes, or the statement fails.
pub async fn insert_outbox_in_txn(txn: &Transaction<'_>, rows: &[NewOutboxRow]) -> Result<(), DbError> {
    const OPERATION: &str = "insert_outbox";
    if rows.is_empty() {
        return Ok(());
    }
    let exchanges: Vec<&str> = rows.iter().map(|row| row.exchange.as_str()).collect();
    let routing_keys: Vec<&str> = rows.iter().map(|row| row.routing_key.as_str()).collect();
    let message_ids: Vec<&str> = rows.iter().map(|row| row.message_id.as_str()).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    let headers: Vec<Json<&Value>> = rows.iter().map(|row| Json(&row.headers)).collect();
    let payloads: Vec<&str> = rows.iter().map(|row| row.payload.as_str()).collect();
    let statement = txn
        .prepare_cached(
            "INSERT INTO outbox (exchange, routing_key, message_id, kind, headers, payload)
             SELECT exchange, routing_key, message_id, kind, headers, payload
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::text[])
                  WITH ORDINALITY AS row (exchange, routing_key, message_id, kind, headers, payload, position)
             ORDER BY position",
        )
        .await
        .during(OPERATION)?;
    txn.execute(
        &statement,
        &[&exchanges, &routing_keys, &message_ids, &kinds, &headers, &payloads],
    )
    .await
    .during(OPERATION)
    .map(drop)
}

/// Messages that were claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Those that are to be published now.
    pub rows: Vec<OutboxRow>,
    /// Whether there may be others.
    pub more: bool,
}

/// The oldest messages that are not set aside, at most `limit` and as many as fit into [`BODIES_AT_ONCE`], and of those that were set aside
/// and are due a quarter as many: however many these are, they keep nothing waiting that may well go out. Of both at least one. For this
/// transaction alone to publish; `None` when another relay is at work.
/// Each half of the search has its own index (`outbox_to_publish`, `outbox_set_aside`): however many are set aside, they are not
/// looked through.
///
/// # Errors
/// When a statement fails.
pub async fn claim_outbox_batch_in_txn(txn: &Transaction<'_>, limit: i64) -> Result<Option<Claim>, DbError> {
    const OPERATION: &str = "claim_outbox_batch";
    let lock = txn
        .prepare_cached("SELECT pg_try_advisory_xact_lock($1)")
        .await
        .during(OPERATION)?;
    let locked: bool = txn.query_one(&lock, &[&RELAY_LOCK]).await.during(OPERATION)?.get(0);
    if !locked {
        return Ok(None);
    }
    let fresh = "SELECT id, octet_length(payload)::bigint FROM outbox WHERE retry_at IS NULL ORDER BY id LIMIT $1";
    let aside =
        "SELECT id, octet_length(payload)::bigint FROM outbox WHERE retry_at <= now() ORDER BY retry_at LIMIT $1";
    let (mut ids, mut more) = (Vec::new(), false);
    for (sql, most, room) in [
        (fresh, limit, BODIES_AT_ONCE),
        (aside, (limit / SHARE_OF_ASIDE).max(1), BODIES_AT_ONCE / SHARE_OF_ASIDE),
    ] {
        let statement = txn.prepare_cached(sql).await.during(OPERATION)?;
        let found = txn.query(&statement, &[&most]).await.during(OPERATION)?;
        let fits = first_that_fit(found.iter().map(|row| row.get(1)), room);
        ids.extend(found.iter().take(fits).map(|row| row.get::<_, i64>(0)));
        more |= fits < found.len() || i64::try_from(fits) == Ok(most);
    }
    Ok(Some(Claim {
        rows: load(txn, &ids).await?,
        more,
    }))
}

/// How many of these sizes come to no more than `room` together; one, where the first alone is more.
fn first_that_fit(sizes: impl Iterator<Item = i64>, room: i64) -> usize {
    let total = sizes.scan(0_i64, |sum, size| {
        *sum = sum.saturating_add(size);
        Some(*sum)
    });
    let fits = |(place, sum): &(usize, i64)| *place == 0 || *sum <= room;
    total.enumerate().take_while(fits).count()
}

async fn load(txn: &Transaction<'_>, ids: &[i64]) -> Result<Vec<OutboxRow>, DbError> {
    const OPERATION: &str = "claim_outbox_batch";
    let sql = "SELECT id, exchange, routing_key, message_id, kind, headers, payload,
                      extract(epoch FROM created_at)::bigint AS created_unix,
                      extract(epoch FROM now() - created_at)::bigint AS age
               FROM outbox WHERE id = ANY ($1) ORDER BY id";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = txn.prepare_cached(sql).await.during(OPERATION)?;
    let rows = txn.query(&statement, &[&ids]).await.during(OPERATION)?;
    let read = |row: &tokio_postgres::Row| OutboxRow {
        id: row.get("id"),
        message: NewOutboxRow {
            exchange: row.get("exchange"),
            routing_key: row.get("routing_key"),
            message_id: row.get("message_id"),
            kind: row.get("kind"),
            headers: row.get("headers"),
            payload: row.get("payload"),
        },
        created_unix: row.get("created_unix"),
        age: row.get("age"),
    };
    Ok(rows.iter().map(read).collect())
}

/// Forgets messages that the broker has confirmed.
///
/// # Errors
/// When the statement fails.
pub async fn delete_outbox_in_txn(txn: &Transaction<'_>, ids: &[i64]) -> Result<(), DbError> {
    let sql = "DELETE FROM outbox WHERE id = ANY ($1)";
    update(txn, "delete_outbox", sql, &[&ids], ids).await
}

/// Sets messages aside that the broker can never take as they are (no queue is bound for them), so that they hold up nobody. They
/// are offered again after `pause`: what a person repairs heals by itself.
///
/// # Errors
/// When the statement fails.
pub async fn postpone_outbox_in_txn(txn: &Transaction<'_>, ids: &[i64], pause: Duration) -> Result<(), DbError> {
    let sql = "UPDATE outbox SET retry_at = clock_timestamp() + make_interval(secs => $2) WHERE id = ANY ($1)";
    update(txn, "postpone_outbox", sql, &[&ids, &pause.as_secs_f64()], ids).await
}

/// Sets messages aside that a queue does not take just now, so that they hold up nobody else. Each is offered again once it is twice as
/// old, after `at_least` and at most `at_most`.
///
/// # Errors
/// When the statement fails.
pub async fn postpone_outbox_by_age_in_txn(
    txn: &Transaction<'_>,
    ids: &[i64],
    at_least: Duration,
    at_most: Duration,
) -> Result<(), DbError> {
    let sql = "UPDATE outbox SET retry_at = clock_timestamp() + greatest(make_interval(secs => $2), \
                   least(now() - created_at, make_interval(secs => $3))) WHERE id = ANY ($1)";
    let pauses = (at_least.as_secs_f64(), at_most.as_secs_f64());
    update(txn, "postpone_outbox_by_age", sql, &[&ids, &pauses.0, &pauses.1], ids).await
}

async fn update(
    txn: &Transaction<'_>,
    operation: &'static str,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
    ids: &[i64],
) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let statement = txn.prepare_cached(sql).await.during(operation)?;
    txn.execute(&statement, values).await.during(operation).map(drop)
}

/// How many messages wait.
///
/// # Errors
/// When the statement fails.
pub async fn count_outbox(conn: &impl GenericClient) -> Result<i64, DbError> {
    const OPERATION: &str = "count_outbox";
    let statement = conn
        .prepare_cached("SELECT count(*) FROM outbox")
        .await
        .during(OPERATION)?;
    Ok(conn.query_one(&statement, &[]).await.during(OPERATION)?.get(0))
}
