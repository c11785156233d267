//! The only room that speaks AMQP.
//!
//! - [`topology`]: exchanges, queues and bindings as data, declared idempotently.
//! - [`Publisher`]: confirmed publishing that reconnects by itself and refuses at once when the broker is away.
//! - [`consumer`]: batches, verdicts, delayed retries, parking, drain.
//! - [`parked`]: looking at parked messages and sending them back; [`Backlog`]: how much work waits.
//! - [`relay`] and [`relay_outbox`]: the outbox on its way to the broker.
//! - [`AlertRaiser`]: alerts from anywhere, merged by key.
//! - [`Worker`]: what a service that uses all of this is made of, and how it ends.

mod alerts;
mod backlog;
mod connection;
pub mod consumer;
mod database;
pub mod depths;
pub mod headers;
mod incoming;
mod outbox;
mod outgoing;
pub mod parked;
pub mod propagation;
mod publisher;
pub mod relay;
pub mod topology;
mod verdict;
mod worker;

use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use alerts::{ALERT_TYPE, AlertFallback, AlertMessage, AlertRaiser, AlertRaiserConfig, FallbackResult};
pub use backlog::{Backlog, BacklogError};
pub use connection::{BrokerConfig, ConnectError, checked_url};
pub use consumer::{BatchHandler, ConsumerSpec, Drained, Intake};
pub use database::{DatabaseWatch, alert_row, alerts_into};
pub use headers::Headers;
pub use incoming::Incoming;
pub use outbox::relay_outbox;
pub use outgoing::{Outgoing, PublishError};
pub use publisher::{Publisher, PublisherConfig};
pub use topology::Topology;
pub use verdict::{BatchError, Pause, Verdict};
pub use worker::{Check, Worker};

/// Where time comes from; `service_kit::clock` in a service, a fixed time in a test.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
