//! `cargo dev demo`: the system with a story in it.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stop everything afterwards; exit code 0 only if every promise held.
    #[arg(long)]
    pub once: bool,
}

/// Runs the demo.
///
/// # Errors
/// When the system cannot be started or the story cannot be told.
pub async fn run(_args: DemoArgs) -> anyhow::Result<ExitCode> {
    bail!("this build has no demo")
}
