//! The grid of crashes: whatever a process of escrow's is stopped at, the next one goes on from there, and the end is the same.
//!
//! A scenario is run once without a crash, which gives the steps that it goes through, and its end: what the API shows, the simulator's
//! own book of what really moved, the audit trail, and the rules of the ledger. Then, for each of these steps, it is run again, and the
//! process is aborted there (`abort`: nothing is unwound, flushed or closed), and started again; what escrow's clients and Stripe would
//! ask or tell again, they do; time goes by until nothing is left to be done; and the end has to be the same. A step is a commit that
//! changed something, or the moment before or after a call to Stripe (`escrow::Step`): there is no way to either without a name, so that
//! a new one is in the grid by itself, and fails it until some scenario goes through it.
//!
//! There are five ways to do so: as it is; with the answer lost of the call at which the process dies, or else of the next call; with 500
//! instead, which Stripe keeps under the key; with 409; and with two processes at work, of which one is stopped. By itself the test takes
//! each step as it is, and each kind of step in each way; `CRASH_GRID_FULL=1` takes each step in
//! each way. `CRASH_GRID_ONLY=<part of a scenario's name>` runs some, `CRASH_GRID_AT_ONCE=<n>` so many scenarios at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    clippy::disallowed_methods,
    reason = "a failed set-up must fail the test, and a test reads its own variables"
)]

mod child;
mod end;
mod instance;
mod plan;
mod scenarios;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use escrow::Step;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use end::{End, Subject};
use scenarios::{Scenario, scenarios};
use stage::Stage;
use watch::{Mode, Place, Target};

/// Scenarios at once; most of a run is waiting.
const AT_ONCE: usize = 4;
/// Cells of one scenario that may fail before the rest is left out.
const ENOUGH: usize = 5;

/// A scenario that was run without a crash, in a world of its own.
struct Recorded {
    scenario: Scenario,
    stage: Stage,
    steps: Vec<Place>,
    expected: End,
}

/// What became of a scenario.
#[derive(Default)]
struct Report {
    cells: usize,
    /// Cells whose step was not reached, because things went in another order.
    passed_by: usize,
    failures: Vec<String>,
}

#[test]
#[ignore = "this is no test: it is the process that the grid starts and stops"]
fn the_process_that_is_stopped() {
    if let Ok(settings) = std::env::var(child::VARIABLE) {
        child::live(&settings);
    }
}

#[test]
fn wherever_a_process_is_stopped_the_end_is_the_same() {
    let only = std::env::var("CRASH_GRID_ONLY").ok();
    let at_once = std::env::var("CRASH_GRID_AT_ONCE").map_or(AT_ONCE, |text| text.parse().unwrap());
    let chosen = |scenario: &Scenario| only.as_ref().is_none_or(|part| scenario.name.contains(part.as_str()));
    let chosen: Vec<Scenario> = scenarios().into_iter().filter(chosen).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let (recorded, mut failures): (Vec<Recorded>, Vec<String>) = runtime.block_on(async {
        let all: Vec<_> = stream::iter(chosen)
            .map(record)
            .buffer_unordered(at_once)
            .collect()
            .await;
        let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        (
            good.into_iter().flatten().collect(),
            bad.into_iter().filter_map(Result::err).collect(),
        )
    });
    let steps: Vec<Vec<Place>> = recorded.iter().map(|one| one.steps.clone()).collect();
    let cells = if std::env::var("CRASH_GRID_FULL").is_ok() {
        plan::every(&steps)
    } else {
        plan::some(&steps)
    };
    let mut work: Vec<(Recorded, Vec<Target>)> = recorded.into_iter().zip(cells).collect();
    // The longest first, so that the last ones to end are short.
    work.sort_by_key(|(_, cells)| std::cmp::Reverse(cells.len()));
    let (scenarios, recorded_in) = (work.len(), began.elapsed());
    let reports: Vec<Report> = runtime.block_on(
        stream::iter(work)
            .map(|(recorded, targets)| run(recorded, targets))
            .buffer_unordered(at_once)
            .collect(),
    );
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let cells = sum(|report| report.cells);
    println!(
        "{scenarios} scenarios, {} steps, {cells} cells ({} passed by), {:.0} s, of these {:.0} s without a crash",
        steps.iter().map(Vec::len).sum::<usize>(),
        sum(|report| report.passed_by),
        began.elapsed().as_secs_f64(),
        recorded_in.as_secs_f64(),
    );
    failures.extend(reports.into_iter().flat_map(|report| report.failures));
    for failure in &failures {
        println!("{failure}\n");
    }
    assert!(failures.is_empty(), "{} cells failed, see above", failures.len());
    assert!(cells > 0, "there are no cells");
    if only.is_none() {
        let reached: BTreeSet<&str> = steps.iter().flatten().map(|place| place.step.as_str()).collect();
        let missing: Vec<String> = Step::all()
            .map(|step| step.to_string())
            .filter(|step| !reached.contains(step.as_str()))
            .collect();
        assert!(missing.is_empty(), "no scenario goes through {missing:?}");
    }
}

/// A scenario without a crash. What Stripe tells once more, or on top, does not change its end.
async fn record(scenario: Scenario) -> Result<Recorded, String> {
    let mut stage = Stage::new(scenario.has_timer).await;
    let (subject, expected) = attempt(&mut stage, &scenario, 1, None).await?;
    let steps = stage.watch.record();
    let told = AssertUnwindSafe(async {
        stage.hear_all().await;
        stage.rest().await;
        End::of(&mut stage, &subject).await
    });
    let told = told
        .catch_unwind()
        .await
        .map_err(|problem| format!("{}: {}", scenario.name, message(&*problem)))?;
    if told != expected {
        return Err(format!(
            "{}: what Stripe tells besides changes the end to\n  {told}\nfrom\n  {expected}",
            scenario.name
        ));
    }
    stage.clear();
    Ok(Recorded {
        scenario,
        stage,
        steps,
        expected,
    })
}

/// All cells of a scenario.
async fn run(recorded: Recorded, mut targets: Vec<Target>) -> Report {
    let began = Instant::now();
    let Recorded {
        scenario,
        mut stage,
        expected,
        ..
    } = recorded;
    let mut report = Report::default();
    // Those with one process first: to start one costs most of a cell.
    targets.sort_by_key(|target| target.mode == Mode::Two);
    for target in targets {
        let workers = if target.mode == Mode::Two { 2 } else { 1 };
        report.cells += 1;
        match attempt(&mut stage, &scenario, workers, Some(target.clone())).await {
            Err(problem) => report.failures.push(problem),
            Ok((_, end)) => {
                if !stage.watch.is_struck() {
                    report.passed_by += 1;
                    println!("passed by: {}", describe(&scenario, Some(&target)));
                }
                let is_same = if target.mode.is_fault() {
                    end.clone().after_faults() == expected.clone().after_faults()
                } else {
                    end == expected
                };
                if !is_same {
                    let cell = describe(&scenario, Some(&target));
                    report
                        .failures
                        .push(format!("{cell}: it ended in\n  {end}\ninstead of\n  {expected}"));
                }
            }
        }
        if report.failures.len() >= ENOUGH {
            break;
        }
    }
    // Past libtest, which keeps what a test prints until the test ends: whoever watches sees that it goes on.
    drop(writeln!(
        std::io::stderr(),
        "{}: {} cells, {:.1} s",
        scenario.name,
        report.cells,
        began.elapsed().as_secs_f64()
    ));
    // Its database is gone once every backend of the server has taken note, and one of them may just be greeting another scenario, which
    // is at work in the same task as this.
    tokio::task::spawn_blocking(move || drop(stage)).await.unwrap();
    report
}

/// One run, and how it ended. Where something goes wrong, its processes are ended.
async fn attempt(
    stage: &mut Stage,
    scenario: &Scenario,
    workers: usize,
    target: Option<Target>,
) -> Result<(Subject, End), String> {
    let cell = describe(scenario, target.as_ref());
    let ran = AssertUnwindSafe(async {
        stage.begin().await;
        stage.work_with(workers).await;
        let subject = (scenario.prepare)(stage).await;
        stage.rest().await;
        stage.arm(target).await;
        let subject = (scenario.act)(stage, subject).await;
        stage.rest().await;
        stage.clear_faults().await;
        let end = End::of(stage, &subject).await;
        (subject, end)
    });
    let ran = ran.catch_unwind().await;
    ran.map_err(|problem| {
        stage.clear();
        format!("{cell}: {}", message(&*problem))
    })
}

fn describe(scenario: &Scenario, target: Option<&Target>) -> String {
    match target {
        None => format!("{}, without a crash", scenario.name),
        Some(target) => {
            let (place, mode) = (&target.place, target.mode);
            let ask = target.ask.as_deref().filter(|_| mode.is_fault()).unwrap_or_default();
            format!(
                "{}, stopped at {} #{}, {mode:?} {ask}",
                scenario.name, place.step, place.nth
            )
        }
    }
}

fn message(problem: &(dyn std::any::Any + Send)) -> String {
    let text = problem.downcast_ref::<String>().cloned();
    text.or_else(|| problem.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}
