//! The inbox of the billing consumer: which events were decided, and what became of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use domain::billing::decision::{Outcome, Reason};
use tokio_postgres::error::SqlState;

use super::{execute, plan_by_index_in_txn};
use crate::DbError;
use crate::error::During as _;

/// Identifies an event of the inbox: Stripe's id and Stripe's `created`.
pub type EventKey = (String, DateTime<Utc>);

/// An event and what was decided about it.
#[derive(Debug, Clone)]
pub struct DecidedEvent<'a> {
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
    /// What became of it.
    pub outcome: &'a str,
    /// The guard that explains it.
    pub guard: Option<&'a str>,
    /// The rule, by name.
    pub reason: &'a str,
    /// Whose it is.
    pub client: Option<&'a str>,
    /// The client's organisation.
    pub org: Option<&'a str>,
    /// The names of what it waits for (see [`super::owners`]), with blanks between them, which no name has.
    pub waiting_for: Option<&'a str>,
    /// When its object is to be read again, where it waits for one.
    pub read_again: Option<ReadAgain>,
    /// How often Stripe delivered it in this batch. A new event was delivered at least once, be it that the message of it was lost.
    pub deliveries: i32,
}

/// When the object of a thin event is to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadAgain {
    /// How often it was read in vain.
    pub failures: i32,
    /// Not before this.
    pub at: DateTime<Utc>,
}

const DECIDED: &str = "decided";

/// The status that goes with an outcome.
fn status(outcome: &str) -> &str {
    match outcome {
        "waiting" | "parked" => outcome,
        _ => DECIDED,
    }
}

/// What the inbox says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEvent {
    /// `decided`, `waiting` or `parked`.
    pub status: String,
    /// The rule, by name.
    pub reason: Option<String>,
    /// How often its object was read in vain.
    pub read_failures: i32,
}

impl KnownEvent {
    /// Whether it was decided for good: another message of it is a repeat. What was ignored for how it came here is not.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        let reason = self.reason.as_deref().and_then(Reason::parse);
        self.status == DECIDED && !reason.is_some_and(Reason::is_of_a_delivery)
    }

    /// Whether it waits or is parked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status != DECIDED
    }

    /// Whether this is what it says already.
    #[must_use]
    pub fn says(&self, outcome: Outcome, reason: Reason) -> bool {
        self.status == status(outcome.as_str()) && self.reason.as_deref() == Some(reason.as_str())
    }
}

/// Which of these events the inbox has.
///
/// # Errors
/// When the database does not answer.
pub async fn find_known_events(
    conn: &impl GenericClient,
    ids: &[&str],
    created: &[DateTime<Utc>],
) -> Result<BTreeMap<EventKey, KnownEvent>, DbError> {
    // OFFSET 0 keeps the planner from joining in any other way than key by key. It plans once per connection; while a month's
    // partition is empty, reading it whole looks cheapest, and that plan would still be in use when it holds millions.
    let sql = "SELECT k.id, k.created, e.status, e.reason, coalesce(e.read_failures, 0) \
               FROM unnest($1::text[], $2::timestamptz[]) AS k (id, created) \
               CROSS JOIN LATERAL (SELECT status, reason, read_failures FROM billing_events \
                   WHERE stripe_event_id = k.id AND consumer = 'billing' AND created = k.created OFFSET 0) AS e";
    let operation = "find_known_events";
    let statement = conn.prepare_cached(sql).await.during(operation)?;
    let rows = conn.query(&statement, &[&ids, &created]).await.during(operation)?;
    let known = |row: &tokio_postgres::Row| KnownEvent {
        status: row.get(2),
        reason: row.get(3),
        read_failures: row.get(4),
    };
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), known(row))).collect())
}

/// Inserts events with their decisions. Answers how many were new; where that is fewer than were given, another consumer was
/// faster and the caller must start over, in a new transaction.
///
/// The caller has looked up which are known, so a conflict is rare. It is let happen as an error: `ON CONFLICT DO NOTHING` would
/// look at the index twice and write the heap twice for each of the others, a fifth of what storing an event costs.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn insert_events_in_txn(txn: &Transaction<'_>, events: &[DecidedEvent<'_>]) -> Result<u64, DbError> {
    let sql = "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, account, api_version, livemode, \
                   received_at, payload, status, outcome, guard, reason, client_id, org_id, waiting_for, waiting_customer, \
                   waiting_client, deliveries, read_failures, read_again_at) \
               SELECT id, 'billing', created, type, endpoint, account, api_version, livemode, received_at, payload, status, \
                   outcome, guard, reason, client_id, org_id, string_to_array(waiting_for, ' '), \
                   substring(waiting_for FROM 'customer:([^ ]*)'), substring(waiting_for FROM 'client:([^ ]*)'), \
                   greatest(deliveries, 1), \
                   read_failures, read_again_at \
               FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], \
                   $8::timestamptz[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], \
                   $16::text[], $17::int[], $18::int[], $19::timestamptz[]) \
                   AS u (id, created, type, endpoint, account, api_version, livemode, received_at, payload, status, outcome, \
                       guard, reason, client_id, org_id, waiting_for, deliveries, read_failures, read_again_at)";
    let sorted = sorted(events);
    let columns = Columns::of(&sorted);
    let accounts: Vec<Option<&str>> = sorted.iter().map(|event| event.account).collect();
    let versions: Vec<Option<&str>> = sorted.iter().map(|event| event.api_version).collect();
    let livemodes: Vec<Option<bool>> = sorted.iter().map(|event| event.livemode).collect();
    let received: Vec<DateTime<Utc>> = sorted.iter().map(|event| event.received_at).collect();
    let payloads: Vec<&str> = sorted.iter().map(|event| event.payload).collect();
    let kinds: Vec<&str> = sorted.iter().map(|event| event.kind).collect();
    let inserted = execute(
        txn,
        "insert_events",
        sql,
        &[
            &columns.ids,
            &columns.created,
            &kinds,
            &columns.endpoints,
            &accounts,
            &versions,
            &livemodes,
            &received,
            &payloads,
            &columns.statuses,
            &columns.outcomes,
            &columns.guards,
            &columns.reasons,
            &columns.clients,
            &columns.orgs,
            &columns.waiting_for,
            &columns.deliveries,
            &columns.read_failures,
            &columns.read_again_at,
        ],
    )
    .await;
    match inserted {
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(0),
        inserted => inserted,
    }
}

/// Writes a new decision over events that are not decided for good ([`KnownEvent::is_decided`]), with the endpoint of the delivery that it
/// is about. Answers how many still were; where that is fewer than were
/// given, another consumer has decided them meanwhile and the caller must start over.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn update_events_in_txn(txn: &Transaction<'_>, events: &[DecidedEvent<'_>]) -> Result<u64, DbError> {
    let sql = "UPDATE billing_events AS e SET status = u.status, outcome = u.outcome, guard = u.guard, reason = u.reason, \
                   client_id = u.client_id, org_id = u.org_id, waiting_for = string_to_array(u.waiting_for, ' '), \
                   waiting_customer = substring(u.waiting_for FROM 'customer:([^ ]*)'), \
                   waiting_client = substring(u.waiting_for FROM 'client:([^ ]*)'), deliveries = e.deliveries + u.deliveries, \
                   read_failures = u.read_failures, read_again_at = u.read_again_at, endpoint = u.endpoint \
               FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
                   $8::text[], $9::text[], $10::int[], $11::int[], $12::timestamptz[], $13::text[]) \
                   AS u (id, created, status, outcome, guard, reason, client_id, org_id, waiting_for, deliveries, \
                       read_failures, read_again_at, endpoint) \
               WHERE e.stripe_event_id = ANY ($1) AND e.created = ANY ($2) AND e.consumer = 'billing' \
                   AND e.stripe_event_id = u.id AND e.created = u.created \
                   AND (e.status <> 'decided' OR e.reason = ANY ($14))";
    let columns = Columns::of(&sorted(events));
    let of_a_delivery = Reason::OF_A_DELIVERY.map(Reason::as_str);
    lock_events(txn, &columns.ids, &columns.created).await?;
    execute(
        txn,
        "update_events",
        sql,
        &[
            &columns.ids,
            &columns.created,
            &columns.statuses,
            &columns.outcomes,
            &columns.guards,
            &columns.reasons,
            &columns.clients,
            &columns.orgs,
            &columns.waiting_for,
            &columns.deliveries,
            &columns.read_failures,
            &columns.read_again_at,
            &columns.endpoints,
            &of_a_delivery.as_slice(),
        ],
    )
    .await
}

/// Locks rows in the order of their keys, so that two batches that update the same ones wait for each other in one direction.
///
/// For the rest of the transaction nothing is planned to read a table whole, for the reason given in
/// [`find_known_events`]. Together with keys as `= ANY` this and what its callers do next go by the primary key.
async fn lock_events(txn: &Transaction<'_>, ids: &[&str], created: &[DateTime<Utc>]) -> Result<(), DbError> {
    plan_by_index_in_txn(txn).await?;
    let sql = "SELECT 1 FROM billing_events \
               WHERE stripe_event_id = ANY ($1) AND consumer = 'billing' AND created = ANY ($2) \
               ORDER BY stripe_event_id, created FOR UPDATE";
    execute(txn, "lock_events", sql, &[&ids, &created]).await?;
    Ok(())
}

/// Adds repeats to the counts of events that were decided before.
///
/// # Errors
/// When the database does not answer.
pub async fn count_repeats_in_txn(txn: &Transaction<'_>, repeats: &BTreeMap<EventKey, i32>) -> Result<u64, DbError> {
    let ids: Vec<&str> = repeats.keys().map(|(id, _)| id.as_str()).collect();
    let created: Vec<DateTime<Utc>> = repeats.keys().map(|(_, created)| *created).collect();
    let counts: Vec<i32> = repeats.values().copied().collect();
    let sql = "UPDATE billing_events AS e SET deliveries = e.deliveries + u.count \
               FROM unnest($1::text[], $2::timestamptz[], $3::int[]) AS u (id, created, count) \
               WHERE e.stripe_event_id = ANY ($1) AND e.created = ANY ($2) AND e.consumer = 'billing' \
                   AND e.stripe_event_id = u.id AND e.created = u.created";
    lock_events(txn, &ids, &created).await?;
    execute(txn, "count_repeats", sql, &[&ids, &created, &counts]).await
}

fn sorted<'e, 'a>(events: &'e [DecidedEvent<'a>]) -> Vec<&'e DecidedEvent<'a>> {
    let mut sorted: Vec<_> = events.iter().collect();
    sorted.sort_unstable_by(|a, b| (a.event_id, a.created).cmp(&(b.event_id, b.created)));
    sorted
}

/// What insert and update have in common, column by column.
struct Columns<'a> {
    ids: Vec<&'a str>,
    created: Vec<DateTime<Utc>>,
    endpoints: Vec<&'a str>,
    statuses: Vec<&'a str>,
    outcomes: Vec<&'a str>,
    guards: Vec<Option<&'a str>>,
    reasons: Vec<&'a str>,
    clients: Vec<Option<&'a str>>,
    orgs: Vec<Option<&'a str>>,
    waiting_for: Vec<Option<&'a str>>,
    deliveries: Vec<i32>,
    read_failures: Vec<Option<i32>>,
    read_again_at: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn of(events: &[&DecidedEvent<'a>]) -> Self {
        Self {
            ids: events.iter().map(|event| event.event_id).collect(),
            created: events.iter().map(|event| event.created).collect(),
            endpoints: events.iter().map(|event| event.endpoint).collect(),
            statuses: events.iter().map(|event| status(event.outcome)).collect(),
            outcomes: events.iter().map(|event| event.outcome).collect(),
            guards: events.iter().map(|event| event.guard).collect(),
            reasons: events.iter().map(|event| event.reason).collect(),
            clients: events.iter().map(|event| event.client).collect(),
            orgs: events.iter().map(|event| event.org).collect(),
            waiting_for: events.iter().map(|event| event.waiting_for).collect(),
            deliveries: events.iter().map(|event| event.deliveries).collect(),
            read_failures: events.iter().map(|event| Some(event.read_again?.failures)).collect(),
            read_again_at: events.iter().map(|event| Some(event.read_again?.at)).collect(),
        }
    }
}
