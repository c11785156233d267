//! What a service looks for again and again, however much is in the table: by the functions that it calls.

use std::time::{Duration, Instant};

use anyhow::Context;
use db::escrow::breaker::{count_expired_escrows, list_escrows_to_secure, list_expired_escrows};
use db::escrow::jobs::list_refused_calls;
use db::escrow::operations::list_due_operations;
use db::{Database, DatabaseConfig};
use serde::Serialize;

use super::super::stage::Stage;

/// Looks of each kind, of which the middle one counts.
const LOOKS: usize = 51;

/// Milliseconds of a look.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scans {
    /// The pool's look for operations that are due.
    pub due_ms: f64,
    /// The time-out run's, with its count.
    pub expired_ms: f64,
    /// For authorisations that are about to end.
    pub to_secure_ms: f64,
    /// The retry run's.
    pub refused_ms: f64,
}

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Scans> {
    let config = DatabaseConfig::new(stage.service_url()?.into(), "bench");
    let database = Database::open(&config).context("opening the database")?;
    let conn = database.conn().await?;
    let now = chrono::Utc::now();
    let soon = now + chrono::TimeDelta::hours(24);
    let due_ms = middle(async || list_due_operations(&conn, now, 256).await.map(drop)).await?;
    let expired_ms = middle(async || {
        list_expired_escrows(&conn, now, 2_000).await?;
        count_expired_escrows(&conn, now, 2_000).await.map(drop)
    })
    .await?;
    let to_secure_ms = middle(async || list_escrows_to_secure(&conn, soon, 100).await.map(drop)).await?;
    let refused_ms = middle(async || list_refused_calls(&conn, now, 10).await.map(drop)).await?;
    Ok(Scans {
        due_ms,
        expired_ms,
        to_secure_ms,
        refused_ms,
    })
}

async fn middle(look: impl AsyncFn() -> Result<(), db::DbError>) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let begun = Instant::now();
        look().await.context("a look")?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let middle = times.get(LOOKS / 2).copied().unwrap_or(Duration::ZERO);
    Ok(middle.as_secs_f64() * 1e3)
}
