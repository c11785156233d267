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
pub mod inbox;
mod observation_json;
pub mod owners;
pub mod registration;
pub mod subscriptions;

use crate::statement::{corrupt, execute, query};
