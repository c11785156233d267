//! `holdfast queues`: how many messages are at work, wait for another attempt, or are parked (RET-3); and the end of escrow's queue where
//! escrow is used no longer.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bus::depths::{Depth, depths};
use bus::topology::ESCROW_EVENTS;
use bus::{BrokerConfig, Topology};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Form;
use crate::{output, tools};

/// `holdfast queues ...`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct QueuesArgs {
    #[command(subcommand)]
    command: Option<QueuesCommand>,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Subcommand)]
enum QueuesCommand {
    /// Send no more events to escrow.events, after escrow was stopped for good: they go to the archive then.
    UnbindEscrow,
}

pub(crate) async fn run(args: QueuesArgs) -> anyhow::Result<ExitCode> {
    let broker = tools::broker()?;
    match args.command {
        Some(QueuesCommand::UnbindEscrow) => unbind_escrow(&broker).await,
        None => list(&broker, args.form).await,
    }
}

/// A service that runs would bind its queue again with its next connection.
async fn unbind_escrow(broker: &BrokerConfig) -> anyhow::Result<ExitCode> {
    let topology = Topology::with_escrow();
    let all = depths(broker, &topology).await?;
    let escrow = all.iter().find(|depth| depth.queue == ESCROW_EVENTS);
    let escrow = escrow.context("there is no queue escrow.events")?;
    if escrow.consumers > 0 {
        bail!(
            "escrow runs ({} consumers of {ESCROW_EVENTS}) and would bind its queue again: stop it first",
            escrow.consumers
        );
    }
    topology.unbind(broker, ESCROW_EVENTS).await?;
    let left = escrow.ready;
    output::print(&format!(
        "{ESCROW_EVENTS} gets no more events; they go to the archive. {left} wait in it still. A start of escrow binds it again.\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(broker: &BrokerConfig, form: Form) -> anyhow::Result<ExitCode> {
    let depths = depths(broker, &Topology::holdfast()).await?;
    if form.json {
        output::json(&depths.iter().map(object).collect::<Vec<_>>())?;
    } else {
        output::print(&text(&depths))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(depth: &Depth) -> serde_json::Value {
    let waiting = depth.waiting.iter();
    let waiting = waiting.map(|(delay, count)| json!({"delay_seconds": delay.as_secs(), "count": count}));
    json!({
        "queue": depth.queue,
        "ready": depth.ready,
        "consumers": depth.consumers,
        "waiting": waiting.collect::<Vec<_>>(),
        "parked": depth.parked,
    })
}

fn text(depths: &[Depth]) -> String {
    let title = ["QUEUE", "CONSUMERS", "READY", "WAITING", "PARKED"].map(str::to_owned);
    let rows = depths.iter().map(|depth| {
        [
            depth.queue.clone(),
            depth.consumers.to_string(),
            depth.ready.to_string(),
            waiting(depth),
            depth.parked.to_string(),
        ]
    });
    output::columns(std::iter::once(title).chain(rows))
}

/// `0`, or how many wait out which delay: `2 for 5 s, 1 for 2 min`.
fn waiting(depth: &Depth) -> String {
    let some = depth.waiting.iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> = some
        .map(|(delay, count)| format!("{count} for {}", words(*delay)))
        .collect();
    if words.is_empty() {
        "0".to_owned()
    } else {
        words.join(", ")
    }
}

fn words(delay: Duration) -> String {
    match delay.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
