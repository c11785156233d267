//! The client over real sockets: against small servers that do what the test says, and against the simulator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;
mod outcomes;
mod reads;
mod retries;
mod secrecy;
mod server;
mod sim;
mod wire;
