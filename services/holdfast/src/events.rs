//! `holdfast events list | show | replay | backlog`: the archive, and what is on its way there.

mod backlog;

use std::process::ExitCode;

use admin::replay::{ReplayError, Replayer};
use anyhow::bail;
use clap::{Args, Subcommand};
use db::events::{EventDecision, EventFilter, EventRow, FoundEvent, find_event, list_events};
use serde_json::{Value, json};

use crate::cli::Form;
use crate::output::{self, or_dash};
use crate::tools;

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List events, the last recorded first.
    List(ListArgs),
    /// Show what is known about an event, and what was decided.
    Show(ShowArgs),
    /// Publish an event of the archive once more.
    ///
    /// It is decided again where nothing was decided yet (waiting, parked), and counted as a repeat otherwise.
    Replay(ReplayArgs),
    /// Say how many events wait in a queue, how fast they are decided, and how long it will take.
    Backlog(backlog::BacklogArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only of this type, such as invoice.paid.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only with this outcome: applied, semantic_duplicate, stale, ignored, rejected, waiting or parked.
    #[arg(long)]
    outcome: Option<String>,
    /// Only of this client.
    #[arg(long)]
    client: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Stripe's id of the event.
    id: String,
    /// Print the body too.
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// Stripe's id of the event.
    id: String,
    #[command(flatten)]
    form: Form,
}

pub(crate) async fn run(args: EventsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        EventsCommand::List(args) => list(args).await,
        EventsCommand::Show(args) => show(args).await,
        EventsCommand::Replay(args) => replay(args).await,
        EventsCommand::Backlog(args) => backlog::run(args).await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let conn = tools::database()?.conn().await?;
    let filter = EventFilter {
        kind: args.kind,
        outcome: args.outcome,
        client_id: args.client,
        ..EventFilter::default()
    };
    // One more than was asked for tells whether there are more.
    let mut events = list_events(&conn, &filter, None, args.limit.saturating_add(1)).await?;
    let more = output::cut(&mut events, args.limit);
    if args.form.json {
        output::json(&events.iter().map(event_json).collect::<Vec<_>>())?;
        more.say();
        return Ok(ExitCode::SUCCESS);
    }
    if events.is_empty() {
        output::print("No event matches.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["RECORDED", "OUTCOME", "TYPE", "CLIENT", "EVENT", "WHY"].map(str::to_owned);
    let rows = events.iter().map(|event| {
        [
            event.recorded_at.format("%F %T").to_string(),
            event.outcome.clone(),
            event.kind.clone(),
            or_dash(event.client_id.as_deref()),
            event.event_id.clone(),
            why(event.guard.as_deref(), event.reason.as_deref()),
        ]
    });
    output::print(&output::columns(std::iter::once(head).chain(rows)))?;
    more.say();
    Ok(ExitCode::SUCCESS)
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let conn = tools::database()?.conn().await?;
    let Some(found) = find_event(&conn, &args.id).await? else {
        bail!("no event has the id {}", args.id);
    };
    if args.form.json {
        output::json(&found_json(&found))?;
    } else {
        output::print(&found_text(&found, args.body))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let (database, broker) = tools::database_and_broker()?;
    let publisher = tools::publisher(broker).await?;
    let outcome = Replayer::new(database, publisher.clone()).replay(&args.id).await;
    tools::close(&publisher).await;
    let replayed = match outcome {
        Ok(replayed) => replayed,
        Err(ReplayError::Unknown) => bail!("no event has the id {}", args.id),
        Err(error) => return Err(error.into()),
    };
    if args.form.json {
        output::json(&json!({
            "event_id": replayed.event_id,
            "type": replayed.kind,
            "routing_key": replayed.routing_key,
        }))?;
    } else {
        output::print(&format!(
            "{} was published to {}.\n",
            replayed.event_id, replayed.routing_key
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn event_json(event: &EventRow) -> Value {
    json!({
        "event_id": event.event_id,
        "type": event.kind,
        "created": event.created,
        "received_at": event.received_at,
        "recorded_at": event.recorded_at,
        "consumer": event.consumer,
        "endpoint": event.endpoint,
        "account": event.account,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "status": event.status,
        "outcome": event.outcome,
        "guard": event.guard,
        "reason": event.reason,
        "client_id": event.client_id,
        "org_id": event.org_id,
        "deliveries": event.deliveries,
    })
}

fn decision_json(decision: &EventDecision) -> Value {
    let (from, to) = decision.transition.clone().unzip();
    json!({
        "decided_at": decision.decided_at,
        "client_id": decision.client_id,
        "outcome": decision.outcome,
        "guard": decision.guard,
        "reason": decision.reason,
        "from": from,
        "to": to,
        "details": decision.details,
    })
}

/// The body comes as text, because only text is what was received byte for byte.
fn found_json(found: &FoundEvent) -> Value {
    let rows = found.rows.iter().map(|(event, payload)| {
        let mut row = event_json(event);
        if let Value::Object(row) = &mut row {
            row.insert("payload".to_owned(), json!(payload));
        }
        row
    });
    json!({
        "rows": rows.collect::<Vec<_>>(),
        "decisions": found.decisions.iter().map(decision_json).collect::<Vec<_>>(),
    })
}

fn found_text(found: &FoundEvent, with_body: bool) -> String {
    let mut text = String::new();
    for (event, payload) in &found.rows {
        let rows = [
            ("event", event.event_id.clone()),
            ("type", event.kind.clone()),
            ("created", event.created.to_rfc3339()),
            ("received", event.received_at.to_rfc3339()),
            ("recorded", event.recorded_at.to_rfc3339()),
            ("taken by", event.consumer.clone()),
            ("endpoint", event.endpoint.clone()),
            ("account", or_dash(event.account.as_deref())),
            ("API version", or_dash(event.api_version.as_deref())),
            ("mode", mode(event.livemode).to_owned()),
            ("deliveries", event.deliveries.to_string()),
            ("client", or_dash(event.client_id.as_deref())),
            ("outcome", event.outcome.clone()),
            ("why", why(event.guard.as_deref(), event.reason.as_deref())),
        ];
        text += &output::columns(rows.map(|(name, value)| [name.to_owned(), value]));
        text.push('\n');
        if with_body {
            text += payload
                .as_deref()
                .unwrap_or("The body was removed when its retention ended.");
            text.push('\n');
        }
    }
    let decisions = found.decisions.iter().map(|decision| {
        let change = decision.transition.as_ref();
        [
            decision.decided_at.format("%F %T").to_string(),
            decision.outcome.clone(),
            change.map_or_else(|| "-".to_owned(), |(from, to)| format!("{from} → {to}")),
            or_dash(decision.client_id.as_deref()),
            why(decision.guard.as_deref(), decision.reason.as_deref()),
        ]
    });
    let head = ["DECIDED", "OUTCOME", "CHANGE", "CLIENT", "WHY"].map(str::to_owned);
    if found.decisions.is_empty() {
        text += "No decision was recorded.\n";
    } else {
        text += &output::columns(std::iter::once(head).chain(decisions));
    }
    text
}

fn mode(livemode: Option<bool>) -> &'static str {
    match livemode {
        Some(true) => "live",
        Some(false) => "test",
        None => "-",
    }
}

/// The guard and the rule that explain an outcome.
pub(crate) fn why(guard: Option<&str>, reason: Option<&str>) -> String {
    match (guard, reason) {
        (Some(guard), Some(reason)) => format!("{guard}: {reason}"),
        (Some(word), None) | (None, Some(word)) => word.to_owned(),
        (None, None) => "-".to_owned(),
    }
}
