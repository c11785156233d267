//! `holdfast job`: one run of what services run by a timer, for a scheduler or a person. The exit code is 0 only if nothing failed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use escrow::TimeoutConfig;
use retry::RunConfig;
use serde::Serialize;
use service_kit::clock::Clock;
use service_kit::config::{self, ProcessEnv};

use crate::cli::Form;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Give expired escrows back, as far as the refund breaker lets, and capture authorisations that are about to end.
    EscrowTimeouts(Form),
    /// Have refused transfers, reversals and refunds made again, at most ten.
    RetryTransfers(Form),
}

pub(crate) async fn run(args: &JobArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        JobCommand::EscrowTimeouts(form) => {
            let settings = config::load(&ProcessEnv, TimeoutConfig::read)?;
            let report = escrow::run_timeouts(&settings, Clock::System).await?;
            print(&report, report.success, form)
        }
        JobCommand::RetryTransfers(form) => {
            let settings = config::load(&ProcessEnv, RunConfig::read)?;
            let report = retry::run_retries(&settings, Clock::System).await?;
            print(&report, report.success, form)
        }
    }
}

fn print(report: &impl Serialize, success: bool, form: Form) -> anyhow::Result<ExitCode> {
    let report = serde_json::to_value(report)?;
    if form.json {
        output::json(&report)?;
    } else {
        let rows = report.as_object().into_iter().flatten();
        let rows = rows.map(|(name, value)| [name.clone(), value.to_string()]);
        output::print(&output::columns(rows))?;
    }
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
