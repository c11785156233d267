//! Who an event speaks of: customers, checkout sessions and charges that our side knows.
//!
//! What is not known has a name ([`client_name`], [`customer_name`], [`session_name`], [`charge_name`]): the same text says what an
//! event waits for and is locked by whoever sets an event aside and by whoever brings what it waits for.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use super::{execute, query};
use crate::DbError;

/// A client and its organisation, as the rows of its facts have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The client.
    pub client: String,
    /// Its organisation.
    pub org: String,
}

/// The clients that customers belong to.
///
/// # Errors
/// When the database does not answer.
pub async fn find_customer_owners_in_txn(
    txn: &Transaction<'_>,
    customers: &[&str],
) -> Result<BTreeMap<String, Owner>, DbError> {
    let sql = "SELECT stripe_customer_id, client_id, org_id FROM billing_customers WHERE stripe_customer_id = ANY ($1)";
    let rows = query(txn, "find_customer_owners", sql, &[&customers]).await?;
    let owner = |row: &tokio_postgres::Row| Owner {
        client: row.get(1),
        org: row.get(2),
    };
    Ok(rows.iter().map(|row| (row.get(0), owner(row))).collect())
}

/// The clients that checkout sessions were registered for.
///
/// # Errors
/// When the database does not answer.
pub async fn find_session_owners_in_txn(
    txn: &Transaction<'_>,
    sessions: &[&str],
) -> Result<BTreeMap<String, String>, DbError> {
    // The previous version registers a session in the client's row only.
    let sql = "SELECT checkout_session_id, client_id FROM client_billing WHERE checkout_session_id = ANY ($1) \
               UNION SELECT checkout_session_id, client_id FROM billing_checkout_sessions WHERE checkout_session_id = ANY ($1)";
    let rows = query(txn, "find_session_owners", sql, &[&sessions]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Makes this transaction and every other that calls this with one of `names` wait for each other, until the end. Registering a
/// client and setting an event of an unknown client aside both call it, so that no event is set aside just after its client was
/// looked for. Sorted, so that two callers never wait for each other in a circle.
///
/// # Errors
/// When the database does not answer.
pub async fn lock_names_in_txn(txn: &Transaction<'_>, names: &mut Vec<String>) -> Result<(), DbError> {
    names.sort_unstable();
    names.dedup();
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) \
               FROM (SELECT name FROM unnest($1::text[]) AS name ORDER BY hashtextextended(name, 0)) AS sorted";
    execute(txn, "lock_names", sql, &[names]).await?;
    Ok(())
}

/// The name of a customer that nobody owns yet.
#[must_use]
pub fn customer_name(customer: &str) -> String {
    format!("{CUSTOMER_PREFIX}{customer}")
}

/// The name of a client that is not registered yet.
#[must_use]
pub fn client_name(client: &str) -> String {
    format!("{CLIENT_PREFIX}{client}")
}

/// The name of a checkout session that is not registered yet.
#[must_use]
pub fn session_name(session: &str) -> String {
    format!("session:{session}")
}

/// The name of a charge that no event has shown yet.
#[must_use]
pub fn charge_name(charge: &str) -> String {
    format!("{CHARGE_PREFIX}{charge}")
}

/// The name of an object that could not be read from Stripe, by its URL.
#[must_use]
pub fn object_name(url: &str) -> String {
    format!("{OBJECT_PREFIX}{url}")
}

/// What [`customer_name`] begins with.
pub(super) const CUSTOMER_PREFIX: &str = "customer:";
/// What [`client_name`] begins with.
pub(super) const CLIENT_PREFIX: &str = "client:";
/// What [`object_name`] begins with.
pub(super) const OBJECT_PREFIX: &str = "stripe:";
/// What [`charge_name`] begins with.
pub(super) const CHARGE_PREFIX: &str = "charge:";

/// A customer that is now a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBinding {
    /// The customer.
    pub customer: String,
    /// The client.
    pub client: String,
    /// The client's organisation.
    pub org: String,
    /// `registration`, `checkout_session` or `metadata`.
    pub bound_by: &'static str,
}

/// Binds customers. Answers how many were free; where that is fewer than were given, somebody else was faster and the caller
/// must start over.
///
/// # Errors
/// When the database does not answer.
pub async fn bind_customers_in_txn(txn: &Transaction<'_>, bindings: &[NewBinding]) -> Result<u64, DbError> {
    let mut sorted: Vec<&NewBinding> = bindings.iter().collect();
    sorted.sort_unstable_by(|a, b| a.customer.cmp(&b.customer));
    let customers: Vec<&str> = sorted.iter().map(|binding| binding.customer.as_str()).collect();
    let clients: Vec<&str> = sorted.iter().map(|binding| binding.client.as_str()).collect();
    let orgs: Vec<&str> = sorted.iter().map(|binding| binding.org.as_str()).collect();
    let bound_by: Vec<&str> = sorted.iter().map(|binding| binding.bound_by).collect();
    let sql = "INSERT INTO billing_customers (stripe_customer_id, client_id, org_id, bound_by) \
               SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) \
               ON CONFLICT (stripe_customer_id) DO NOTHING";
    execute(txn, "bind_customers", sql, &[&customers, &clients, &orgs, &bound_by]).await
}
