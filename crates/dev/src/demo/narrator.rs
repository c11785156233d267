//! Tells the story while it happens: finished lines on standard output, and in a terminal one moving line below them.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::paper::{Ink, Paper, WIDTH};

const TICK: Duration = Duration::from_millis(90);

/// Whoever tells.
#[derive(Clone)]
pub(super) struct Narrator {
    paper: Paper,
    bar: ProgressBar,
    started: Instant,
}

impl Narrator {
    pub(super) fn new() -> Self {
        let moves = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let bar = if moves {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {msg}  {prefix:.dim}") {
            bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
        Self {
            paper: Paper::of_stdout(),
            bar,
            started: Instant::now(),
        }
    }

    /// Its paper.
    pub(super) const fn paper(&self) -> Paper {
        self.paper
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// A heading.
    pub(super) fn chapter(&self, title: &str) {
        let time = format!("{:.1} s", self.seconds());
        let dots = "·".repeat(WIDTH.saturating_sub(title.chars().count() + time.len() + 2));
        let title = self.paper.ink(Ink::Bold, title);
        let rest = self.paper.ink(Ink::Dim, &format!("{dots} {time}"));
        self.print(&format!("\n{title} {rest}"));
    }

    /// Something that is done.
    pub(super) fn told(&self, line: &str) {
        self.print(&format!("  {} {line}", self.paper.ink(Ink::Good, "✓")));
    }

    /// Something that did not come about.
    pub(super) fn missed(&self, line: &str) {
        self.print(&format!("  {} {line}", self.paper.ink(Ink::Bad, "✗")));
    }

    /// Something that is going on; shown in a terminal only.
    pub(super) fn doing(&self, line: &str) {
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_message(line.to_owned());
        self.bar.enable_steady_tick(TICK);
    }

    /// A line of progress of the system's own.
    pub(super) fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            self.print(&format!("  · {line}"));
        } else {
            self.doing(line);
        }
    }

    /// How many events came in so far; shown in a terminal only.
    pub(super) fn events(&self, number: usize) {
        self.bar.set_prefix(format!("{number} deliveries"));
    }

    /// Finished text. A reader that is gone does not matter.
    pub(super) fn print(&self, text: &str) {
        self.bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            drop(writeln!(out, "{text}").and_then(|()| out.flush()));
        });
    }

    /// The moving line goes away.
    pub(super) fn rest(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    /// As the system wants to be told.
    pub(super) fn shared(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let narrator = self.clone();
        Arc::new(move |line| narrator.say(line))
    }
}
