//! The HTTP edge: one server builder with limits, and the glue between the HTTP library and the rest of this crate.
//!
//! Variables: `HOLDFAST_LISTEN` (0.0.0.0:8080), `HOLDFAST_METRICS_LISTEN` (an address of its own, default 127.0.0.1:9464, or
//! `shared` to answer `/metrics` beside everything else), `HOLDFAST_HTTP_WORKERS` (the number of cores), and
//! `HOLDFAST_TRUSTED_PROXIES`.
//!
//! Every answer carries `X-Request-Id`; every error is problem+json, also those that the library makes by itself. A client
//! may not hold a connection by sending slowly: the head has 5 s, the body 10 s from its first wait. Heads are limited by the
//! library to 96 headers and 128 kB (431), JSON bodies to 256 kB (413).

mod context;
mod extract;
mod flow;
mod listen;
mod routes;
mod server;
mod span;

pub use context::{is_timeout, request_context};
pub use extract::{CallerAddress, extractor_config};
pub use flow::{Flow, Paused};
pub use routes::{Place, Routes};
pub use server::{Bound, HttpSettings, MetricsListener, ServeError, Server};
