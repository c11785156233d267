//! The servers and programs that billing is measured with, and the data that it starts from.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use provision::{Broker, BrokerOptions, Durability, Postgres, PostgresOptions, Process, Say, Signal, Spec, free_ports};
use tokio_postgres::{Client, NoTls};

use super::super::ingest;
use crate::database;
use crate::paths::Paths;
use crate::secrets::Secrets;

pub(super) const GRACE: Duration = Duration::from_secs(35);
/// The secret of the platform's endpoint.
pub(super) const WEBHOOK_SECRET: &str = "whsec_benchmark_0123456789";

/// A private broker and a private, durable Postgres with a migrated database.
#[derive(Debug)]
pub(super) struct Stage {
    paths: Paths,
    pub(super) broker: Broker,
    pub(super) postgres: Postgres,
    pub(super) superuser: String,
    pub(super) sql: Client,
    pub(super) secrets: Secrets,
}

/// A service as a process of its own.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
}

impl Running {
    pub(super) async fn stop(mut self) {
        self.process.stop(Signal::SIGTERM, GRACE).await;
    }
}

impl Stage {
    /// Starts the servers from nothing.
    pub(super) async fn set(say: Say<'_>) -> anyhow::Result<Self> {
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
        match Self::with_postgres(&paths, say).await {
            Ok((postgres, superuser, sql, secrets)) => Ok(Self {
                paths,
                broker,
                postgres,
                superuser,
                sql,
                secrets,
            }),
            Err(error) => {
                broker.end().await;
                Err(error)
            }
        }
    }

    async fn with_postgres(paths: &Paths, say: Say<'_>) -> anyhow::Result<(Postgres, String, Client, Secrets)> {
        let folder = paths.home().join("bench");
        let options = |clean| PostgresOptions {
            folder: folder.join("postgres"),
            given: None,
            durability: Durability::Durable,
            clean,
            log: folder.join("postgres.log"),
        };
        // The time of a commit is what latency is measured to.
        let postgres = Postgres::start(options(true), say).await?;
        connect(postgres.url())
            .await?
            .batch_execute("ALTER SYSTEM SET track_commit_timestamp = on")
            .await
            .context("keeping the times of commits")?;
        postgres.end().await;
        let postgres = Postgres::start(options(false), say).await?;
        match furnish(paths, &postgres).await {
            Ok((superuser, sql, secrets)) => Ok((postgres, superuser, sql, secrets)),
            Err(error) => {
                postgres.end().await;
                Err(error)
            }
        }
    }

    /// Stops the servers.
    pub(super) async fn clear(self) {
        self.postgres.end().await;
        self.broker.end().await;
    }

    /// Starts billing and waits until it is ready.
    pub(super) async fn billing(&self) -> anyhow::Result<Running> {
        let service = database::url_as(&self.superuser, "holdfast_service", &self.secrets.service_password)?;
        let env = [
            ("DATABASE_URL", service),
            ("AUTH_JWT_SECRET", self.secrets.auth_jwt_secret.clone()),
        ];
        self.run("billing", env).await
    }

    /// Starts ingest and waits until it is ready.
    pub(super) async fn ingest(&self) -> anyhow::Result<Running> {
        self.run("webhook-ingest", [("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned())])
            .await
    }

    async fn run<const N: usize>(
        &self,
        service: &'static str,
        env: [(&'static str, String); N],
    ) -> anyhow::Result<Running> {
        let [port] = free_ports()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let common = [
            ("AMQP_URL", self.broker.amqp_url().to_owned()),
            ("STRIPE_LIVEMODE", "false".to_owned()),
            ("HOLDFAST_LISTEN", address.to_string()),
            ("HOLDFAST_METRICS_LISTEN", "shared".to_owned()),
        ];
        let process = Process::spawn(spec(&self.paths, &["run", service], common.into_iter().chain(env)))?;
        ingest::wait_ready(address).await?;
        Ok(Running { process, address })
    }

    /// Registers clients, and lets all but those that will buy have an active subscription that was paid once.
    pub(super) async fn register(&self, first: usize, end: usize, begin: DateTime<Utc>) -> anyhow::Result<()> {
        let org = self.secrets.org_id.to_string();
        let begin = begin.timestamp();
        let rows = format!(
            "CREATE TEMP TABLE n ON COMMIT DROP AS
                 SELECT n, n % 10 = 9 AS buys, lpad(n::text, 8, '0') AS digits FROM generate_series({first}, {end} - 1) AS n;
             INSERT INTO client_billing (client_id, org_id, payment_source, initial_state, state, stripe_customer_id,
                     stripe_subscription_id, current_period_end, last_event_id, last_event_type, last_event_created, version)
                 SELECT 'client_' || digits, '{org}', 'STRIPE', 'TRIAL_PENDING',
                     CASE WHEN buys THEN 'TRIAL_PENDING' ELSE 'ACTIVE' END, 'cus_' || digits || 'BenHld',
                     CASE WHEN NOT buys THEN 'sub_1' || digits || 'QhBenchHoldfast' END,
                     CASE WHEN NOT buys THEN to_timestamp({begin}) END,
                     CASE WHEN NOT buys THEN 'evt_1' || digits || '00QhBenchHoldf' END,
                     CASE WHEN NOT buys THEN 'customer.subscription.updated' END,
                     CASE WHEN NOT buys THEN to_timestamp({begin} - 2592000) END, CASE WHEN buys THEN 0 ELSE 1 END
                 FROM n;
             INSERT INTO billing_customers (stripe_customer_id, client_id, org_id, bound_by)
                 SELECT 'cus_' || digits || 'BenHld', 'client_' || digits, '{org}', 'registration' FROM n;
             INSERT INTO billing_subscriptions (stripe_subscription_id, client_id, org_id, stripe_customer_id, snapshot_rank,
                     snapshot_at, observations, status, price_id, current_period_end, first_paid_at, last_paid_at)
                 SELECT 'sub_1' || digits || 'QhBenchHoldfast', 'client_' || digits, '{org}', 'cus_' || digits || 'BenHld', 1,
                     {begin} - 2592000, jsonb_build_array(jsonb_build_object('status', 'active', 'collection_paused', false,
                         'cancel_at_period_end', false, 'start', {begin} - 2592000, 'current_period_end', {begin},
                         'trial_end', NULL, 'price', '{price}', 'currency', 'eur', 'before', '{{}}'::jsonb)),
                     'active', '{price}', to_timestamp({begin}), {begin} - 2592000, {begin} - 2592000
                 FROM n WHERE NOT buys;
             INSERT INTO billing_payments (object_id, kind, client_id, org_id, stripe_subscription_id, billing_reason, amount,
                     currency, paid_at)
                 SELECT 'in_1' || digits || '00QhBenchHoldf', 'invoice', 'client_' || digits, '{org}',
                     'sub_1' || digits || 'QhBenchHoldfast', 'subscription_create', 4900, 'eur', {begin} - 2592000
                 FROM n WHERE NOT buys;",
            price = super::story::PRICE,
        );
        self.sql
            .batch_execute(&format!("BEGIN; {rows} COMMIT; ANALYZE client_billing, billing_customers, billing_subscriptions, billing_payments;"))
            .await
            .context("registering clients")
    }

    /// Brings the archive to so many events of the last 80 days, each with its decision. Their bodies are gone, as after
    /// retention; their rows and all entries of indexes are there.
    pub(super) async fn archive(
        &self,
        from: usize,
        to: usize,
        clients: usize,
        begin: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        const PIECE: usize = 250_000;
        let org = self.secrets.org_id.to_string();
        let begin = begin.timestamp();
        for first in (from..to).step_by(PIECE) {
            let end = (first + PIECE).min(to);
            let created = format!("to_timestamp({begin} - 86400 - 6912000.0 * (1 - n / {to}.0))");
            let client = format!("'client_' || lpad((n::bigint * 48271 % {clients})::text, 8, '0')");
            let rows = format!(
                "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, api_version, livemode,
                         received_at, recorded_at, status, outcome, reason, client_id, org_id)
                     SELECT 'evt_0' || lpad(n::text, 10, '0') || 'QhBenchHoldf', 'billing', {created}, 'invoice.paid',
                         'platform', '2026-09-30.endive', false, {created}, {created}, 'decided', 'applied',
                         'facts_recorded', {client}, '{org}'
                     FROM generate_series({first}, {end} - 1) AS n;
                 INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, org_id,
                         outcome, reason)
                     SELECT (lpad(to_hex(({begin}::bigint - 6998400 + n * 6912000 / {to}) * 1000), 12, '0') || '7'
                             || lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(n::text), 1, 15))::uuid,
                         {created}, 'evt_0' || lpad(n::text, 10, '0') || 'QhBenchHoldf', 'invoice.paid', {created},
                         {created}, {client}, '{org}', 'applied', 'facts_recorded'
                     FROM generate_series({first}::bigint, {end} - 1) AS n;"
            );
            self.sql.batch_execute(&rows).await.context("filling the archive")?;
        }
        self.settle().await
    }

    /// Lets every side begin with the same: nothing to write out, fresh statistics.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        for settle in [
            "VACUUM (ANALYZE) billing_events",
            "VACUUM (ANALYZE) billing_decisions",
            "CHECKPOINT",
        ] {
            self.sql.batch_execute(settle).await.context("settling the database")?;
        }
        Ok(())
    }

    /// Writes out what is dirty, so that no side pays for another.
    pub(super) async fn checkpoint(&self) -> anyhow::Result<()> {
        self.sql.batch_execute("CHECKPOINT").await.context("a checkpoint")
    }
}

async fn furnish(paths: &Paths, postgres: &Postgres) -> anyhow::Result<(String, Client, Secrets)> {
    let superuser = database::create(postgres.url()).await?;
    let migrator = [("MIGRATOR_DATABASE_URL", superuser.clone())];
    let mut migrate = Process::spawn(spec(paths, &["migrate"], migrator))?;
    let status = migrate.wait().await;
    if !status.success() {
        return Err(migrate.ended_error(status).into());
    }
    let secrets = Secrets::kept_in(&paths.home().join("bench").join("secrets.json"))?;
    database::furnish(&superuser, &secrets).await?;
    let sql = connect(&superuser).await?;
    Ok((superuser, sql, secrets))
}

pub(super) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connecting to the database")?;
    tokio::spawn(connection);
    Ok(client)
}

fn spec(paths: &Paths, args: &[&str], env: impl IntoIterator<Item = (&'static str, String)>) -> Spec {
    let folder = paths.home().join("bench");
    let name = args.last().copied().unwrap_or_default().to_owned();
    Spec {
        log: folder.join(format!("{name}.log")),
        name,
        program: paths.programs(true).join("holdfast"),
        args: args.iter().map(Into::into).collect(),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        inherit_env: false,
        wrapper: Vec::new(),
        folder: Paths::workspace(),
        pid_folder: folder,
        death_signal: Signal::SIGTERM,
    }
}
