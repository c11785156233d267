//! What tests stand on: a database and a broker of their own, and a way to wait for a condition.
//!
//! Tests run against servers that somebody else started (`cargo dev test`), named by three variables:
//! `HOLDFAST_TEST_DATABASE_URL` (a superuser), `HOLDFAST_TEST_AMQP_URL` and `HOLDFAST_TEST_RABBITMQ_API`. Each test takes a
//! [`TestDb`] (a fresh database copied from a migrated template) and a [`TestBroker`] (a fresh vhost), so that tests run side
//! by side and never see each other's rows or messages; both are removed when dropped, also when the test panics.
//! A test that has to stop, kill or block a broker takes a [`PrivateBroker`], which is a server of its own.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this crate is part of tests: a failed set-up must fail the test at once, with its reason"
)]

mod broker;
mod database;
mod env;
mod escrows;
mod official_packages;
mod private_broker;
mod template;
mod wait;

pub use broker::{QueueStats, TestBroker};
pub use database::TestDb;
pub use escrows::fill_escrows;
pub use official_packages::{run_node, sdk_sources, sign_with_node, sign_with_python};
pub use private_broker::PrivateBroker;
pub use wait::{PATIENCE, eventually, eventually_some};

/// Makes ring the process's TLS provider, which reqwest needs before its first client is built, even for plain HTTP.
/// Calling it again changes nothing.
pub fn install_tls_provider() {
    drop(rustls::crypto::ring::default_provider().install_default());
}
