//! The only room with SQL.
//!
//! - [`Database`]: the pool, and [`Database::transact`], the one way to run a transaction.
//! - [`migrate`]: brings the schema up to this binary; [`verify`]: checks the live schema, roles, policies and grants.
//! - [`billing`] and [`escrow`]: rows and query functions of the two aggregates.
//! - [`outbox`], [`alerts`], [`events`], [`tenancy`], [`partitions`]: rows and query functions, one file per subject.
//!
//! Query functions are free functions `verb_noun(conn, ..)`; one that ends in `_in_txn` is only right inside a transaction.
//! Batches are single statements over arrays (`unnest`), sorted by key so that two batches cannot deadlock.

pub mod alerts;
pub mod billing;
mod connect;
pub mod error;
pub mod escrow;
pub mod events;
mod home;
pub mod migrate;
pub mod outbox;
pub mod partitions;
pub mod pool;
mod statement;
pub mod tenancy;
pub mod verify;

pub use connect::TargetError;
pub use deadpool_postgres::{GenericClient, Transaction};
pub use error::{DbError, TransactError};
pub use migrate::migrate;
pub use pool::{Conn, Database, DatabaseConfig, OpenError, TxnFuture, in_txn};
pub use tokio_postgres::error::SqlState;
pub use verify::verify;

/// Bytes of bodies that one transaction takes into memory at most, where it takes many: a body may have a mebibyte and more. One that is
/// larger is taken alone.
pub const BODIES_AT_ONCE: i64 = 8 * 1024 * 1024;
