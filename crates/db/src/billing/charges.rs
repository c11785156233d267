//! Charges of clients, what was paid back of them, and what is disputed.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use domain::billing::charge::{Charge, Dispute, DisputeStatus, DisputeWord, Refund, RefundStatus};
use domain::ids::{ChargeId, DisputeId, RefundId};
use domain::money::Currency;
use domain::time::UnixSeconds;
use tokio_postgres::Row;

use super::owners::Owner;
use super::{corrupt, execute, query};
use crate::DbError;

/// What our side knows of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCharge {
    /// The client; `None` for a charge without a customer.
    pub client: Option<String>,
    /// What is known of it.
    pub charge: Charge,
}

/// A charge and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeRow {
    /// The charge.
    pub id: ChargeId,
    /// Whose it is and by which customer; `None` for a charge without a customer.
    pub owner: Option<(Owner, String)>,
    /// What is known of it.
    pub charge: Charge,
}

/// A refund of a client's charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRow {
    /// The refund.
    pub id: RefundId,
    /// What was paid back.
    pub charge: ChargeId,
    /// Whose it is.
    pub owner: Owner,
    /// What is known of it.
    pub refund: Refund,
}

/// A dispute of a client's charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeRow {
    /// The dispute.
    pub id: DisputeId,
    /// What is disputed.
    pub charge: ChargeId,
    /// Whose it is.
    pub owner: Owner,
    /// What is known of it.
    pub dispute: Dispute,
}

/// What is known of these charges.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn load_charges_in_txn(
    txn: &Transaction<'_>,
    ids: &[&str],
) -> Result<BTreeMap<String, KnownCharge>, DbError> {
    let operation = "load_charges";
    let sql = "SELECT stripe_charge_id, client_id, amount_refunded, amount, currency FROM billing_charges \
               WHERE stripe_charge_id = ANY ($1)";
    let read = |row: &Row| {
        let charge = Charge {
            refunded: row.get(2),
            amount: row.get(3),
            currency: currency(operation, row.get(4))?,
        };
        let client = row.get(1);
        Ok((row.get(0), KnownCharge { client, charge }))
    };
    query(txn, operation, sql, &[&ids]).await?.iter().map(read).collect()
}

/// What is known of these refunds.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn load_refunds_in_txn(txn: &Transaction<'_>, ids: &[&str]) -> Result<BTreeMap<String, Refund>, DbError> {
    let operation = "load_refunds";
    let sql =
        "SELECT stripe_refund_id, status, amount, currency FROM billing_refunds WHERE stripe_refund_id = ANY ($1)";
    let read = |row: &Row| {
        let refund = Refund {
            status: RefundStatus::parse(row.get(1)).ok_or_else(|| corrupt(operation, "status"))?,
            amount: row.get(2),
            currency: currency(operation, row.get(3))?,
        };
        Ok((row.get(0), refund))
    };
    query(txn, operation, sql, &[&ids]).await?.iter().map(read).collect()
}

/// What is known of these disputes.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn load_disputes_in_txn(txn: &Transaction<'_>, ids: &[&str]) -> Result<BTreeMap<String, Dispute>, DbError> {
    let operation = "load_disputes";
    let sql = "SELECT stripe_dispute_id, only_opened, said_at, status, amount, currency, due_by FROM billing_disputes \
               WHERE stripe_dispute_id = ANY ($1)";
    let read = |row: &Row| {
        let dispute = Dispute {
            word: if row.get(1) {
                DisputeWord::Opened
            } else {
                DisputeWord::Later
            },
            at: UnixSeconds(row.get(2)),
            status: DisputeStatus::parse(row.get(3)).ok_or_else(|| corrupt(operation, "status"))?,
            amount: row.get(4),
            currency: currency(operation, row.get(5))?,
            due_by: row.get::<_, Option<i64>>(6).map(UnixSeconds),
        };
        Ok((row.get(0), dispute))
    };
    query(txn, operation, sql, &[&ids]).await?.iter().map(read).collect()
}

fn currency(operation: &'static str, code: &str) -> Result<Currency, DbError> {
    Currency::parse(code).map_err(|_| corrupt(operation, "currency"))
}

/// Writes charges, each once. A charge may get an owner, and then keeps it; nobody locks those that have none: what was paid back only
/// grows here too.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn upsert_charges_in_txn(txn: &Transaction<'_>, rows: &[ChargeRow]) -> Result<u64, DbError> {
    let mut sorted: Vec<&ChargeRow> = rows.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let owner = |row: &ChargeRow| row.owner.clone();
    let ids: Vec<&str> = sorted.iter().map(|row| row.id.as_str()).collect();
    let clients: Vec<Option<String>> = sorted.iter().map(|row| owner(row).map(|(of, _)| of.client)).collect();
    let orgs: Vec<Option<String>> = sorted.iter().map(|row| owner(row).map(|(of, _)| of.org)).collect();
    let customers: Vec<Option<String>> = sorted.iter().map(|row| owner(row).map(|(_, by)| by)).collect();
    let amounts: Vec<i64> = sorted.iter().map(|row| row.charge.amount).collect();
    let refunded: Vec<i64> = sorted.iter().map(|row| row.charge.refunded).collect();
    let currencies: Vec<&str> = sorted.iter().map(|row| row.charge.currency.as_str()).collect();
    let sql = "INSERT INTO billing_charges AS c (stripe_charge_id, client_id, org_id, stripe_customer_id, amount, amount_refunded, \
                   currency) \
               SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[]) \
               ON CONFLICT (stripe_charge_id) DO UPDATE SET \
                   amount_refunded = greatest(c.amount_refunded, EXCLUDED.amount_refunded), \
                   amount = greatest(c.amount, EXCLUDED.amount), client_id = coalesce(c.client_id, EXCLUDED.client_id), \
                   org_id = coalesce(c.org_id, EXCLUDED.org_id), \
                   stripe_customer_id = coalesce(c.stripe_customer_id, EXCLUDED.stripe_customer_id), updated_at = now()";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&ids, &clients, &orgs, &customers, &amounts, &refunded, &currencies];
    execute(txn, "upsert_charges", sql, &params).await
}

/// Writes refunds, each once, of clients whose locks the caller holds.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn upsert_refunds_in_txn(txn: &Transaction<'_>, rows: &[RefundRow]) -> Result<u64, DbError> {
    let mut sorted: Vec<&RefundRow> = rows.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<&str> = sorted.iter().map(|row| row.id.as_str()).collect();
    let charges: Vec<&str> = sorted.iter().map(|row| row.charge.as_str()).collect();
    let clients: Vec<&str> = sorted.iter().map(|row| row.owner.client.as_str()).collect();
    let orgs: Vec<&str> = sorted.iter().map(|row| row.owner.org.as_str()).collect();
    let amounts: Vec<i64> = sorted.iter().map(|row| row.refund.amount).collect();
    let currencies: Vec<&str> = sorted.iter().map(|row| row.refund.currency.as_str()).collect();
    let statuses: Vec<&str> = sorted.iter().map(|row| row.refund.status.as_str()).collect();
    let sql = "INSERT INTO billing_refunds (stripe_refund_id, stripe_charge_id, client_id, org_id, amount, currency, status) \
               SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[]) \
               ON CONFLICT (stripe_refund_id) DO UPDATE SET amount = EXCLUDED.amount, status = EXCLUDED.status, \
                   updated_at = now()";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&ids, &charges, &clients, &orgs, &amounts, &currencies, &statuses];
    execute(txn, "upsert_refunds", sql, &params).await
}

/// Writes disputes, each once, of clients whose locks the caller holds.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn upsert_disputes_in_txn(txn: &Transaction<'_>, rows: &[DisputeRow]) -> Result<u64, DbError> {
    let mut sorted: Vec<&DisputeRow> = rows.iter().collect();
    sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let ids: Vec<&str> = sorted.iter().map(|row| row.id.as_str()).collect();
    let charges: Vec<&str> = sorted.iter().map(|row| row.charge.as_str()).collect();
    let clients: Vec<&str> = sorted.iter().map(|row| row.owner.client.as_str()).collect();
    let orgs: Vec<&str> = sorted.iter().map(|row| row.owner.org.as_str()).collect();
    let amounts: Vec<i64> = sorted.iter().map(|row| row.dispute.amount).collect();
    let currencies: Vec<&str> = sorted.iter().map(|row| row.dispute.currency.as_str()).collect();
    let statuses: Vec<&str> = sorted.iter().map(|row| row.dispute.status.as_str()).collect();
    let opened: Vec<bool> = sorted
        .iter()
        .map(|row| row.dispute.word == DisputeWord::Opened)
        .collect();
    let said: Vec<i64> = sorted.iter().map(|row| row.dispute.at.0).collect();
    let due: Vec<Option<i64>> = sorted.iter().map(|row| row.dispute.due_by.map(|at| at.0)).collect();
    let sql = "INSERT INTO billing_disputes (stripe_dispute_id, stripe_charge_id, client_id, org_id, amount, currency, status, \
                   only_opened, said_at, due_by) \
               SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], \
                   $8::bool[], $9::bigint[], $10::bigint[]) \
               ON CONFLICT (stripe_dispute_id) DO UPDATE SET amount = EXCLUDED.amount, status = EXCLUDED.status, \
                   only_opened = EXCLUDED.only_opened, said_at = EXCLUDED.said_at, due_by = EXCLUDED.due_by, updated_at = now()";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 10] = [
        &ids,
        &charges,
        &clients,
        &orgs,
        &amounts,
        &currencies,
        &statuses,
        &opened,
        &said,
        &due,
    ];
    execute(txn, "upsert_disputes", sql, &params).await
}
