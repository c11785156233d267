//! Sellers, payers, and escrows between them: the simulator, ingest and escrow as processes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use provision::{Process, Say, Signal, Spec, free_ports};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::super::stage::{GRACE, Running, STRIPE_KEY, Stage, WEBHOOK_SECRET};
use super::super::usage;
use super::Round;
use crate::paths::Paths;

/// The calls that escrow makes at once, in a process.
const WORKERS: usize = 8;
/// Requests that are under way at once where nothing is timed.
const AT_ONCE: usize = 16;
const SELLERS: usize = 20;
/// Minor units of an escrow, and what of it is transferred.
const AMOUNT: i64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// No event has been decided for so long: what was told of the payments has been heard.
const QUIET: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(120);
/// How long bare calls are made.
const BARE: Duration = Duration::from_secs(4);

pub(super) struct Market {
    stripe: Process,
    stripe_url: String,
    ingest: Running,
    escrow: Running,
    http: Client,
    token: String,
    sellers: Vec<String>,
}

impl Market {
    /// Starts everything.
    pub(super) async fn open(stage: &Stage, say: Say<'_>) -> anyhow::Result<Self> {
        say("opening the market");
        let ingest = stage.ingest().await?;
        let [port] = free_ports()?;
        let stripe_url = format!("http://127.0.0.1:{port}");
        let stripe = Process::spawn(simulator(port, ingest.address)?)?;
        let escrow = stage.escrow(&stripe_url).await?;
        let [token, _, _] = stage.secrets.tokens()?;
        let mut market = Self {
            stripe,
            stripe_url,
            ingest,
            escrow,
            http: Client::builder().no_proxy().build().context("an HTTP client")?,
            token,
            sellers: Vec::new(),
        };
        for _ in 0..SELLERS {
            let fields = [("country", "DE"), ("capabilities[transfers][requested]", "true")];
            let account = market.call(Method::POST, "/v1/accounts", &fields).await?;
            let id = text(&account, "id")?;
            market
                .act("act", &json!({"act": "complete_onboarding", "account": id}))
                .await?;
            market.sellers.push(id);
        }
        Ok(market)
    }

    pub(super) async fn close(mut self) {
        self.escrow.stop().await;
        self.ingest.stop().await;
        self.stripe.stop(Signal::SIGTERM, GRACE).await;
    }

    /// So many escrows that are paid, and whose payment escrow has heard of.
    pub(super) async fn held(&self, stage: &Stage, count: usize) -> anyhow::Result<Vec<String>> {
        let ids: Vec<String> = stream::iter(0..count)
            .map(|n| self.create_and_pay(n))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        until(stage, &ids, "held").await?;
        quiet(stage).await?;
        stage.checkpoint().await?;
        Ok(ids)
    }

    async fn create_and_pay(&self, n: usize) -> anyhow::Result<String> {
        let seller = self.sellers.get(n % SELLERS).context("a seller")?;
        let terms = json!({
            "amount": AMOUNT, "currency": "eur", "capture": "automatic", "platform_fee": {"bps": 1_000},
            "recipients": [{"account": seller, "share_bps": 10_000}],
            "expires_at": chrono::Utc::now() + chrono::TimeDelta::days(30),
        });
        let key = uuid::Uuid::now_v7().to_string();
        let request = self.post("/api/escrows").header("idempotency-key", key).json(&terms);
        let escrow = answer(request, 201).await?;
        let payment = text(&escrow, "payment_intent_id")?;
        let fields = [
            ("payment_method", "pm_card_bypassPending"),
            ("return_url", "https://shop.example.com"),
        ];
        let path = format!("/v1/payment_intents/{payment}/confirm");
        self.call(Method::POST, &path, &fields).await?;
        text(&escrow, "escrow_id")
    }

    /// Bare calls, then these releases, with a Stripe that takes so long for a call.
    pub(super) async fn round(&self, stage: &Stage, ready: &[String], latency: Duration) -> anyhow::Result<Round> {
        let latency = json!({ "latency_ms": latency.as_millis() });
        self.act("faults", &latency).await?;
        let calls = self.bare_calls().await?;
        let round = self.releases(stage, ready, calls).await;
        self.act("faults", &json!({ "latency_ms": 0 })).await?;
        round
    }

    /// The same transfers, by as many workers, and nothing else.
    async fn bare_calls(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let worker = |n: usize| async move {
            let seller = self.sellers.get(n % SELLERS).context("a seller")?;
            let mut calls = 0_usize;
            while begun.elapsed() < BARE {
                let fields = [
                    ("amount", "1"),
                    ("currency", "eur"),
                    ("destination", seller.as_str()),
                    ("metadata[escrow_id]", "esc_of_nobody"),
                ];
                self.call(Method::POST, "/v1/transfers", &fields).await?;
                calls += 1;
            }
            anyhow::Ok(calls)
        };
        let calls = futures_util::future::try_join_all((0..WORKERS).map(worker)).await?;
        Ok(calls.into_iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64())
    }

    async fn releases(&self, stage: &Stage, ready: &[String], calls: f64) -> anyhow::Result<Round> {
        let pids = [
            Some(self.escrow.process.pid()),
            stage.postgres.pid(),
            Some(self.stripe.pid()),
        ];
        let used = || {
            pids.map(|pid| {
                pid.and_then(|pid| usage::cpu_with_children(pid).ok())
                    .unwrap_or_default()
            })
        };
        let (begun, before) = (Instant::now(), used());
        stream::iter(ready)
            .map(|id| async move { answer(self.post(&format!("/api/escrows/{id}/release")), 202).await })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        until(stage, ready, "distributed").await?;
        let seconds = begun.elapsed().as_secs_f64();
        let mut earlier = before.into_iter();
        let [own_micros, postgres_micros, stripe_micros] = used().map(|after| {
            let used = after.saturating_sub(earlier.next().unwrap_or_default());
            used.as_secs_f64() * 1e6 / ready.len().max(1) as f64
        });
        self.paid_once(ready).await?;
        Ok(Round {
            calls,
            releases: ready.len() as f64 / seconds,
            own_micros,
            postgres_micros,
            stripe_micros,
        })
    }

    /// What is fast and wrong is not fast: a few are looked up in the simulator's own book.
    async fn paid_once(&self, released: &[String]) -> anyhow::Result<()> {
        for id in released.iter().step_by(50) {
            let url = format!("{}/_sim/ledger?escrow_id={id}", self.stripe_url);
            let book = answer(self.http.get(url), 200).await?;
            let transfers = book.get("transfers").and_then(Value::as_array).map_or(0, Vec::len);
            if transfers != 1 {
                bail!("escrow {id} was transferred {transfers} times");
            }
        }
        Ok(())
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http
            .post(format!("http://{}{path}", self.escrow.address))
            .bearer_auth(&self.token)
    }

    async fn call(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.stripe_url));
        answer(request.bearer_auth(STRIPE_KEY).form(fields), 200).await
    }

    async fn act(&self, what: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("{}/_sim/{what}", self.stripe_url);
        answer(self.http.post(url).json(body), 200).await.map(drop)
    }
}

fn simulator(port: u16, ingest: SocketAddr) -> anyhow::Result<Spec> {
    let paths = Paths::here()?;
    let folder = paths.home().join("bench");
    let args = [
        format!("--port={port}"),
        format!("--webhook-url=http://{ingest}/webhooks/stripe"),
        format!("--webhook-secret={WEBHOOK_SECRET}"),
        format!("--delivery-concurrency={AT_ONCE}"),
    ];
    Ok(Spec {
        name: "holdfast-sim".to_owned(),
        program: paths.programs(true).join("holdfast-sim"),
        args: args.iter().map(Into::into).collect(),
        env: Vec::new().into_iter().collect(),
        inherit_env: false,
        wrapper: Vec::new(),
        folder: Paths::workspace(),
        log: folder.join("holdfast-sim.log"),
        pid_folder: folder,
        death_signal: Signal::SIGTERM,
    })
}

/// Waits until all of these have the status.
async fn until(stage: &Stage, ids: &[String], status: &str) -> anyhow::Result<()> {
    let sql = "SELECT count(*) FROM escrow_transactions WHERE id = ANY($1) AND status <> $2";
    let statement = stage.sql.prepare(sql).await.context("counting escrows")?;
    let begun = Instant::now();
    loop {
        let left: i64 = stage.sql.query_one(&statement, &[&ids, &status]).await?.get(0);
        if left == 0 {
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            bail!(
                "{left} of {} escrows are not {status} after {} s",
                ids.len(),
                LIMIT.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no event is left that was told before: a release is measured by itself.
async fn quiet(stage: &Stage) -> anyhow::Result<()> {
    let mut known = -1;
    loop {
        let sql = "SELECT count(*) FROM billing_events";
        let decided: i64 = stage.sql.query_one(sql, &[]).await.context("counting events")?.get(0);
        if decided == known {
            return Ok(());
        }
        known = decided;
        tokio::time::sleep(QUIET).await;
    }
}

async fn answer(request: RequestBuilder, expected: u16) -> anyhow::Result<Value> {
    let answer = request.send().await.context("calling a service")?;
    let (status, url) = (answer.status().as_u16(), answer.url().clone());
    let body = answer.text().await.context("an answer")?;
    if status != expected {
        bail!("{url} answered {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("the answer of {url}"))
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    let found = value.get(name).and_then(Value::as_str);
    found
        .map(ToOwned::to_owned)
        .with_context(|| format!("an answer without {name}: {value}"))
}
