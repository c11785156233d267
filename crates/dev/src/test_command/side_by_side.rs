//! Test programs side by side: most of them wait for servers most of the time, so that two cores carry several.
//!
//! Each writes into a file of its own, which is printed as a whole when it ends; at the end the outputs of those that failed
//! come once more, and one line in the format of libtest sums everything up. The result lines of programs that passed are left
//! out, so that whoever adds up or looks for `test result:` finds that one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use provision::Say;

use super::counts::Counts;
use super::order::Times;
use super::programs::TestProgram;
use crate::build;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a quiet run says what it waits for.
const REMIND_EVERY: Duration = Duration::from_secs(30);
const SLOWEST: usize = 5;

/// How much each program may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many run at a time.
    pub(super) at_once: usize,
    /// One that says nothing for as long hangs, and is killed.
    pub(super) silence: Duration,
}

/// A program that has ended.
struct Ended {
    title: String,
    /// None for one that was killed because it said nothing for too long.
    status: Option<ExitStatus>,
    output: String,
    counts: Counts,
    took: Duration,
}

impl Ended {
    fn is_failed(&self) -> bool {
        !self.status.is_some_and(|status| status.success())
    }

    fn end(&self) -> String {
        self.status.map_or_else(
            || "killed: it said nothing any more".to_owned(),
            |status| status.to_string(),
        )
    }

    fn print(&self) {
        if !self.is_failed() && !self.counts.any() {
            return;
        }
        let verdict = match self.status {
            None => "HUNG, killed",
            Some(_) if self.is_failed() => "FAILED",
            Some(_) => "passed",
        };
        let (title, took) = (&self.title, self.took.as_secs_f64());
        println!("\n--- {title}: {verdict} after {took:.1} s ({})", self.counts);
        for line in self.output.lines() {
            let is_result = line.starts_with("test result: ") && !self.is_failed();
            if !line.trim().is_empty() && !is_result {
                println!("{line}");
            }
        }
    }
}

/// Runs the programs and prints what they say. Says whether all passed; what takes long and
/// was run as a whole is remembered in `folder` for the next run's order.
///
/// # Errors
/// When a program cannot be started or watched.
pub(super) async fn run(
    mut programs: Vec<TestProgram>,
    limits: Limits,
    folder: &Path,
    say: Say<'_>,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut times = Times::remembered(folder);
    times.longest_first(&mut programs);
    let outputs = folder.join("output");
    std::fs::create_dir_all(&outputs).with_context(|| format!("creating {}", outputs.display()))?;
    let running = Running::default();
    let mut results = stream::iter(programs)
        .map(|program| run_one(program, limits, &outputs, &running))
        .buffer_unordered(limits.at_once);
    let mut all = Vec::new();
    loop {
        let Ok(next) = tokio::time::timeout(REMIND_EVERY, results.next()).await else {
            say(&format!("still running: {}", running.titles()));
            continue;
        };
        let Some(ended) = next.transpose()? else { break };
        ended.print();
        if ended.counts.filtered_out == 0 && ended.status.is_some() {
            times.took(&ended.title, ended.took);
        }
        all.push(ended);
    }
    times.remember();
    Ok(close(all, started))
}

async fn run_one(mut program: TestProgram, limits: Limits, outputs: &Path, running: &Running) -> anyhow::Result<Ended> {
    let title = program.title;
    let path = output_file(outputs, &title);
    let output = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let again = output
        .try_clone()
        .with_context(|| format!("opening {}", path.display()))?;
    program.command.stdout(output).stderr(again);
    let started = Instant::now();
    running.begin(&title);
    let status = tokio::select! {
        ended = build::run(program.command) => Some(ended?),
        () = silence(&path, limits.silence) => None,
    };
    running.end(&title);
    let output = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok(Ended {
        status,
        counts: Counts::of_output(&output),
        output,
        took: started.elapsed(),
        title,
    })
}

/// Ends when the file has not grown for this long.
async fn silence(path: &Path, limit: Duration) {
    let (mut length, mut since) = (0, Instant::now());
    while since.elapsed() < limit {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = std::fs::metadata(path).map_or(0, |file| file.len());
        if now != length {
            (length, since) = (now, Instant::now());
        }
    }
}

fn output_file(folder: &Path, title: &str) -> PathBuf {
    let name = title.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    folder.join(format!("{name}.log"))
}

/// Prints what failed once more, then what took longest, then the sum. Says whether all passed.
fn close(mut all: Vec<Ended>, started: Instant) -> bool {
    let failed: Vec<_> = all.iter().filter(|ended| ended.is_failed()).collect();
    if !failed.is_empty() {
        println!("\n=== tests: what failed, once more");
        for ended in &failed {
            ended.print();
        }
        println!("\nfailed:");
        for ended in &failed {
            println!("    {} ({})", ended.title, ended.end());
        }
    }
    let passed = failed.is_empty();
    let mut counts = Counts::default();
    for ended in &all {
        counts += ended.counts;
        // A program that ended badly without saying so has lost a test.
        counts.failed += u64::from(ended.is_failed() && ended.counts.failed == 0);
    }
    all.sort_by_key(|ended| std::cmp::Reverse(ended.took));
    println!("\nslowest of {} programs:", all.len());
    for ended in all.iter().take(SLOWEST) {
        println!("  {:>6.1} s {}", ended.took.as_secs_f64(), ended.title);
    }
    let verdict = if passed { "ok" } else { "FAILED" };
    let took = started.elapsed().as_secs_f64();
    println!("\ntest result: {verdict}. {counts}; finished in {took:.2}s");
    passed
}

/// The titles of what runs now.
#[derive(Default)]
struct Running(Mutex<Vec<String>>);

impl Running {
    fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn begin(&self, title: &str) {
        self.change(|titles| titles.push(title.to_owned()));
    }

    fn end(&self, title: &str) {
        self.change(|titles| titles.retain(|other| other != title));
    }

    fn titles(&self) -> String {
        let mut all = String::new();
        self.change(|titles| all = titles.join(", "));
        all
    }
}
