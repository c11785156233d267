//! `holdfast config check`: whether services would start with this environment, without starting them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use service_kit::config::{self, EXIT_CONFIG, ProcessEnv};

use crate::cli::Form;
use crate::output;
use crate::services::{Service, Settings};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether these services would start, and every reason why not.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Services by name; all of them when none is named.
    #[arg(value_name = "SERVICE")]
    services: Vec<Service>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let ConfigCommand::Check(args) = &args.command;
    let named = if args.services.is_empty() {
        &[Service::All]
    } else {
        args.services.as_slice()
    };
    let chosen = Service::chosen(named);
    let names = chosen.iter().map(|service| service.name()).collect::<Vec<_>>();
    let problems = config::load(&ProcessEnv, |r| Settings::read(r, &chosen)).err();
    if args.form.json {
        let list = problems.iter().flat_map(|problems| &problems.0);
        let list = list.map(|p| json!({"variable": p.variable, "wrong": p.wrong, "expected": p.expected}));
        output::json(&json!({
            "services": names,
            "ok": problems.is_none(),
            "problems": list.collect::<Vec<_>>(),
        }))?;
        return Ok(problems.map_or(ExitCode::SUCCESS, |_| ExitCode::from(EXIT_CONFIG)));
    }
    match problems {
        Some(problems) => Ok(problems.report()),
        None => {
            output::print(&format!("The configuration is good for {}.\n", names.join(", ")))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
