//! Events that wait: for a customer, a client or a charge to become known, or for an object to be read from Stripe.

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use domain::billing::contract::PaymentSource;
use domain::billing::decision::Reason;
use tokio_postgres::types::ToSql;

use super::owners::{CHARGE_PREFIX, CLIENT_PREFIX, CUSTOMER_PREFIX, OBJECT_PREFIX, charge_name, client_name};
use super::{execute, plan_by_index_in_txn, query};
use crate::error::During as _;
use crate::{BODIES_AT_ONCE, DbError};

/// An event that waited, to be decided again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingEvent {
    /// Stripe's id.
    pub event_id: String,
    /// Stripe's `created`.
    pub created: DateTime<Utc>,
    /// Its type.
    pub kind: String,
    /// `platform` or `connect`.
    pub endpoint: String,
    /// When ingest took it in.
    pub received_at: DateTime<Utc>,
    /// The body.
    pub payload: String,
}

/// Marks the events that wait for one of these names, to be decided again by and by ([`take_released_events_in_txn`]), and answers how many
/// there are. The caller holds the names' locks (see [`super::owners::lock_names_in_txn`]), so that none is set aside meanwhile.
///
/// # Errors
/// When the database does not answer.
pub async fn release_waiting_events_in_txn(txn: &Transaction<'_>, names: &[String]) -> Result<u64, DbError> {
    // The previous version writes what an event waits for into two columns of their own.
    let sql = "UPDATE billing_events SET read_again_at = '-infinity' \
               WHERE consumer = 'billing' AND status = 'waiting' AND payload IS NOT NULL \
                   AND (waiting_for && $1 OR waiting_customer = ANY ($2) OR waiting_client = ANY ($3))";
    let of_kind = |prefix| {
        names
            .iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .collect::<Vec<_>>()
    };
    let (customers, clients) = (of_kind(CUSTOMER_PREFIX), of_kind(CLIENT_PREFIX));
    plan_by_index_in_txn(txn).await?;
    execute(txn, "release_waiting_events", sql, &[&names, &customers, &clients]).await
}

/// Takes events that were released, at most `limit` and as many as fit into [`BODIES_AT_ONCE`], but always one, oldest first, to be sent back: each once, until it has been looked at again.
///
/// # Errors
/// When the database does not answer.
pub async fn take_released_events_in_txn(txn: &Transaction<'_>, limit: i64) -> Result<Vec<WaitingEvent>, DbError> {
    let sql = "WITH locked AS ( \
                   SELECT stripe_event_id, created, octet_length(payload)::bigint AS size FROM billing_events \
                   WHERE consumer = 'billing' AND status = 'waiting' AND read_again_at = '-infinity' \
                       AND payload IS NOT NULL ORDER BY created, stripe_event_id LIMIT $1 FOR UPDATE SKIP LOCKED), \
               summed AS ( \
                   SELECT stripe_event_id, created, size, sum(size) OVER (ORDER BY created, stripe_event_id) AS total FROM locked), \
               taken AS ( \
                   UPDATE billing_events AS e SET read_again_at = NULL \
                   FROM summed AS w \
                   WHERE e.stripe_event_id = w.stripe_event_id AND e.created = w.created AND e.consumer = 'billing' \
                       AND (w.total <= $2::bigint OR w.total = w.size) \
                   RETURNING e.stripe_event_id, e.created, e.type, e.endpoint, e.received_at, e.payload) \
               SELECT * FROM taken ORDER BY created, stripe_event_id";
    plan_by_index_in_txn(txn).await?;
    let rows = query(txn, "take_released_events", sql, &[&limit, &BODIES_AT_ONCE]).await?;
    Ok(rows.iter().map(WaitingEvent::read).collect())
}

/// Kinds of objects, as the paths that their URLs begin with (`/v1/charges`), that some event waits for whose time has come.
///
/// # Errors
/// When the database does not answer.
pub async fn find_kinds_waited_for(conn: &impl GenericClient, now: DateTime<Utc>) -> Result<Vec<String>, DbError> {
    // Everything before the last slash.
    let sql = "SELECT DISTINCT substring(substr(waiting_for[1], length($1) + 1) FROM '(.*)/') FROM billing_events \
               WHERE consumer = 'billing' AND status = 'waiting' AND reason = $2 AND starts_with(waiting_for[1], $1) \
                   AND (read_again_at IS NULL OR read_again_at <= $3)";
    let reason = Reason::ObjectNotRead.as_str();
    let rows = conn.query(sql, &[&OBJECT_PREFIX, &reason, &now]).await;
    let rows = rows.during("find_kinds_waited_for")?;
    Ok(rows.iter().filter_map(|row| row.get(0)).collect())
}

/// Takes events that wait for an object of this kind and whose time has come, at most `limit` and as many as fit into [`BODIES_AT_ONCE`],
/// but always one, those that are due longest first, to be sent back: each once, until it has been looked at again. What the previous version set aside has no time and is due.
///
/// # Errors
/// When the database does not answer.
pub async fn take_events_waiting_for_stripe_in_txn(
    txn: &Transaction<'_>,
    kind: &str,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<WaitingEvent>, DbError> {
    let sql = "WITH locked AS ( \
                   SELECT stripe_event_id, created, octet_length(payload)::bigint AS size, read_again_at FROM billing_events \
                   WHERE consumer = 'billing' AND status = 'waiting' AND reason = $1 AND waiting_for IS NOT NULL \
                       AND (read_again_at IS NULL OR read_again_at <= $4) AND starts_with(waiting_for[1], $3) \
                       AND payload IS NOT NULL ORDER BY read_again_at NULLS FIRST LIMIT $2 FOR UPDATE SKIP LOCKED), \
               summed AS ( \
                   SELECT stripe_event_id, created, size, \
                       sum(size) OVER (ORDER BY read_again_at NULLS FIRST, created, stripe_event_id) AS total FROM locked) \
               UPDATE billing_events AS e SET waiting_for = NULL \
               FROM summed AS w \
               WHERE e.stripe_event_id = w.stripe_event_id AND e.created = w.created AND e.consumer = 'billing' \
                   AND (w.total <= $5::bigint OR w.total = w.size) \
               RETURNING e.stripe_event_id, e.created, e.type, e.endpoint, e.received_at, e.payload";
    let reason = Reason::ObjectNotRead.as_str();
    let begins = format!("{OBJECT_PREFIX}{kind}/");
    plan_by_index_in_txn(txn).await?;
    let params: [&(dyn ToSql + Sync); 5] = [&reason, &limit, &begins, &now, &BODIES_AT_ONCE];
    let rows = query(txn, "take_events_waiting_for_stripe", sql, &params).await?;
    Ok(rows.iter().map(WaitingEvent::read).collect())
}

/// The events that wait for objects at Stripe, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitsForStripe {
    /// How many there are.
    pub count: i64,
    /// The one that came here first, and when.
    pub longest: (String, DateTime<Utc>),
}

/// How many events wait for objects at Stripe, and since when; none where nothing waits.
///
/// # Errors
/// When the database does not answer.
pub async fn measure_waits_for_stripe(conn: &impl GenericClient) -> Result<Option<WaitsForStripe>, DbError> {
    let sql = "SELECT count(*) OVER (), stripe_event_id, recorded_at FROM billing_events \
               WHERE consumer = 'billing' AND status = 'waiting' AND reason = $1 ORDER BY recorded_at LIMIT 1";
    let reason = Reason::ObjectNotRead.as_str();
    let row = conn
        .query_opt(sql, &[&reason])
        .await
        .during("measure_waits_for_stripe")?;
    Ok(row.map(|row| WaitsForStripe {
        count: row.get(0),
        longest: (row.get(1), row.get(2)),
    }))
}

/// Charges that events wait for and that no event has shown, at most `limit`, in no order: what cannot be read holds up nobody.
///
/// # Errors
/// When the database does not answer.
pub async fn find_unknown_charges(
    conn: &impl GenericClient,
    limit: i64,
    but_for: &[String],
) -> Result<Vec<String>, DbError> {
    let sql = "SELECT substr(name, length($1) + 1) FROM billing_events, unnest(waiting_for) AS name \
               WHERE consumer = 'billing' AND status = 'waiting' AND reason = $3 AND starts_with(name, $1) \
                   AND read_again_at IS DISTINCT FROM 'infinity' \
                   AND NOT substr(name, length($1) + 1) = ANY ($4) \
                   AND NOT EXISTS (SELECT 1 FROM billing_charges WHERE stripe_charge_id = substr(name, length($1) + 1)) \
               GROUP BY name ORDER BY random() LIMIT $2";
    let reason = Reason::ChargeUnknown.as_str();
    let rows = conn
        .query(sql, &[&CHARGE_PREFIX, &limit, &reason, &but_for])
        .await
        .during("find_unknown_charges")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Leaves a charge alone that was read and may not speak: what waits for it waits for these names as well, which may change that, and
/// [`find_unknown_charges`] does not find it before.
///
/// # Errors
/// When the database does not answer.
pub async fn leave_charge_alone_in_txn(txn: &Transaction<'_>, charge: &str, names: &[String]) -> Result<u64, DbError> {
    let sql = "UPDATE billing_events SET read_again_at = 'infinity', waiting_for = waiting_for || $2 \
               WHERE consumer = 'billing' AND status = 'waiting' AND reason = $3 AND waiting_for && ARRAY[$1] \
                   AND read_again_at IS DISTINCT FROM 'infinity'";
    let (name, reason) = (charge_name(charge), Reason::ChargeUnknown.as_str());
    plan_by_index_in_txn(txn).await?;
    execute(txn, "leave_charge_alone", sql, &[&name, &names, &reason]).await
}

/// Makes the events of a client wait again that were rejected for their price, which another one may be agreed to be now. Answers how many
/// there were.
///
/// # Errors
/// When the database does not answer.
pub async fn reopen_price_rejections_in_txn(txn: &Transaction<'_>, client: &str) -> Result<u64, DbError> {
    let sql = "UPDATE billing_events AS e \
               SET status = 'waiting', outcome = 'waiting', guard = 'authority', waiting_for = ARRAY[$2] \
               FROM (SELECT DISTINCT event_id, created FROM billing_decisions WHERE client_id = $1 AND reason = $3) AS d \
               WHERE e.stripe_event_id = d.event_id AND e.created = d.created AND e.consumer = 'billing' \
                   AND e.reason = $3 AND e.status = 'decided' AND e.payload IS NOT NULL";
    let reason = Reason::PriceNotContracted.as_str();
    let name = client_name(client);
    plan_by_index_in_txn(txn).await?;
    execute(txn, "reopen_price_rejections", sql, &[&client, &name, &reason]).await
}

/// Makes events wait again that were rejected because these clients did not pay by Stripe, once they do: as far as they come by a customer
/// or a checkout session that belongs to their client, or by a charge of such a customer (what only its metadata brought stays rejected).
/// It does not matter which comes first, the source or the customer. Answers how many there were.
///
/// # Errors
/// When the database does not answer.
pub async fn reopen_source_rejections_in_txn(txn: &Transaction<'_>, clients: &[&str]) -> Result<u64, DbError> {
    let sql = "UPDATE billing_events AS e \
               SET status = 'waiting', outcome = 'waiting', guard = 'authority', waiting_for = ARRAY[$2 || d.client_id] \
               FROM (SELECT DISTINCT r.event_id, r.created, r.client_id FROM billing_decisions AS r \
                     JOIN client_billing AS c ON c.client_id = r.client_id AND c.payment_source = $4 \
                     WHERE r.client_id = ANY ($1) AND r.reason = $3 AND ( \
                         EXISTS (SELECT 1 FROM billing_customers AS k WHERE k.client_id = r.client_id \
                             AND k.stripe_customer_id = r.details #>> '{found,customer}') \
                         OR EXISTS (SELECT 1 FROM billing_checkout_sessions AS s WHERE s.client_id = r.client_id \
                             AND s.checkout_session_id = r.details #>> '{found,checkout_session}') \
                         OR EXISTS (SELECT 1 FROM billing_charges AS h WHERE h.client_id = r.client_id \
                             AND h.stripe_charge_id = r.details #>> '{found,charge}'))) AS d \
               WHERE e.stripe_event_id = d.event_id AND e.created = d.created AND e.consumer = 'billing' \
                   AND e.reason = $3 AND e.status = 'decided' AND e.payload IS NOT NULL";
    let reason = Reason::PaymentSourceIsNotStripe.as_str();
    let source = PaymentSource::Stripe.as_str();
    plan_by_index_in_txn(txn).await?;
    let params: [&(dyn ToSql + Sync); 4] = [&clients, &CLIENT_PREFIX, &reason, &source];
    execute(txn, "reopen_source_rejections", sql, &params).await
}

impl WaitingEvent {
    fn read(row: &tokio_postgres::Row) -> Self {
        Self {
            event_id: row.get(0),
            created: row.get(1),
            kind: row.get(2),
            endpoint: row.get(3),
            received_at: row.get(4),
            payload: row.get(5),
        }
    }
}
