//! The whole way: signed events over HTTP into ingest, through the broker, decided by billing, committed.
//!
//! The steady rate is found by a window: the generator never has more than [`WINDOW`] events on the way that are not committed,
//! so that what it sends is what the slowest part takes. Latency is measured at half of that, from when a request was due to
//! its event's commit as Postgres noted it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use serde::Serialize;
use tokio_postgres::Client;

use super::super::stage::{Stage, WEBHOOK_SECRET, connect};
use super::super::{ingest, usage};
use super::generator::{Pace, Requests, Sent, send};
use super::story::Stories;

/// Events that may be on the way at one time while the steady rate is looked for.
const WINDOW: usize = 4_000;
/// Events between two looks at what is committed.
const STEP: usize = 250;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_secs(3);
const ALL_COMMITTED: Duration = Duration::from_secs(60);

/// What the whole way came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WholeWay {
    /// Events per second from HTTP to the commit.
    pub rate: f64,
    /// CPU time per event in microseconds: ingest, broker, billing, Postgres, generator.
    pub micros: [f64; 5],
    /// The rate at which latency was measured.
    pub half: f64,
    /// Half of the events took less from HTTP to the commit, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took less.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Answers other than 200 over both; those events were sent again.
    pub refused: usize,
    /// Memory of billing at most, in KiB.
    pub billing_peak_kib: u64,
}

/// Measures over events from `first` on; answers also the number of the next event.
pub(super) async fn measure(
    stage: &Stage,
    stories: &Arc<Stories>,
    first: usize,
    time: Duration,
    most_per_second: usize,
) -> anyhow::Result<(WholeWay, usize)> {
    stage.checkpoint().await?;
    let billing = stage.billing().await?;
    let ingest = stage.ingest().await?;
    let way = Way {
        stage,
        stories,
        address: ingest.address,
        pids: [
            Some(ingest.process.pid()),
            stage.broker.pid(),
            Some(billing.process.pid()),
            stage.postgres.pid(),
            Some(std::process::id()),
        ],
    };
    let measured = way.measure(first, time, most_per_second).await;
    let peak = usage::memory_kib(billing.process.pid());
    ingest.stop().await;
    billing.stop().await;
    let (mut whole, next) = measured?;
    whole.billing_peak_kib = peak?.1;
    Ok((whole, next))
}

struct Way<'s> {
    stage: &'s Stage,
    stories: &'s Arc<Stories>,
    address: SocketAddr,
    pids: [Option<u32>; 5],
}

impl Way<'_> {
    async fn measure(&self, first: usize, time: Duration, most_per_second: usize) -> anyhow::Result<(WholeWay, usize)> {
        let whole_time = WARM_UP + time;
        let count = usize::try_from(whole_time.as_secs())?.saturating_mul(most_per_second);
        let (rate, micros, steady) = self.steady(first, count, time).await?;
        let next = first + steady.accepted;
        let half = rate / 2.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of requests within a few seconds, never negative"
        )]
        let count = (half * time.as_secs_f64()) as usize;
        let ([p50_ms, p99_ms, max_ms], paced) = self.latency(next, count, half).await?;
        let whole = WholeWay {
            rate,
            micros,
            half,
            p50_ms,
            p99_ms,
            max_ms,
            refused: steady.refused + paced.refused,
            billing_peak_kib: 0,
        };
        Ok((whole, next + paced.accepted))
    }

    async fn steady(&self, first: usize, count: usize, time: Duration) -> anyhow::Result<(f64, [f64; 5], Sent)> {
        let requests = self.sign(first, count)?;
        let allowed = Arc::new(AtomicUsize::new(WINDOW));
        let pace = Pace::Window(Arc::clone(&allowed));
        let until = Instant::now() + WARM_UP + time;
        let (address, at_most) = (self.address, WARM_UP + time);
        let sending = tokio::task::spawn_blocking(move || send(address, requests, pace, at_most));
        let sql = connect(&self.stage.superuser).await?;
        let mut look = Committed::new(&sql, self.stories, first).await?;
        look.follow(&allowed, Instant::now() + WARM_UP).await?;
        let (since, from, before) = (Instant::now(), look.done, self.used());
        look.follow(&allowed, until).await?;
        let (took, events) = (since.elapsed(), look.done - from);
        let mut earlier = before.into_iter();
        let micros = self.used().map(|after| {
            let used = after.saturating_sub(earlier.next().unwrap_or_default());
            used.as_secs_f64() * 1e6 / events.max(1) as f64
        });
        let sent = sending.await.context("the generator")??;
        self.all_committed(&sql, first, sent.accepted).await?;
        Ok((events as f64 / took.as_secs_f64(), micros, sent))
    }

    async fn latency(&self, first: usize, count: usize, rate: f64) -> anyhow::Result<([f64; 3], Sent)> {
        let requests = self.sign(first, count)?;
        let begin = SystemTime::now() + Duration::from_millis(200);
        let begun = begin
            .duration_since(SystemTime::UNIX_EPOCH)
            .context("the clock")?
            .as_secs_f64();
        let (address, pace) = (self.address, Pace::Rate { rate, begin });
        let sending = tokio::task::spawn_blocking(move || send(address, requests, pace, Duration::from_secs(600)));
        let sent = sending.await.context("the generator")??;
        let sql = connect(&self.stage.superuser).await?;
        self.all_committed(&sql, first, sent.accepted).await?;
        let rows = sql
            .query(
                "SELECT substr(stripe_event_id, 6, 10)::bigint,
                     extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision
                 FROM billing_events WHERE stripe_event_id BETWEEN $1 AND $2",
                &[&Stories::id(first), &Stories::id(first + sent.accepted - 1)],
            )
            .await
            .context("reading the times of commits")?;
        let mut took = Vec::with_capacity(rows.len());
        for row in rows {
            let number = usize::try_from(row.get::<_, i64>(0))? - first;
            let committed: f64 = row.get(1);
            took.push((committed - begun - number as f64 / rate) * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let last = took.len().saturating_sub(1);
        let at = |share: usize| took.get(last * share / 100).copied().unwrap_or_default();
        Ok(([at(50), at(99), at(100)], sent))
    }

    async fn all_committed(&self, sql: &Client, first: usize, sent: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (from, to) = (Stories::id(first), Stories::id(first + sent - 1));
        loop {
            let count = "SELECT count(*) FROM billing_events WHERE stripe_event_id BETWEEN $1 AND $2";
            let stored: i64 = sql.query_one(count, &[&from, &to]).await.context("counting")?.get(0);
            if usize::try_from(stored)? == sent {
                return Ok(());
            }
            if begun.elapsed() > ALL_COMMITTED {
                bail!("of {sent} events that were answered 200 only {stored} were committed");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn sign(&self, first: usize, count: usize) -> anyhow::Result<Requests> {
        let (host, now) = (self.address.to_string(), ingest::unix_seconds()?);
        Ok(Requests::sign(self.stories, WEBHOOK_SECRET, &host, first, count, now))
    }

    fn used(&self) -> [Duration; 5] {
        self.pids.map(|pid| {
            pid.and_then(|pid| usage::cpu_with_children(pid).ok())
                .unwrap_or_default()
        })
    }
}

/// Follows the commits, which come about in the order of the events' numbers.
struct Committed<'s> {
    sql: &'s Client,
    statement: tokio_postgres::Statement,
    stories: &'s Stories,
    first: usize,
    done: usize,
}

impl<'s> Committed<'s> {
    async fn new(sql: &'s Client, stories: &'s Stories, first: usize) -> anyhow::Result<Self> {
        let statement =
            "SELECT 1 FROM billing_events WHERE stripe_event_id = $1 AND consumer = 'billing' AND created = $2";
        Ok(Self {
            statement: sql.prepare(statement).await.context("looking for an event")?,
            sql,
            stories,
            first,
            done: 0,
        })
    }

    async fn follow(&mut self, allowed: &AtomicUsize, until: Instant) -> anyhow::Result<()> {
        while Instant::now() < until {
            let n = self.first + self.done + STEP;
            let (id, created) = (Stories::id(n), self.stories.told(n).created);
            if self.sql.query_opt(&self.statement, &[&id, &created]).await?.is_some() {
                self.done += STEP;
                allowed.store(self.done + WINDOW, Ordering::Relaxed);
            } else {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}
