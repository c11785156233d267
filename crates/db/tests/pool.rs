//! The pool and the transaction wrapper against a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use db::error::During as _;
use db::{Database, DatabaseConfig, DbError, in_txn};
use testkit::{TestDb, eventually};
use tokio::sync::Barrier;

fn open(url: String, change: impl FnOnce(&mut DatabaseConfig)) -> Database {
    let mut config = DatabaseConfig::new(url.into(), "holdfast-test");
    change(&mut config);
    Database::open(&config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_deadlock_run_again_until_both_are_done() {
    let test = TestDb::create().await;
    let admin = test.superuser().await;
    admin
        .batch_execute("INSERT INTO organizations (id) VALUES ('a'), ('b')")
        .await
        .unwrap();
    let database = open(test.service_url(), |_| {});
    let both_hold_one = Arc::new(Barrier::new(2));
    let runs = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = [["a", "b"], ["b", "a"]]
        .into_iter()
        .map(|order| {
            let (database, barrier, runs) = (database.clone(), Arc::clone(&both_hold_one), Arc::clone(&runs));
            tokio::spawn(async move {
                let (runs, barrier) = (&runs, &barrier);
                let outcome: Result<(), DbError> = database
                    .transact(|txn| {
                        in_txn(async move {
                            let first_two = runs.fetch_add(1, Ordering::SeqCst) < 2;
                            let update = "UPDATE organizations SET name = name || 'x' WHERE id = $1";
                            txn.execute(update, &[&order[0]]).await.during("first")?;
                            if first_two {
                                barrier.wait().await;
                            }
                            txn.execute(update, &[&order[1]]).await.during("second")?;
                            Ok(())
                        })
                    })
                    .await;
                outcome
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(
        runs.load(Ordering::SeqCst) >= 3,
        "one of the two must have been a deadlock's victim"
    );
    let names = admin.query("SELECT name FROM organizations", &[]).await.unwrap();
    assert!(names.iter().all(|row| row.get::<_, String>(0) == "xx"));
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing_and_its_error_says_which_constraint() {
    let test = TestDb::create().await;
    let database = open(test.service_url(), |_| {});
    let outcome: Result<(), DbError> = database
        .transact(|txn| {
            in_txn(async move {
                let insert = "INSERT INTO organizations (id) VALUES ($1)";
                txn.execute(insert, &[&"kept?"]).await.during("insert_one")?;
                txn.execute(insert, &[&"with,comma"]).await.during("insert_two")?;
                Ok(())
            })
        })
        .await;
    let error = outcome.unwrap_err();
    assert_eq!(error.constraint(), Some("organizations_id_check"));
    assert!(!error.is_unavailable() && !error.is_conflict());
    let conn = database.conn().await.unwrap();
    let count: i64 = conn
        .query_one("SELECT count(*) FROM organizations", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_full_pool_is_waited_for_only_so_long() {
    let test = TestDb::create().await;
    let database = open(test.service_url(), |config| {
        config.max_connections = 1;
        config.wait_timeout = Duration::from_millis(100);
    });
    let held = database.conn().await.unwrap();
    let began = Instant::now();
    let error = database.conn().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3));
    drop(held);
    database.ping().await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_the_connection_is_away_and_the_pool_recovers() {
    let test = TestDb::create().await;
    let database = open(test.service_url(), |config| config.max_connections = 1);
    let conn = database.conn().await.unwrap();
    let pid: i32 = conn.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    test.superuser()
        .await
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .await
        .unwrap();
    let error = conn.query("SELECT 1", &[]).await.during("probe").unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    drop(conn);
    eventually(testkit::PATIENCE, async || database.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_or_is_not_migrated_is_no_fault_of_a_message() {
    let absent = open("postgres://u@127.0.0.1:1/x".to_owned(), |_| {});
    assert!(absent.conn().await.unwrap_err().is_unavailable());
    let test = TestDb::create().await;
    let refused = open(test.url().replace(test.name(), "no_such_database"), |_| {});
    assert!(refused.conn().await.unwrap_err().is_unavailable());
    let empty = TestDb::empty().await;
    let conn = open(empty.service_url(), |_| {}).conn().await.unwrap();
    assert!(db::outbox::count_outbox(&conn).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn a_statement_is_cancelled_at_its_time_limit_and_settings_of_the_url_stay() {
    let test = TestDb::create().await;
    let url = format!("{}?options=-c%20holdfast.org_ids%3Dorg_1", test.service_url());
    let database = open(url, |config| config.statement_timeout = Duration::from_secs(1));
    let conn = database.conn().await.unwrap();
    let error = conn
        .query("SELECT pg_sleep(30)", &[])
        .await
        .during("sleep")
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    let row = conn
        .query_one(
            "SELECT current_setting('holdfast.org_ids'), current_setting('application_name')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, &str>(1)),
        ("org_1", "holdfast-test")
    );
}

#[tokio::test]
async fn tls_that_was_asked_for_is_never_left_out() {
    let test = TestDb::create().await;
    for mode in ["require", "verify-full"] {
        let database = open(format!("{}?sslmode={mode}", test.service_url()), |_| {});
        database.conn().await.expect_err("the test server has no TLS");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_the_runtime_that_asked_for_it() {
    let test = TestDb::create().await;
    let database = open(test.service_url(), |_| {});
    // As a worker of the HTTP server does: it has a runtime of its own, which ends before the consumers do.
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(database.conn()).unwrap()
    });
    let conn = worker.join().unwrap();
    let answer = conn.query_one("SELECT 1", &[]).await.expect("the connection lives");
    assert_eq!(answer.get::<_, i32>(0), 1);
}

/// Whoever waits for a row has a lock of that row's, of a mode that would keep everybody out were it the table's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_row_keeps_nobody_else_from_writing_and_a_locked_table_does() {
    let test = TestDb::create().await;
    let admin = test.superuser().await;
    admin
        .batch_execute("INSERT INTO organizations (id) VALUES ('a')")
        .await
        .unwrap();
    let database = open(test.service_url(), |_| {});
    admin
        .batch_execute("BEGIN; SELECT 1 FROM organizations WHERE id = 'a' FOR UPDATE")
        .await
        .unwrap();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move {
                let conn = database.conn().await.unwrap();
                conn.execute("UPDATE organizations SET name = 'x' WHERE id = 'a'", &[])
                    .await
            })
        })
        .collect();
    let watch = test.superuser().await;
    eventually(testkit::PATIENCE, || async {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'tuple' \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        watch.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    assert!(database.takes_writes().await.unwrap(), "only one row is held");
    admin
        .batch_execute("COMMIT; BEGIN; LOCK TABLE organizations IN SHARE MODE")
        .await
        .unwrap();
    assert!(
        !database.takes_writes().await.unwrap(),
        "nobody can write into the table"
    );
    admin.batch_execute("COMMIT").await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert!(database.takes_writes().await.unwrap());
}

#[tokio::test]
async fn a_schema_that_is_older_than_this_version_is_told() {
    let test = TestDb::create().await;
    let database = open(test.service_url(), |_| {});
    database.check_schema().await.unwrap();
    let admin = test.superuser().await;
    let newest = "SELECT max(version) FROM schema_migrations";
    let newest: i32 = admin.query_one(newest, &[]).await.unwrap().get(0);
    admin
        .execute("DELETE FROM schema_migrations WHERE version = $1", &[&newest])
        .await
        .unwrap();
    let error = database.check_schema().await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(error.to_string().ends_with("run holdfast migrate"), "{error}");
    let newer = "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', '')";
    admin.batch_execute(newer).await.unwrap();
    database.check_schema().await.unwrap();
}
