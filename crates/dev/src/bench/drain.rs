//! `cargo dev bench billing`: from the queue to committed state.
//!
//! The queue of a private broker is filled with events of registered clients while billing is down. Then billing starts, and
//! the archive's growth in a private, durable Postgres is timed between a first part, which pays for the start, and the end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bus::{BrokerConfig, Headers, Outgoing, Publisher, PublisherConfig, Topology, headers, topology};
use futures_util::{StreamExt, TryStreamExt, stream};
use provision::{Broker, BrokerOptions, Durability, Postgres, PostgresOptions, Process, Say, Signal, Spec, free_ports};
use serde::Serialize;
use tokio_postgres::{Client, NoTls};

use super::bodies::Template;
use super::{ingest, usage};
use crate::database;
use crate::paths::Paths;
use crate::secrets::Secrets;

const CLIENTS: usize = 500;
const EVENTS: usize = 60_000;
/// The rate is taken from here on.
const FIRST_PART: i64 = 10_000;
const IN_FLIGHT: usize = 256;
const LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(35);

/// What a drain came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Drain {
    /// Events that were decided while the clock ran.
    pub events: usize,
    /// Of so many registered clients.
    pub clients: usize,
    /// Events per second from the queue to the commit.
    pub rate: f64,
    /// Billing's CPU time per event, in microseconds.
    pub billing_micros: f64,
    /// Postgres' CPU time.
    pub postgres_micros: f64,
    /// The broker's.
    pub broker_micros: f64,
    /// Memory of billing at most, in KiB.
    pub memory_peak_kib: u64,
}

impl Drain {
    /// The figures for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self {
            events,
            clients,
            rate,
            billing_micros,
            postgres_micros,
            broker_micros,
            memory_peak_kib,
        } = self;
        let mut text = format!("billing, {events} events of {clients} clients from the queue to the commit\n");
        let _ = writeln!(
            text,
            "  {rate:.0} events/s; µs of CPU per event: billing {billing_micros:.0}, Postgres {postgres_micros:.0}, broker \
             {broker_micros:.0}; memory at most {:.1} MiB",
            *memory_peak_kib as f64 / 1024.0
        );
        text
    }
}

/// Starts what is needed, measures, and ends it.
pub(super) async fn measure(say: Say<'_>) -> anyhow::Result<Drain> {
    let paths = Paths::here()?;
    let folder = paths.home().join("bench");
    let broker = BrokerOptions {
        folder: folder.clone(),
        given: None,
        management: false,
        clean: true,
        log: folder.join("rabbitmq.log"),
    };
    let broker = Broker::start(broker, say).await?;
    let postgres = PostgresOptions {
        folder: folder.join("postgres"),
        given: None,
        durability: Durability::Durable,
        clean: true,
        log: folder.join("postgres.log"),
    };
    let measured = match Postgres::start(postgres, say).await {
        Ok(postgres) => {
            let measured = with_servers(&paths, &broker, &postgres, say).await;
            postgres.end().await;
            measured
        }
        Err(error) => Err(error.into()),
    };
    broker.end().await;
    measured
}

async fn with_servers(paths: &Paths, broker: &Broker, postgres: &Postgres, say: Say<'_>) -> anyhow::Result<Drain> {
    let superuser = database::create(postgres.url()).await?;
    let migrator = vec![("MIGRATOR_DATABASE_URL".to_owned(), superuser.clone())];
    let mut migrate = Process::spawn(spec(paths, &["migrate"], migrator))?;
    let status = migrate.wait().await;
    if !status.success() {
        return Err(migrate.ended_error(status).into());
    }
    let secrets = Secrets::kept_in(&paths.home().join("bench").join("secrets.json"))?;
    database::furnish(&superuser, &secrets).await?;
    let (client, connection) = tokio_postgres::connect(&superuser, NoTls)
        .await
        .context("connecting to the database")?;
    tokio::spawn(connection);

    let [port] = free_ports()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let env = [
        (
            "DATABASE_URL",
            database::url_as(&superuser, "holdfast_service", &secrets.service_password)?,
        ),
        ("AMQP_URL", broker.amqp_url().to_owned()),
        ("AUTH_JWT_SECRET", secrets.auth_jwt_secret.clone()),
        ("STRIPE_LIVEMODE", "false".to_owned()),
        ("HOLDFAST_LISTEN", address.to_string()),
        ("HOLDFAST_METRICS_LISTEN", "shared".to_owned()),
    ];
    let env: Vec<(String, String)> = env.map(|(name, value)| (name.to_owned(), value)).into();

    let mut billing = Process::spawn(spec(paths, &["run", "billing"], env.clone()))?;
    ingest::wait_ready(address).await?;
    let registered = register(address, &secrets).await;
    billing.stop(Signal::SIGTERM, GRACE).await;
    registered?;
    say(&format!("filling the queue with {EVENTS} events"));
    fill(broker.amqp_url()).await?;

    drop(billing);
    let mut billing = Process::spawn(spec(paths, &["run", "billing"], env))?;
    let pids = [Some(billing.pid()), postgres.pid(), broker.pid()];
    let timed = time(&client, pids).await;
    billing.stop(Signal::SIGTERM, GRACE).await;
    timed
}

fn spec(paths: &Paths, args: &[&str], env: Vec<(String, String)>) -> Spec {
    let folder = paths.home().join("bench");
    Spec {
        name: "billing".to_owned(),
        program: paths.programs(true).join("holdfast"),
        args: args.iter().map(Into::into).collect(),
        env,
        inherit_env: false,
        wrapper: Vec::new(),
        folder: Paths::workspace(),
        log: folder.join("billing.log"),
        pid_folder: folder,
        death_signal: Signal::SIGTERM,
    }
}

async fn register(address: SocketAddr, secrets: &Secrets) -> anyhow::Result<()> {
    let [token, ..] = secrets.tokens()?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .context("an HTTP client")?;
    for n in 0..CLIENTS {
        let body = serde_json::json!({
            "org_id": secrets.org_id.to_string(),
            "payment_source": "STRIPE",
            "stripe_customer_id": format!("cus_{n}"),
        });
        let url = format!("http://{address}/api/clients/c_{n}");
        let answer = http.put(url).bearer_auth(&token).json(&body).send().await;
        let answer = answer.context("registering a client")?;
        if !answer.status().is_success() {
            bail!(
                "a client was not registered: {}",
                answer.text().await.unwrap_or_default()
            );
        }
    }
    Ok(())
}

/// Publishes what ingest would.
async fn fill(amqp_url: &str) -> anyhow::Result<()> {
    let publisher = Publisher::start(PublisherConfig {
        topology: Topology::holdfast(),
        ..PublisherConfig::new(BrokerConfig::new(amqp_url, "bench"))
    });
    publisher
        .wait_ready(Duration::from_secs(30))
        .await
        .context("connecting to fill the queue")?;
    let template = Template::new("d");
    let template = String::from_utf8(template.body(0)).context("the template")?;
    let received_at = chrono::Utc::now().to_rfc3339();
    let messages = stream::iter(0..EVENTS).map(|n| {
        let (client, id) = (n % CLIENTS, format!("evt_d{n:011}"));
        let body = template
            .replace("evt_d00000000000", &id)
            .replace("\"cus_1\"", &format!("\"cus_{client}\""))
            .replace("\"c_1\"", &format!("\"c_{client}\""))
            .replace("\"sub_1\"", &format!("\"sub_{client}\""));
        let mut table = Headers::new();
        table
            .set_str(headers::ENDPOINT, "platform")
            .set_str(headers::RECEIVED_AT, received_at.as_str())
            .set_str(headers::API_VERSION, webhook_ingest::NEWEST_KNOWN)
            .set_bool(headers::LIVEMODE, false);
        publisher.publish(Outgoing {
            exchange: topology::STRIPE_EVENTS.into(),
            routing_key: "platform.invoice.paid".to_owned(),
            message_id: id,
            kind: "invoice.paid".to_owned(),
            timestamp: 1_760_000_000,
            headers: table,
            body: body.into(),
        })
    });
    let filled = messages.buffer_unordered(IN_FLIGHT).try_collect::<()>().await;
    publisher.close(Duration::from_secs(5)).await;
    filled.context("filling the queue")
}

async fn time(client: &Client, pids: [Option<u32>; 3]) -> anyhow::Result<Drain> {
    let used = || {
        pids.map(|pid| {
            pid.and_then(|pid| usage::cpu_with_children(pid).ok())
                .unwrap_or_default()
        })
    };
    let begun = Instant::now();
    let mut first: Option<(Instant, i64, [Duration; 3])> = None;
    loop {
        if begun.elapsed() > LIMIT {
            bail!("billing did not drain the queue within {} s", LIMIT.as_secs());
        }
        let row = client.query_one("SELECT count(*) FROM billing_events", &[]).await;
        let stored: i64 = row.context("counting events")?.get(0);
        let (now, after) = (Instant::now(), used());
        match first {
            None if stored >= FIRST_PART => first = Some((now, stored, after)),
            Some((since, before, used_before)) if stored >= i64::try_from(EVENTS)? => {
                let events = usize::try_from(stored - before)?;
                let mut earlier = used_before.into_iter();
                let [billing_micros, postgres_micros, broker_micros] = after.map(|after| {
                    let used = after.saturating_sub(earlier.next().unwrap_or_default());
                    used.as_secs_f64() * 1e6 / events.max(1) as f64
                });
                let memory_peak_kib = pids[0]
                    .and_then(|pid| usage::memory_kib(pid).ok())
                    .unwrap_or_default()
                    .1;
                return Ok(Drain {
                    events,
                    clients: CLIENTS,
                    rate: events as f64 / now.duration_since(since).as_secs_f64(),
                    billing_micros,
                    postgres_micros,
                    broker_micros,
                    memory_peak_kib,
                });
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
