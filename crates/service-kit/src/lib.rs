//! What every service needs and none should write twice: configuration, secrets, logs and metrics, credentials, errors over
//! HTTP, limits, health, and a stop that drops nothing.
//!
//! The HTTP library's types appear in [`http`] only; everything else is plain and is tested without a server.
//! Invariant: no other room reads the environment or the time of day (`clippy.toml` bans both).

pub mod auth;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod drain;
pub mod fields;
pub mod health;
pub mod http;

pub mod log_budget;
pub mod openapi;
pub mod problem;
pub mod rate_limit;
pub mod request_id;
pub mod secret;
pub mod telemetry;
pub mod trace;
