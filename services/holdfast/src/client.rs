//! `holdfast client show`: why a client is in its state.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use db::billing::clients::{ClientRow, find_client};
use db::billing::decisions::{DecisionRow, list_timeline};
use domain::ids::SubscriptionId;
use serde_json::{Value, json};

use crate::cli::Form;
use crate::events::why;
use crate::output::{self, or_dash};
use crate::tools;

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Show a client, and the decisions that led there, newest first.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The client's id.
    id: String,
    /// At most so many decisions.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    form: Form,
}

pub(crate) async fn run(args: ClientArgs) -> anyhow::Result<ExitCode> {
    let ClientCommand::Show(args) = args.command;
    let conn = tools::database()?.conn().await?;
    let Some(client) = find_client(&conn, &args.id).await? else {
        bail!("no client has the id {}", args.id);
    };
    let timeline = list_timeline(&conn, &args.id, None, args.limit).await?;
    if args.form.json {
        let timeline = timeline.iter().map(decision_json).collect::<Vec<_>>();
        output::json(&json!({"client": client_json(&client), "timeline": timeline}))?;
    } else {
        output::print(&text(&client, &timeline))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn client_json(client: &ClientRow) -> Value {
    json!({
        "client_id": client.client_id.as_str(),
        "org_id": client.org_id,
        "state": client.state.as_str(),
        "payment_source": client.payment_source.as_str(),
        "stripe_customer_id": client.stripe_customer_id,
        "stripe_subscription_id": client.stripe_subscription_id.as_ref().map(SubscriptionId::as_str),
        "current_period_end": client.current_period_end,
        "last_event": client.last_event.as_ref().map(|event| json!({
            "id": event.id, "type": event.kind, "created": event.created,
        })),
        "version": client.version,
    })
}

fn decision_json(decision: &DecisionRow) -> Value {
    json!({
        "event_id": decision.event_id,
        "type": decision.event_type,
        "created": decision.created,
        "received_at": decision.received_at,
        "decided_at": decision.decided_at,
        "outcome": decision.outcome,
        "guard": decision.guard,
        "reason": decision.reason,
        "from": decision.from_state,
        "to": decision.to_state,
        "details": decision.details,
    })
}

fn text(client: &ClientRow, timeline: &[DecisionRow]) -> String {
    let subscription = client.stripe_subscription_id.as_ref().map(SubscriptionId::as_str);
    let event = client.last_event.as_ref();
    let rows = [
        ("client", client.client_id.as_str().to_owned()),
        ("organisation", client.org_id.clone()),
        ("state", client.state.as_str().to_owned()),
        ("payment source", client.payment_source.as_str().to_owned()),
        ("customer", or_dash(client.stripe_customer_id.as_deref())),
        ("subscription", or_dash(subscription)),
        (
            "paid until",
            client
                .current_period_end
                .map_or_else(|| "-".to_owned(), |end| end.to_rfc3339()),
        ),
        (
            "last event",
            event.map_or_else(|| "-".to_owned(), |event| format!("{} {}", event.kind, event.id)),
        ),
        ("version", client.version.to_string()),
    ];
    let mut text = output::columns(rows.map(|(name, value)| [name.to_owned(), value]));
    if timeline.is_empty() {
        return text + "\nNo event has spoken of this client.\n";
    }
    let head = ["DECIDED", "OUTCOME", "CHANGE", "TYPE", "EVENT", "WHY"].map(str::to_owned);
    let rows = timeline.iter().map(|decision| {
        let change = decision.from_state.as_ref().zip(decision.to_state.as_ref());
        [
            decision.decided_at.format("%F %T").to_string(),
            decision.outcome.clone(),
            change.map_or_else(|| "-".to_owned(), |(from, to)| format!("{from} → {to}")),
            decision.event_type.clone(),
            decision.event_id.clone(),
            why(decision.guard.as_deref(), decision.reason.as_deref()),
        ]
    });
    text.push('\n');
    text += &output::columns(std::iter::once(head).chain(rows));
    text
}
