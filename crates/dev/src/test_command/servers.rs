//! The servers of the tests: those that the three variables name, or private ones without durability.

use std::process::Command;

use anyhow::{Context, bail};
use provision::{Broker, BrokerOptions, Durability, Postgres, PostgresOptions, Say};

use std::path::Path;

const DATABASE_URL: &str = "HOLDFAST_TEST_DATABASE_URL";
const AMQP_URL: &str = "HOLDFAST_TEST_AMQP_URL";
const RABBITMQ_API: &str = "HOLDFAST_TEST_RABBITMQ_API";

pub(super) struct Servers {
    private: Option<(Postgres, Broker)>,
}

impl Servers {
    pub(super) async fn start(folder: &Path, say: Say<'_>) -> anyhow::Result<Self> {
        let names = [DATABASE_URL, AMQP_URL, RABBITMQ_API];
        let given = names.iter().filter(|name| std::env::var_os(name).is_some()).count();
        if given == names.len() {
            say("tests run against the servers that HOLDFAST_TEST_DATABASE_URL, _AMQP_URL and _RABBITMQ_API name");
            return Ok(Self { private: None });
        }
        if given > 0 {
            bail!("set all of {} or none of them", names.join(", "));
        }
        let postgres = PostgresOptions {
            folder: folder.join("postgres"),
            given: None,
            durability: Durability::Volatile,
            clean: true,
            log: folder.join("log/postgres.log"),
        };
        let broker = BrokerOptions {
            folder: folder.join("rabbitmq"),
            given: None,
            management: true,
            clean: true,
            log: folder.join("log/rabbitmq.log"),
        };
        // One after the other: each may have to be installed first, and two installations do not go together.
        let postgres = Postgres::start(postgres, say).await?;
        let broker = Broker::start(broker, say).await?;
        Ok(Self {
            private: Some((postgres, broker)),
        })
    }

    pub(super) fn tell(&self, tests: &mut Command) -> anyhow::Result<()> {
        tests.envs(self.variables()?);
        Ok(())
    }

    /// What tests find the servers by; nothing for servers that the environment names already.
    pub(super) fn variables(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let Some((postgres, broker)) = &self.private else {
            return Ok(Vec::new());
        };
        let api = broker.api_url().context("the management API was asked for")?;
        Ok(vec![
            (DATABASE_URL, postgres.url().to_string()),
            (AMQP_URL, broker.amqp_url().to_string()),
            (RABBITMQ_API, api.to_string()),
        ])
    }

    pub(super) async fn end(self) {
        if let Some((postgres, broker)) = self.private {
            broker.end().await;
            postgres.end().await;
        }
    }
}
