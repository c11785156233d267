//! A long outage's worth of events drains at the steady rate, and an operator sees how it goes.

use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use provision::Say;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::super::stage::Stage;
use super::super::usage;
use super::drain;
use super::story::Stories;
use crate::database;
use crate::paths::Paths;

/// The drain is looked at in so many parts.
const PARTS: usize = 10;

/// What draining a backlog came to.
#[derive(Debug, Clone, Serialize)]
pub struct Backlog {
    /// Events that waited.
    pub events: usize,
    /// Events per second of each tenth.
    pub rates: Vec<f64>,
    /// Events per second over all.
    pub rate: f64,
    /// Memory of billing at most, in KiB.
    pub memory_peak_kib: u64,
    /// The last progress line of `holdfast events backlog` before the end.
    pub progress: String,
}

/// Fills the queue and lets billing drain it under the eyes of `holdfast events backlog --watch`.
pub(super) async fn measure(
    stage: &Stage,
    stories: &Stories,
    first: usize,
    events: usize,
    say: Say<'_>,
) -> anyhow::Result<Backlog> {
    say(&format!("filling the queue with {events} events"));
    drain::fill(stage, stories, first, events).await?;
    stage.checkpoint().await?;
    let billing = stage.billing().await?;
    let pid = billing.process.pid();
    let (timed, progress) = tokio::join!(time(stage, stories, first, events), watch(stage, say));
    let peak = usage::memory_kib(pid);
    billing.stop().await;
    let (rates, rate) = timed?;
    Ok(Backlog {
        events,
        rates,
        rate,
        memory_peak_kib: peak?.1,
        progress: progress?,
    })
}

async fn time(stage: &Stage, stories: &Stories, first: usize, events: usize) -> anyhow::Result<(Vec<f64>, f64)> {
    let part = events / PARTS;
    // The first events pay for the start.
    let skip = part / 10;
    drain::committed(stage, stories, first + skip).await?;
    let begun = Instant::now();
    let mut since = begun;
    let mut rates = Vec::with_capacity(PARTS);
    for number in 1..=PARTS {
        drain::committed(stage, stories, first + number * part - 1).await?;
        let done = if number == 1 { part - skip } else { part };
        rates.push(done as f64 / since.elapsed().as_secs_f64());
        since = Instant::now();
    }
    Ok((rates, (events - skip) as f64 / begun.elapsed().as_secs_f64()))
}

/// Runs the operator's command until it says that nothing waits any more.
async fn watch(stage: &Stage, say: Say<'_>) -> anyhow::Result<String> {
    let service = database::url_as(&stage.superuser, "holdfast_service", &stage.secrets.service_password)?;
    let mut child = Command::new(Paths::here()?.programs(true).join("holdfast"))
        .args(["events", "backlog", "--watch"])
        .env("DATABASE_URL", service)
        .env("AMQP_URL", stage.broker.amqp_url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("holdfast events backlog")?;
    let stdout = child.stdout.take().context("its output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut last = String::new();
    while let Some(line) = lines.next_line().await? {
        say(&line);
        if line.contains("left") {
            last = line;
        }
    }
    child.wait().await.context("holdfast events backlog")?;
    Ok(last)
}
