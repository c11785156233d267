//! Does the rate stay as clients and the archive grow?

use provision::Say;
use serde::Serialize;

use super::super::ingest::median;
use super::super::stage::Stage;
use super::drain;
use super::story::Stories;
use chrono::{DateTime, Utc};

/// Drains at each size.
const DRAINS: usize = 3;
/// Clients and archived events, growing.
const SIZES: [(usize, usize); 3] = [(10_000, 100_000), (1_000_000, 100_000), (1_000_000, 10_000_000)];

/// The rate at one size.
#[derive(Debug, Clone, Serialize)]
pub struct Size {
    /// Registered clients.
    pub clients: usize,
    /// Archived events, each with its decision.
    pub archived: usize,
    /// Events per second of each drain.
    pub rates: Vec<f64>,
    /// Their median.
    pub rate: f64,
    /// Postgres' CPU time per event in the median drain, in microseconds.
    pub postgres_micros: f64,
    /// Memory of billing at most, in KiB.
    pub memory_peak_kib: u64,
}

/// Measures at each size. The smallest is on the stage already, as far as clients go.
pub(super) async fn measure(
    stage: &Stage,
    begin: DateTime<Utc>,
    mut next: usize,
    events: usize,
    say: Say<'_>,
) -> anyhow::Result<(Vec<Size>, usize)> {
    let (mut registered, mut filled) = (SIZES.first().map_or(0, |size| size.0), 0);
    let mut sizes = Vec::with_capacity(SIZES.len());
    for (clients, archived) in SIZES {
        if clients > registered {
            say(&format!("registering {clients} clients"));
            stage.register(registered, clients, begin).await?;
            registered = clients;
        }
        if archived > filled {
            say(&format!("filling the archive up to {archived} events"));
            stage.archive(filled, archived, clients, begin).await?;
            filled = archived;
        }
        let stories = Stories::new(clients, begin)?;
        let mut drains = Vec::with_capacity(DRAINS);
        for _ in 0..DRAINS {
            drain::fill(stage, &stories, next, events).await?;
            drains.push(drain::drain(stage, &stories, next, events, events / 6).await?);
            next += events;
        }
        let rate = median(drains.iter().map(|drain| drain.rate));
        say(&format!("{clients} clients, {archived} archived events: {rate:.0}/s"));
        sizes.push(Size {
            clients,
            archived,
            rate,
            postgres_micros: median(drains.iter().map(|drain| drain.postgres_micros)),
            memory_peak_kib: drains
                .iter()
                .map(|drain| drain.memory_peak_kib)
                .max()
                .unwrap_or_default(),
            rates: drains.into_iter().map(|drain| drain.rate).collect(),
        });
    }
    Ok((sizes, next))
}
