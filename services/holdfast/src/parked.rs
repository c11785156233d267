//! `holdfast parked list | show | replay`: messages that were set aside for a person (RET-3).

use std::process::ExitCode;

use anyhow::{bail, ensure};
use bus::Topology;
use bus::parked::{self, ParkedMessage, Which};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Form;
use crate::output::{self, or_dash};
use crate::tools;

/// The first messages of each queue that `list` shows.
const HEADS: u32 = 20;

#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    command: ParkedCommand,
}

#[derive(Debug, Subcommand)]
enum ParkedCommand {
    /// Count what is parked in each queue, and list the first messages.
    List(Form),
    /// Show parked messages with this id, body included.
    Show(ShowArgs),
    /// Send parked messages back to their queue, with no attempts counted.
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The queue that the message comes from, such as billing.events.
    queue: String,
    /// The message's id: an event's id for events.
    id: String,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The queue that the messages come from, such as billing.events.
    queue: String,
    /// The message's id; or say --all.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// Everything that is parked there now.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    form: Form,
}

pub(crate) async fn run(args: ParkedArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ParkedCommand::List(form) => list(form).await,
        ParkedCommand::Show(args) => show(args).await,
        ParkedCommand::Replay(args) => replay(args).await,
    }
}

async fn list(form: Form) -> anyhow::Result<ExitCode> {
    let queues = parked::list(&tools::broker()?, &Topology::holdfast(), HEADS).await?;
    if form.json {
        let queues = queues.iter().map(|queue| {
            let heads = queue.heads.iter().map(head_json).collect::<Vec<_>>();
            json!({"queue": queue.queue, "count": queue.count, "messages": heads})
        });
        output::json(&queues.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let counts = queues
        .iter()
        .map(|queue| [queue.queue.clone(), queue.count.to_string()]);
    let mut text = output::columns(std::iter::once(["QUEUE", "PARKED"].map(str::to_owned)).chain(counts));
    let heads = queues.iter().flat_map(|queue| {
        queue.heads.iter().map(|head| {
            [
                queue.queue.clone(),
                head.message.message_id.clone(),
                head.message.kind.clone(),
                head.attempts.to_string(),
                or_dash(head.parked_at.as_deref()),
                head.reason.clone(),
            ]
        })
    });
    let heads: Vec<_> = heads.collect();
    if !heads.is_empty() {
        let title = ["QUEUE", "MESSAGE", "TYPE", "ATTEMPTS", "PARKED AT", "WHY"].map(str::to_owned);
        text.push('\n');
        text += &output::columns(std::iter::once(title).chain(heads));
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    known(&args.queue)?;
    let found = parked::show(&tools::broker()?, &args.queue, &args.id).await?;
    if found.is_empty() {
        bail!("nothing with the id {} is parked in {}", args.id, args.queue);
    }
    if args.form.json {
        output::json(&found.iter().map(message_json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for parked in &found {
        let message = &parked.message;
        let rows = [
            ("message", message.message_id.clone()),
            ("type", message.kind.clone()),
            ("routing key", message.routing_key.clone()),
            ("attempts", parked.attempts.to_string()),
            ("parked", or_dash(parked.parked_at.as_deref())),
            ("why", parked.reason.clone()),
        ];
        text += &output::columns(rows.map(|(name, value)| [name.to_owned(), value]));
        text += &format!("\n{}\n\n", body_for_people(parked));
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    known(&args.queue)?;
    let broker = tools::broker()?;
    let publisher = tools::publisher(broker.clone()).await?;
    let which = args.id.clone().map_or(Which::All, Which::MessageId);
    let replayed = parked::replay(&broker, &publisher, &args.queue, &which).await;
    tools::close(&publisher).await;
    let replayed = replayed?;
    ensure!(
        replayed > 0 || args.id.is_none(),
        "nothing with this id is parked in {}",
        args.queue
    );
    if args.form.json {
        output::json(&json!({"queue": args.queue, "replayed": replayed}))?;
    } else {
        let noun = if replayed == 1 { "message" } else { "messages" };
        output::print(&format!("{replayed} {noun} went back to {}.\n", args.queue))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn known(queue: &str) -> anyhow::Result<()> {
    let topology = Topology::holdfast();
    let mut names = topology.queues.iter().map(|family| family.name.as_str());
    if names.clone().any(|name| name == queue) {
        return Ok(());
    }
    let first = names.next().unwrap_or_default().to_owned();
    let names = names.fold(first, |all, name| format!("{all}, {name}"));
    bail!("there is no queue {queue}; there are {names}")
}

fn head_json(parked: &ParkedMessage) -> Value {
    let message = &parked.message;
    json!({
        "message_id": message.message_id,
        "type": message.kind,
        "routing_key": message.routing_key,
        "attempts": parked.attempts,
        "parked_at": parked.parked_at,
        "reason": parked.reason,
    })
}

fn message_json(parked: &ParkedMessage) -> Value {
    let mut shown = head_json(parked);
    if let Value::Object(shown) = &mut shown {
        let body = parked.body();
        shown.insert("body_is_utf8".to_owned(), json!(std::str::from_utf8(body).is_ok()));
        shown.insert("body".to_owned(), json!(String::from_utf8_lossy(body)));
    }
    shown
}

/// The body with its line breaks and without whatever else could steer a terminal.
fn body_for_people(parked: &ParkedMessage) -> String {
    let body = String::from_utf8_lossy(parked.body());
    body.lines().map(output::plain).collect::<Vec<_>>().join("\n")
}
