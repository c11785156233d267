//! The pool of connections, and the one way to run a transaction.
//!
//! Everything waits for a bounded time: for a place in the pool, for a connection, for a statement, and the server ends a
//! transaction that idles, so that a process that hangs cannot hold locks for ever. A connection that was lost is noticed when
//! it is taken, and replaced.
//!
//! [`Database::transact`] runs its body again when Postgres chose the transaction as the victim of a deadlock or could not
//! serialise it, a bounded number of times; so a body has no effect outside its transaction. A commit whose connection was lost
//! is of unknown outcome and reported as unavailable: what runs after it must be safe to repeat.

use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{ConfigConnectImpl, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Transaction};
use secrecy::SecretString;
use tokio_postgres::NoTls;
use tracing::{Instrument as _, Span};

use crate::connect::{Target, TargetError};
use crate::error::{DbError, During as _, TransactError};
use crate::home::AtHome;
use crate::migrate::MIGRATIONS;

/// A connection from the pool; goes back when dropped.
pub type Conn = deadpool_postgres::Client;

/// How often a transaction's body is run when it keeps losing against others.
const MAX_RUNS: u32 = 5;
/// The pause before the second run; doubled for each one after, and jittered by the deadlock's own timing.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How to reach the database and how long to wait for it.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/name?sslmode=require`.
    pub url: SecretString,
    /// What `pg_stat_activity` shows: the service's name.
    pub application_name: String,
    /// Most connections of this process.
    pub max_connections: usize,
    /// For making one connection.
    pub connect_timeout: Duration,
    /// For a place in the pool while all connections are in use.
    pub wait_timeout: Duration,
    /// After which the server cancels a statement; the client does not wait longer either.
    pub statement_timeout: Duration,
    /// After which a statement gives up waiting for a lock. Shorter than `statement_timeout`, which else would strike first, and who
    /// waits for somebody else's lock could not be told from who asks for too much.
    pub lock_timeout: Duration,
    /// After which the server ends a transaction whose client does nothing.
    pub idle_transaction_timeout: Duration,
}

impl DatabaseConfig {
    /// Ten connections, 3 s to connect, 5 s for a place, 15 s for a statement, 10 s for a lock, 60 s for an idle transaction.
    #[must_use]
    pub fn new(url: SecretString, application_name: impl Into<String>) -> Self {
        Self {
            url,
            application_name: application_name.into(),
            max_connections: 10,
            connect_timeout: Duration::from_secs(3),
            wait_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(10),
            idle_transaction_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a pool could not be set up. Nothing was connected yet: an absent server is not among the reasons.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL or TLS.
    #[error("the database's URL cannot be used")]
    Target(#[from] TargetError),
    /// The pool's own settings.
    #[error("the connection pool could not be built")]
    Pool(#[source] deadpool_postgres::BuildError),
}

/// What a transaction's body returns; made by [`in_txn`]. It may borrow the transaction (`'t`) and whatever outlives the call of
/// [`Database::transact`] (`'env`). The box is what lets the whole be `Send`, which an `AsyncFn` bound cannot say.
#[must_use]
pub struct TxnFuture<'env, 't, T, E> {
    future: Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>,
    env: PhantomData<&'t &'env ()>,
}

/// Makes a transaction's body out of a future.
pub fn in_txn<'env, 't, T, E>(future: impl Future<Output = Result<T, E>> + Send + 't) -> TxnFuture<'env, 't, T, E> {
    TxnFuture {
        future: Box::pin(future),
        env: PhantomData,
    }
}

/// The database, as every service holds it. Clones share one pool.
#[derive(Debug, Clone)]
pub struct Database {
    pool: Pool,
}

impl Database {
    /// Prepares the pool; the first connection is made when one is asked for, so that a service starts while the database is
    /// away and becomes ready with it. Connections live on the Tokio runtime that this is called on, whoever asks for them.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: &DatabaseConfig) -> Result<Self, OpenError> {
        let mut target = Target::parse(&config.url, &config.application_name)?;
        target.config.connect_timeout(config.connect_timeout);
        target.set("statement_timeout", &config.statement_timeout.as_millis().to_string());
        target.set("lock_timeout", &config.lock_timeout.as_millis().to_string());
        target.set(
            "idle_in_transaction_session_timeout",
            &config.idle_transaction_timeout.as_millis().to_string(),
        );
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match target.tls {
            Some(tls) => Manager::from_connect(target.config, AtHome::here(ConfigConnectImpl { tls }), recycling),
            None => Manager::from_connect(target.config, AtHome::here(ConfigConnectImpl { tls: NoTls }), recycling),
        };
        let pool = Pool::builder(manager)
            .max_size(config.max_connections)
            .wait_timeout(Some(config.wait_timeout))
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(OpenError::Pool)?;
        Ok(Self { pool })
    }

    /// A connection.
    ///
    /// # Errors
    /// [`DbError::Checkout`] when none could be had in time.
    pub async fn conn(&self) -> Result<Conn, DbError> {
        self.pool.get().await.map_err(DbError::Checkout)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        let conn = self.conn().await?;
        conn.simple_query("").await.during("ping").map(drop)
    }

    /// Whether the database answers and its schema is no older than this version: for readiness.
    ///
    /// # Errors
    /// When it does not answer, or is still to be migrated. A newer schema is fine: versions follow each other while both run.
    pub async fn check_schema(&self) -> Result<(), DbError> {
        const OPERATION: &str = "check_schema";
        let conn = self.conn().await?;
        let newest = MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or_default();
        let sql = "SELECT coalesce(max(version), 0) FROM schema_migrations";
        let statement = conn.prepare_cached(sql).await.during(OPERATION)?;
        let found: i32 = conn.query_one(&statement, &[]).await.during(OPERATION)?.get(0);
        if found < newest {
            return Err(DbError::SchemaTooOld { found, newest });
        }
        Ok(())
    }

    /// Whether the database at large takes writes: a record that concerns no table gets into its log, and on no table of ours does
    /// anybody hold, or wait for, a lock that keeps every writer out. Asked after a statement ran out of time, to tell a database
    /// that is slow for everybody from a statement that is. Locks of single rows are nobody's but theirs who want these rows.
    ///
    /// # Errors
    /// When it does not answer or does not write.
    pub async fn takes_writes(&self) -> Result<bool, DbError> {
        const OPERATION: &str = "takes_writes";
        let conn = self.conn().await?;
        conn.query_one("SELECT pg_logical_emit_message(true, 'holdfast', 'probe')", &[])
            .await
            .during(OPERATION)?;
        // Who waits for such a lock already keeps those out who come after it. Whoever waits for a row has a lock of its kind as well.
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation \
                       WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                           AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
                           AND c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text = ANY (current_schemas(false)))";
        let row = conn.query_one(sql, &[]).await.during(OPERATION)?;
        Ok(row.get(0))
    }

    /// Runs `body` in a transaction and commits when it returns `Ok`; rolls back when it returns `Err` or is dropped.
    ///
    /// ```no_run
    /// # async fn example(database: &db::Database, rows: &[db::outbox::NewOutboxRow]) -> Result<(), db::DbError> {
    /// database.transact(|txn| db::in_txn(async move { db::outbox::insert_outbox_in_txn(txn, rows).await })).await
    /// # }
    /// ```
    ///
    /// The body may run several times (see the module), and must not call [`Self::transact`] or [`Self::conn`] itself: with every
    /// connection in use by such a body, all would wait for each other.
    ///
    /// # Errors
    /// The body's error, or the database's.
    pub async fn transact<'env, T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: TransactError,
        F: for<'t> Fn(&'t Transaction<'t>) -> TxnFuture<'env, 't, T, E> + Sync,
    {
        let mut pause = FIRST_PAUSE;
        for _ in 1..MAX_RUNS {
            match self.run_once(&body).await {
                Err(error) if error.db_error().is_some_and(DbError::is_conflict) => {
                    tracing::debug!("a transaction lost against another one and runs again");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                outcome => return outcome,
            }
        }
        self.run_once(&body).await
    }

    async fn run_once<'env, T, E, F>(&self, body: &F) -> Result<T, E>
    where
        E: TransactError,
        F: for<'t> Fn(&'t Transaction<'t>) -> TxnFuture<'env, 't, T, E> + Sync,
    {
        let running = async {
            let mut conn = self.conn().await?;
            let txn = conn.transaction().await.during("begin")?;
            let value = body(&txn).future.await?;
            txn.commit().await.during("commit")?;
            Ok(value)
        };
        let span = transaction_span();
        let outcome = running.instrument(span.clone()).await;
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        outcome
    }
}

/// A span for a transaction of something that is traced; what nobody asked for is not traced.
fn transaction_span() -> Span {
    if Span::current().is_disabled() {
        return Span::none();
    }
    tracing::info_span!(
        target: "holdfast::trace",
        "transaction",
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        db.system.name = "postgresql",
    )
}
