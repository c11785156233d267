//! Looking at parked messages and sending them back to work.
//!
//! Parked messages are few and looked at by people, so everything here fetches them one by one on a connection that is
//! opened for the purpose, without acking; closing it gives back what was only looked at. A replayed message is acked
//! after its copy in the work queue is confirmed: it can be doubled by a crash in between, never lost. Looking counts
//! as a delivery, so the parking queues have a delivery limit that nobody reaches.

use bytes::Bytes;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};

use crate::connection::{self, BrokerConfig, ConnectError, Purpose};
use crate::headers::{AGAIN, ATTEMPTS, PARKED_AT, PARKED_ATTEMPTS, PARKED_REASON, PUT_OFF};
use crate::incoming::Incoming;
use crate::outgoing::PublishError;
use crate::publisher::Publisher;
use crate::topology::{Topology, parked_queue};

/// A parked message.
#[derive(Clone, Debug)]
pub struct ParkedMessage {
    /// The message, with the exchange and routing key that it was first published with.
    pub message: Incoming,
    /// Why it was parked. `delivery_limit` when the broker did it: consumers lost their connection over it too often.
    pub reason: String,
    /// When, RFC 3339; `None` when the broker did it.
    pub parked_at: Option<String>,
    /// Attempts that were made.
    pub attempts: u32,
}

/// A parking queue at a glance.
#[derive(Clone, Debug)]
pub struct ParkedQueue {
    /// The work queue that its messages come from.
    pub queue: String,
    /// How many there are.
    pub count: u32,
    /// The first ones.
    pub heads: Vec<ParkedMessage>,
}

/// Which messages to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that are parked when the replay starts.
    All,
    /// Those with this message id (an event's id); there can be several.
    MessageId(String),
}

/// Why parked messages could not be read or replayed. What was replayed before the error stays replayed.
#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    /// No connection.
    #[error("connecting to look at parked messages")]
    Connect(#[from] ConnectError),
    /// The queue does not exist, or the connection was lost.
    #[error("reading parked messages of '{queue}'")]
    Read {
        /// The work queue.
        queue: String,
        /// The broker's answer.
        #[source]
        source: lapin::Error,
    },
    /// A message could not be published to its work queue; it stays parked.
    #[error("replaying a message to '{queue}'")]
    Publish {
        /// The work queue.
        queue: String,
        /// What happened.
        #[source]
        source: PublishError,
    },
}

/// Counts, and the first `heads` messages of each parking queue of a topology.
///
/// # Errors
/// See [`ParkedError`].
pub async fn list(broker: &BrokerConfig, topology: &Topology, heads: u32) -> Result<Vec<ParkedQueue>, ParkedError> {
    let desk = Desk::open(broker).await?;
    let mut queues = Vec::with_capacity(topology.queues.len());
    for family in &topology.queues {
        queues.push(desk.look_at(&family.name, heads).await?);
    }
    desk.close().await;
    Ok(queues)
}

/// Every parked message of a work queue with this message id.
///
/// # Errors
/// See [`ParkedError`].
pub async fn show(broker: &BrokerConfig, queue: &str, message_id: &str) -> Result<Vec<ParkedMessage>, ParkedError> {
    let desk = Desk::open(broker).await?;
    let found = desk.find(queue, message_id).await;
    desk.close().await;
    found
}

/// Sends parked messages back to their work queue with no attempts counted, and returns how many.
///
/// # Errors
/// See [`ParkedError`].
pub async fn replay(
    broker: &BrokerConfig,
    publisher: &Publisher,
    queue: &str,
    which: &Which,
) -> Result<u32, ParkedError> {
    let desk = Desk::open(broker).await?;
    let replayed = desk.replay(publisher, queue, which).await;
    desk.close().await;
    replayed
}

/// A connection for one look.
struct Desk {
    connection: Connection,
}

impl Desk {
    async fn open(broker: &BrokerConfig) -> Result<Self, ParkedError> {
        Ok(Self {
            connection: connection::open(broker, Purpose::Parked).await?,
        })
    }

    async fn close(self) {
        connection::close(&self.connection).await;
    }

    async fn look_at(&self, queue: &str, heads: u32) -> Result<ParkedQueue, ParkedError> {
        let reading = Reading::start(&self.connection, queue).await?;
        let mut seen = Vec::new();
        for _ in 0..reading.count.min(heads) {
            match reading.next().await? {
                Some(fetched) => seen.push(ParkedMessage::of(Incoming::take(fetched.delivery))),
                None => break,
            }
        }
        let count = reading.count;
        reading.give_back().await?;
        Ok(ParkedQueue {
            queue: queue.to_owned(),
            count,
            heads: seen,
        })
    }

    /// The broker finds nothing by id, so every message comes by, but only what was asked for is kept.
    async fn find(&self, queue: &str, message_id: &str) -> Result<Vec<ParkedMessage>, ParkedError> {
        let reading = Reading::start(&self.connection, queue).await?;
        let mut found = Vec::new();
        for _ in 0..reading.count {
            let Some(fetched) = reading.next().await? else { break };
            let message = Incoming::take(fetched.delivery);
            if message.message_id == message_id {
                found.push(ParkedMessage::of(message));
            }
        }
        reading.give_back().await?;
        Ok(found)
    }

    async fn replay(&self, publisher: &Publisher, queue: &str, which: &Which) -> Result<u32, ParkedError> {
        let reading = Reading::start(&self.connection, queue).await?;
        let mut replayed = 0_u32;
        for _ in 0..reading.count {
            let Some(fetched) = reading.next().await? else { break };
            let tag = fetched.delivery.delivery_tag;
            let message = Incoming::take(fetched.delivery);
            if matches!(which, Which::MessageId(wanted) if *wanted != message.message_id) {
                continue;
            }
            let copy = fresh_copy(&message, queue);
            publisher.publish(copy).await.map_err(|source| ParkedError::Publish {
                queue: queue.to_owned(),
                source,
            })?;
            reading.ack(tag).await?;
            replayed = replayed.saturating_add(1);
            tracing::info!(queue, message_id = %message.message_id, "a parked message was sent back to work");
        }
        reading.give_back().await?;
        Ok(replayed)
    }
}

/// The message as it was before its first attempt.
fn fresh_copy(message: &Incoming, queue: &str) -> crate::outgoing::Outgoing {
    let mut copy = message.forward_to(queue.to_owned());
    for name in [ATTEMPTS, PUT_OFF, PARKED_REASON, PARKED_AT, PARKED_ATTEMPTS] {
        copy.headers.remove(name);
    }
    copy.headers.set_bool(AGAIN, true);
    copy
}

impl ParkedMessage {
    fn of(message: Incoming) -> Self {
        let headers = &message.headers;
        let reason = headers
            .get_str(PARKED_REASON)
            .or_else(|| headers.first_death_reason())
            .unwrap_or("unknown");
        let attempts = headers
            .get_int(PARKED_ATTEMPTS)
            .and_then(|count| u32::try_from(count).ok());
        Self {
            reason: reason.to_owned(),
            parked_at: headers.get_str(PARKED_AT).map(str::to_owned),
            attempts: attempts.unwrap_or_else(|| headers.attempts()),
            message,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.message.body
    }
}

/// Messages fetched on one channel; what is not acked goes back when it closes.
struct Reading<'a> {
    queue: &'a str,
    name: ShortString,
    channel: Channel,
    count: u32,
}

impl<'a> Reading<'a> {
    async fn start(connection: &Connection, queue: &'a str) -> Result<Self, ParkedError> {
        let read = |source| ParkedError::Read {
            queue: queue.to_owned(),
            source,
        };
        let too_long = |_| read(std::io::Error::from(std::io::ErrorKind::InvalidInput).into());
        let name = ShortString::try_new(parked_queue(queue)).map_err(too_long)?;
        let channel = connection.create_channel().await.map_err(read)?;
        let options = QueueDeclareOptions {
            passive: true,
            durable: true,
            exclusive: false,
            auto_delete: false,
            nowait: false,
        };
        let declared = channel
            .queue_declare(name.clone(), options, FieldTable::default())
            .await
            .map_err(read)?;
        Ok(Self {
            queue,
            name,
            channel,
            count: declared.message_count(),
        })
    }

    fn error(&self, source: lapin::Error) -> ParkedError {
        ParkedError::Read {
            queue: self.queue.to_owned(),
            source,
        }
    }

    async fn next(&self) -> Result<Option<BasicGetMessage>, ParkedError> {
        let options = BasicGetOptions { no_ack: false };
        self.channel
            .basic_get(self.name.clone(), options)
            .await
            .map_err(|source| self.error(source))
    }

    async fn ack(&self, tag: u64) -> Result<(), ParkedError> {
        let options = BasicAckOptions { multiple: false };
        self.channel
            .basic_ack(tag, options)
            .await
            .map_err(|source| self.error(source))
    }

    async fn give_back(self) -> Result<(), ParkedError> {
        let closed = self
            .channel
            .close(lapin::protocol::constants::REPLY_SUCCESS, "looked".into())
            .await;
        closed.map_err(|source| self.error(source))
    }
}
