//! Nested `cargo`, which the user watches: its output goes to our terminal, and it cannot outlive us.

use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail};
use provision::{Say, Signal, spawn_tied, tied_command};

use crate::paths::Paths;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What `cargo run` tells this process about this package; a nested `cargo` would take it for its own.
const NOT_FOR_NESTED: [&str; 9] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "MAKEFLAGS",
    "OUT_DIR",
];

/// A `cargo` command in the workspace, of the toolchain that runs us.
///
/// # Errors
/// When nothing can tie it to our life (`setpriv` is missing).
pub fn cargo(args: &[&str]) -> anyhow::Result<Command> {
    // Its own children follow by themselves: compilers end with their unit, and test programs run under the runner below.
    let mut command = tied_command("cargo", Signal::SIGKILL)?;
    for name in NOT_FOR_NESTED {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(Paths::workspace());
    Ok(command)
}

/// Runs a command of [`cargo`] to its end; when the returned future is dropped, the command is killed.
///
/// # Errors
/// When it cannot be started or watched.
pub async fn run(command: Command) -> anyhow::Result<ExitStatus> {
    Tied::spawn(command)?.ended().await
}

/// A running command that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Tied(Child);

impl Tied {
    /// Starts a command of `provision::tied_command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(command: Command) -> anyhow::Result<Self> {
        Ok(Self(spawn_tied(command)?))
    }

    /// Its output, if the command was told to pipe it and nobody has taken it yet.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait().context("waiting for a child")? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// Builds the programs that the system consists of.
///
/// # Errors
/// When they do not build; the compiler's messages are on the terminal.
pub async fn programs(release: bool, say: Say<'_>) -> anyhow::Result<()> {
    say("building the programs");
    let mut args = vec!["build", "--workspace", "--bins"];
    if release {
        args.push("--release");
    }
    let status = run(cargo(&args)?).await?;
    if !status.success() {
        bail!("`cargo {}` failed; its messages are above", args.join(" "));
    }
    Ok(())
}
