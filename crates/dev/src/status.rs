//! `cargo dev status`.

use std::process::ExitCode;

use clap::Args;

use crate::paths::Paths;
use crate::state::State;

/// Not an error, but not what a script that needs the system wants either.
const NOT_RUNNING: u8 = 3;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Everything, as JSON. Without a running system nothing is printed and the exit code is 3.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let Some(state) = State::running(&Paths::here()?) else {
        eprintln!("Holdfast is not running: `cargo dev up` starts it.");
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&state)?);
    } else {
        print(&state);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person wants to know first.
pub(crate) fn print(state: &State) {
    println!("Holdfast runs at {}", state.base_url);
    println!("  Stripe     {}", state.stripe_api_url);
    println!("  database   {}", state.database_url);
    println!("  broker     {}", state.amqp_url);
    println!("  logs       {}", state.log_folder);
    let pids: Vec<String> = state.pids.iter().map(|(name, pid)| format!("{name} {pid}")).collect();
    println!("  processes  {}", pids.join(", "));
    println!("  secrets and tokens: `cargo dev status --json`; stop it with `cargo dev down`");
}
