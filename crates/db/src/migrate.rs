//! Bringing the schema up to this binary.
//!
//! The files are part of the binary. Each runs in one transaction together with its row in `schema_migrations`, so that a file
//! is applied wholly or not at all; an advisory lock lets any number of replicas start at once. A file that was applied and then
//! changed is refused by its checksum: two installations must never have different schemas under one number. Versions that this
//! binary does not know are left alone, so that a previous binary runs on the newer schema (OPS-5).
//!
//! The migrating role owns what it makes. Row-level security is forced upon owners too, so that role must be a superuser or have
//! BYPASSRLS; it is refused with a clear message otherwise.

use std::fmt::Write as _;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use secrecy::SecretString;
use tokio_postgres::Client;

use crate::connect::{Target, TargetError};
use crate::error::{DbError, During as _};

/// A file of `migrations/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The number that its name begins with.
    pub version: i32,
    /// Its name without the ending.
    pub name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        /// Every migration, in order.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../../migrations/", $name, ".sql")),
        }),*];
    };
}

migrations! {
    1 "0001_roles_and_tenancy",
    2 "0002_events",
    3 "0003_billing",
    4 "0004_outbox_and_alerts",
    5 "0005_charges_and_waiting",
    6 "0006_speed",
    7 "0007_waiting_indexes",
    8 "0008_escrow",
    9 "0009_amounts_of_others",
    10 "0010_waits",
    11 "0011_lists",
    12 "0012_traces",
    13 "0013_other_prices",
    14 "0014_news",
    15 "0015_billed_otherwise",
    16 "0016_canceled_recipients",
    17 "0017_by_the_invoice",
    18 "0018_held_in_part",
}

/// How many months of partitions are kept ahead.
pub(crate) const MONTHS_AHEAD: i32 = 6;
/// How long a file may wait for a table's lock, with everybody else waiting behind it.
const LOCK_TIMEOUT_MS: u32 = 15_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The advisory lock of migrating ("holdfast" in ASCII).
const LOCK: i64 = 0x686f_6c64_6661_7374;

impl Migration {
    /// SHA-256 of the file, in hexadecimal.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in digest(&SHA256, self.sql.as_bytes()).as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// What migrating did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names of the files that were applied now.
    pub applied: Vec<String>,
    /// How many had been applied before.
    pub already_applied: usize,
    /// Versions in the database that this binary does not know: a newer binary was here.
    pub newer: Vec<i32>,
    /// How many partitions were made for months to come.
    pub partitions_made: i32,
}

/// Why the schema could not be brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The URL or TLS.
    #[error("the database's URL cannot be used")]
    Target(#[from] TargetError),
    /// The server.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The role would be blinded by the row-level security that it forces.
    #[error("the role {role} must be a superuser or have BYPASSRLS and CREATEROLE to migrate (docs/DATABASE.md)")]
    Role {
        /// Who connected.
        role: String,
    },
    /// A file was changed after it was applied.
    #[error("migration {name} was applied with another content (checksum {applied}, this binary has {expected})")]
    Changed {
        /// The file.
        name: String,
        /// The checksum in the database.
        applied: String,
        /// The checksum of this binary's file.
        expected: String,
    },
    /// A file failed; nothing of it remains.
    #[error("migration {name} failed and was rolled back")]
    File {
        /// The file.
        name: &'static str,
        /// Postgres' words.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// Applies every migration that is missing.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(url: &SecretString) -> Result<Report, MigrateError> {
    migrate_with(url, MIGRATIONS).await
}

/// [`migrate`] with other files: for tests of the mechanism itself.
pub(crate) async fn migrate_with(url: &SecretString, migrations: &[Migration]) -> Result<Report, MigrateError> {
    let mut target = Target::parse(url, "holdfast migrate")?;
    target.config.connect_timeout(CONNECT_TIMEOUT);
    let mut client = target.connect().await?;
    check_role(&client).await?;
    client
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await
        .during("lock_migrations")?;
    prepare(&client).await?;
    let applied = applied_migrations(&client).await?;
    let mut report = Report {
        applied: Vec::new(),
        already_applied: 0,
        newer: Vec::new(),
        partitions_made: 0,
    };
    for migration in migrations {
        match applied.iter().find(|row| row.version == migration.version) {
            Some(row) => {
                check_unchanged(migration, row)?;
                report.already_applied += 1;
            }
            None => {
                apply(&mut client, migration).await?;
                tracing::info!(migration = migration.name, "applied");
                report.applied.push(migration.name.to_owned());
            }
        }
    }
    let unknown = applied
        .iter()
        .filter(|row| migrations.iter().all(|known| known.version != row.version));
    report.newer = unknown.map(|row| row.version).collect();
    report.partitions_made = ensure_months(&client).await?;
    Ok(report)
}

async fn check_role(client: &Client) -> Result<(), MigrateError> {
    let row = client
        .query_one(
            "SELECT rolname::text, rolsuper OR (rolbypassrls AND rolcreaterole) FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .await
        .during("read_migrating_role")?;
    if row.get(1) {
        Ok(())
    } else {
        Err(MigrateError::Role { role: row.get(0) })
    }
}

/// The table of what was applied. The policy of its rows comes with the first file, which makes the roles.
async fn prepare(client: &Client) -> Result<(), DbError> {
    let settings = format!("SET statement_timeout = 0; SET lock_timeout = {LOCK_TIMEOUT_MS}");
    client.batch_execute(&settings).await.during("prepare_migrations")?;
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                version    integer PRIMARY KEY,
                name       text NOT NULL,
                checksum   text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )",
        )
        .await
        .during("prepare_migrations")
}

fn check_unchanged(migration: &Migration, row: &AppliedMigration) -> Result<(), MigrateError> {
    let expected = migration.checksum();
    if row.checksum == expected {
        return Ok(());
    }
    Err(MigrateError::Changed {
        name: row.name.clone(),
        applied: row.checksum.clone(),
        expected,
    })
}

async fn apply(client: &mut Client, migration: &Migration) -> Result<(), MigrateError> {
    let failed = |source| MigrateError::File {
        name: migration.name,
        source,
    };
    let txn = client.transaction().await.map_err(failed)?;
    txn.batch_execute(migration.sql).await.map_err(failed)?;
    txn.execute(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
        &[&migration.version, &migration.name, &migration.checksum()],
    )
    .await
    .map_err(failed)?;
    txn.commit().await.map_err(failed)
}

async fn ensure_months(client: &Client) -> Result<i32, DbError> {
    let row = client
        .query_one("SELECT holdfast_ensure_partitions(0, $1)", &[&MONTHS_AHEAD])
        .await
        .during("ensure_partitions")?;
    Ok(row.get(0))
}

/// A row of `schema_migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppliedMigration {
    pub(crate) version: i32,
    pub(crate) name: String,
    pub(crate) checksum: String,
}

pub(crate) async fn applied_migrations(client: &Client) -> Result<Vec<AppliedMigration>, DbError> {
    let rows = client
        .query(
            "SELECT version, name, checksum FROM schema_migrations ORDER BY version",
            &[],
        )
        .await
        .during("list_migrations")?;
    let read = |row: &tokio_postgres::Row| AppliedMigration {
        version: row.get(0),
        name: row.get(1),
        checksum: row.get(2),
    };
    Ok(rows.iter().map(read).collect())
}
