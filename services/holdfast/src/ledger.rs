//! `holdfast ledger check`: every rule over the whole book. Exit 1 when one does not hold; then an alert is raised as well.

use std::process::ExitCode;

use bus::{AlertMessage, alert_row};
use clap::{Args, Subcommand};
use db::Database;
use db::alerts::raise_alert;
use db::escrow::ledger::{LedgerProblem, check_ledger, ledger_rules, sum_balances};
use domain::alert::{Alert, AlertKind};
use serde_json::json;
use service_kit::clock::Clock;

use crate::cli::Form;
use crate::{output, tools};

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Check every rule over the whole book, and print the balances.
    Check(Form),
}

pub(crate) async fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    let LedgerCommand::Check(form) = args.command;
    let database = tools::patient_database()?;
    let conn = database.conn().await?;
    let problems = check_ledger(&conn).await?;
    let balances = sum_balances(&conn).await?;
    drop(conn);
    if form.json {
        let found = problems.iter();
        let found = found.map(|of| json!({"rule": of.rule, "subject": of.subject, "detail": of.detail}));
        let sums = balances.iter();
        let sums = sums.map(|of| json!({"account": of.account, "currency": of.currency, "amount": of.amount}));
        output::json(&json!({
            "ok": problems.is_empty(),
            "rules": ledger_rules(),
            "problems": found.collect::<Vec<_>>(),
            "balances": sums.collect::<Vec<_>>(),
        }))?;
    } else {
        output::print(&text(
            &problems,
            balances
                .iter()
                .map(|of| [of.account.clone(), of.currency.to_uppercase(), of.amount.to_string()]),
        ))?;
    }
    // Last: what was found is told also where nothing can be written, as on a standby.
    raise(&database, &problems).await?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(problems: &[LedgerProblem], balances: impl Iterator<Item = [String; 3]>) -> String {
    let rules = ledger_rules().map(|rule| {
        let broken = problems.iter().filter(|problem| problem.rule == rule).count();
        let mark = if broken == 0 { "✓" } else { "✗" };
        [
            mark.to_owned(),
            rule.to_owned(),
            if broken == 0 {
                String::new()
            } else {
                format!("{broken} times")
            },
        ]
    });
    let mut text = output::columns(rules);
    for problem in problems {
        text += &format!("{}: {} {}\n", problem.rule, problem.subject, problem.detail);
    }
    text += "\n";
    text + &output::columns(balances)
}

async fn raise(database: &Database, problems: &[LedgerProblem]) -> anyhow::Result<()> {
    for problem in problems {
        let summary = format!("The ledger does not hold: {}.", problem.rule);
        let alert = Alert::new(AlertKind::LedgerBroken, problem.rule, summary)
            .with("subject", &problem.subject)
            .with("detail", &problem.detail);
        let row = alert_row(AlertMessage::of(alert, Clock::System.now())).map_err(anyhow::Error::msg)?;
        raise_alert(&database.conn().await?, &row).await?;
    }
    Ok(())
}
