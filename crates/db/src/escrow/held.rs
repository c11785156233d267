//! An escrow as it is stored: read under a lock, written by one conditional UPDATE.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use domain::escrow::facts::{Cumulative, Payment};
use domain::escrow::held::{Asked, Escrow};
use domain::escrow::state::EscrowStatus;
use domain::escrow::terms::{CaptureMethod, OnAuthorizationExpiry, Terms};
use domain::ids::EscrowId;
use domain::money::{Currency, Money};
use serde_json::Value;
use tokio_postgres::Row;

use super::held_parts::{
    cumulative, insert_recipients, load_disputes, load_recipients, numbers, split, store_disputes, store_recipients,
    store_transfers,
};
use super::operations::{load_jobs, store_jobs};
use super::{seconds, time};
use crate::DbError;
use crate::statement::{corrupt, execute, query};

const OPERATION: &str = "load_escrow";

/// An escrow with what the domain does not need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldEscrow {
    /// What the rules work on.
    pub escrow: Escrow,
    /// One more with every change.
    pub version: i64,
    /// The payment at Stripe, once it was made.
    pub payment_intent: Option<String>,
    /// Its charge, once it was authorised or captured: where transfers take the money from.
    pub charge: Option<String>,
    /// The creator's own words.
    pub metadata: Value,
    /// A person has to decide, because it is above the breaker's limit by itself.
    pub is_set_aside: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// How a row is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Others may read it as well; nobody changes it meanwhile.
    Shared,
    /// Nobody else.
    Exclusive,
}

/// A new escrow.
#[derive(Debug, Clone, Copy)]
pub struct NewEscrow<'a> {
    /// As [`Escrow::new`] made it.
    pub escrow: &'a Escrow,
    /// The creator's own words: a JSON object.
    pub metadata: &'a Value,
    /// Who created it.
    pub created_by: &'a str,
    /// When.
    pub now: DateTime<Utc>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Stored {
    /// It is written.
    Yes,
    /// The row is not what was read: another one was faster, which the lock should have kept from happening.
    Raced,
}

/// Inserts a new escrow and its recipients. Whether something is known of their accounts is marked as news for the escrow.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn insert_escrow_in_txn(txn: &Transaction<'_>, new: &NewEscrow<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
                   metadata, created_by, created_at, updated_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
    let terms = &new.escrow.terms;
    let amount = terms.split.amount();
    execute(
        txn,
        "insert_escrow",
        sql,
        &[
            &terms.id.as_str(),
            &new.escrow.status.as_str(),
            &amount.currency.as_str(),
            &amount.minor,
            &terms.split.fee(),
            &terms.capture.as_str(),
            &terms.on_authorization_expiry.as_str(),
            &time(terms.expires_at),
            &new.metadata,
            &new.created_by,
            &new.now,
        ],
    )
    .await?;
    insert_recipients(txn, new.escrow).await
}

/// The escrow, locked until the transaction ends.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn lock_escrow_in_txn(txn: &Transaction<'_>, id: &str, lock: Lock) -> Result<Option<HeldEscrow>, DbError> {
    const COLUMNS: &str = "SELECT id, version, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, metadata, \
        payment_intent_id, charge_id, payment_failed, authorized, capture_before, captured, canceled, refunded_told, refunded_outside, refunded_ours, \
        asked_release, asked_refund, asked_cancel, asked_secure, jobs_begun, set_aside_at IS NOT NULL AS is_set_aside, created_at \
        FROM escrow_transactions WHERE id = $1";
    let sql = match lock {
        Lock::Shared => format!("{COLUMNS} FOR SHARE"),
        Lock::Exclusive => format!("{COLUMNS} FOR UPDATE"),
    };
    let Some(row) = query(txn, OPERATION, &sql, &[&id]).await?.pop() else {
        return Ok(None);
    };
    let currency = Currency::parse(row.get("currency")).map_err(|_| corrupt(OPERATION, "currency"))?;
    let amount = Money::new(row.get("amount"), currency);
    // The lock is held, so that these may go together.
    let (loaded, disputes, jobs) =
        tokio::try_join!(load_recipients(txn, id), load_disputes(txn, id), load_jobs(txn, id))?;
    let terms = Terms {
        id: EscrowId::parse(id).map_err(|_| corrupt(OPERATION, "id"))?,
        split: split(amount, row.get("fee"), &loaded)?,
        capture: word(&row, "capture", CaptureMethod::parse)?,
        on_authorization_expiry: word(&row, "on_authorization_expiry", OnAuthorizationExpiry::parse)?,
        expires_at: seconds(row.get("expires_at")),
    };
    let escrow = Escrow {
        status: word(&row, "status", EscrowStatus::parse)?,
        payment: payment(&row),
        refunded: Cumulative {
            told: row.get("refunded_told"),
            outside: row.get("refunded_outside"),
            ours: numbers(OPERATION, &row.get("refunded_ours"))?,
        },
        disputes,
        recipients: loaded.into_iter().map(|(recipient, _)| recipient).collect(),
        asked: Asked {
            release: row.get("asked_release"),
            refund: row.get("asked_refund"),
            cancel: row.get("asked_cancel"),
            secure: row.get("asked_secure"),
        },
        jobs,
        jobs_begun: u32::try_from(row.get::<_, i32>("jobs_begun")).map_err(|_| corrupt(OPERATION, "jobs_begun"))?,
        terms,
    };
    Ok(Some(HeldEscrow {
        escrow,
        version: row.get("version"),
        payment_intent: row.get("payment_intent_id"),
        charge: row.get("charge_id"),
        metadata: row.get("metadata"),
        is_set_aside: row.get("is_set_aside"),
        created_at: row.get("created_at"),
    }))
}

fn payment(row: &Row) -> Payment {
    let capture_before: Option<DateTime<Utc>> = row.get("capture_before");
    let is_authorized: bool = row.get("authorized");
    Payment {
        failed: row.get("payment_failed"),
        authorized: is_authorized.then_some(capture_before.map(seconds)),
        captured: row.get("captured"),
        canceled: row.get("canceled"),
    }
}

fn word<T>(row: &Row, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, DbError> {
    parse(row.get(column)).ok_or_else(|| corrupt(OPERATION, column))
}

/// Writes what an escrow has become: its row, where it is still the one that was read, its recipients, and the standing of its jobs.
/// `payment_intent` and `charge` are added where they are known; a payment never changes, and a charge is the last that was told.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn store_escrow_in_txn(
    txn: &Transaction<'_>,
    before: &HeldEscrow,
    next: &HeldEscrow,
    now: DateTime<Utc>,
) -> Result<Stored, DbError> {
    let sql = "UPDATE escrow_transactions SET version = version + 1, status = $4, payment_intent_id = $5, charge_id = $6, \
                   payment_failed = $7, authorized = $8, capture_before = $9, captured = $10, canceled = $11, refunded_told = $12, \
                   refunded_ours = $13, asked_release = $14, asked_refund = $15, asked_cancel = $16, asked_secure = $17, \
                   jobs_begun = $18, set_aside_at = CASE WHEN $19 THEN coalesce(set_aside_at, $20) END, updated_at = $20, \
                   refunded_outside = $21 \
               WHERE id = $1 AND version = $2 AND status = $3";
    let escrow = &next.escrow;
    let id = escrow.terms.id.as_str();
    let jobs_begun = i32::try_from(escrow.jobs_begun).unwrap_or(i32::MAX);
    let written = execute(
        txn,
        "store_escrow",
        sql,
        &[
            &id,
            &before.version,
            &before.escrow.status.as_str(),
            &escrow.status.as_str(),
            &next.payment_intent,
            &next.charge,
            &escrow.payment.failed,
            &escrow.payment.authorized.is_some(),
            &escrow.payment.authorized.flatten().map(time),
            &escrow.payment.captured,
            &escrow.payment.canceled,
            &escrow.refunded.told,
            &cumulative(&escrow.refunded),
            &escrow.asked.release,
            &escrow.asked.refund,
            &escrow.asked.cancel,
            &escrow.asked.secure,
            &jobs_begun,
            &next.is_set_aside,
            &now,
            &escrow.refunded.outside,
        ],
    )
    .await?;
    if written == 0 {
        return Ok(Stored::Raced);
    }
    store_recipients(txn, escrow).await?;
    store_transfers(txn, &before.escrow, escrow).await?;
    store_disputes(txn, &before.escrow, escrow).await?;
    store_jobs(txn, &before.escrow, escrow, now).await?;
    Ok(Stored::Yes)
}
