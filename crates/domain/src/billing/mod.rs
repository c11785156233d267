//! Billing: what a client may use, derived from a contract of ours and facts of Stripe's.
//!
//! Stripe delivers at least once, in no order, with times of whole seconds. So the state is not stepped from event to event: each
//! event is a [`fact::Fact`]; facts are merged into registers whose merge is commutative, associative and idempotent
//! ([`subscription`]); and [`derive::derive`] computes the state from the contract and the registers alone. Any order of the same
//! facts, with any repeats, ends in the same state.
//!
//! What was paid back and what is disputed is kept by charge ([`charge`]) and never changes the state by itself.
//!
//! Two steps lead from an event to a decision:
//! 1. [`authority::judge`]: whose event is this, and may it speak for that client at all? What fails here is not merged.
//! 2. [`client::Client::observe`]: merge, derive, and name the guard that explains why the state did or did not change.

pub mod authority;
pub mod charge;
pub mod client;
pub mod contract;
pub mod decision;
pub mod derive;
pub mod fact;
pub mod payment;
pub mod register;
pub mod state;
pub mod subscription;
