//! `holdfast migrate` and `holdfast migrate verify`.
//!
//! `MIGRATOR_DATABASE_URL` names a role that may migrate; without it `DATABASE_URL` is taken, which is right where one role
//! does everything.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::json;
use service_kit::config::{self, ProcessEnv, Reader, shape};

use crate::cli::Form;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    command: Option<MigrateCommand>,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Subcommand)]
enum MigrateCommand {}

pub(crate) async fn run(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let url = config::load(&ProcessEnv, read_url)?;
    apply(&url, args.form).await
}

/// The URL of the role that migrates.
pub(crate) fn read_url(r: &mut Reader<'_>) -> Option<SecretString> {
    let shape = || shape::url(&["postgres", "postgresql"]);
    let url = if r.is_set("MIGRATOR_DATABASE_URL") {
        r.required("MIGRATOR_DATABASE_URL", shape())
    } else {
        r.required("DATABASE_URL", shape())
    };
    url.map(SecretString::from)
}

async fn apply(url: &SecretString, form: Form) -> anyhow::Result<ExitCode> {
    let report = db::migrate(url).await?;
    if form.json {
        output::json(&json!({
            "applied": report.applied,
            "already_applied": report.already_applied,
            "unknown_newer": report.newer,
            "partitions_made": report.partitions_made,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for name in &report.applied {
        println!("applied  {name}");
    }
    if report.applied.is_empty() {
        println!("The schema is up to date ({} migrations).", report.already_applied);
    }
    if report.partitions_made > 0 {
        println!("made     {} partitions for months to come", report.partitions_made);
    }
    if !report.newer.is_empty() {
        println!(
            "A newer Holdfast has migrated this database (versions {:?}); this one runs on it.",
            report.newer
        );
    }
    Ok(ExitCode::SUCCESS)
}
