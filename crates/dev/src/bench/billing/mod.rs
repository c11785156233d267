//! `cargo dev bench billing`: how close the consumer comes to what its Postgres can write, and the whole way from HTTP.
//!
//! Rounds alternate between ceiling A (pgbench, one event per transaction), ceiling B (64 per transaction) and the consumer, on one
//! durable Postgres, so that all see the same machine; what counts is the median of the rounds' ratios. `--flat` adds growing
//! tables, `--backlog` a million events that wait.

pub mod backlog;
mod ceilings;
mod data;
pub mod drain;
pub mod flat;
mod generator;
mod report;
mod story;
pub mod whole_way;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use provision::Say;
use serde::Serialize;

use self::backlog::Backlog;
use self::drain::Drain;
use self::flat::Size;
use self::story::Stories;
use self::whole_way::WholeWay;
use super::ingest::median;
use super::stage::Stage;

/// Clients of the rounds.
const CLIENTS: usize = 10_000;
/// More than any machine takes the whole way within a second; signatures are 64 bytes each.
const MOST_PER_SECOND: usize = 20_000;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of both ceilings and the consumer.
    pub rounds: usize,
    /// How long a ceiling has in a round.
    pub round: Duration,
    /// Events that the consumer drains in a round.
    pub events: usize,
    /// How long the whole way is measured, each for rate and latency.
    pub whole_way: Duration,
    /// Also measure at growing sizes.
    pub flat: bool,
    /// Also let so many events wait.
    pub backlog: Option<usize>,
}

/// One round.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Events per second of ceiling A.
    pub alone: f64,
    /// Events per second of ceiling B.
    pub batched: f64,
    /// The consumer.
    pub consumer: Drain,
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Registered clients.
    pub clients: usize,
    /// In the order of measuring.
    pub rounds: Vec<Round>,
    /// The median of the rounds' ratios to ceiling A.
    pub to_alone: f64,
    /// The same to ceiling B.
    pub to_batched: f64,
    /// From HTTP to the commit.
    pub whole_way: WholeWay,
    /// At growing sizes, if asked for.
    pub flat: Vec<Size>,
    /// A long outage's worth of events, if asked for.
    pub backlog: Option<Backlog>,
}

/// Measures.
///
/// # Errors
/// When a server or a program fails, or an event is lost.
pub async fn measure(plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    let stage = Stage::set(say).await?;
    let measured = on(&stage, plan, say).await;
    stage.clear().await;
    measured
}

async fn on(stage: &Stage, plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    // Yesterday, to the second, as Stripe counts: a long run tells of days to come and stays in the months that are made.
    let begin = Utc::now() - chrono::Duration::days(1);
    let begin = DateTime::from_timestamp(begin.timestamp(), 0).unwrap_or(begin);
    let stories = Arc::new(Stories::new(CLIENTS, begin)?);
    stage.register(0, CLIENTS, begin).await?;
    ceilings::prepare(stage).await?;
    let mut next = 0;
    let mut rounds = Vec::with_capacity(plan.rounds);
    for number in 1..=plan.rounds {
        let round = round(stage, &stories, plan, next).await?;
        next += plan.events;
        let (alone, batched, rate) = (round.alone, round.batched, round.consumer.rate);
        say(&format!(
            "round {number}: A {alone:.0}/s, B {batched:.0}/s, the consumer {rate:.0}/s: {:.2} of A, {:.2} of B",
            rate / alone,
            rate / batched
        ));
        rounds.push(round);
    }
    let (whole_way, after) = whole_way::measure(stage, &stories, next, plan.whole_way, MOST_PER_SECOND).await?;
    next = after;
    say(&format!("the whole way: {:.0}/s", whole_way.rate));
    let mut backlog = None;
    if let Some(events) = plan.backlog {
        backlog = Some(backlog::measure(stage, &stories, next, events, say).await?);
        next += events;
    }
    let mut flat = Vec::new();
    if plan.flat {
        (flat, _) = flat::measure(stage, begin, next, plan.events, say).await?;
    }
    Ok(Report {
        clients: CLIENTS,
        to_alone: median(rounds.iter().map(|round| round.consumer.rate / round.alone)),
        to_batched: median(rounds.iter().map(|round| round.consumer.rate / round.batched)),
        rounds,
        whole_way,
        flat,
        backlog,
    })
}

async fn round(stage: &Stage, stories: &Stories, plan: Plan, next: usize) -> anyhow::Result<Round> {
    let alone = ceilings::alone(stage, stories, CLIENTS, plan.round).await?;
    let batched = ceilings::batched(stage, stories, next, plan.round).await?;
    drain::fill(stage, stories, next, plan.events).await?;
    let consumer = drain::drain(stage, stories, next, plan.events, plan.events / 6).await?;
    Ok(Round {
        alone,
        batched,
        consumer,
    })
}
