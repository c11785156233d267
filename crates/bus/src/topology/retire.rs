//! Taking a service out of an installation: its bindings go, and what waits in its queue goes to the archive.
//!
//! In that order, so that nothing comes in behind. A message is acked after its copy in the archive's queue is confirmed: it can be doubled
//! by a crash in between, which the archive counts as a repeat, never lost.

use futures_util::future::try_join_all;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::{FieldTable, ShortString, ShortStringError};
use lapin::{Channel, Connection};

use super::{STRIPE_UNROUTED, Topology};
use crate::connection::{self, BrokerConfig, ConnectError, Purpose};
use crate::headers::{ATTEMPTS, PUT_OFF};
use crate::incoming::Incoming;
use crate::outgoing::{Outgoing, PublishError};
use crate::publisher::Publisher;

/// Messages whose confirms are waited for together.
const CLUMP: usize = 64;

/// Why a queue was not retired. What was done before the error stays done, and may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// No connection.
    #[error("connecting to retire a queue")]
    Connect(#[from] ConnectError),
    /// A name is longer than AMQP's 255 bytes.
    #[error("a name is too long for the broker")]
    Name(#[from] ShortStringError),
    /// The queue does not exist, or the connection was lost.
    #[error("retiring '{queue}'")]
    Broker {
        /// The queue.
        queue: String,
        /// The broker's answer.
        #[source]
        source: lapin::Error,
    },
    /// A message could not be published to the archive; it stays in its queue.
    #[error("sending a message of '{queue}' to the archive")]
    Publish {
        /// The queue.
        queue: String,
        /// What happened.
        #[source]
        source: PublishError,
    },
}

impl Topology {
    /// Removes the bindings that this topology has to a queue and answers how many these are. One that does not exist is no error.
    ///
    /// # Errors
    /// See [`RetireError`].
    pub async fn unbind(&self, broker: &BrokerConfig, queue: &str) -> Result<usize, RetireError> {
        let connection = connection::open(broker, Purpose::Retire).await?;
        let unbound = self.unbind_on(&connection, queue).await;
        connection::close(&connection).await;
        unbound
    }

    async fn unbind_on(&self, connection: &Connection, queue: &str) -> Result<usize, RetireError> {
        let channel = connection.create_channel().await.map_err(|source| of(queue, source))?;
        let mut count = 0_usize;
        for binding in self.bindings.iter().filter(|binding| binding.queue == queue) {
            let (exchange, pattern) = (
                ShortString::try_new(binding.exchange.as_str())?,
                ShortString::try_new(binding.pattern.as_str())?,
            );
            channel
                .queue_unbind(ShortString::try_new(queue)?, exchange, pattern, FieldTable::default())
                .await
                .map_err(|source| of(queue, source))?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }
}

/// Sends the events that stand ready in a queue to the archive and answers how many these were. Nobody may consume the queue meanwhile.
///
/// # Errors
/// See [`RetireError`].
pub async fn archive_rest(broker: &BrokerConfig, publisher: &Publisher, queue: &str) -> Result<usize, RetireError> {
    let connection = connection::open(broker, Purpose::Retire).await?;
    let moved = move_all(&connection, publisher, queue).await;
    connection::close(&connection).await;
    moved
}

async fn move_all(connection: &Connection, publisher: &Publisher, queue: &str) -> Result<usize, RetireError> {
    let channel = connection.create_channel().await.map_err(|source| of(queue, source))?;
    let mut moved = 0_usize;
    loop {
        let clump = fetch(&channel, queue).await?;
        let Some((last, _)) = clump.last() else {
            return Ok(moved);
        };
        let (last, size) = (*last, clump.len());
        let copies = clump.into_iter().map(|(_, copy)| publisher.publish(copy));
        try_join_all(copies).await.map_err(|source| RetireError::Publish {
            queue: queue.to_owned(),
            source,
        })?;
        let all_of_it = BasicAckOptions { multiple: true };
        channel
            .basic_ack(last, all_of_it)
            .await
            .map_err(|source| of(queue, source))?;
        moved = moved.saturating_add(size);
    }
}

async fn fetch(channel: &Channel, queue: &str) -> Result<Vec<(u64, Outgoing)>, RetireError> {
    let name = ShortString::try_new(queue)?;
    let mut clump = Vec::with_capacity(CLUMP);
    while clump.len() < CLUMP {
        let options = BasicGetOptions { no_ack: false };
        let fetched = channel
            .basic_get(name.clone(), options)
            .await
            .map_err(|source| of(queue, source))?;
        let Some(message) = fetched else { break };
        clump.push((message.delivery.delivery_tag, for_the_archive(message.delivery)));
    }
    Ok(clump)
}

/// The message as the alternate exchange would have got it.
fn for_the_archive(delivery: lapin::message::Delivery) -> Outgoing {
    let message = Incoming::take(delivery);
    let mut copy = message.forward_to(message.routing_key.clone());
    copy.exchange = STRIPE_UNROUTED.into();
    for name in [ATTEMPTS, PUT_OFF] {
        copy.headers.remove(name);
    }
    copy
}

fn of(queue: &str, source: lapin::Error) -> RetireError {
    RetireError::Broker {
        queue: queue.to_owned(),
        source,
    }
}
