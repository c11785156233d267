//! The only room that speaks AMQP.
//!
//! - [`topology`]: exchanges, queues and bindings as data, declared idempotently.
//! - [`Publisher`]: confirmed publishing that reconnects by itself and refuses at once when the broker is away.

mod connection;
pub mod headers;
mod outgoing;
mod publisher;
pub mod topology;

use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use connection::{BrokerConfig, ConnectError};
pub use headers::Headers;
pub use outgoing::{Outgoing, PublishError};
pub use publisher::{Publisher, PublisherConfig};
pub use topology::Topology;

/// Where time comes from; `service_kit::clock` in a service, a fixed time in a test.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
