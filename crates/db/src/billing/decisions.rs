//! The record of decisions: a client's timeline.

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use serde_json::Value;
use uuid::Uuid;

use super::execute;
use crate::DbError;
use crate::error::During as _;

/// A decision to record.
#[derive(Debug, Clone)]
pub struct NewDecision<'a> {
    /// A UUIDv7, so that ids sort as they were decided.
    pub id: Uuid,
    /// When.
    pub decided_at: DateTime<Utc>,
    /// The event.
    pub event_id: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// Stripe's `created`.
    pub created: DateTime<Utc>,
    /// When ingest took it in.
    pub received_at: DateTime<Utc>,
    /// Whose it is.
    pub client: Option<&'a str>,
    /// The client's organisation.
    pub org: Option<&'a str>,
    /// What became of it.
    pub outcome: &'a str,
    /// The guard that explains it.
    pub guard: Option<&'a str>,
    /// The rule, by name.
    pub reason: &'a str,
    /// The state before and after.
    pub transition: Option<(&'a str, &'a str)>,
    /// What was expected and found.
    pub details: &'a Value,
}

/// Records decisions.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn insert_decisions_in_txn(txn: &Transaction<'_>, decisions: &[NewDecision<'_>]) -> Result<u64, DbError> {
    let sql = "INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, org_id, \
                   outcome, guard, reason, from_state, to_state, details) \
               SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::timestamptz[], \
                   $6::timestamptz[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], \
                   $14::jsonb[])";
    let ids: Vec<Uuid> = decisions.iter().map(|decision| decision.id).collect();
    let decided: Vec<DateTime<Utc>> = decisions.iter().map(|decision| decision.decided_at).collect();
    let events: Vec<&str> = decisions.iter().map(|decision| decision.event_id).collect();
    let types: Vec<&str> = decisions.iter().map(|decision| decision.event_type).collect();
    let created: Vec<DateTime<Utc>> = decisions.iter().map(|decision| decision.created).collect();
    let received: Vec<DateTime<Utc>> = decisions.iter().map(|decision| decision.received_at).collect();
    let clients: Vec<Option<&str>> = decisions.iter().map(|decision| decision.client).collect();
    let orgs: Vec<Option<&str>> = decisions.iter().map(|decision| decision.org).collect();
    let outcomes: Vec<&str> = decisions.iter().map(|decision| decision.outcome).collect();
    let guards: Vec<Option<&str>> = decisions.iter().map(|decision| decision.guard).collect();
    let reasons: Vec<&str> = decisions.iter().map(|decision| decision.reason).collect();
    let from: Vec<Option<&str>> = decisions
        .iter()
        .map(|decision| decision.transition.map(|(from, _)| from))
        .collect();
    let to: Vec<Option<&str>> = decisions
        .iter()
        .map(|decision| decision.transition.map(|(_, to)| to))
        .collect();
    let details: Vec<&Value> = decisions.iter().map(|decision| decision.details).collect();
    execute(
        txn,
        "insert_decisions",
        sql,
        &[
            &ids, &decided, &events, &types, &created, &received, &clients, &orgs, &outcomes, &guards, &reasons, &from,
            &to, &details,
        ],
    )
    .await
}

/// A decision of a client's timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionRow {
    /// Its id; the next page begins below it.
    pub id: Uuid,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// The event.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Stripe's `created`.
    pub created: DateTime<Utc>,
    /// When ingest took it in.
    pub received_at: DateTime<Utc>,
    /// What became of it.
    pub outcome: String,
    /// The guard that explains it.
    pub guard: Option<String>,
    /// The rule, by name.
    pub reason: Option<String>,
    /// The state before.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: Option<String>,
    /// What was expected and found.
    pub details: Value,
}

/// A page of a client's timeline, newest first, below `before`.
///
/// # Errors
/// When the database does not answer.
pub async fn list_timeline(
    conn: &impl GenericClient,
    client: &str,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<DecisionRow>, DbError> {
    let sql = "SELECT id, decided_at, event_id, event_type, created, received_at, outcome, guard, reason, from_state, to_state, \
                   details \
               FROM billing_decisions WHERE client_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3";
    let rows = conn
        .query(sql, &[&client, &before, &limit])
        .await
        .during("list_timeline")?;
    let read = |row: &tokio_postgres::Row| DecisionRow {
        id: row.get(0),
        decided_at: row.get(1),
        event_id: row.get(2),
        event_type: row.get(3),
        created: row.get(4),
        received_at: row.get(5),
        outcome: row.get(6),
        guard: row.get(7),
        reason: row.get(8),
        from_state: row.get(9),
        to_state: row.get(10),
        details: row.get(11),
    };
    Ok(rows.iter().map(read).collect())
}
