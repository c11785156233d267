//! `holdfast client show`: why a client is in its state.

use std::process::ExitCode;

use anyhow::bail;
use billing::{Explanation, OfCharge, explain_client};
use chrono::{DateTime, Utc};
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
    /// Show a client, the facts that decide its state, and the decisions that led there, newest first.
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
    let explanation = explain_client(&conn, &client).await?;
    if args.form.json {
        let timeline = timeline.iter().map(decision_json).collect::<Vec<_>>();
        output::json(&json!({
            "client": client_json(&client), "explanation": explanation, "timeline": timeline,
        }))?;
    } else {
        output::print(&text(&client, &explanation, &timeline))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn client_json(client: &ClientRow) -> Value {
    json!({
        "client_id": client.client_id.as_str(),
        "org_id": client.org_id,
        "state": client.state.as_str(),
        "payment_source": client.payment_source.as_str(),
        "contracted_price_id": client.contracted_price_id.as_ref().map(AsRef::<str>::as_ref),
        "stripe_customer_id": client.stripe_customer_id,
        "stripe_subscription_id": client.stripe_subscription_id.as_ref().map(SubscriptionId::as_str),
        "current_period_end": client.current_period_end,
        "last_event": client.last_event.as_ref().map(|event| json!({
            "event_id": event.id, "type": event.kind, "created": event.created,
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

fn text(client: &ClientRow, explanation: &Explanation, timeline: &[DecisionRow]) -> String {
    let subscription = client.stripe_subscription_id.as_ref().map(SubscriptionId::as_str);
    let event = client.last_event.as_ref();
    let rows = [
        ("client", client.client_id.as_str().to_owned()),
        ("organisation", client.org_id.clone()),
        ("state", client.state.as_str().to_owned()),
        ("payment source", client.payment_source.as_str().to_owned()),
        (
            "agreed price",
            or_dash(client.contracted_price_id.as_ref().map(AsRef::as_ref)),
        ),
        ("customer", or_dash(client.stripe_customer_id.as_deref())),
        ("subscription", or_dash(subscription)),
        (
            "period ends",
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
    text += &format!("\n{}\n", output::plain(&explanation.why));
    text += &facts(explanation);
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

/// What the state is derived from, and what else was recorded.
fn facts(explanation: &Explanation) -> String {
    let mut text = String::new();
    let mut section = |rows: Vec<[String; 7]>, head: [&str; 7]| {
        if !rows.is_empty() {
            text.push('\n');
            text += &output::columns(std::iter::once(head.map(str::to_owned)).chain(rows));
        }
    };
    let date = |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), |at| at.format("%F %T").to_string());
    let subscriptions = explanation.subscriptions.iter().map(|said| {
        let heard = match (said.speaks, said.undecided) {
            (true, true) => "speaks, undecided",
            (true, false) => "speaks",
            (false, true) => "undecided",
            (false, false) => "-",
        };
        [
            said.stripe_subscription_id.clone(),
            or_dash(said.state),
            or_dash(said.voice),
            or_dash(said.basis),
            date(said.since),
            date(said.snapshot_at),
            heard.to_owned(),
        ]
    });
    section(
        subscriptions.collect(),
        [
            "SUBSCRIPTION",
            "ASKS FOR",
            "VOICE",
            "BY",
            "SINCE",
            "SNAPSHOT OF",
            "HEARD",
        ],
    );
    let payments = explanation.payments.iter().map(|paid| {
        [
            paid.id.clone(),
            paid.amount.to_string(),
            or_dash(paid.currency.as_deref()),
            date(paid.paid_at),
            date(paid.failed_at),
            or_dash(paid.stripe_subscription_id.as_deref()),
            String::new(),
        ]
    });
    section(
        payments.collect(),
        ["PAYMENT", "MINOR UNITS", "CURRENCY", "PAID", "FAILED", "FOR", ""],
    );
    let of_charge = |rows: &[OfCharge]| {
        let row = |row: &OfCharge| {
            [
                row.id.clone(),
                row.amount.to_string(),
                row.currency.clone(),
                row.status.clone(),
                row.charge.clone(),
                String::new(),
                String::new(),
            ]
        };
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let head = |what| [what, "MINOR UNITS", "CURRENCY", "STATUS", "CHARGE", "", ""];
    section(of_charge(&explanation.refunds), head("REFUND"));
    section(of_charge(&explanation.disputes), head("DISPUTE"));
    let waiting = explanation.waiting.iter().map(|event| {
        [
            event.event_id.clone(),
            event.r#type.clone(),
            date(Some(event.created)),
            event.waiting_for.join(", "),
            String::new(),
            String::new(),
            String::new(),
        ]
    });
    section(
        waiting.collect(),
        ["WAITING EVENT", "TYPE", "CREATED", "FOR", "", "", ""],
    );
    text
}
