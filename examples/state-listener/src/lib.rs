//! How a system of yours follows the billing states of its clients: a queue of its own on `holdfast.events`, and one rule.
//!
//! `client.state_changed` is published at least once, in the order of each client's `version` as long as nothing fails. So a repeat and an
//! overtaken message look alike: their version is not above the one that is known. Take a change in when its version is greater,
//! acknowledge it either way, and acknowledge only after it was taken in. In SQL that rule is one statement:
//!
//! ```sql
//! INSERT INTO client_states (client_id, state, version) VALUES ($1, $2, $3)
//! ON CONFLICT (client_id) DO UPDATE SET state = EXCLUDED.state, version = EXCLUDED.version
//! WHERE client_states.version < EXCLUDED.version
//! ```

use std::collections::HashMap;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde::Deserialize;

/// The exchange for announcements.
const EXCHANGE: &str = "holdfast.events";
/// The routing key, which is also the message's type.
const STATE_CHANGED: &str = "client.state_changed";
/// Messages in hand at once.
const PREFETCH: u16 = 64;

/// A change of a client's state. There is more in the message; take what you need, and be ready for fields to be added.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StateChanged {
    /// Your own name of the client.
    pub client_id: String,
    /// What the client's state was: the `to` of the version before.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// One more with each change of this client.
    pub version: i64,
    /// The event of Stripe's that caused it.
    pub cause: Cause,
}

/// The event of Stripe's that caused a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cause {
    /// Its id; `holdfast events show <id>` has the whole of it.
    pub event_id: String,
    /// Its type.
    pub r#type: String,
}

/// The states as this system knows them. Yours would be a table.
#[derive(Debug, Default)]
pub struct States {
    known: HashMap<String, (i64, String)>,
}

impl States {
    /// Takes a change in; false for a repeat and for one that a later change has overtaken.
    pub fn take(&mut self, change: &StateChanged) -> bool {
        let (version, state) = self.known.entry(change.client_id.clone()).or_default();
        if *version >= change.version {
            return false;
        }
        *version = change.version;
        state.clone_from(&change.to);
        true
    }

    /// The state of a client.
    #[must_use]
    pub fn of(&self, client: &str) -> Option<&str> {
        self.known.get(client).map(|(_, state)| state.as_str())
    }
}

/// Listens on a queue of its own until the broker goes away, and hands over each change together with whether it was new.
///
/// # Errors
/// When the broker cannot be reached or the connection is lost: start again, nothing is missed.
pub async fn listen(amqp_url: &str, queue: &str, mut heard: impl FnMut(&StateChanged, bool)) -> anyhow::Result<()> {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default())
        .await
        .context("connecting to the broker")?;
    let channel = connection.create_channel().await?;
    declare(&channel, queue).await.context("declaring the queue")?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await?;
    let mut states = States::default();
    while let Some(delivery) = deliveries.next().await {
        let delivery = delivery.context("the connection was lost")?;
        match serde_json::from_slice::<StateChanged>(&delivery.data) {
            Ok(change) => {
                let is_new = states.take(&change);
                heard(&change, is_new);
            }
            // What cannot be read today cannot be read tomorrow. Yours would set it aside for a person.
            Err(error) => eprintln!("not an announcement: {error}"),
        }
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// A replicated queue that keeps what is announced while this system is down.
async fn declare(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(queue.into(), durable, arguments).await?;
    let options = QueueBindOptions::default();
    channel
        .queue_bind(
            queue.into(),
            EXCHANGE.into(),
            STATE_CHANGED.into(),
            options,
            FieldTable::default(),
        )
        .await
}
