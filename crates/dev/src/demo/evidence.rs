//! What is in the database about this run, read as the superuser, who sees everything.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio_postgres::{Client, NoTls};

use super::cast::Cast;
use super::listener::Announcement;
use super::stage::Deal;

/// A row of the archive.
#[derive(Debug, Clone)]
pub(super) struct Archived {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) outcome: String,
    pub(super) guard: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) payload: Option<String>,
    pub(super) deliveries: i32,
    /// Names of what it waits for, such as `customer:cus_1`.
    pub(super) waiting_for: Vec<String>,
}

/// A decision.
#[derive(Debug, Clone)]
pub(super) struct Decided {
    pub(super) event: String,
    pub(super) kind: String,
    pub(super) client: Option<String>,
    pub(super) outcome: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

impl Decided {
    pub(super) fn changed_state(&self) -> bool {
        self.from != self.to
    }
}

/// A client's row.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) state: String,
    pub(super) version: i64,
}

/// An unresolved alert that was raised or repeated in this run.
#[derive(Debug, Clone)]
pub(super) struct Raised {
    pub(super) key: String,
    pub(super) severity: String,
    pub(super) summary: String,
    pub(super) occurrences: i64,
}

/// How often each unresolved alert had been raised before.
pub(super) type Baseline = BTreeMap<String, i64>;

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) archived: Vec<Archived>,
    pub(super) decided: Vec<Decided>,
    pub(super) clients: BTreeMap<String, Standing>,
    pub(super) alerts: Vec<Raised>,
    /// Unresolved alerts that share a key with another one.
    pub(super) repeated_keys: i64,
    pub(super) forged: i64,
    pub(super) outbox: i64,
    /// Refunds and disputes on record: whose, which, and how they stand.
    pub(super) money_back: BTreeSet<(String, String, String)>,
}

pub(super) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connecting to the database")?;
    tokio::spawn(connection);
    Ok(client)
}

impl Evidence {
    /// Of the events recorded since `since`, and of these clients.
    pub(super) async fn gather(
        db: &Client,
        since: DateTime<Utc>,
        cast: &Cast,
        forged: &[String],
    ) -> anyhow::Result<Self> {
        let archived = db
            .query(
                // What billing and escrow both decide on has a row of each. The one that is not decided speaks first, then billing's.
                "SELECT stripe_event_id, type, outcome, guard, reason, payload, deliveries, waiting_for
                 FROM (SELECT DISTINCT ON (stripe_event_id) stripe_event_id, type, outcome, guard, reason, payload, deliveries,
                              coalesce(waiting_for, '{}') AS waiting_for, recorded_at
                       FROM billing_events WHERE recorded_at >= $1
                       ORDER BY stripe_event_id, status = 'decided', consumer = 'escrow') AS each
                 ORDER BY recorded_at",
                &[&since],
            )
            .await
            .context("reading the archive")?;
        let decided = db
            .query(
                "SELECT event_id, event_type, client_id, outcome, from_state, to_state
                 FROM billing_decisions WHERE decided_at >= $1 ORDER BY id",
                &[&since],
            )
            .await
            .context("reading the decisions")?;
        let clients = db
            .query(
                "SELECT client_id, state, version FROM client_billing WHERE client_id = ANY($1)",
                &[&ids(cast)],
            )
            .await
            .context("reading the clients")?;
        let alerts = db
            .query(
                "SELECT alert_key, severity, summary, occurrences FROM billing_alerts
                 WHERE NOT resolved AND last_seen_at >= $1
                 ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), alert_key",
                &[&since],
            )
            .await
            .context("reading the alerts")?;
        let returned = db
            .query(
                "SELECT client_id, stripe_refund_id, status FROM billing_refunds WHERE client_id = ANY($1)
                 UNION ALL
                 SELECT client_id, stripe_dispute_id, status FROM billing_disputes WHERE client_id = ANY($1)",
                &[&ids(cast)],
            )
            .await
            .context("reading refunds and disputes")?;
        let repeated = "SELECT count(*) FROM (SELECT 1 FROM billing_alerts WHERE NOT resolved
                        GROUP BY alert_key HAVING count(*) > 1) AS more";
        let forged_rows = "SELECT (SELECT count(*) FROM billing_events WHERE stripe_event_id = ANY($1))
                         + (SELECT count(*) FROM billing_decisions WHERE event_id = ANY($1))";
        Ok(Self {
            archived: archived
                .iter()
                .map(|row| Archived {
                    id: row.get(0),
                    kind: row.get(1),
                    outcome: row.get(2),
                    guard: row.get(3),
                    reason: row.get(4),
                    payload: row.get(5),
                    deliveries: row.get(6),
                    waiting_for: row.get(7),
                })
                .collect(),
            decided: decided
                .iter()
                .map(|row| Decided {
                    event: row.get(0),
                    kind: row.get(1),
                    client: row.get(2),
                    outcome: row.get(3),
                    from: row.get(4),
                    to: row.get(5),
                })
                .collect(),
            clients: clients
                .iter()
                .map(|row| {
                    let standing = Standing {
                        state: row.get(1),
                        version: row.get(2),
                    };
                    (row.get(0), standing)
                })
                .collect(),
            alerts: alerts
                .iter()
                .map(|row| Raised {
                    key: row.get(0),
                    severity: row.get(1),
                    summary: row.get(2),
                    occurrences: row.get(3),
                })
                .collect(),
            repeated_keys: number(db, repeated, &[]).await?,
            forged: number(db, forged_rows, &[&forged]).await?,
            outbox: number(db, "SELECT count(*) FROM outbox", &[]).await?,
            money_back: returned
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2)))
                .collect(),
        })
    }

    /// Archived rows by event id.
    pub(super) fn rows(&self) -> BTreeMap<&str, Vec<&Archived>> {
        let mut rows: BTreeMap<&str, Vec<&Archived>> = BTreeMap::new();
        for row in &self.archived {
            rows.entry(&row.id).or_default().push(row);
        }
        rows
    }
}

/// The unresolved alerts before the story.
pub(super) async fn baseline(db: &Client) -> anyhow::Result<Baseline> {
    let rows = db
        .query(
            "SELECT alert_key, occurrences FROM billing_alerts WHERE NOT resolved",
            &[],
        )
        .await
        .context("reading the alerts")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// How many alerts have not been raised as often as they have to be.
pub(super) async fn alerts_to_come(
    db: &Client,
    expected: &BTreeMap<String, i64>,
    before: &Baseline,
) -> anyhow::Result<usize> {
    let now = baseline(db).await?;
    let times = |alerts: &Baseline, key: &str| alerts.get(key).copied().unwrap_or_default();
    let to_come = expected
        .iter()
        .filter(|(key, more)| times(&now, key) - times(before, key) < **more);
    Ok(to_come.count())
}

/// What is not finished: events that were answered 200 and are not archived (as often as they came), waiting events of known
/// customers, rows of the outbox, and changes of state that were not announced.
pub(super) async fn open_ends(
    db: &Client,
    taken: &BTreeMap<String, usize>,
    cast: &Cast,
    heard: &[Announcement],
) -> anyhow::Result<usize> {
    let events: Vec<&str> = taken.keys().map(String::as_str).collect();
    let times: Vec<i64> = taken
        .values()
        .map(|times| i64::try_from(*times).unwrap_or(i64::MAX))
        .collect();
    let clients = ids(cast);
    let customers: Vec<String> = cast.players().into_iter().flat_map(|player| player.customers).collect();
    let since = "
        SELECT (SELECT coalesce(sum(greatest(given.times - coalesce(found.deliveries, 0), 0)), 0)::bigint
                FROM unnest($1::text[], $2::bigint[]) AS given (id, times)
                LEFT JOIN (SELECT stripe_event_id, min(deliveries)::bigint AS deliveries FROM billing_events
                           WHERE stripe_event_id = ANY($1) GROUP BY 1) AS found ON found.stripe_event_id = given.id)
             + (SELECT count(*) FROM outbox)
             + (SELECT count(*) FROM billing_events WHERE status = 'waiting'
                   AND (waiting_for && ARRAY(SELECT 'customer:' || customer FROM unnest($3::text[]) AS customer)
                        OR reason = 'charge_unknown')),
               (SELECT coalesce(sum(version), 0)::bigint FROM client_billing WHERE client_id = ANY($4))";
    let row = db
        .query_one(since, &[&events, &times, &customers, &clients])
        .await
        .context("asking what is not finished")?;
    let (open, changes): (i64, i64) = (row.get(0), row.get(1));
    let known: BTreeSet<&str> = clients.iter().map(String::as_str).collect();
    let announced = heard
        .iter()
        .filter(|one| known.contains(one.client_id.as_str()))
        .count();
    let silent = usize::try_from(changes)?.saturating_sub(announced);
    Ok(usize::try_from(open)?.saturating_add(silent))
}

/// Events that wait for this customer.
pub(super) async fn waiting(db: &Client, customer: &str) -> anyhow::Result<i64> {
    let waiting =
        "SELECT count(*) FROM billing_events WHERE status = 'waiting' AND waiting_for @> ARRAY['customer:' || $1]";
    number(db, waiting, &[&customer]).await
}

/// How many escrows have not come to their end.
pub(super) async fn escrows_to_end(db: &Client, deals: &[Deal]) -> anyhow::Result<usize> {
    let ids: Vec<&str> = deals.iter().map(|deal| deal.id.as_str()).collect();
    let ends: Vec<&str> = deals.iter().map(|deal| deal.ends).collect();
    let open = "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS deal (id, ends)
                JOIN escrow_transactions AS e ON e.id = deal.id AND e.status <> deal.ends";
    Ok(usize::try_from(number(db, open, &[&ids, &ends]).await?)?)
}

/// What the refund breaker has let pass on this UTC day, in cents.
pub(super) async fn given_back_today(db: &Client) -> anyhow::Result<i64> {
    let today = "SELECT coalesce(sum((amounts->>'eur')::bigint), 0)::bigint FROM refund_breaker_days
                 WHERE day = (now() AT TIME ZONE 'UTC')::date";
    number(db, today, &[]).await
}

fn ids(cast: &Cast) -> Vec<String> {
    cast.players().into_iter().map(|player| player.id).collect()
}

async fn number(db: &Client, query: &str, given: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> anyhow::Result<i64> {
    let row = db
        .query_one(query, given)
        .await
        .with_context(|| format!("counting: {query}"))?;
    Ok(row.get(0))
}
