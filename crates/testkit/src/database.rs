//! A database for one test.

use reqwest::Url;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::env;
use crate::template::{self, ROLE_PASSWORD};
use crate::wait::block_on;

/// A database of its own, copied from the migrated template and dropped with this value.
#[derive(Debug)]
pub struct TestDb {
    name: String,
}

impl TestDb {
    /// A migrated database without rows.
    pub async fn create() -> Self {
        let template = template::name().await;
        Self::copy_of(template).await
    }

    /// A database without any table, for tests of the migrations themselves.
    pub async fn empty() -> Self {
        Self::copy_of("template0").await
    }

    async fn copy_of(template: &str) -> Self {
        let name = format!("holdfast_test_{}", Uuid::new_v4().simple());
        let server = connect(&env::database_url()).await;
        if let Err(error) = server
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
        {
            panic!("creating the test database from {template}: {}", describe(&error));
        }
        Self { name }
    }

    /// The database's name on its server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For a superuser, whom row-level security does not hold.
    pub fn url(&self) -> String {
        url_of(&self.name, None)
    }

    /// For `holdfast_service`, as services connect.
    pub fn service_url(&self) -> String {
        url_of(&self.name, Some("holdfast_service"))
    }

    /// For `holdfast_tenant`, who reads the rows of its own organisations and writes nothing.
    pub fn tenant_url(&self) -> String {
        url_of(&self.name, Some("holdfast_tenant"))
    }

    /// A connection as superuser.
    pub async fn superuser(&self) -> Client {
        connect(&self.url()).await
    }

    /// A connection as `holdfast_service`.
    pub async fn service(&self) -> Client {
        connect(&self.service_url()).await
    }

    /// A connection as `holdfast_tenant`.
    pub async fn tenant(&self) -> Client {
        connect(&self.tenant_url()).await
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        block_on(async move {
            let server = connect(&env::database_url()).await;
            if let Err(error) = server.batch_execute(&statement).await {
                eprintln!("testkit: {statement}: {}", describe(&error));
            }
        });
    }
}

/// The given server's URL with another database and, when a role is named, that role.
pub(crate) fn url_of(database: &str, role: Option<&str>) -> String {
    let given = env::database_url();
    let mut url = Url::parse(&given).unwrap_or_else(|error| panic!("HOLDFAST_TEST_DATABASE_URL is not a URL: {error}"));
    url.set_path(database);
    if let Some(role) = role {
        let changed = url
            .set_username(role)
            .and_then(|()| url.set_password(Some(ROLE_PASSWORD)));
        assert!(changed.is_ok(), "HOLDFAST_TEST_DATABASE_URL names no host");
    }
    url.into()
}

/// A connection whose task runs until the client is dropped.
pub(crate) async fn connect(url: &str) -> Client {
    match tokio_postgres::connect(url, NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(async move {
                // A test may drop its database below a connection: that ends the task, and the next query reports it.
                drop(connection.await);
            });
            client
        }
        Err(error) => panic!("connecting to the test database: {}", describe(&error)),
    }
}

pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refusal) => refusal.to_string(),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
