//! `cargo dev bench ingest`: how close ingest comes to what its broker can confirm, on the same cores in the same run.
//!
//! Rounds alternate between the ceiling ([`super::ceiling`]) and ingest as a process of its own, driven over real HTTP with
//! signed, distinct events ([`super::load`]), so that both see the same machine; what counts is the median of the rounds'
//! ratios. Afterwards latency is measured at half of ingest's peak, with requests due at fixed times, and memory over all
//! events.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lapin::options::QueuePurgeOptions;
use lapin::{Connection, ConnectionProperties};
use provision::{Broker, Say};
use serde::Serialize;

use super::bodies::{Requests, Template};
use super::largest::{self, Largest};
use super::load::{self, Outcome};
use super::outage::{self, Outage};
use super::{ceiling, usage};

/// Keep-alive connections of the generator.
pub const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
/// More than any machine sends within a round; signatures are 64 bytes each.
const MOST_PER_SECOND: f64 = 40_000.0;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of ceiling and ingest.
    pub rounds: usize,
    /// How long each side has in a round.
    pub round: Duration,
    /// Runs at half of the peak.
    pub latency_runs: usize,
    /// How long each takes.
    pub latency_run: Duration,
    /// Memory must not grow over this many events.
    pub events: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 7,
            round: Duration::from_secs(4),
            latency_runs: 3,
            latency_run: Duration::from_secs(8),
            events: 200_000,
        }
    }
}

/// What is measured, already running.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Where ingest listens.
    pub address: SocketAddr,
    /// The process of ingest.
    pub pid: u32,
    /// The secret of its platform endpoint.
    pub secret: String,
    /// Its broker.
    pub amqp_url: String,
    /// The process of the broker, when it is on this machine.
    pub broker_pid: Option<u32>,
}

/// One round of both.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Confirmed messages per second of the bare loop.
    pub ceiling: f64,
    /// The bare loop's CPU time per message, in microseconds.
    pub ceiling_own_micros: f64,
    /// The broker's, meanwhile.
    pub ceiling_broker_micros: f64,
    /// Events per second that ingest answered 200.
    pub ingest: f64,
    /// Ingest's CPU time per event, in microseconds.
    pub ingest_micros: f64,
    /// The broker's, while ingest was driven.
    pub broker_micros: f64,
    /// The generator's.
    pub generator_micros: f64,
}

impl Round {
    /// Ingest's rate as a share of the ceiling.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ingest / self.ceiling
    }
}

/// Latency at half of the peak.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Requests per second.
    pub rate: f64,
    /// Half of the requests took less, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took less.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The size of every body, in bytes.
    pub body_bytes: usize,
    /// In the order of measuring.
    pub rounds: Vec<Round>,
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// At half of the median rate.
    pub latency: Vec<Latency>,
    /// Resident memory of ingest after the warm-up, in KiB.
    pub memory_start_kib: u64,
    /// The same after all events.
    pub memory_end_kib: u64,
    /// The most at any time, but for [`Self::largest`].
    pub memory_peak_kib: u64,
    /// Events that ingest took in all.
    pub events: usize,
    /// What happened while the broker was away.
    pub outage: Outage,
    /// What happened while only the largest bodies came.
    pub largest: Largest,
}

/// Measures.
///
/// # Errors
/// When a side fails, or ingest refuses an event.
pub async fn measure(subject: &Subject, broker: &mut Broker, plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    let template = Template::new("b");
    let mut driver = Driver {
        subject: subject.clone(),
        template: template.clone(),
        next: 0,
        accepted: 0,
    };
    driver.drive(WARM_UP, None).await?;
    let memory_start_kib = usage::memory_kib(subject.pid)?.0;
    let mut rounds = Vec::with_capacity(plan.rounds);
    for number in 1..=plan.rounds {
        let round = driver.round(plan.round).await?;
        let (ceiling, ingest, ratio) = (round.ceiling, round.ingest, round.ratio());
        say(&format!(
            "round {number}: ceiling {ceiling:.0}/s, ingest {ingest:.0}/s, ratio {ratio:.3}"
        ));
        rounds.push(round);
    }
    let half = median(rounds.iter().map(|round| round.ingest)) / 2.0;
    let mut latency = Vec::with_capacity(plan.latency_runs);
    for _ in 0..plan.latency_runs {
        let outcome = driver.drive(plan.latency_run, Some(half)).await?;
        let (p50_ms, p99_ms) = (outcome.quantile_ms(0.5), outcome.quantile_ms(0.99));
        say(&format!("at {half:.0}/s: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms"));
        latency.push(Latency {
            rate: outcome.rate(),
            p50_ms,
            p99_ms,
            max_ms: outcome.quantile_ms(1.0),
        });
    }
    while driver.accepted < plan.events {
        driver.drive(plan.round, None).await?;
    }
    let memory_end_kib = usage::memory_kib(subject.pid)?.0;
    let outage = outage::measure(&mut driver, broker, half * 2.0, say).await?;
    let memory_peak_kib = usage::memory_kib(subject.pid)?.1;
    say("sending bodies of the largest size");
    let largest = largest::measure(&driver).await?;
    Ok(Report {
        body_bytes: template.body_bytes(),
        ratio: median(rounds.iter().map(Round::ratio)),
        rounds,
        latency,
        memory_start_kib,
        memory_end_kib,
        memory_peak_kib,
        events: driver.accepted,
        outage,
        largest,
    })
}

/// Sends events to ingest, each only once over all rounds.
pub(super) struct Driver {
    pub(super) subject: Subject,
    template: Template,
    /// The number of the next event.
    next: usize,
    accepted: usize,
}

impl Driver {
    async fn round(&mut self, time: Duration) -> anyhow::Result<Round> {
        let before = self.used();
        let bare = ceiling::run(&self.subject.amqp_url, &self.template, time).await?;
        let [_, ceiling_broker_micros, ceiling_own_micros] = self.used_since(before, bare.confirmed);
        let requests = self.requests(time, None)?;
        let before = self.used();
        let outcome = self.send(requests, time, None).await?;
        let [ingest_micros, broker_micros, generator_micros] = self.used_since(before, outcome.accepted);
        Ok(Round {
            ceiling: bare.rate,
            ceiling_own_micros,
            ceiling_broker_micros,
            ingest: outcome.rate(),
            ingest_micros,
            broker_micros,
            generator_micros,
        })
    }

    /// CPU time of ingest, of the broker and of this process.
    fn used(&self) -> [Duration; 3] {
        let pids = [
            Some(self.subject.pid),
            self.subject.broker_pid,
            Some(std::process::id()),
        ];
        pids.map(|pid| pid.and_then(|pid| usage::cpu(pid).ok()).unwrap_or_default())
    }

    /// The same since then, in microseconds per event.
    fn used_since(&self, before: [Duration; 3], events: usize) -> [f64; 3] {
        let mut earlier = before.into_iter();
        self.used().map(|now| {
            let used = now.saturating_sub(earlier.next().unwrap_or_default());
            used.as_secs_f64() * 1e6 / events.max(1) as f64
        })
    }

    async fn drive(&mut self, time: Duration, rate: Option<f64>) -> anyhow::Result<Outcome> {
        let requests = self.requests(time, rate)?;
        self.send(requests, time, rate).await
    }

    fn requests(&mut self, time: Duration, rate: Option<f64>) -> anyhow::Result<Requests> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of requests within a few seconds, never negative"
        )]
        let count = (rate.unwrap_or(MOST_PER_SECOND) * time.as_secs_f64()) as usize;
        let now = unix_seconds()?;
        let (secret, host) = (self.subject.secret.clone(), self.subject.address.to_string());
        Ok(Requests::sign(&self.template, &secret, &host, self.next, count, now))
    }

    /// Sends events and takes every answer as it comes.
    pub(super) async fn offer(&mut self, time: Duration, rate: Option<f64>) -> anyhow::Result<Outcome> {
        let requests = self.requests(time, rate)?;
        self.generate(requests, time, rate).await
    }

    async fn generate(&mut self, requests: Requests, time: Duration, rate: Option<f64>) -> anyhow::Result<Outcome> {
        self.next += requests.count();
        let address = self.subject.address;
        let generator = move || load::run(address, requests, CONNECTIONS, time, rate);
        tokio::task::spawn_blocking(generator).await.context("the generator")?
    }

    async fn send(&mut self, requests: Requests, time: Duration, rate: Option<f64>) -> anyhow::Result<Outcome> {
        let outcome = self.generate(requests, time, rate).await?;
        if outcome.refused > 0 {
            bail!(
                "ingest refused {} of {} events",
                outcome.refused,
                outcome.accepted + outcome.refused
            );
        }
        self.accepted += outcome.accepted;
        self.purge().await?;
        Ok(outcome)
    }

    /// Empties the queue, whose messages nobody wants.
    pub(super) async fn purge(&self) -> anyhow::Result<()> {
        let connection = Connection::connect(&self.subject.amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .queue_purge(
                bus::topology::BILLING_EVENTS.into(),
                QueuePurgeOptions { nowait: false },
            )
            .await?;
        connection.close(200, "done".into()).await.context("closing")
    }
}

/// Waits until ingest says that it is ready.
///
/// # Errors
/// When it does not within half a minute.
pub async fn wait_ready(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let url = format!("http://{address}/readyz");
    loop {
        match reqwest::get(&url).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            _ if Instant::now() > deadline => bail!("ingest at {address} did not become ready"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The time that signatures are made for.
pub(super) fn unix_seconds() -> anyhow::Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(i64::try_from(now.context("the clock")?.as_secs())?)
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
