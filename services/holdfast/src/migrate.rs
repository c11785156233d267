//! `holdfast migrate` and `holdfast migrate verify`.
//!
//! `MIGRATOR_DATABASE_URL` names a role that may migrate; without it `DATABASE_URL` is taken, which is right where one role
//! does everything.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use db::verify::{CheckList, Verdict};
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
enum MigrateCommand {
    /// Check tables, row-level security, policies, roles and grants of the live database. Exit 1 when something is red.
    Verify(Form),
}

pub(crate) async fn run(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let url = config::load(&ProcessEnv, read_url)?;
    match args.command {
        None => apply(&url, args.form).await,
        Some(MigrateCommand::Verify(form)) => {
            let json = form.json || args.form.json;
            verify(&url, Form { json }).await
        }
    }
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
    let mut text = String::new();
    for name in &report.applied {
        text += &format!("applied  {name}\n");
    }
    if report.applied.is_empty() {
        text += &format!("The schema is up to date ({} migrations).\n", report.already_applied);
    }
    if report.partitions_made > 0 {
        text += &format!("made     {} partitions for months to come\n", report.partitions_made);
    }
    if !report.newer.is_empty() {
        let newer = &report.newer;
        text += &format!("A newer Holdfast has migrated this database (versions {newer:?}); this one runs on it.\n");
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn verify(url: &SecretString, form: Form) -> anyhow::Result<ExitCode> {
    let list = db::verify(url).await?;
    if form.json {
        output::json(&json!({"ok": list.is_green(), "checks": list.checks}))?;
    } else {
        output::print(&check_list(&list))?;
    }
    Ok(if list.is_green() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check_list(list: &CheckList) -> String {
    let rows = list.checks.iter().map(|check| {
        let mark = match check.verdict {
            Verdict::Ok => "✓",
            Verdict::Warning => "!",
            Verdict::Failed => "✗",
        };
        [mark.to_owned(), check.name.clone(), check.detail.clone()]
    });
    let failed = list.failed().count();
    let end = match failed {
        0 => "All checks are green.".to_owned(),
        1 => "1 check is red.".to_owned(),
        _ => format!("{failed} checks are red."),
    };
    format!("{}\n{end}\n", output::columns(rows))
}
