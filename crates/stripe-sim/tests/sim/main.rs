//! The simulator over sockets, as a client and as an endpoint see it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise"
)]

mod api;
mod balance;
mod billing;
mod changes;
mod connect;
mod deliveries;
mod determinism;
mod faults;
mod harness;
mod idempotency;
mod intents;
mod money_back;
mod payments;
mod thin;
mod versions;
mod views;
