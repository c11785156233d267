//! What the tools of an operator share: where the database and the broker are.

use std::sync::Arc;
use std::time::Duration;

use bus::{BrokerConfig, Clock, PublishError, Publisher, PublisherConfig, Topology};
use db::{Database, DatabaseConfig};
use secrecy::{ExposeSecret, SecretString};
use service_kit::config::{self, ProcessEnv, Reader, shape};

/// The name in the lists of connections of the broker and the database.
const NAME: &str = "holdfast-cli";
/// How long a tool waits for the broker.
const BROKER_LIMIT: Duration = Duration::from_secs(10);
/// How long a tool waits at its end.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Reads `DATABASE_URL`.
pub(crate) fn read_database(r: &mut Reader<'_>) -> Option<SecretString> {
    r.required("DATABASE_URL", shape::url(&["postgres", "postgresql"]))
        .map(SecretString::from)
}

/// Reads `AMQP_URL`.
pub(crate) fn read_broker(r: &mut Reader<'_>) -> Option<BrokerConfig> {
    let url = r.required("AMQP_URL", shape::url(&["amqp", "amqps"]).and_then(bus::checked_url))?;
    Some(BrokerConfig::new(url.expose_secret(), NAME))
}

/// The database of `DATABASE_URL`.
pub(crate) fn database() -> anyhow::Result<Database> {
    open(config::load(&ProcessEnv, read_database)?)
}

/// The broker of `AMQP_URL`.
pub(crate) fn broker() -> anyhow::Result<BrokerConfig> {
    Ok(config::load(&ProcessEnv, read_broker)?)
}

/// Both.
pub(crate) fn database_and_broker() -> anyhow::Result<(Database, BrokerConfig)> {
    let (url, broker) = config::load(&ProcessEnv, |r| {
        let (database, broker) = (read_database(r), read_broker(r));
        Some((database?, broker?))
    })?;
    Ok((open(url)?, broker))
}

/// The same for what reads whole tables: a statement may take as long as it takes.
pub(crate) fn patient_database() -> anyhow::Result<Database> {
    let url = config::load(&ProcessEnv, read_database)?;
    Ok(Database::open(&DatabaseConfig {
        statement_timeout: Duration::ZERO,
        ..database_config(url)
    })?)
}

fn open(url: SecretString) -> anyhow::Result<Database> {
    Ok(Database::open(&database_config(url))?)
}

fn database_config(url: SecretString) -> DatabaseConfig {
    DatabaseConfig {
        max_connections: 1,
        ..DatabaseConfig::new(url, NAME)
    }
}

/// Publishes with the topology declared, so that a tool works before the first service has run.
pub(crate) async fn publisher(broker: BrokerConfig) -> Result<Publisher, PublishError> {
    let publisher = Publisher::start(PublisherConfig {
        topology: Topology::holdfast(),
        channels: 1,
        ..PublisherConfig::new(broker)
    });
    publisher.wait_ready(BROKER_LIMIT).await?;
    Ok(publisher)
}

/// Ends a tool's connection.
pub(crate) async fn close(publisher: &Publisher) {
    publisher.close(CLOSE_LIMIT).await;
}

/// The time, for what a tool publishes.
pub(crate) fn clock() -> Clock {
    Arc::new(|| service_kit::clock::Clock::System.now())
}
