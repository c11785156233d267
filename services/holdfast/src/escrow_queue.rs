//! `holdfast escrow unbind`: for an installation that does not run escrow any more.
//!
//! Its bindings are durable, so that an escrow that is away loses nothing. Where it is away for good its queue would grow until the disk is
//! full; without bindings its events go to the archive.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use bus::depths::{Depth, depths};
use bus::topology::{ESCROW_COMMANDS, ESCROW_EVENTS, archive_rest};
use bus::{BrokerConfig, Topology};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Form;
use crate::{output, tools};

#[derive(Debug, Args)]
pub(crate) struct EscrowArgs {
    #[command(subcommand)]
    command: EscrowCommand,
}

#[derive(Debug, Subcommand)]
enum EscrowCommand {
    /// Remove the bindings of escrow's queue, and send the events that wait in it to the archive.
    ///
    /// Escrow must not run: it binds its queue again whenever it connects. Run it again where messages waited for another attempt.
    Unbind(Form),
}

pub(crate) async fn run(args: EscrowArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        EscrowCommand::Unbind(form) => unbind(form).await,
    }
}

async fn unbind(form: Form) -> anyhow::Result<ExitCode> {
    let broker = tools::broker()?;
    // Declares what is missing, so that the archive has its queue.
    let publisher = tools::publisher(broker.clone()).await?;
    let consumers = depth(&broker, ESCROW_EVENTS).await?.consumers + depth(&broker, ESCROW_COMMANDS).await?.consumers;
    ensure!(
        consumers == 0,
        "escrow is running ({consumers} consumers) and would bind its queue again; stop it first"
    );
    let bindings = Topology::with_escrow().unbind(&broker, ESCROW_EVENTS).await?;
    let archived = archive_rest(&broker, &publisher, ESCROW_EVENTS).await;
    tools::close(&publisher).await;
    let archived = archived?;
    let left = depth(&broker, ESCROW_EVENTS).await?;
    let waiting: u32 = left.waiting.iter().map(|(_, count)| count).sum();
    if form.json {
        output::json(&json!({
            "queue": ESCROW_EVENTS,
            "bindings": bindings,
            "archived": archived,
            "waiting": waiting,
            "parked": left.parked,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text =
        format!("{ESCROW_EVENTS} is bound to nothing any more; {archived} events in it went to the archive.\n");
    if waiting > 0 {
        text += &format!("{waiting} wait for another attempt: run this again in 10 minutes.\n");
    }
    if left.parked > 0 {
        text += &format!("{} are parked and stay: holdfast parked list.\n", left.parked);
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn depth(broker: &BrokerConfig, queue: &str) -> anyhow::Result<Depth> {
    let of_escrow = Topology::holdfast();
    let family = of_escrow.family(queue).context("a queue of Holdfast")?;
    let found = depths(broker, &Topology::one_queue(family.clone())).await?;
    found.into_iter().next().context("the queue's depth")
}
