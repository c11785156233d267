//! `cargo dev bench`: measurements, as ratios within one run.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

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
pub async fn run(_args: BenchArgs) -> anyhow::Result<ExitCode> {
    bail!("this build has no benchmarks")
}
