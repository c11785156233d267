//! The stages of `cargo dev test`: what has passed, and how long it took.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::build;

/// What has passed so far.
pub(super) struct Summary {
    begun: Instant,
    passed: Vec<(&'static str, Duration)>,
}

impl Summary {
    pub(super) fn since(begun: Instant) -> Self {
        Self {
            begun,
            passed: Vec::new(),
        }
    }

    /// Runs a command, which the user watches, as a stage of its own.
    pub(super) async fn stage(&mut self, name: &'static str, command: Command) -> anyhow::Result<()> {
        announce(name, &words(&command));
        let started = Instant::now();
        let status = build::run(command).await?;
        self.ended(name, started, status)
    }

    /// The end of a stage: a failed one closes the summary and is an error.
    pub(super) fn ended(&mut self, name: &'static str, started: Instant, status: ExitStatus) -> anyhow::Result<()> {
        if status.success() {
            self.passed(name, started);
            return Ok(());
        }
        self.failed(name, started);
        bail!("the stage \"{name}\" failed with {status}; its output is above")
    }

    pub(super) fn passed(&mut self, name: &'static str, started: Instant) {
        println!("=== {name}: passed in {:.1} s", started.elapsed().as_secs_f64());
        self.passed.push((name, started.elapsed()));
    }

    pub(super) fn failed(&self, name: &'static str, started: Instant) {
        self.print();
        println!("  FAILED {name:<20} {:>8.1} s", started.elapsed().as_secs_f64());
    }

    pub(super) fn print(&self) {
        println!("\n=== summary after {:.1} s", self.begun.elapsed().as_secs_f64());
        for (name, took) in &self.passed {
            println!("  passed {name:<20} {:>8.1} s", took.as_secs_f64());
        }
    }
}

pub(super) fn announce(name: &str, what: &str) {
    println!("\n=== {name}: {what}");
}

/// What a nested `cargo` is asked for, without what ties it to us.
pub(super) fn words(command: &Command) -> String {
    let shown: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let asked = shown.split(|word| word == "cargo").next_back();
    asked.unwrap_or_default().join(" ")
}
