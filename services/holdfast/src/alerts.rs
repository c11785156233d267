//! `holdfast alerts test`: an alert on purpose, to see that alerts arrive (ALT-3).

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use bus::{AlertRaiser, AlertRaiserConfig};
use clap::{Args, Subcommand};
use domain::alert::{Alert, AlertKind};
use serde_json::json;

use crate::cli::Form;
use crate::{output, tools};

const SEND_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Raise an alert on the way that every alert takes.
    Test(TestArgs),
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
    let AlertsCommand::Test(args) = &args.command;
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
            "Raised {key}. It shows up in GET /api/admin/billing-alerts once admin runs.\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
