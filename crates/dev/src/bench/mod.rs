//! `cargo dev bench`: measurements, as ratios within one run.
//!
//! A benchmark has a private broker and processes of its own, and leaves nothing behind. Programs are built optimised; since
//! the load generator is part of this program, a debug build of it hands over to an optimised one.

pub mod billing;
pub mod bodies;
pub mod ceiling;
pub mod escrow;
pub mod ingest;
pub mod largest;
pub mod load;
pub mod node;
pub mod outage;
mod report;
mod stage;
mod subject;
pub mod usage;

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use crate::build;
use crate::cli::progress;
use crate::paths::Paths;

/// The benchmarks.
const NAMES: [&str; 3] = ["ingest", "billing", "escrow"];

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The benchmarks to run; all when none is named.
    pub names: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Rounds of the ceiling and ingest, in turn.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// How long each side has in a round, in seconds.
    #[arg(long, default_value_t = 4)]
    pub seconds: u64,
    /// Also measure the usual handler in Node; needs npm and its registry.
    #[arg(long)]
    pub node: bool,
    /// Billing: also at growing numbers of clients and archived events; takes some minutes.
    #[arg(long)]
    pub flat: bool,
    /// Billing: also let so many events wait and drain them.
    #[arg(long, value_name = "EVENTS", num_args = 0..=1, default_missing_value = "1000000")]
    pub backlog: Option<usize>,
    /// Billing: events that the consumer drains in a round.
    #[arg(long, default_value_t = 60_000)]
    pub events: usize,
}

/// Runs the benchmarks.
///
/// # Errors
/// When the system cannot be started or measured.
pub async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = args.names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("there is no benchmark {unknown:?}; there are: {}", NAMES.join(", "));
    }
    if cfg!(debug_assertions) {
        return hand_over(&args).await;
    }
    let say = progress(Instant::now());
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|given| given == name);
    let mut results = Results::default();
    if wanted("ingest") {
        let plan = ingest::Plan {
            rounds: args.rounds.max(1),
            round: Duration::from_secs(args.seconds.max(1)),
            ..ingest::Plan::default()
        };
        results.ingest = Some(subject::measure_ingest(plan, &say).await?);
    }
    if args.node {
        results.node = Some(node::measure(&say).await?);
    }
    if wanted("billing") {
        let plan = billing::Plan {
            // A round of billing has three sides and fills a queue: fewer say as much.
            rounds: args.rounds.div_ceil(2).max(1),
            round: Duration::from_secs(args.seconds.max(1)),
            events: args.events.max(10_000),
            whole_way: Duration::from_secs(args.seconds.max(1) * 2),
            flat: args.flat,
            backlog: args.backlog,
        };
        results.billing = Some(billing::measure(plan, &say).await?);
    }
    if wanted("escrow") {
        let plan = escrow::Plan {
            rounds: args.rounds.div_ceil(2).max(1),
            ..escrow::Plan::default()
        };
        results.escrow = Some(escrow::measure(plan, &say).await?);
    }
    let text = if args.json {
        serde_json::to_string_pretty(&results)?
    } else {
        results.to_text()
    };
    writeln!(std::io::stdout(), "{text}").context("printing the report")?;
    let holds = results.ingest.is_none_or(|report| report.holds())
        && results.billing.is_none_or(|report| report.holds())
        && results.escrow.is_none_or(|report| report.holds());
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
struct Results {
    ingest: Option<ingest::Report>,
    node: Option<node::Node>,
    billing: Option<billing::Report>,
    escrow: Option<escrow::Report>,
}

impl Results {
    fn to_text(&self) -> String {
        let mut text = self.ingest.as_ref().map(ingest::Report::to_text).unwrap_or_default();
        if let Some(node::Node { rate, p99_ms }) = self.node {
            let _ = write!(
                text,
                "the usual handler in Node\n  {rate:.0} events/s, p99 {p99_ms:.1} ms"
            );
            if let Some(ingest) = &self.ingest {
                let own = ingest::median(ingest.rounds.iter().map(|round| round.ingest));
                let _ = write!(text, "; ingest takes {:.1} times as many", own / rate);
            }
            text.push('\n');
        }
        text.push_str(&self.billing.as_ref().map(billing::Report::to_text).unwrap_or_default());
        text.push_str(&self.escrow.as_ref().map(escrow::Report::to_text).unwrap_or_default());
        text
    }
}

/// Builds the optimised programs and runs the same command in them.
async fn hand_over(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    progress(Instant::now())("building the optimised programs");
    let status = build::run(build::cargo(&[
        "build",
        "--release",
        "-p",
        "dev",
        "-p",
        "holdfast",
        "-p",
        "stripe-sim",
        "--bins",
    ])?)
    .await?;
    if !status.success() {
        bail!("the optimised programs do not build; the compiler's messages are above");
    }
    let program = Paths::here()?.programs(true).join("dev");
    let mut command = provision::tied_command(&program.to_string_lossy(), provision::Signal::SIGTERM)?;
    command.arg("bench").args(&args.names);
    command
        .args(args.json.then_some("--json"))
        .args(args.node.then_some("--node"))
        .args(args.flat.then_some("--flat"))
        .args(args.backlog.map(|events| format!("--backlog={events}")));
    command.args([
        format!("--events={}", args.events),
        format!("--rounds={}", args.rounds),
        format!("--seconds={}", args.seconds),
    ]);
    let status = build::run(command).await?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
