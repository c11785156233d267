//! How many messages stand where: at work, waiting for another attempt, or parked (RET-3).

use std::time::Duration;

use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use crate::connection::{self, BrokerConfig, ConnectError, Purpose};
use crate::topology::{QueueFamily, Topology};

/// A work queue with its retry queues and its parking place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The work queue.
    pub queue: String,
    /// Messages that no consumer has yet.
    pub ready: u32,
    /// Who consumes them.
    pub consumers: u32,
    /// Messages that wait for another attempt, by the delay that they wait out.
    pub waiting: Vec<(Duration, u32)>,
    /// Messages that were set aside for a person.
    pub parked: u32,
}

/// Why queues could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum DepthError {
    /// No connection.
    #[error("connecting to count messages")]
    Connect(#[from] ConnectError),
    /// The queue does not exist, or the connection was lost.
    #[error("counting the messages of '{queue}'")]
    Count {
        /// The queue.
        queue: String,
        /// The broker's answer.
        #[source]
        source: lapin::Error,
    },
}

/// Counts the messages of every queue of a topology.
///
/// # Errors
/// See [`DepthError`].
pub async fn depths(broker: &BrokerConfig, topology: &Topology) -> Result<Vec<Depth>, DepthError> {
    let connection = connection::open(broker, Purpose::Depths).await?;
    let mut depths = Vec::with_capacity(topology.queues.len());
    for family in &topology.queues {
        depths.push(of_family(&connection, family).await?);
    }
    connection::close(&connection).await;
    Ok(depths)
}

async fn of_family(connection: &Connection, family: &QueueFamily) -> Result<Depth, DepthError> {
    let (ready, consumers) = count(connection, &family.name).await?;
    let mut waiting = Vec::new();
    for (attempts, delay) in (1..).zip(family.retry.delays()) {
        if let Some(queue) = family.retry_queue(attempts) {
            waiting.push((*delay, count(connection, &queue).await?.0));
        }
    }
    let (parked, _) = count(connection, &family.parked_queue()).await?;
    Ok(Depth {
        queue: family.name.clone(),
        ready,
        consumers,
        waiting,
        parked,
    })
}

/// Messages that stand ready, and consumers.
async fn count(connection: &Connection, queue: &str) -> Result<(u32, u32), DepthError> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let counted = async {
        // A queue that is missing closes the channel, so each has its own.
        let channel = connection.create_channel().await?;
        let declared = channel
            .queue_declare(ShortString::from(queue), passive, FieldTable::default())
            .await?;
        channel.close(200, "counted".into()).await?;
        Ok((declared.message_count(), declared.consumer_count()))
    };
    counted.await.map_err(|source| DepthError::Count {
        queue: queue.to_owned(),
        source,
    })
}
