//! `cargo dev bench`: measurements, as ratios within one run.
//!
//! A benchmark has a private broker and processes of its own, and leaves nothing behind. Programs are built optimised; since
//! the load generator is part of this program, a debug build of it hands over to an optimised one.

pub mod bodies;
pub mod ceiling;
pub mod ingest;
pub mod load;
mod subject;
pub mod usage;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;

use crate::build;
use crate::cli::progress;
use crate::paths::Paths;

/// The benchmarks.
const NAMES: [&str; 1] = ["ingest"];

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The benchmarks to run; all when none is named.
    pub names: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    let report = subject::measure_ingest(&say).await?;
    let text = if args.json {
        serde_json::to_string_pretty(&serde_json::json!({"ingest": report}))?
    } else {
        report.to_text()
    };
    writeln!(std::io::stdout(), "{text}").context("printing the report")?;
    Ok(if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
        "--bins",
    ])?)
    .await?;
    if !status.success() {
        bail!("the optimised programs do not build; the compiler's messages are above");
    }
    let program = Paths::here()?.programs(true).join("dev");
    let mut command = provision::tied_command(&program.to_string_lossy(), provision::Signal::SIGTERM)?;
    command.arg("bench").args(&args.names);
    if args.json {
        command.arg("--json");
    }
    let status = build::run(command).await?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
