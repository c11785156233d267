//! The rules of Holdfast, and nothing else.
//!
//! Everything here is pure: no I/O, no async, no clock, no serialisation. The same input gives the same answer, so every rule can
//! be tested by enumeration and by properties, and the database repeats the invariants as constraints (the second, independent
//! assertion).
//!
//! - [`ids`]: one newtype per kind of identifier, checked where it enters.
//! - [`money`]: integer minor units with a currency, checked arithmetic only.
//! - [`time`]: whole seconds, as Stripe counts them.
//! - [`billing`]: facts, their merge, and the state that is derived from them.
//! - [`escrow`]: splits, states, operations that move money, retries, the refund breaker and the ledger.
//! - [`alert`]: what is worth telling a person, under which key.

pub mod alert;
pub mod billing;
pub mod escrow;
pub mod ids;
pub mod money;
pub mod time;
mod words;
