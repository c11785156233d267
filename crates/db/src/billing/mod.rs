//! Clients, their facts, and the decisions about events: what the billing consumer reads and writes.
//!
//! Protocol of a batch, in one transaction: find who the events speak of ([`owners`]), lock those clients in the order of their
//! ids and load what their state is derived from ([`clients`]), look up which events are known ([`inbox`]), decide in memory, and
//! write everything set by set, each set sorted by its key. Two batches that share clients wait for each other at the lock;
//! because all lock in the same order, neither waits for ever.

pub mod charges;
pub mod clients;
pub mod decisions;
pub mod evidence;
mod evidence_json;
pub mod inbox;
mod observation_json;
pub mod owners;
pub mod registers;
pub mod registration;
pub mod subscriptions;
pub mod waiting;

use deadpool_postgres::Transaction;

use crate::DbError;
use crate::statement::{corrupt, execute, query};

/// For the rest of the transaction nothing is planned to read a table whole. A statement is planned once per connection: while a table
/// is small or a month's partition is empty, reading it whole looks cheapest, and that plan would still be in use when it holds
/// millions.
async fn plan_by_index_in_txn(txn: &Transaction<'_>) -> Result<(), DbError> {
    let sql = "SELECT set_config('enable_seqscan', 'off', true)";
    execute(txn, "plan_by_index", sql, &[]).await?;
    Ok(())
}
