//! `cargo dev bench escrow`: how many releases a second, against what the calls to Stripe alone allow, and whether a million escrows
//! in the table change that.
//!
//! Escrows are made and paid as in life: by HTTP, through the simulator, whose webhooks go through ingest and the broker. A release
//! of these is one call, a transfer. In each round the bare calls come first, by as many workers as escrow has; then escrow.

mod market;
mod report;
mod scans;

use std::time::Duration;

use anyhow::Context;
use provision::Say;
use serde::Serialize;

use self::market::Market;
use self::scans::Scans;
use super::ingest::median;
use super::stage::Stage;

/// Rows of the table, for the question whether it stays flat.
const MANY: usize = 1_000_000;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds with a Stripe that answers at once, at each size.
    pub rounds: usize,
    /// Releases of such a round.
    pub releases: usize,
    /// What a call takes in the other case, as Stripe's do.
    pub latency: Duration,
    /// Releases with that latency.
    pub slow_releases: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 3,
            releases: 1_500,
            latency: Duration::from_millis(150),
            slow_releases: 600,
        }
    }
}

/// Releases beside the bare calls that they are made of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Bare calls per second.
    pub calls: f64,
    /// Releases per second, from the first command to the last transfer that is written down.
    pub releases: f64,
    /// Escrow's CPU time per release, in microseconds.
    pub own_micros: f64,
    /// Postgres'.
    pub postgres_micros: f64,
    /// The simulator's.
    pub stripe_micros: f64,
}

/// Everything at one size of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// Rows.
    pub escrows: i64,
    /// With a Stripe that answers at once.
    pub rounds: Vec<Round>,
    /// What is looked for again and again.
    pub scans: Scans,
}

impl Size {
    fn rate(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.releases))
    }
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// With what a call takes at Stripe.
    pub slow: Round,
    /// A table as it fills by measuring, and one of a million.
    pub sizes: Vec<Size>,
}

/// Measures.
///
/// # Errors
/// When a server or a program fails, or money does not move as it has to.
pub async fn measure(plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    let stage = Stage::set(say).await?;
    let measured = on(&stage, plan, say).await;
    stage.clear().await;
    measured
}

async fn on(stage: &Stage, plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    let market = Market::open(stage, say).await?;
    let measured = in_market(stage, &market, plan, say).await;
    market.close().await;
    measured
}

async fn in_market(stage: &Stage, market: &Market, plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    let ready = market.held(stage, plan.slow_releases).await?;
    let slow = market.round(stage, &ready, plan.latency).await?;
    tell(say, "150 ms a call", &slow);
    let mut sizes = Vec::new();
    for size in [None, Some(MANY)] {
        if let Some(many) = size {
            say(&format!("filling the table with {many} escrows"));
            testkit::fill_escrows(&stage.sql, many)
                .await
                .context("filling the table")?;
        }
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            let ready = market.held(stage, plan.releases).await?;
            let round = market.round(stage, &ready, Duration::ZERO).await?;
            tell(say, "at once", &round);
            rounds.push(round);
        }
        let scans = scans::measure(stage).await?;
        sizes.push(Size {
            escrows: count(stage).await?,
            rounds,
            scans,
        });
    }
    Ok(Report { slow, sizes })
}

/// Rows in the table.
async fn count(stage: &Stage) -> anyhow::Result<i64> {
    let row = stage
        .sql
        .query_one("SELECT count(*) FROM escrow_transactions", &[])
        .await;
    Ok(row.context("counting escrows")?.get(0))
}

fn tell(say: Say<'_>, what: &str, round: &Round) {
    say(&format!(
        "{what}: {:.0} releases/s, {:.0} bare calls/s: {:.2}",
        round.releases,
        round.calls,
        round.releases / round.calls
    ));
}
