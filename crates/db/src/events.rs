//! The archive's side of the inbox, and looking things up in it.
//!
//! Events that nobody owns are archived as decided and ignored, by a named reason. The archive's batch is one statement: its rows
//! are sorted by key, so that two batches lock in the same order, and doubled keys are folded first, because one statement may
//! touch a row only once. An event that comes again adds to the count on its row.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::{DbError, During as _};

/// An event that no service owns.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
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
    /// Why it changes nothing, by name: `no_handler`, `connected_account`, `livemode_mismatch`.
    pub reason: &'a str,
}

/// Archives a batch and answers how many events of it were new. Atomic by itself: it needs no transaction around it.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn archive_events(conn: &impl GenericClient, events: &[NewEvent<'_>]) -> Result<usize, DbError> {
    const OPERATION: &str = "archive_events";
    let mut folded: BTreeMap<(&str, DateTime<Utc>), (NewEvent<'_>, i32)> = BTreeMap::new();
    for event in events {
        let (_, deliveries) = folded.entry((event.event_id, event.created)).or_insert((*event, 0));
        *deliveries = deliveries.saturating_add(1);
    }
    let rows: Vec<_> = folded.into_values().collect();
    let ids: Vec<&str> = rows.iter().map(|(event, _)| event.event_id).collect();
    let created: Vec<DateTime<Utc>> = rows.iter().map(|(event, _)| event.created).collect();
    let kinds: Vec<&str> = rows.iter().map(|(event, _)| event.kind).collect();
    let endpoints: Vec<&str> = rows.iter().map(|(event, _)| event.endpoint).collect();
    let accounts: Vec<Option<&str>> = rows.iter().map(|(event, _)| event.account).collect();
    let versions: Vec<Option<&str>> = rows.iter().map(|(event, _)| event.api_version).collect();
    let livemodes: Vec<Option<bool>> = rows.iter().map(|(event, _)| event.livemode).collect();
    let received: Vec<DateTime<Utc>> = rows.iter().map(|(event, _)| event.received_at).collect();
    let payloads: Vec<&str> = rows.iter().map(|(event, _)| event.payload).collect();
    let reasons: Vec<&str> = rows.iter().map(|(event, _)| event.reason).collect();
    let deliveries: Vec<i32> = rows.iter().map(|(_, deliveries)| *deliveries).collect();
    let statement = conn
        .prepare_cached(
            "WITH given AS (
                 SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
                                      $7::boolean[], $8::timestamptz[], $9::text[], $10::text[], $11::integer[])
                     AS given (id, created, type, endpoint, account, api_version, livemode, received_at, payload, reason,
                               deliveries)
             ), written AS (
                 INSERT INTO billing_events AS known (stripe_event_id, consumer, created, type, endpoint, account, api_version,
                                                      livemode, received_at, payload, status, outcome, reason, deliveries)
                 SELECT id, 'archive', created, type, endpoint, account, api_version, livemode, received_at, payload,
                        'decided', 'ignored', reason, deliveries
                 FROM given
                 ON CONFLICT (stripe_event_id, consumer, created)
                     DO UPDATE SET deliveries = known.deliveries + excluded.deliveries
                 RETURNING stripe_event_id, created, deliveries
             )
             SELECT count(*) FROM written
             JOIN given ON given.id = written.stripe_event_id AND given.created = written.created
             WHERE written.deliveries = given.deliveries",
        )
        .await
        .during(OPERATION)?;
    let params: [&(dyn ToSql + Sync); 11] = [
        &ids,
        &created,
        &kinds,
        &endpoints,
        &accounts,
        &versions,
        &livemodes,
        &received,
        &payloads,
        &reasons,
        &deliveries,
    ];
    let new: i64 = conn.query_one(&statement, &params).await.during(OPERATION)?.get(0);
    Ok(usize::try_from(new).unwrap_or_default())
}

/// An event of the inbox without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Stripe's id.
    pub event_id: String,
    /// Which consumer took it: `billing`, `escrow`, `checkout` or `archive`.
    pub consumer: String,
    /// Stripe's `created`.
    pub created: DateTime<Utc>,
    /// Its type.
    pub kind: String,
    /// `platform` or `connect`.
    pub endpoint: String,
    /// The connected account.
    pub account: Option<String>,
    /// The API version of the body.
    pub api_version: Option<String>,
    /// Live or test.
    pub livemode: Option<bool>,
    /// When ingest took it in.
    pub received_at: DateTime<Utc>,
    /// When the consumer committed it.
    pub recorded_at: DateTime<Utc>,
    /// `decided`, `waiting` or `parked`.
    pub status: String,
    /// What became of it.
    pub outcome: String,
    /// The guard that explains it.
    pub guard: Option<String>,
    /// The rule, by name.
    pub reason: Option<String>,
    /// Whose it is.
    pub client_id: Option<String>,
    /// The client's organisation.
    pub org_id: Option<String>,
    /// How often it was delivered.
    pub deliveries: i32,
}

/// Which events are listed; what is `None` does not filter.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of one type.
    pub kind: Option<String>,
    /// With one outcome.
    pub outcome: Option<String>,
    /// With one status.
    pub status: Option<String>,
    /// Of one client.
    pub client_id: Option<String>,
    /// Recorded at this time or later.
    pub since: Option<DateTime<Utc>>,
}

/// Where a page of events begins: below this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCursor {
    /// The last event's `recorded_at`; a whole batch shares one.
    pub recorded_at: DateTime<Utc>,
    /// The last event's id.
    pub event_id: String,
    /// The last event's consumer.
    pub consumer: String,
}

impl From<&EventRow> for EventCursor {
    fn from(row: &EventRow) -> Self {
        Self {
            recorded_at: row.recorded_at,
            event_id: row.event_id.clone(),
            consumer: row.consumer.clone(),
        }
    }
}

const COLUMNS: &str =
    "stripe_event_id, consumer, created, type, endpoint, account, api_version, livemode, received_at, recorded_at,
    status, outcome, guard, reason, client_id, org_id, deliveries";

/// Statuses that are an outcome by the same word.
const RARE_STATUSES: [&str; 2] = ["waiting", "parked"];

/// Events, the last recorded first, at most `limit` of those below `before`.
///
/// # Errors
/// When the statement fails.
pub async fn list_events(
    conn: &impl GenericClient,
    filter: &EventFilter,
    before: Option<&EventCursor>,
    limit: i64,
) -> Result<Vec<EventRow>, DbError> {
    const OPERATION: &str = "list_events";
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&limit];
    let mut sql = format!("SELECT {COLUMNS} FROM billing_events WHERE true");
    // The index of rare outcomes serves these as well: the table's constraints say that the two words go together.
    let rare_outcome = filter
        .status
        .as_ref()
        .filter(|status| RARE_STATUSES.contains(&status.as_str()));
    let texts = [
        ("outcome", &rare_outcome.cloned()),
        ("type", &filter.kind),
        ("outcome", &filter.outcome),
        ("status", &filter.status),
        ("client_id", &filter.client_id),
    ];
    if let Some(client) = &filter.client_id {
        // Events have no index by client; the client's timeline names them.
        params.push(client);
        let place = params.len();
        sql += &format!(
            " AND stripe_event_id = ANY (ARRAY(SELECT event_id FROM billing_decisions WHERE client_id = ${place}))"
        );
    }
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            params.push(wanted);
            sql += &format!(" AND {column} = ${}", params.len());
        }
    }
    if let Some(since) = &filter.since {
        params.push(since);
        sql += &format!(" AND recorded_at >= ${}", params.len());
    }
    if let Some(before) = before {
        let first = params.len();
        params.extend([
            &before.recorded_at as &(dyn ToSql + Sync),
            &before.event_id,
            &before.consumer,
        ]);
        sql += &format!(
            " AND (recorded_at, stripe_event_id, consumer) < (${}, ${}, ${})",
            first + 1,
            first + 2,
            first + 3
        );
    }
    sql += " ORDER BY recorded_at DESC, stripe_event_id DESC, consumer DESC LIMIT $1";
    let statement = conn.prepare_cached(&sql).await.during(OPERATION)?;
    let rows = conn.query(&statement, &params).await.during(OPERATION)?;
    Ok(rows.iter().map(read_event).collect())
}

/// How many events a consumer has recorded since `since` (inclusive); repeats of known ones are not among them.
///
/// # Errors
/// When the statement fails.
pub async fn count_recorded(conn: &impl GenericClient, consumer: &str, since: DateTime<Utc>) -> Result<i64, DbError> {
    const OPERATION: &str = "count_recorded";
    let statement = conn
        .prepare_cached("SELECT count(*) FROM billing_events WHERE recorded_at >= $2 AND consumer = $1")
        .await
        .during(OPERATION)?;
    let row = conn
        .query_one(&statement, &[&consumer, &since])
        .await
        .during(OPERATION)?;
    Ok(row.get(0))
}

/// An event with everything that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEvent {
    /// Its rows, one per consumer, with the body while its retention lasts.
    pub rows: Vec<(EventRow, Option<String>)>,
    /// What was decided about it, oldest first.
    pub decisions: Vec<EventDecision>,
}

/// A decision about an event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDecision {
    /// Its id.
    pub id: Uuid,
    /// When it was made.
    pub decided_at: DateTime<Utc>,
    /// Whose timeline it is in.
    pub client_id: Option<String>,
    /// What became of the event.
    pub outcome: String,
    /// The guard that explains it.
    pub guard: Option<String>,
    /// The rule, by name.
    pub reason: Option<String>,
    /// The client's state before and after, where it changed.
    pub transition: Option<(String, String)>,
    /// What was expected and found.
    pub details: Value,
}

/// An event by Stripe's id; `None` when it never arrived.
///
/// # Errors
/// When a statement fails.
pub async fn find_event(conn: &impl GenericClient, event_id: &str) -> Result<Option<FoundEvent>, DbError> {
    const OPERATION: &str = "find_event";
    let sql = format!(
        "SELECT {COLUMNS}, payload FROM billing_events WHERE stripe_event_id = $1 ORDER BY recorded_at, consumer"
    );
    let statement = conn.prepare_cached(&sql).await.during(OPERATION)?;
    let rows = conn.query(&statement, &[&event_id]).await.during(OPERATION)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let statement = conn
        .prepare_cached(
            "SELECT id, decided_at, client_id, outcome, guard, reason, from_state, to_state, details
             FROM billing_decisions WHERE event_id = $1 ORDER BY decided_at, id",
        )
        .await
        .during(OPERATION)?;
    let decisions = conn.query(&statement, &[&event_id]).await.during(OPERATION)?;
    Ok(Some(FoundEvent {
        rows: rows.iter().map(|row| (read_event(row), row.get("payload"))).collect(),
        decisions: decisions.iter().map(read_decision).collect(),
    }))
}

fn read_event(row: &Row) -> EventRow {
    EventRow {
        event_id: row.get("stripe_event_id"),
        consumer: row.get("consumer"),
        created: row.get("created"),
        kind: row.get("type"),
        endpoint: row.get("endpoint"),
        account: row.get("account"),
        api_version: row.get("api_version"),
        livemode: row.get("livemode"),
        received_at: row.get("received_at"),
        recorded_at: row.get("recorded_at"),
        status: row.get("status"),
        outcome: row.get("outcome"),
        guard: row.get("guard"),
        reason: row.get("reason"),
        client_id: row.get("client_id"),
        org_id: row.get("org_id"),
        deliveries: row.get("deliveries"),
    }
}

fn read_decision(row: &Row) -> EventDecision {
    let from: Option<String> = row.get("from_state");
    EventDecision {
        id: row.get("id"),
        decided_at: row.get("decided_at"),
        client_id: row.get("client_id"),
        outcome: row.get("outcome"),
        guard: row.get("guard"),
        reason: row.get("reason"),
        transition: from.zip(row.get("to_state")),
        details: row.get("details"),
    }
}
