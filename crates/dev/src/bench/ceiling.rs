//! The ceiling: how fast this broker confirms these bodies when nobody does anything else.
//!
//! A bare loop over one channel: persistent messages to a quorum queue through the default exchange, publisher confirms,
//! [`IN_FLIGHT`] at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use super::bodies::Template;

/// Messages that wait for their confirm at one time.
pub const IN_FLIGHT: usize = 256;
const QUEUE: &str = "bench.ceiling";

/// What a run at the ceiling came to.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    /// Confirmed messages.
    pub confirmed: usize,
    /// Confirmed messages per second.
    pub rate: f64,
}

/// Publishes for so long.
///
/// # Errors
/// When the broker refuses or the connection fails.
pub async fn run(amqp_url: &str, template: &Template, time: Duration) -> anyhow::Result<Ceiling> {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default())
        .await
        .context("connecting for the ceiling")?;
    let channel = connection.create_channel().await.context("a channel for the ceiling")?;
    channel
        .confirm_select(ConfirmSelectOptions { nowait: false })
        .await
        .context("confirm mode")?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(QUEUE.into(), durable, arguments)
        .await
        .context("the ceiling's queue")?;
    let rate = publish(&channel, template, time).await;
    let gone = QueueDeleteOptions {
        if_unused: false,
        if_empty: false,
        nowait: false,
    };
    channel
        .queue_delete(QUEUE.into(), gone)
        .await
        .context("deleting the ceiling's queue")?;
    connection
        .close(200, "done".into())
        .await
        .context("closing the ceiling's connection")?;
    rate
}

async fn publish(channel: &Channel, template: &Template, time: Duration) -> anyhow::Result<Ceiling> {
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let one = |n: usize| {
        let (body, properties) = (template.body(n), persistent.clone());
        async move {
            channel
                .basic_publish("".into(), QUEUE.into(), options, &body, properties)
                .await?
                .await
        }
    };
    let started = Instant::now();
    let mut in_flight: FuturesUnordered<_> = (0..IN_FLIGHT).map(one).collect();
    let mut sent = IN_FLIGHT;
    let mut confirmed = 0_usize;
    while let Some(answer) = in_flight.next().await {
        if !matches!(answer.context("publishing at the ceiling")?, Confirmation::Ack(None)) {
            bail!("the broker refused a message of the ceiling");
        }
        confirmed += 1;
        if started.elapsed() < time {
            in_flight.push(one(sent));
            sent += 1;
        }
    }
    Ok(Ceiling {
        confirmed,
        rate: confirmed as f64 / started.elapsed().as_secs_f64(),
    })
}
