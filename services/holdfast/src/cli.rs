//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::services::Service;
use crate::{alerts, client, config, escrow_queue, events, job, ledger, migrate, parked};

/// Payments with Stripe: webhooks in, decisions kept, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one or several services in this process.
    Run(ServiceArgs),
    /// Run one job now, by itself.
    Job(job::JobArgs),
    /// Check the ledger.
    Ledger(ledger::LedgerArgs),
    /// Bring the database's schema up to this binary, or check it.
    Migrate(migrate::MigrateArgs),
    /// Look at the configuration without starting anything.
    Config(config::ConfigArgs),
    /// Look events up in the archive, or send one through again.
    Events(events::EventsArgs),
    /// Look at messages that were set aside, or send them back to work.
    Parked(parked::ParkedArgs),
    /// Count what is at work, what waits for another attempt, and what is parked, in each queue.
    Queues(Form),
    /// Take escrow out of an installation that does not use it any more.
    Escrow(escrow_queue::EscrowArgs),
    /// Look a client up.
    Client(client::ClientArgs),
    /// Look at alerts, resolve them, or see that they arrive.
    Alerts(alerts::AlertsArgs),
}

/// Names of services.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Services by name, or `all`.
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<Service>,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Form {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
