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
    /// Everything, as `export` lines for a shell: `eval "$(cargo dev status --env)"`. The services' variables have the names that they read, so that
    /// the operator's tools work in that shell.
    #[arg(long, conflicts_with = "json")]
    env: bool,
}

pub(crate) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let Some(state) = State::running(&Paths::here()?) else {
        eprintln!("Holdfast is not running: `cargo dev up` starts it.");
        return Ok(ExitCode::from(NOT_RUNNING));
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&state)?);
    } else if args.env {
        for (name, value) in variables(&state) {
            println!("export {name}='{value}'");
        }
    } else {
        print(&state);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the operator's tools and a person's `curl` need. No value has a quote in it: they are URLs, ids and secrets made of letters and digits.
fn variables(state: &State) -> [(&'static str, &str); 14] {
    [
        ("BASE_URL", &state.base_url),
        ("ORG_ID", &state.org_id),
        ("SERVICE_TOKEN", &state.service_token),
        ("ADMIN_TOKEN", &state.admin_token),
        ("MEMBER_TOKEN", &state.member_token),
        ("DATABASE_URL", &state.service_database_url),
        ("TENANT_DATABASE_URL", &state.tenant_database_url),
        ("AMQP_URL", &state.amqp_url),
        ("STRIPE_API_BASE", &state.stripe_api_url),
        ("STRIPE_WEBHOOK_SECRET", &state.webhook_secret),
        ("STRIPE_CONNECT_WEBHOOK_SECRET", &state.connect_webhook_secret),
        ("AUTH_JWT_SECRET", &state.auth_jwt_secret),
        ("RECONCILE_SECRET", &state.reconcile_secret),
        ("MONITOR_SECRET", &state.monitor_secret),
    ]
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
    println!("  secrets and tokens: `cargo dev status --json` or `--env`; stop it with `cargo dev down`");
}
