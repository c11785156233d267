//! The migrated database that every test's database is a copy of.
//!
//! Copying costs tens of milliseconds, migrating costs seconds. The template's name carries a fingerprint of the migrations,
//! so that a changed migration makes a new template and several checkouts can share one server. It is built under an advisory
//! lock and under another name, and renamed when it is complete: a run that was killed half-way leaves no broken template.

use std::hash::{DefaultHasher, Hash, Hasher};

use db::migrate::MIGRATIONS;
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use crate::database::{connect, describe, url_of};
use crate::env;

/// The password that the two roles get on a test server. It protects nothing: the server is on loopback and holds test data.
pub(crate) const ROLE_PASSWORD: &str = "holdfast-test";

const LOCK: i64 = 0x686f_6c64_6661_7374;

/// The template's name; it is built by whichever test asks first.
pub(crate) async fn name() -> &'static str {
    static NAME: OnceCell<String> = OnceCell::const_new();
    NAME.get_or_init(build_if_missing).await
}

async fn build_if_missing() -> String {
    let name = format!("holdfast_migrated_{:016x}", fingerprint());
    let server = connect(&env::database_url()).await;
    server
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await
        .expect("the lock on the template database");
    let exists = server
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await
        .expect("the list of databases")
        .is_some();
    if !exists {
        build(&server, &name).await;
    }
    server
        .execute("SELECT pg_advisory_unlock($1)", &[&LOCK])
        .await
        .expect("the lock on the template database");
    name
}

async fn build(server: &Client, name: &str) {
    let unfinished = format!("{name}_unfinished");
    run(server, &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await;
    run(server, &format!("CREATE DATABASE {unfinished}")).await;
    migrate(&url_of(&unfinished, None)).await;
    for role in ["holdfast_service", "holdfast_tenant"] {
        run(server, &format!("ALTER ROLE {role} LOGIN PASSWORD '{ROLE_PASSWORD}'")).await;
    }
    run(server, &format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await;
}

async fn migrate(url: &str) {
    if let Err(error) = db::migrate(&SecretString::from(url)).await {
        panic!("migrating the template database: {}", chain(&error));
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

async fn run(client: &Client, statement: &str) {
    if let Err(error) = client.batch_execute(statement).await {
        panic!("{statement}: {}", describe(&error));
    }
}

/// Of every migration that the linked `db` applies, by name and content, and of the month: the partitions that a migration makes begin with
/// it.
#[expect(
    clippy::disallowed_methods,
    reason = "the database has a clock of its own, and this is to be its month"
)]
fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    chrono::Utc::now().format("%Y-%m").to_string().hash(&mut hasher);
    for migration in MIGRATIONS {
        migration.name.hash(&mut hasher);
        migration.checksum().hash(&mut hasher);
    }
    hasher.finish()
}
