//! `holdfast alerts list | resolve | test`: what is wrong, what is over, and an alert on purpose, to see that alerts arrive (ALT-3, ALT-4).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use bus::{AlertRaiser, AlertRaiserConfig};
use clap::{Args, Subcommand};
use db::alerts::{AlertFilter, ResolveOutcome, StoredAlert, list_alerts, resolve_alert};
use domain::alert::{Alert, AlertKind, Severity};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::Form;
use crate::output::{self, or_dash};
use crate::tools;

const SEND_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// List alerts that nobody has resolved, the last seen first.
    List(ListArgs),
    /// Resolve an alert whose cause is gone, once.
    Resolve(ResolveArgs),
    /// Raise an alert on the way that every alert takes.
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only of this severity: info, warning or critical.
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    /// Resolved ones too.
    #[arg(long)]
    all: bool,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct ResolveArgs {
    /// The alert's id, as `list` shows it.
    id: Uuid,
    /// Who resolves it; kept with the alert.
    #[arg(long, default_value = "operator")]
    by: String,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Who asks; repeats with the same name are one alert with a count.
    #[arg(long, default_value = "operator")]
    by: String,
    #[command(flatten)]
    form: Form,
}

pub(crate) async fn run(args: &AlertsArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        AlertsCommand::List(args) => list(args).await,
        AlertsCommand::Resolve(args) => resolve(args).await,
        AlertsCommand::Test(args) => test(args).await,
    }
}

fn severity(word: &str) -> Result<Severity, String> {
    Severity::parse(word).ok_or_else(|| "info, warning or critical".to_owned())
}

async fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let conn = tools::database()?.conn().await?;
    let filter = AlertFilter {
        severity: args.severity,
        resolved: (!args.all).then_some(false),
    };
    // One more than was asked for tells whether there are more.
    let mut alerts = list_alerts(&conn, &filter, args.limit.saturating_add(1), 0).await?;
    let more = output::cut(&mut alerts, args.limit);
    if args.form.json {
        output::json(&alerts.iter().map(alert_json).collect::<Vec<_>>())?;
    } else if alerts.is_empty() {
        output::print("No alert matches.\n")?;
    } else {
        output::print(&alerts_text(&alerts))?;
    }
    more.say();
    Ok(ExitCode::SUCCESS)
}

/// As `GET /api/admin/billing-alerts` shows it.
fn alert_json(stored: &StoredAlert) -> Value {
    let StoredAlert { id, alert, resolved } = stored;
    json!({
        "id": id,
        "alert_key": alert.alert_key,
        "kind": alert.kind,
        "severity": alert.severity.as_str(),
        "subject": alert.subject,
        "summary": alert.summary,
        "details": alert.details,
        "occurrences": alert.occurrences,
        "first_seen_at": alert.first_seen_at,
        "last_seen_at": alert.last_seen_at,
        "resolved": resolved.is_some(),
        "resolved_at": resolved.as_ref().map(|by| by.at),
        "resolved_by": resolved.as_ref().map(|by| by.by.as_str()),
    })
}

fn alerts_text(alerts: &[StoredAlert]) -> String {
    let head = ["ID", "LAST SEEN", "SEVERITY", "TIMES", "RESOLVED BY", "ALERT", "WHAT"].map(str::to_owned);
    let rows = alerts.iter().map(|stored| {
        let alert = &stored.alert;
        [
            stored.id.to_string(),
            alert.last_seen_at.format("%F %T").to_string(),
            alert.severity.as_str().to_owned(),
            alert.occurrences.to_string(),
            or_dash(stored.resolved.as_ref().map(|by| by.by.as_str())),
            alert.alert_key.clone(),
            alert.summary.clone(),
        ]
    });
    output::columns(std::iter::once(head).chain(rows))
}

/// As `POST /api/admin/billing-alerts/{id}/resolve` does it: of two who do it at once the second is refused.
async fn resolve(args: &ResolveArgs) -> anyhow::Result<ExitCode> {
    let conn = tools::database()?.conn().await?;
    let alert = match resolve_alert(&conn, args.id, &args.by, tools::clock()()).await? {
        ResolveOutcome::Resolved(alert) => alert,
        ResolveOutcome::AlreadyResolved(alert) => bail!("alert {} is resolved already{}", args.id, by_whom(&alert)),
        ResolveOutcome::NotFound => bail!("no alert has the id {}", args.id),
    };
    if args.form.json {
        output::json(&alert_json(&alert))?;
    } else {
        output::print(&format!("Resolved {}.\n", output::plain(&alert.alert.alert_key)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn by_whom(alert: &StoredAlert) -> String {
    let resolution = alert.resolved.as_ref();
    resolution.map_or_else(String::new, |resolution| {
        let at = resolution.at.format("%F %T");
        format!(", by {} at {at} UTC", output::plain(&resolution.by))
    })
}

async fn test(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let publisher = tools::publisher(tools::broker()?).await?;
    let raiser = AlertRaiser::start(AlertRaiserConfig::new(publisher.clone(), tools::clock()));
    let alert = Alert::new(AlertKind::Test, args.by.as_str(), "A test alert, raised on purpose");
    let key = alert.key();
    raiser.raise(alert);
    let sent = raiser.flush(SEND_LIMIT).await;
    tools::close(&publisher).await;
    ensure!(sent, "the broker did not confirm the alert");
    if args.form.json {
        output::json(&json!({"alert_key": key, "sent": true}))?;
    } else {
        output::print(&format!(
            "Raised {key}. It shows up in `holdfast alerts list` once admin runs.\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
