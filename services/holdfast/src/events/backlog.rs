//! `holdfast events backlog`: a progress line for whoever waits until a long outage is worked off.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bus::Backlog;
use bus::topology::{ARCHIVE_EVENTS, BILLING_EVENTS};
use chrono::TimeDelta;
use clap::{Args, ValueEnum};
use db::events::count_recorded;
use serde::Serialize;

use crate::cli::Form;
use crate::output;
use crate::tools;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct BacklogArgs {
    /// Whose events.
    #[arg(long, value_enum, default_value_t = Taker::Billing)]
    queue: Taker,
    /// Print a line every second until nothing waits any more.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    form: Form,
}

/// The consumers that take events, by the names that the archive has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Taker {
    Billing,
    Archive,
}

impl Taker {
    const fn queue(self) -> &'static str {
        match self {
            Self::Billing => BILLING_EVENTS,
            Self::Archive => ARCHIVE_EVENTS,
        }
    }

    const fn consumer(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::Archive => "archive",
        }
    }
}

/// What was found at one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Progress {
    queue: &'static str,
    /// Events that wait in the queue.
    waiting: u32,
    /// Events that were recorded per second since the last look.
    decided_per_second: f64,
    /// Until nothing waits, if the queue goes on shrinking as it does; `None` while it does not shrink.
    seconds_left: Option<f64>,
}

impl Progress {
    fn of(queue: &'static str, before: u32, waiting: u32, decided: i64, took: Duration) -> Self {
        let seconds = took.as_secs_f64().max(1e-3);
        let shrinks = (f64::from(before) - f64::from(waiting)) / seconds;
        let seconds_left = match waiting {
            0 => Some(0.0),
            _ => (shrinks > 0.0).then(|| f64::from(waiting) / shrinks),
        };
        #[expect(clippy::cast_precision_loss, reason = "events of a second")]
        let decided_per_second = decided as f64 / seconds;
        Self {
            queue,
            waiting,
            decided_per_second,
            seconds_left,
        }
    }

    fn to_line(self) -> String {
        let Self {
            queue,
            waiting,
            decided_per_second,
            seconds_left,
        } = self;
        let left = match seconds_left {
            _ if waiting == 0 => "nothing waits".to_owned(),
            None => "not shrinking".to_owned(),
            Some(seconds) => format!("{} left", in_words(seconds)),
        };
        format!("{queue}: {waiting} wait, {decided_per_second:.0} decided per second, {left}\n")
    }
}

fn in_words(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else if seconds < 5_400.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}

pub(super) async fn run(args: BacklogArgs) -> anyhow::Result<ExitCode> {
    let (database, broker) = tools::database_and_broker()?;
    let conn = database.conn().await?;
    let (queue, consumer) = (args.queue.queue(), args.queue.consumer());
    let backlog = Backlog::open(&broker, queue).await?;
    let mut before = backlog.waiting().await?;
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        let waiting = backlog.waiting().await?;
        let took = since.elapsed();
        since = Instant::now();
        let from = tools::clock()() - TimeDelta::from_std(took).unwrap_or_default();
        let decided = count_recorded(&conn, consumer, from).await?;
        let progress = Progress::of(queue, before, waiting, decided, took);
        if args.form.json {
            output::print(&format!("{}\n", serde_json::to_string(&progress)?))?;
        } else {
            output::print(&progress.to_line())?;
        }
        if !args.watch || waiting == 0 {
            break;
        }
        before = waiting;
    }
    backlog.close().await;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_waits_how_fast_it_goes_and_how_long_it_takes() {
        let second = Duration::from_secs(1);
        for (before, waiting, decided, line) in [
            (9_000, 8_000, 1_010, "8000 wait, 1010 decided per second, 8 s left"),
            (
                900_000,
                899_000,
                1_000,
                "899000 wait, 1000 decided per second, 15 min left",
            ),
            (
                9_000_000,
                8_999_000,
                1_000,
                "8999000 wait, 1000 decided per second, 2.5 h left",
            ),
            (8_000, 8_000, 500, "8000 wait, 500 decided per second, not shrinking"),
            (500, 0, 500, "0 wait, 500 decided per second, nothing waits"),
        ] {
            let progress = Progress::of("q", before, waiting, decided, second);
            assert_eq!(progress.to_line(), format!("q: {line}\n"));
        }
    }
}
