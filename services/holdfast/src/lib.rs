//! The one binary: every service and every tool of an operator behind one name.
//!
//! Why one: one image to build, sign and roll out. Each deployment runs `holdfast run <service>` with its own secrets,
//! database role and scaling; a small team runs `holdfast run all`. A process reads the configuration of what it runs and
//! nothing else.
//!
//! Exit codes: 0 done; 1 failed, or a check that is red; 2 a command line that makes no sense; 78 a configuration that is
//! refused, before a port opens. What was asked for goes to stdout, everything else to stderr; `--json` makes stdout one
//! JSON document.

mod alerts;
mod cli;
mod client;
mod config;
#[cfg(test)]
mod configuration_document;
mod escrow_queue;
mod events;
mod failure;
mod job;
mod ledger;
mod migrate;
mod output;
mod parked;
mod queues;
mod run;
mod services;
mod tools;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error).context("starting the runtime")),
    };
    let done = runtime.block_on(Box::pin(dispatch(cli)));
    // A name lookup or another blocking call that hangs must not hold up the end of the process.
    runtime.shutdown_background();
    done.unwrap_or_else(|error| failure::report(&error))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args).await,
        Command::Job(args) => job::run(&args).await,
        Command::Ledger(args) => ledger::run(&args).await,
        Command::Migrate(args) => migrate::run(&args).await,
        Command::Config(args) => config::run(&args),
        Command::Events(args) => events::run(args).await,
        Command::Parked(args) => parked::run(args).await,
        Command::Queues(form) => queues::run(form).await,
        Command::Escrow(args) => escrow_queue::run(args).await,
        Command::Client(args) => client::run(args).await,
        Command::Alerts(args) => alerts::run(&args).await,
    }
}
