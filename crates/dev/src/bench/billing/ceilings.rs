//! What this Postgres can do with the same rows when nothing is decided.
//!
//! The tables are as plain as they can be: the columns of `billing_events` and `client_billing` with a primary key each (the
//! events by month, as ours), without row-level security, checks and further indexes. Both sides insert the event unless it is
//! there, lock its client and update it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use tokio::process::Command;
use tokio_postgres::Client;

use super::super::stage::{Stage, connect};
use super::story::Stories;

/// Connections of pgbench.
const CONNECTIONS_ALONE: usize = 32;
/// Connections that write in batches; more are not faster on two cores.
const CONNECTIONS_BATCHED: usize = 4;
const BATCH: usize = 64;
/// Ids of ceiling A end in the number of the connection, those of ceiling B begin here.
const FIRST_OF_B: usize = 2_000_000_000;

/// Makes the tables.
pub(super) async fn prepare(stage: &Stage) -> anyhow::Result<()> {
    stage
        .sql
        .batch_execute(
            "CREATE TABLE ceiling_clients (LIKE client_billing INCLUDING DEFAULTS, PRIMARY KEY (client_id));
             INSERT INTO ceiling_clients SELECT * FROM client_billing;
             CREATE TABLE ceiling_events (LIKE billing_events INCLUDING DEFAULTS INCLUDING COMPRESSION,
                 PRIMARY KEY (stripe_event_id, consumer, created)) PARTITION BY RANGE (created);
             CREATE TABLE ceiling_events_now PARTITION OF ceiling_events
                 FOR VALUES FROM ('2000-01-01') TO ('2100-01-01');
             ANALYZE ceiling_clients",
        )
        .await
        .context("the tables of the ceilings")
}

async fn clear(stage: &Stage) -> anyhow::Result<()> {
    for clear in ["TRUNCATE ceiling_events", "VACUUM ceiling_clients", "CHECKPOINT"] {
        let cleared = stage.sql.batch_execute(clear).await;
        cleared.context("clearing a ceiling's tables")?;
    }
    Ok(())
}

/// Ceiling A: one event per transaction. Events per second.
pub(super) async fn alone(stage: &Stage, stories: &Stories, clients: usize, time: Duration) -> anyhow::Result<f64> {
    clear(stage).await?;
    let folder = tempfile::tempdir().context("a folder for pgbench's scripts")?;
    let mut command = Command::new("pgbench");
    command
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--define=i=0"])
        .arg(format!("--client={CONNECTIONS_ALONE}"))
        .arg(format!("--time={}", time.as_secs().max(1)))
        .arg(format!("--define=clients={clients}"));
    for step in 0..super::story::STEPS {
        let mut body = Vec::new();
        let told = stories.write(step * 1_000, &mut body);
        let body = String::from_utf8(body).context("a body")?;
        command.arg(format!("--define=body{step}={body}"));
        let file: PathBuf = folder.path().join(format!("{step}.sql"));
        std::fs::write(&file, script(step, told.kind)).context("a script for pgbench")?;
        command.arg("--file").arg(file);
    }
    let output = command.arg(&stage.superuser).output().await;
    let output = output.context("running pgbench, which ceiling A needs (on Debian: postgresql-client)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    match rate {
        Some(rate) if output.status.success() => Ok(rate),
        _ => bail!("pgbench failed: {}{text}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn script(step: usize, kind: &str) -> String {
    format!(
        "\\set i :i + 1
\\set c random(0, :clients - 1)
BEGIN;
INSERT INTO ceiling_events (stripe_event_id, consumer, created, type, endpoint, api_version, livemode, received_at, payload, \
status, outcome, reason, client_id, org_id) VALUES ('evt_1' || lpad(:i::text, 10, '0') || 'QhBench{step}' || :client_id, \
'billing', now(), '{kind}', 'platform', '2026-09-30.endive', false, now(), :body{step}, 'decided', 'applied', \
'facts_recorded', 'client_' || lpad(:c::text, 8, '0'), 'org_1') ON CONFLICT DO NOTHING;
SELECT * FROM ceiling_clients WHERE client_id = 'client_' || lpad(:c::text, 8, '0') FOR UPDATE;
UPDATE ceiling_clients SET state = 'ACTIVE', current_period_end = now(), last_event_id = 'evt_1' || lpad(:i::text, 10, '0'), \
last_event_type = '{kind}', last_event_created = now(), version = version + 1, updated_at = now() \
WHERE client_id = 'client_' || lpad(:c::text, 8, '0');
COMMIT;
"
    )
}

/// Ceiling B: 64 events per transaction, set by set. Events per second.
pub(super) async fn batched(stage: &Stage, stories: &Stories, first: usize, time: Duration) -> anyhow::Result<f64> {
    clear(stage).await?;
    let mut connections = Vec::with_capacity(CONNECTIONS_BATCHED);
    for _ in 0..CONNECTIONS_BATCHED {
        connections.push(connect(&stage.superuser).await?);
    }
    let begun = Instant::now();
    let until = begun + time;
    let writers = connections.into_iter().enumerate();
    let writers = writers.map(|(lane, client)| write(client, stories, FIRST_OF_B + first + lane * BATCH, until));
    let written: usize = futures_util::future::try_join_all(writers).await?.into_iter().sum();
    Ok(written as f64 / begun.elapsed().as_secs_f64())
}

async fn write(mut client: Client, stories: &Stories, mut next: usize, until: Instant) -> anyhow::Result<usize> {
    let insert = client
        .prepare(
            "INSERT INTO ceiling_events (stripe_event_id, consumer, created, type, endpoint, api_version, livemode,
                 received_at, payload, status, outcome, reason, client_id, org_id)
             SELECT id, 'billing', created, type, 'platform', '2026-09-30.endive', false, now(), payload, 'decided', 'applied',
                 'facts_recorded', client, 'org_1'
             FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[])
                 AS u (id, created, type, payload, client)
             ON CONFLICT DO NOTHING",
        )
        .await?;
    let lock = client
        .prepare("SELECT * FROM ceiling_clients WHERE client_id = ANY ($1) ORDER BY client_id FOR UPDATE")
        .await?;
    let update = client
        .prepare(
            "UPDATE ceiling_clients AS c SET state = 'ACTIVE', current_period_end = u.created, last_event_id = u.id,
                 last_event_type = u.type, last_event_created = u.created, version = version + 1, updated_at = now()
             FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[]) AS u (id, created, type, client)
             WHERE c.client_id = u.client",
        )
        .await?;
    let mut written = 0;
    while Instant::now() < until {
        let batch = Batch::of(stories, next)?;
        let txn = client.transaction().await?;
        txn.execute(
            &insert,
            &[&batch.ids, &batch.created, &batch.kinds, &batch.bodies, &batch.clients],
        )
        .await?;
        txn.query(&lock, &[&batch.clients]).await?;
        txn.execute(&update, &[&batch.ids, &batch.created, &batch.kinds, &batch.clients])
            .await?;
        txn.commit().await?;
        written += BATCH;
        next += CONNECTIONS_BATCHED * BATCH;
    }
    Ok(written)
}

struct Batch {
    ids: Vec<String>,
    created: Vec<DateTime<Utc>>,
    kinds: Vec<&'static str>,
    bodies: Vec<String>,
    clients: Vec<String>,
}

impl Batch {
    fn of(stories: &Stories, first: usize) -> anyhow::Result<Self> {
        let mut batch = Self {
            ids: Vec::with_capacity(BATCH),
            created: Vec::with_capacity(BATCH),
            kinds: Vec::with_capacity(BATCH),
            bodies: Vec::with_capacity(BATCH),
            clients: Vec::with_capacity(BATCH),
        };
        for n in first..first + BATCH {
            let mut body = Vec::new();
            let told = stories.write(n, &mut body);
            batch.ids.push(Stories::id(n));
            batch.created.push(told.created);
            batch.kinds.push(told.kind);
            batch.bodies.push(String::from_utf8(body).context("a body")?);
            batch.clients.push(stories.client(n));
        }
        Ok(batch)
    }
}
