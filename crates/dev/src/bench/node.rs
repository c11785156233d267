//! The comparison: the handler that most teams write in Node, on this machine, under the same load.
//!
//! `server.mjs` beside this file checks the signature with Stripe's own package and writes one row per event to a private
//! Postgres before it answers, with a process per core of two. Its packages come from their registry into `target/`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use provision::{Durability, Postgres, PostgresOptions, Process, Say, Signal, Spec, free_ports};
use serde::Serialize;
use tokio_postgres::NoTls;

use super::bodies::{Requests, Template};
use super::{ingest, load};
use crate::build;
use crate::paths::Paths;

const SECRET: &str = "whsec_benchmark_0123456789";
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("node/package.json")),
    ("server.mjs", include_str!("node/server.mjs")),
];
const TABLE: &str = "CREATE TABLE node_events (id text PRIMARY KEY, type text NOT NULL, created timestamptz NOT NULL, \
                     received_at timestamptz NOT NULL DEFAULT now(), payload jsonb NOT NULL)";
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
/// More than it can take.
const MOST_PER_SECOND: usize = 8_000;

/// What the Node handler came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Node {
    /// Events per second that were answered 200, the median.
    pub rate: f64,
    /// 99 of 100 requests took less, in milliseconds.
    pub p99_ms: f64,
}

/// Installs it, runs it and measures it.
pub(super) async fn measure(say: Say<'_>) -> anyhow::Result<Node> {
    let paths = Paths::here()?;
    let folder = paths.home().join("bench").join("node");
    std::fs::create_dir_all(&folder).context("the folder of the Node handler")?;
    for (name, text) in FILES {
        std::fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    say("installing the packages of the Node handler");
    let mut npm = provision::tied_command("npm", Signal::SIGKILL)?;
    npm.args(["install", "--silent", "--no-audit", "--no-fund"])
        .current_dir(&folder);
    if !build::run(npm).await?.success() {
        bail!("npm could not install the packages of the Node handler");
    }
    let options = PostgresOptions {
        folder: folder.join("postgres"),
        given: None,
        durability: Durability::Durable,
        clean: true,
        log: folder.join("postgres.log"),
    };
    let postgres = Postgres::start(options, say).await?;
    let measured = drive(&folder, postgres.url(), say).await;
    postgres.end().await;
    measured
}

async fn drive(folder: &std::path::Path, database_url: &str, say: Say<'_>) -> anyhow::Result<Node> {
    let (client, connection) = tokio_postgres::connect(database_url, NoTls)
        .await
        .context("connecting to the Node handler's database")?;
    tokio::spawn(connection);
    client.batch_execute(TABLE).await.context("the Node handler's table")?;
    let [port] = free_ports()?;
    let env = [
        ("DATABASE_URL", database_url.to_owned()),
        ("STRIPE_WEBHOOK_SECRET", SECRET.to_owned()),
        ("PORT", port.to_string()),
        ("NODE_ENV", "production".to_owned()),
        ("PATH", std::env::var("PATH").unwrap_or_default()),
    ];
    let mut process = Process::spawn(Spec {
        name: "node".to_owned(),
        program: "node".into(),
        args: vec!["server.mjs".into()],
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        inherit_env: false,
        wrapper: Vec::new(),
        folder: folder.to_owned(),
        log: folder.join("node.log"),
        pid_folder: folder.to_owned(),
        death_signal: Signal::SIGTERM,
    })?;
    let measured = rounds(SocketAddr::from(([127, 0, 0, 1], port)), say).await;
    process.stop(Signal::SIGTERM, Duration::from_secs(5)).await;
    measured
}

async fn rounds(address: SocketAddr, say: Say<'_>) -> anyhow::Result<Node> {
    ingest::wait_ready(address).await?;
    let template = Template::new("n");
    let count = MOST_PER_SECOND * usize::try_from(ROUND.as_secs()).unwrap_or(1);
    let mut outcomes = Vec::with_capacity(ROUNDS);
    // The first one warms it up.
    for round in 0..=ROUNDS {
        let now = ingest::unix_seconds()?;
        let requests = Requests::sign(&template, SECRET, &address.to_string(), round * count, count, now);
        let generator = move || load::run(address, requests, ingest::CONNECTIONS, ROUND, None);
        let outcome = tokio::task::spawn_blocking(generator)
            .await
            .context("the generator")??;
        if outcome.refused > 0 {
            bail!("the Node handler refused {} events", outcome.refused);
        }
        if round > 0 {
            say(&format!("Node handler: {:.0}/s", outcome.rate()));
            outcomes.push(outcome);
        }
    }
    Ok(Node {
        rate: ingest::median(outcomes.iter().map(load::Outcome::rate)),
        p99_ms: ingest::median(outcomes.iter().map(|outcome| outcome.quantile_ms(0.99))),
    })
}
