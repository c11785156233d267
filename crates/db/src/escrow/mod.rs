//! Escrows, the calls that move their money, the ledger, and the audit trail.
//!
//! Protocol of a change, in one transaction: lock the escrow ([`held::lock_escrow_in_txn`]), decide in memory, write the next escrow by
//! one conditional UPDATE ([`held::store_escrow_in_txn`]), and write what follows from it: operations that are begun
//! ([`operations`]), postings ([`ledger`]), what is to be told ([`actions`]). Whoever changes an escrow holds its row, so that of two
//! changes one is decided after the other and on what it left.

pub mod accounts;
pub mod actions;
pub mod breaker;
pub mod held;
mod held_parts;
pub mod idempotency;
pub mod inbox;
pub mod jobs;
pub mod ledger;
pub mod operation_status;
pub mod operations;
pub mod owners;
pub mod passing;

use chrono::{DateTime, Utc};
use domain::escrow::failure::{ErrorClass, ErrorCode, Failure};
use domain::time::UnixSeconds;

use crate::DbError;
use crate::statement::corrupt;

/// Whole seconds since 1970.
fn seconds(at: DateTime<Utc>) -> UnixSeconds {
    UnixSeconds(at.timestamp())
}

/// A time of the domain's as Postgres has it; beyond its range, the last that chrono knows.
fn time(at: UnixSeconds) -> DateTime<Utc> {
    DateTime::from_timestamp(at.0, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A refusal from its two columns.
fn failure(operation: &'static str, code: Option<&str>, class: Option<&str>) -> Result<Option<Failure>, DbError> {
    let (Some(code), Some(class)) = (code, class) else {
        return Ok(None);
    };
    let class = ErrorClass::parse(class).ok_or_else(|| corrupt(operation, "failure_class"))?;
    Ok(Some(Failure {
        code: ErrorCode::read(code),
        class,
    }))
}
