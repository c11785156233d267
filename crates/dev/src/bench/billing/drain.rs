//! From the queue to committed state: the queue is filled while billing is down, then billing starts, and its commits are timed
//! between a first part, which pays for the start, and the last event.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bus::{BrokerConfig, Headers, Outgoing, Publisher, PublisherConfig, Topology, headers, topology};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::super::stage::Stage;
use super::super::usage;
use super::story::Stories;

const IN_FLIGHT: usize = 256;
const LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a drain came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drain {
    /// Events that were decided while the clock ran.
    pub events: usize,
    /// Events per second from the queue to the commit.
    pub rate: f64,
    /// Billing's CPU time per event, in microseconds.
    pub billing_micros: f64,
    /// Postgres' CPU time.
    pub postgres_micros: f64,
    /// The broker's.
    pub broker_micros: f64,
    /// Memory of billing at most, in KiB.
    pub memory_peak_kib: u64,
}

/// Publishes events `first..first + count` as ingest would.
pub(super) async fn fill(stage: &Stage, stories: &Stories, first: usize, count: usize) -> anyhow::Result<()> {
    let publisher = Publisher::start(PublisherConfig {
        topology: Topology::holdfast(),
        channels: 1,
        ..PublisherConfig::new(BrokerConfig::new(stage.broker.amqp_url(), "bench"))
    });
    publisher
        .wait_ready(Duration::from_secs(30))
        .await
        .context("connecting to fill the queue")?;
    let received_at = chrono::Utc::now().to_rfc3339();
    let messages = stream::iter(first..first + count).map(|n| {
        let mut body = Vec::new();
        let told = stories.write(n, &mut body);
        let mut table = Headers::new();
        table
            .set_str(headers::ENDPOINT, "platform")
            .set_str(headers::RECEIVED_AT, received_at.as_str())
            .set_str(headers::API_VERSION, webhook_ingest::NEWEST_KNOWN)
            .set_bool(headers::LIVEMODE, false);
        publisher.publish(Outgoing {
            exchange: topology::STRIPE_EVENTS.into(),
            routing_key: format!("platform.{}", told.kind),
            message_id: Stories::id(n),
            kind: told.kind.to_owned(),
            timestamp: told.created.timestamp().unsigned_abs(),
            headers: table,
            body: body.into(),
        })
    });
    let filled = messages.buffer_unordered(IN_FLIGHT).try_collect::<()>().await;
    publisher.close(Duration::from_secs(5)).await;
    filled.context("filling the queue")
}

/// Starts billing on a filled queue and times it from event `first + skip` to the last one.
pub(super) async fn drain(
    stage: &Stage,
    stories: &Stories,
    first: usize,
    count: usize,
    skip: usize,
) -> anyhow::Result<Drain> {
    stage.checkpoint().await?;
    let billing = stage.billing().await?;
    let pid = billing.process.pid();
    let timed = time(stage, stories, pid, [first + skip, first + count - 1]).await;
    billing.stop().await;
    let drained = timed?;
    let last = first + count - 1;
    let sql = "SELECT count(*) FROM billing_events WHERE stripe_event_id BETWEEN $1 AND $2";
    let row = stage
        .sql
        .query_one(sql, &[&Stories::id(first), &Stories::id(last)])
        .await;
    let stored: i64 = row.context("counting events")?.get(0);
    if usize::try_from(stored)? != count {
        bail!("of {count} events only {stored} were decided");
    }
    Ok(drained)
}

async fn time(stage: &Stage, stories: &Stories, billing: u32, [from, to]: [usize; 2]) -> anyhow::Result<Drain> {
    let pids = [Some(billing), stage.postgres.pid(), stage.broker.pid()];
    let used = || {
        pids.map(|pid| {
            pid.and_then(|pid| usage::cpu_with_children(pid).ok())
                .unwrap_or_default()
        })
    };
    committed(stage, stories, from).await?;
    let (since, before) = (Instant::now(), used());
    committed(stage, stories, to).await?;
    let (now, after) = (Instant::now(), used());
    let events = to - from;
    let mut earlier = before.into_iter();
    let [billing_micros, postgres_micros, broker_micros] = after.map(|after| {
        let used = after.saturating_sub(earlier.next().unwrap_or_default());
        used.as_secs_f64() * 1e6 / events.max(1) as f64
    });
    Ok(Drain {
        events,
        rate: events as f64 / now.duration_since(since).as_secs_f64(),
        billing_micros,
        postgres_micros,
        broker_micros,
        memory_peak_kib: usage::memory_kib(billing)?.1,
    })
}

/// Waits until an event is committed.
pub(super) async fn committed(stage: &Stage, stories: &Stories, n: usize) -> anyhow::Result<()> {
    let sql = "SELECT 1 FROM billing_events WHERE stripe_event_id = $1 AND consumer = 'billing' AND created = $2";
    let statement = stage.sql.prepare(sql).await.context("looking for an event")?;
    let (id, created) = (Stories::id(n), stories.told(n).created);
    let begun = Instant::now();
    while stage.sql.query_opt(&statement, &[&id, &created]).await?.is_none() {
        if begun.elapsed() > LIMIT {
            bail!("billing did not drain the queue within {} s", LIMIT.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
