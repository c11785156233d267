//! What `cargo dev` does, as a library, so that the demo, the benchmarks and the tests start the system in the same way.
//!
//! [`system::System`] is the heart: it provides Postgres and RabbitMQ (see `provision`), migrates, starts the simulator and
//! the services, waits until they are ready, and from then on starts again whatever dies, until it is told to stop. It lives
//! in the process that runs `cargo dev up`, or with `--detach` in a process of its own ([`supervise`]); either way every
//! child dies with that process. What others need to know stands in `target/holdfast/state.json` ([`state`]).
#![allow(
    clippy::disallowed_methods,
    reason = "this is a tool of development: it reads the user's environment and makes the one of the services"
)]

pub mod bench;
pub mod build;
pub mod cli;
mod database;
pub mod demo;
mod down;
mod environment;
mod exposition;
mod front;
mod keep;
pub mod paths;
mod secrets;
mod service;
pub mod signals;
pub mod state;
mod status;
pub mod supervise;
pub mod system;
mod test_command;
mod up;
