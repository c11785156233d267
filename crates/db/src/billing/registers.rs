//! Writing the registers of subscriptions back.
//!
//! The caller holds the locks of the clients. What was loaded under them is updated: `ON CONFLICT DO UPDATE` would lock the row first,
//! which is one more write to the heap and to the log for each. What is new is inserted, and another client may have been faster.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use domain::time::UnixSeconds;
use tokio_postgres::types::{Json, ToSql};

use super::evidence_json::{self, StoredEvidence};
use super::execute;
use super::observation_json::{Stored, StoredRegister, to_json};
use super::subscriptions::SubscriptionRow;
use crate::DbError;

/// Writes over registers that were loaded for these clients, each once. Answers how many were found.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn update_subscriptions_in_txn(txn: &Transaction<'_>, rows: &[SubscriptionRow]) -> Result<u64, DbError> {
    // The keys as ANY as well: it is the primary key that is gone by, whatever the table's size was when this was planned.
    let sql = "UPDATE billing_subscriptions AS s SET snapshot_rank = u.snapshot_rank, snapshot_at = u.snapshot_at, \
                   observations = u.observations, status = u.status, price_id = u.price_id, \
                   current_period_end = u.current_period_end, first_paid_at = u.first_paid_at, last_paid_at = u.last_paid_at, \
                   last_failed_at = u.last_failed_at, undecided = u.undecided, at_other_prices = u.at_other_prices, \
                   paid_before_price = u.paid_before_price, billed_otherwise = u.billed_otherwise, updated_at = now() \
               FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::jsonb[], $6::text[], $7::text[], \
                   $8::timestamptz[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bool[], $13::jsonb[], $14::bool[], $15::jsonb[]) \
                   AS u (id, client_id, snapshot_rank, snapshot_at, observations, status, price_id, current_period_end, \
                       first_paid_at, last_paid_at, last_failed_at, undecided, at_other_prices, paid_before_price, billed_otherwise) \
               WHERE s.stripe_subscription_id = ANY ($1) AND s.stripe_subscription_id = u.id AND s.client_id = u.client_id";
    let sorted = sorted(rows);
    let columns = Columns::of(&sorted);
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&columns.ids, &columns.clients];
    params.extend(columns.said());
    execute(txn, "update_subscriptions", sql, &params).await
}

/// Writes registers that were not there, each once. Answers how many are these clients' now.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn upsert_subscriptions_in_txn(txn: &Transaction<'_>, rows: &[SubscriptionRow]) -> Result<u64, DbError> {
    let sql = "INSERT INTO billing_subscriptions AS s (stripe_subscription_id, client_id, org_id, stripe_customer_id, \
                   snapshot_rank, snapshot_at, observations, status, price_id, current_period_end, first_paid_at, last_paid_at, \
                   last_failed_at, undecided, at_other_prices, paid_before_price, billed_otherwise) \
               SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::jsonb[], \
                   $8::text[], $9::text[], $10::timestamptz[], $11::bigint[], $12::bigint[], $13::bigint[], \
                   $14::bool[], $15::jsonb[], $16::bool[], $17::jsonb[]) \
               ON CONFLICT (stripe_subscription_id) DO UPDATE SET snapshot_rank = EXCLUDED.snapshot_rank, \
                   snapshot_at = EXCLUDED.snapshot_at, observations = EXCLUDED.observations, status = EXCLUDED.status, \
                   price_id = EXCLUDED.price_id, current_period_end = EXCLUDED.current_period_end, \
                   first_paid_at = EXCLUDED.first_paid_at, last_paid_at = EXCLUDED.last_paid_at, \
                   last_failed_at = EXCLUDED.last_failed_at, undecided = EXCLUDED.undecided, at_other_prices = EXCLUDED.at_other_prices, \
                   paid_before_price = EXCLUDED.paid_before_price, billed_otherwise = EXCLUDED.billed_otherwise, \
                   updated_at = now() \
               WHERE s.client_id = EXCLUDED.client_id";
    let sorted = sorted(rows);
    let columns = Columns::of(&sorted);
    let orgs: Vec<&str> = sorted.iter().map(|row| row.org.as_str()).collect();
    let customers: Vec<&str> = sorted.iter().map(|row| row.customer.as_str()).collect();
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&columns.ids, &columns.clients, &orgs, &customers];
    params.extend(columns.said());
    execute(txn, "upsert_subscriptions", sql, &params).await
}

fn sorted(rows: &[SubscriptionRow]) -> Vec<&SubscriptionRow> {
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    sorted
}

/// What both have in common, column by column.
struct Columns<'a> {
    ids: Vec<&'a str>,
    clients: Vec<&'a str>,
    ranks: Vec<Option<i16>>,
    times: Vec<Option<i64>>,
    observations: Vec<Option<Json<Vec<Stored>>>>,
    statuses: Vec<Option<&'a str>>,
    prices: Vec<Option<&'a str>>,
    period_ends: Vec<Option<DateTime<Utc>>>,
    first: Vec<Option<i64>>,
    last: Vec<Option<i64>>,
    failed: Vec<Option<i64>>,
    undecided: Vec<bool>,
    at_other_prices: Vec<Option<Json<StoredRegister>>>,
    paid_as_agreed: Vec<bool>,
    billed_otherwise: Vec<Option<Json<Vec<StoredEvidence>>>>,
}

impl<'a> Columns<'a> {
    fn of(rows: &[&'a SubscriptionRow]) -> Self {
        let snapshots = || rows.iter().map(|row| row.subscription.snapshots.as_ref());
        let evidence = || rows.iter().map(|row| row.subscription.evidence);
        let seconds = |time: Option<UnixSeconds>| time.map(|time| time.0);
        let mut columns = Self {
            ids: rows.iter().map(|row| row.id.as_str()).collect(),
            clients: rows.iter().map(|row| row.client.as_str()).collect(),
            ranks: snapshots().map(|snapshots| Some(snapshots?.rank().number())).collect(),
            times: snapshots().map(|snapshots| Some(snapshots?.at().0)).collect(),
            observations: snapshots().map(|snapshots| Some(to_json(snapshots?.tied()))).collect(),
            statuses: Vec::with_capacity(rows.len()),
            prices: Vec::with_capacity(rows.len()),
            period_ends: Vec::with_capacity(rows.len()),
            first: evidence().map(|evidence| seconds(evidence.first_paid())).collect(),
            last: evidence().map(|evidence| seconds(evidence.last_paid())).collect(),
            failed: evidence().map(|evidence| seconds(evidence.last_failed())).collect(),
            undecided: Vec::with_capacity(rows.len()),
            at_other_prices: rows
                .iter()
                .map(|row| row.subscription.at_other_prices.as_ref().map(StoredRegister::of))
                .collect(),
            paid_as_agreed: rows.iter().map(|row| row.subscription.paid_as_agreed).collect(),
            billed_otherwise: rows
                .iter()
                .map(|row| evidence_json::store(&row.subscription.billed_otherwise))
                .collect(),
        };
        for row in rows {
            let condition = row.subscription.condition();
            columns
                .undecided
                .push(condition.is_some_and(|condition| condition.undecided));
            let snapshot = condition.map(|condition| condition.now);
            columns.statuses.push(snapshot.map(|snapshot| snapshot.status.as_str()));
            columns
                .prices
                .push(snapshot.and_then(|snapshot| snapshot.price.as_ref().map(AsRef::as_ref)));
            let end = snapshot.and_then(|snapshot| snapshot.current_period_end);
            columns
                .period_ends
                .push(end.and_then(|end| DateTime::from_timestamp(end.0, 0)));
        }
        columns
    }

    /// What is known of the subscriptions, in the order in which both statements have it.
    fn said(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.ranks,
            &self.times,
            &self.observations,
            &self.statuses,
            &self.prices,
            &self.period_ends,
            &self.first,
            &self.last,
            &self.failed,
            &self.undecided,
            &self.at_other_prices,
            &self.paid_as_agreed,
            &self.billed_otherwise,
        ]
    }
}
