//! How much work waits.

use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};

use crate::connection::{self, BrokerConfig, ConnectError, Purpose};

/// Why a queue could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    /// No connection.
    #[error("connecting to look at a queue")]
    Connect(#[from] ConnectError),
    /// The queue does not exist, or the connection was lost.
    #[error("looking at '{queue}'")]
    Look {
        /// The queue.
        queue: String,
        /// The broker's answer.
        #[source]
        source: lapin::Error,
    },
}

/// A connection that looks at one queue from time to time and takes nothing from it.
pub struct Backlog {
    connection: Connection,
    channel: Channel,
    queue: String,
    name: ShortString,
}

impl Backlog {
    /// Connects.
    ///
    /// # Errors
    /// See [`BacklogError`].
    pub async fn open(broker: &BrokerConfig, queue: &str) -> Result<Self, BacklogError> {
        let look = |source| BacklogError::Look {
            queue: queue.to_owned(),
            source,
        };
        let name = ShortString::try_new(queue)
            .map_err(|_| look(std::io::Error::from(std::io::ErrorKind::InvalidInput).into()))?;
        let connection = connection::open(broker, Purpose::Look).await?;
        let channel = connection.create_channel().await.map_err(look)?;
        Ok(Self {
            connection,
            channel,
            queue: queue.to_owned(),
            name,
        })
    }

    /// Messages that wait to be delivered. Those that consumers have in hand are not among them.
    ///
    /// # Errors
    /// When the queue does not exist or the broker is away; the connection is then of no use any more.
    pub async fn waiting(&self) -> Result<u32, BacklogError> {
        let options = QueueDeclareOptions {
            // Asks and declares nothing.
            passive: true,
            durable: true,
            exclusive: false,
            auto_delete: false,
            nowait: false,
        };
        let declared = self
            .channel
            .queue_declare(self.name.clone(), options, FieldTable::default());
        let declared = declared.await.map_err(|source| BacklogError::Look {
            queue: self.queue.clone(),
            source,
        })?;
        Ok(declared.message_count())
    }

    /// Ends the connection.
    pub async fn close(self) {
        connection::close(&self.connection).await;
    }
}
