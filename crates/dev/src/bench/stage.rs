//! The servers and programs that a service is measured with.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use provision::{Broker, BrokerOptions, Durability, Postgres, PostgresOptions, Process, Say, Signal, Spec, free_ports};
use tokio_postgres::{Client, NoTls};

use super::ingest;
use crate::database;
use crate::paths::Paths;
use crate::secrets::Secrets;

pub(super) const GRACE: Duration = Duration::from_secs(35);
/// The secret of the platform's endpoint.
pub(super) const WEBHOOK_SECRET: &str = "whsec_benchmark_0123456789";
/// The simulator takes any test key.
pub(super) const STRIPE_KEY: &str = "sk_test_benchmark0123456789abcdef";

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

    /// The database as services see it.
    pub(super) fn service_url(&self) -> anyhow::Result<String> {
        database::url_as(&self.superuser, "holdfast_service", &self.secrets.service_password)
    }

    /// Starts billing and waits until it is ready.
    pub(super) async fn billing(&self) -> anyhow::Result<Running> {
        let env = [
            ("DATABASE_URL", self.service_url()?),
            ("AUTH_JWT_SECRET", self.secrets.auth_jwt_secret.clone()),
            ("RECONCILE_SECRET", self.secrets.reconcile_secret.clone()),
        ];
        self.run("billing", env).await
    }

    /// Starts ingest and waits until it is ready.
    pub(super) async fn ingest(&self) -> anyhow::Result<Running> {
        self.run("webhook-ingest", [("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned())])
            .await
    }

    /// Starts escrow, which calls this Stripe, and waits until it is ready.
    pub(super) async fn escrow(&self, stripe: &str) -> anyhow::Result<Running> {
        let env = [
            ("DATABASE_URL", self.service_url()?),
            ("AUTH_JWT_SECRET", self.secrets.auth_jwt_secret.clone()),
            ("RECONCILE_SECRET", self.secrets.reconcile_secret.clone()),
            ("STRIPE_SECRET_KEY", STRIPE_KEY.to_owned()),
            ("STRIPE_API_BASE", stripe.to_owned()),
        ];
        self.run("escrow", env).await
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
