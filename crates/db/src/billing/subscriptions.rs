//! Registers of subscriptions as they are loaded, and the payments that belong to them. Registers are written by [`super::registers`].

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::{GenericClient, Transaction};
use domain::billing::fact::{Act, KnownAct, ONE_ACT_WINDOW};
use domain::billing::payment::Evidence;
use domain::billing::register::Subscription;
use domain::billing::subscription::{Rank, Snapshots};
use domain::ids::{CheckoutSessionId, InvoiceId, SubscriptionId};
use domain::time::UnixSeconds;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::evidence_json::{self, StoredEvidence};
use super::observation_json::{Stored, StoredRegister, from_json};
use super::{corrupt, execute, query};
use crate::DbError;
use crate::error::During as _;

/// A subscription and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// The subscription.
    pub id: SubscriptionId,
    /// The client.
    pub client: String,
    /// The client's organisation.
    pub org: String,
    /// The customer.
    pub customer: String,
    /// What is known of it. Its acts are loaded by [`load_acts_in_txn`].
    pub subscription: Subscription,
}

/// Loads every subscription of the clients, and those of the ids, whoever's they are.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn load_subscriptions_in_txn(
    txn: &Transaction<'_>,
    clients: &[&str],
    ids: &[&str],
) -> Result<Vec<SubscriptionRow>, DbError> {
    let mut found = load_where(txn, "client_id = ANY ($1)", clients).await?;
    // Mostly the clients' own are all that is spoken of; the others are new, or somebody else's.
    let own: BTreeSet<&str> = found.iter().map(|row| row.id.as_str()).collect();
    let others: Vec<&str> = ids.iter().copied().filter(|id| !own.contains(id)).collect();
    if !others.is_empty() {
        found.extend(load_where(txn, "stripe_subscription_id = ANY ($1)", &others).await?);
    }
    Ok(found)
}

async fn load_where(txn: &Transaction<'_>, condition: &str, keys: &[&str]) -> Result<Vec<SubscriptionRow>, DbError> {
    let sql = format!(
        "SELECT stripe_subscription_id, client_id, org_id, stripe_customer_id, snapshot_rank, snapshot_at, observations, \
             first_paid_at, last_paid_at, last_failed_at, at_other_prices, paid_before_price, billed_otherwise \
         FROM billing_subscriptions WHERE {condition}"
    );
    query(txn, "load_subscriptions", &sql, &[&keys])
        .await?
        .iter()
        .map(read_subscription)
        .collect()
}

/// Every subscription of a client, without its acts.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn list_subscriptions(conn: &impl GenericClient, client: &str) -> Result<Vec<SubscriptionRow>, DbError> {
    let sql = "SELECT stripe_subscription_id, client_id, org_id, stripe_customer_id, snapshot_rank, snapshot_at, observations, \
                   first_paid_at, last_paid_at, last_failed_at, at_other_prices, paid_before_price, billed_otherwise \
               FROM billing_subscriptions WHERE client_id = $1 ORDER BY stripe_subscription_id";
    let rows = conn.query(sql, &[&client]).await.during("list_subscriptions")?;
    rows.iter().map(read_subscription).collect()
}

fn read_subscription(row: &Row) -> Result<SubscriptionRow, DbError> {
    let corrupt = |column: &'static str| corrupt("load_subscriptions", column);
    let id: String = row.get("stripe_subscription_id");
    let rank: Option<i16> = row.get("snapshot_rank");
    let at: Option<i64> = row.get("snapshot_at");
    let observations: Option<Json<Vec<Stored>>> = row.try_get("observations").map_err(|_| corrupt("observations"))?;
    let snapshots = match (rank, at, observations) {
        (Some(rank), Some(at), Some(observations)) => {
            let rank = Rank::from_number(rank).ok_or_else(|| corrupt("snapshot_rank"))?;
            let tied = from_json(observations).ok_or_else(|| corrupt("observations"))?;
            Some(Snapshots::restore(rank, UnixSeconds(at), tied).ok_or_else(|| corrupt("observations"))?)
        }
        (None, None, None) => None,
        (_, _, _) => return Err(corrupt("snapshot_rank")),
    };
    let others: Option<Json<StoredRegister>> =
        row.try_get("at_other_prices").map_err(|_| corrupt("at_other_prices"))?;
    let others = others.map(|Json(stored)| stored.restore().ok_or_else(|| corrupt("at_other_prices")));
    let billed_otherwise: Option<Json<Vec<StoredEvidence>>> = row
        .try_get("billed_otherwise")
        .map_err(|_| corrupt("billed_otherwise"))?;
    let billed_otherwise =
        billed_otherwise.map_or_else(|| Some(BTreeMap::new()), |Json(stored)| evidence_json::restore(stored));
    let seconds = |column: &str| row.get::<_, Option<i64>>(column).map(UnixSeconds);
    Ok(SubscriptionRow {
        id: SubscriptionId::parse(id).map_err(|_| corrupt("stripe_subscription_id"))?,
        client: row.get("client_id"),
        org: row.get("org_id"),
        customer: row.get("stripe_customer_id"),
        subscription: Subscription {
            snapshots,
            at_other_prices: others.transpose()?,
            evidence: Evidence::restore(
                seconds("first_paid_at"),
                seconds("last_paid_at"),
                seconds("last_failed_at"),
            ),
            billed_otherwise: billed_otherwise.ok_or_else(|| corrupt("billed_otherwise"))?,
            // The column has the name of what it began as.
            paid_as_agreed: row.get("paid_before_price"),
            acts: Vec::new(),
        },
    })
}

/// Subscriptions whose last observations differ within one second, at most `limit`, in no order: what cannot be read holds up nobody.
///
/// # Errors
/// When the database does not answer.
pub async fn find_undecided(
    conn: &impl GenericClient,
    limit: i64,
    but_for: &[String],
) -> Result<Vec<Undecided>, DbError> {
    let sql = "SELECT stripe_subscription_id, stripe_customer_id, greatest(snapshot_at, (at_other_prices ->> 'at')::bigint) \
               FROM billing_subscriptions \
               WHERE undecided AND NOT stripe_subscription_id = ANY ($2) ORDER BY random() LIMIT $1";
    let rows = conn.query(sql, &[&limit, &but_for]).await.during("find_undecided")?;
    let undecided = |row: &Row| {
        let id: String = row.get(0);
        Ok(Undecided {
            id: SubscriptionId::parse(id).map_err(|_| corrupt("find_undecided", "stripe_subscription_id"))?,
            customer: row.get(1),
            at: UnixSeconds(row.get::<_, Option<i64>>(2).unwrap_or_default()),
        })
    };
    rows.iter().map(undecided).collect()
}

/// A subscription that events alone do not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// The subscription.
    pub id: SubscriptionId,
    /// Its customer.
    pub customer: String,
    /// The second in which its observations differ.
    pub at: UnixSeconds,
}

/// Loads the payments that a repeat of could be among events between `earliest` and `latest`: those of the objects themselves,
/// each subscription's purchase, and what was paid within the window of one act.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn load_acts_in_txn(
    txn: &Transaction<'_>,
    subscriptions: &[&str],
    earliest: UnixSeconds,
    latest: UnixSeconds,
    objects: &[&str],
) -> Result<BTreeMap<SubscriptionId, Vec<KnownAct>>, DbError> {
    let window = i64::try_from(ONE_ACT_WINDOW).unwrap_or(i64::MAX);
    let (from, to) = (earliest.0.saturating_sub(window), latest.0.saturating_add(window));
    let sql = "SELECT object_id, kind, stripe_subscription_id, invoice_id, billing_reason, paid_at FROM billing_payments \
               WHERE stripe_subscription_id = ANY ($1) AND paid_at IS NOT NULL \
                   AND (kind = 'checkout' OR billing_reason = 'subscription_create' OR paid_at BETWEEN $2 AND $3 \
                       OR object_id = ANY ($4))";
    let mut acts: BTreeMap<SubscriptionId, Vec<KnownAct>> = BTreeMap::new();
    for row in query(txn, "load_acts", sql, &[&subscriptions, &from, &to, &objects]).await? {
        let (subscription, act) = read_act(&row)?;
        acts.entry(subscription).or_default().push(act);
    }
    Ok(acts)
}

fn read_act(row: &Row) -> Result<(SubscriptionId, KnownAct), DbError> {
    let corrupt = |column: &'static str| corrupt("load_acts", column);
    let object: String = row.get("object_id");
    let invoice: Option<String> = row.get("invoice_id");
    let act = match row.get::<_, &str>("kind") {
        "checkout" => Act::Checkout {
            session: CheckoutSessionId::parse(object).map_err(|_| corrupt("object_id"))?,
            invoice: invoice
                .map(InvoiceId::parse)
                .transpose()
                .map_err(|_| corrupt("invoice_id"))?,
        },
        _ => Act::Invoice {
            invoice: InvoiceId::parse(object).map_err(|_| corrupt("object_id"))?,
            first: row.get::<_, Option<&str>>("billing_reason") == Some("subscription_create"),
        },
    };
    let subscription: String = row.get("stripe_subscription_id");
    let subscription = SubscriptionId::parse(subscription).map_err(|_| corrupt("stripe_subscription_id"))?;
    Ok((
        subscription,
        KnownAct {
            act,
            paid_at: UnixSeconds(row.get("paid_at")),
        },
    ))
}

/// One event's word on a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    /// The invoice or the checkout session.
    pub act: Act,
    /// The client.
    pub client: String,
    /// The client's organisation.
    pub org: String,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Minor units.
    pub amount: i64,
    /// Their currency in lower case.
    pub currency: Option<String>,
    /// When it was paid.
    pub paid_at: Option<UnixSeconds>,
    /// When it failed.
    pub failed_at: Option<UnixSeconds>,
}

/// Records payments: first payment, last failure and greatest amount are kept, so that order and repeats do not matter. What says
/// nothing new (`invoice.payment_succeeded` after `invoice.paid`) is looked up and left alone, which spares a lock and a new
/// version of the row. The caller holds the clients' locks, so that what was looked up stays so.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn upsert_payments_in_txn(txn: &Transaction<'_>, rows: &[PaymentRow]) -> Result<u64, DbError> {
    let mut folded: BTreeMap<&str, PaymentRow> = BTreeMap::new();
    for row in rows {
        folded
            .entry(row.act.object_id())
            .and_modify(|known| known.fold(row))
            .or_insert_with(|| row.clone());
    }
    let rows: Vec<&PaymentRow> = folded.values().collect();
    let ids: Vec<&str> = rows.iter().map(|row| row.act.object_id()).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| kind(&row.act)).collect();
    let clients: Vec<&str> = rows.iter().map(|row| row.client.as_str()).collect();
    let orgs: Vec<&str> = rows.iter().map(|row| row.org.as_str()).collect();
    let subscriptions: Vec<&str> = rows.iter().map(|row| row.subscription.as_str()).collect();
    let invoices: Vec<Option<&str>> = rows
        .iter()
        .map(|row| row.act.invoice().map(InvoiceId::as_str))
        .collect();
    let reasons: Vec<Option<&str>> = rows.iter().map(|row| billing_reason(&row.act)).collect();
    let amounts: Vec<i64> = rows.iter().map(|row| row.amount).collect();
    let currencies: Vec<Option<&str>> = rows.iter().map(|row| row.currency.as_deref()).collect();
    let paid: Vec<Option<i64>> = rows.iter().map(|row| row.paid_at.map(|at| at.0)).collect();
    let failed: Vec<Option<i64>> = rows.iter().map(|row| row.failed_at.map(|at| at.0)).collect();
    // OFFSET 0: key by key, whatever the table's size was when this was planned (see `inbox::find_known_events`).
    let sql = "INSERT INTO billing_payments AS p (object_id, kind, client_id, org_id, stripe_subscription_id, invoice_id, \
                   billing_reason, amount, currency, paid_at, failed_at) \
               SELECT u.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
                       $8::bigint[], $9::text[], $10::bigint[], $11::bigint[]) \
                       AS u (object_id, kind, client_id, org_id, subscription, invoice_id, reason, amount, currency, paid_at, \
                           failed_at) \
                   LEFT JOIN LATERAL (SELECT * FROM billing_payments WHERE object_id = u.object_id OFFSET 0) AS known ON true \
               WHERE known.object_id IS NULL OR known.amount < u.amount \
                   OR (known.billing_reason IS NULL AND u.reason IS NOT NULL) \
                   OR (known.invoice_id IS NULL AND u.invoice_id IS NOT NULL) \
                   OR (u.paid_at IS NOT NULL AND u.paid_at < coalesce(known.paid_at, u.paid_at + 1)) \
                   OR (u.failed_at IS NOT NULL AND u.failed_at > coalesce(known.failed_at, u.failed_at - 1)) \
               ON CONFLICT (object_id) DO UPDATE SET amount = greatest(p.amount, EXCLUDED.amount), \
                   billing_reason = coalesce(p.billing_reason, EXCLUDED.billing_reason), \
                   invoice_id = coalesce(p.invoice_id, EXCLUDED.invoice_id), \
                   paid_at = least(p.paid_at, EXCLUDED.paid_at), failed_at = greatest(p.failed_at, EXCLUDED.failed_at), \
                   updated_at = now() \
               WHERE p.client_id = EXCLUDED.client_id";
    execute(
        txn,
        "upsert_payments",
        sql,
        &[
            &ids,
            &kinds,
            &clients,
            &orgs,
            &subscriptions,
            &invoices,
            &reasons,
            &amounts,
            &currencies,
            &paid,
            &failed,
        ],
    )
    .await
}

const fn kind(act: &Act) -> &'static str {
    match act {
        Act::Checkout { .. } => "checkout",
        Act::Invoice { .. } => "invoice",
    }
}

const fn billing_reason(act: &Act) -> Option<&'static str> {
    match act {
        Act::Invoice { first: true, .. } => Some("subscription_create"),
        Act::Invoice { first: false, .. } | Act::Checkout { .. } => None,
    }
}

impl PaymentRow {
    fn fold(&mut self, other: &Self) {
        self.amount = self.amount.max(other.amount);
        self.paid_at = match (self.paid_at, other.paid_at) {
            (Some(own), Some(others)) => Some(own.min(others)),
            (own, others) => own.or(others),
        };
        self.failed_at = self.failed_at.max(other.failed_at);
    }
}
