//! The user's own system, played by the demo: a queue bound to `holdfast.events` from before the first event on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bus::{Topology, topology};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use serde::Deserialize;

/// One `client.state_changed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Announcement {
    pub(super) client_id: String,
    pub(super) version: i64,
    pub(super) from: String,
    pub(super) to: String,
}

/// A connection that listens and can count queues.
pub(super) struct Listener {
    connection: Connection,
    heard: Arc<Mutex<Vec<Announcement>>>,
}

impl Listener {
    /// Binds the queue; announcements from now on are heard.
    pub(super) async fn start(amqp_url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default())
            .await
            .context("connecting to the broker")?;
        let channel = connection.create_channel().await.context("a channel")?;
        let ours_only = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel
            .queue_declare("".into(), ours_only, FieldTable::default())
            .await
            .context("declaring a queue for announcements")?;
        let name = queue.name().clone();
        channel
            .queue_bind(
                name.clone(),
                topology::EVENTS.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .context("binding a queue to holdfast.events")?;
        let at_once = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let mut consumer = channel
            .basic_consume(name, "demo".into(), at_once, FieldTable::default())
            .await
            .context("listening to announcements")?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                if let Ok(one) = serde_json::from_slice::<Announcement>(&delivery.data) {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            }
        });
        Ok(Self { connection, heard })
    }

    /// What was announced so far.
    pub(super) fn heard(&self) -> Vec<Announcement> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Messages that lie in each of Holdfast's queues, those for retries and the parked ones included.
    pub(super) async fn queues(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        let mut counts = BTreeMap::new();
        let channel = self.connection.create_channel().await.context("a channel")?;
        for family in Topology::holdfast().queues {
            let retries = (1_u32..).map_while(|failed| family.retry_queue(failed));
            let names = [family.name.clone(), family.parked_queue()].into_iter().chain(retries);
            for name in names {
                counts.insert(name.clone(), messages(&channel, &name).await?);
            }
        }
        drop(channel.close(200, "counted".into()).await);
        Ok(counts)
    }

    pub(super) async fn stop(self) {
        drop(self.connection.close(200, "done".into()).await);
    }
}

async fn messages(channel: &Channel, queue: &str) -> anyhow::Result<u32> {
    let look_only = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel
        .queue_declare(queue.into(), look_only, FieldTable::default())
        .await;
    Ok(found.with_context(|| format!("counting {queue}"))?.message_count())
}
