//! Ingest while its broker is away, and its way back.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use provision::{Broker, Say};
use serde::Serialize;

use super::ingest::Driver;

/// How long the broker is stopped under load.
const AWAY: Duration = Duration::from_secs(5);
/// Requests per second meanwhile.
const RATE: f64 = 500.0;
/// Full speed is looked for over pieces of this length.
const PIECE: Duration = Duration::from_millis(500);
/// Full speed, as a share of the median before: rounds differ by this much on a machine that is shared.
const FULL: f64 = 0.8;
const PATIENCE: Duration = Duration::from_secs(30);

/// What happened while the broker was away.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Outage {
    /// Requests that were answered, all of them with a refusal.
    pub refused: usize,
    /// The slowest of these answers, in milliseconds.
    pub slowest_ms: f64,
    /// From the broker's return until ingest was at full speed again, in seconds.
    pub back_seconds: f64,
}

/// Stops the broker, looks at every answer, starts it and waits for the earlier rate.
pub(super) async fn measure(
    driver: &mut Driver,
    broker: &mut Broker,
    full: f64,
    say: Say<'_>,
) -> anyhow::Result<Outage> {
    say("stopping the broker");
    broker.stop().await.context("stopping the broker")?;
    let away = driver.offer(AWAY, Some(RATE)).await?;
    if away.accepted > 0 {
        bail!("{} events were answered 200 without a broker", away.accepted);
    }
    broker.start_again().await.context("starting the broker again")?;
    let returned = Instant::now();
    let back_seconds = loop {
        let began = returned.elapsed();
        if began > PATIENCE {
            bail!("ingest did not come back to its rate within {} s", PATIENCE.as_secs());
        }
        let piece = driver.offer(PIECE, None).await?;
        if piece.refused == 0 && piece.rate() >= full * FULL {
            break began.as_secs_f64();
        }
    };
    Ok(Outage {
        refused: away.refused,
        slowest_ms: away.quantile_ms(1.0),
        back_seconds,
    })
}
