//! A run against a real database and a real broker. Who makes the calls is stood in for by a few statements: what escrow does with a
//! command is its own tests' business.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use bus::{BrokerConfig, Topology};
use retry::{Retry, RetryConfig, RunConfig, run_retries};
use service_kit::clock::Clock;
use service_kit::config::TokenKeys;
use service_kit::secret::SharedSecret;
use testkit::{TestBroker, TestDb};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

/// Operations `from` to `to` whose transfer was refused for this class of reason, the first the oldest.
async fn refused(sql: &Client, from: i32, to: i32, class: &str, due_in_minutes: i32) {
    let escrows = "INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
        authorized, captured, asked_release, created_by, created_at, updated_at) \
        SELECT 'esc_' || n, 'transfer_failed', 'eur', 100, 0, 'automatic', 'refuse', now(), true, 100, true, 't', now(), now() \
        FROM generate_series($1::int, $2::int) AS n";
    sql.execute("BEGIN", &[]).await.unwrap();
    sql.execute(escrows, &[&from, &to]).await.unwrap();
    let recipients = "INSERT INTO escrow_recipients (escrow_id, position, account, amount, status) \
        SELECT 'esc_' || n, 0, 'acct_1', 100, 'transfer_failed' FROM generate_series($1::int, $2::int) AS n";
    sql.execute(recipients, &[&from, &to]).await.unwrap();
    let operations = "INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, cause, failure_code, \
        failure_class, next_at, attempt, calls, key_since, last_call, failures, job, job_code, job_class, created_at, updated_at) \
        SELECT 'op_' || n, 'esc_' || n, 1, 'transfer', 'acct_1', 100, 'eur', 'failed_transient', 'refused', 'balance_insufficient', $3, \
            now() + make_interval(mins => $4), 1, 1, now(), now(), 1, 'refused', 'balance_insufficient', $3, \
            now() - make_interval(hours => 100 - n), now() FROM generate_series($1::int, $2::int) AS n";
    sql.execute(operations, &[&from, &to, &class, &due_in_minutes])
        .await
        .unwrap();
    sql.execute("COMMIT", &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eleven_refused_transfers_the_ten_oldest_are_made_again_and_the_last_one_in_the_next_run() {
    let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
    let sql = db.superuser().await;
    let config = BrokerConfig::new(broker.amqp_url(), "test");
    Topology::holdfast().declare(&config).await.unwrap();
    refused(&sql, 1, 11, "transient", -1).await;
    refused(&sql, 12, 12, "recipient_not_ready", -1).await;
    refused(&sql, 13, 13, "transient", 30).await;
    // The oldest of all are frozen by a dispute, and keep nobody waiting.
    refused(&sql, -20, -1, "transient", -1).await;
    let disputes = "INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount) \
                    SELECT 'dp_' || n, 'esc_' || n, 'open', 100 FROM generate_series(-20, -1) AS n";
    sql.execute(disputes, &[]).await.unwrap();
    let config = RunConfig {
        database_url: db.service_url().into(),
        amqp_url: broker.amqp_url().into(),
    };
    let work = async {
        let mut taken = Vec::new();
        while taken.len() < 10 {
            let Some(message) = broker.take("escrow.commands").await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let body = String::from_utf8(message.delivery.data.clone()).unwrap();
            let operation = body.split('"').nth(3).unwrap().replace("esc_", "op_");
            // Every third is refused again.
            let end = if taken.len() % 3 == 2 {
                "UPDATE stripe_operations SET attempt = 2, next_at = now() + interval '1 hour' WHERE id = $1"
            } else {
                "UPDATE stripe_operations SET status = 'succeeded', attempt = 2, object_id = 'tr_' || id, job = NULL, cause = NULL, \
                     failure_code = NULL, failure_class = NULL, next_at = NULL WHERE id = $1"
            };
            assert_eq!(sql.execute(end, &[&operation]).await.unwrap(), 1, "{body}");
            taken.push(operation);
        }
        taken
    };
    let (report, taken) = tokio::join!(run_retries(&config, Clock::System), work);
    let report = report.unwrap();
    let oldest: Vec<String> = (1..=10).map(|n| format!("op_{n}")).collect();
    assert_eq!(taken, oldest);
    assert_eq!((report.found, report.processed, report.left), (11, 10, 1), "{report:?}");
    assert_eq!(
        (report.succeeded, report.failed, report.pending),
        (7, 3, 0),
        "{report:?}"
    );
    let work = async {
        loop {
            if let Some(message) = broker.take("escrow.commands").await {
                assert!(String::from_utf8_lossy(&message.delivery.data).contains("esc_11"));
                let end = "UPDATE stripe_operations SET status = 'succeeded', attempt = 2, object_id = 'tr_11', job = NULL, cause = NULL, \
                           failure_code = NULL, failure_class = NULL, next_at = NULL WHERE id = 'op_11'";
                sql.execute(end, &[]).await.unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (report, ()) = tokio::join!(run_retries(&config, Clock::System), work);
    let report = report.unwrap();
    assert_eq!((report.found, report.succeeded, report.left), (1, 1, 0), "{report:?}");
}

fn config_of(db: &TestDb, broker: &TestBroker) -> RetryConfig {
    RetryConfig {
        run: RunConfig {
            database_url: db.service_url().into(),
            amqp_url: broker.amqp_url().into(),
        },
        token_keys: TokenKeys::secret("a secret of tests, long enough for a key".to_owned().into()),
        reconcile_secret: SharedSecret::new("the secret of the schedulers in tests".to_owned().into()),
    }
}

/// Waits for the command of the only call, makes it, and stops, which the run's end allows.
async fn until_made(broker: &TestBroker, sql: &Client, retry: Retry, stop: CancellationToken) {
    testkit::eventually(testkit::PATIENCE, || async {
        broker.ready("escrow.commands").await.is_some_and(|ready| ready > 0)
    })
    .await;
    let message = broker.take("escrow.commands").await.unwrap();
    assert!(String::from_utf8_lossy(&message.delivery.data).contains("esc_1"));
    let end = "UPDATE stripe_operations SET status = 'succeeded', attempt = 2, object_id = 'tr_1', job = NULL, cause = NULL, \
               failure_code = NULL, failure_class = NULL, next_at = NULL WHERE id = 'op_1'";
    sql.execute(end, &[]).await.unwrap();
    stop.cancel();
    retry.wait().await;
    retry.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_could_not_begin_is_made_up_for_within_its_hour() {
    let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
    let sql = db.superuser().await;
    refused(&sql, 1, 1, "transient", -1).await;
    let rename = |from: &str, to: &str| format!("ALTER TABLE stripe_operations RENAME COLUMN {from} TO {to}");
    sql.batch_execute(&rename("next_at", "away")).await.unwrap();
    let stop = CancellationToken::new();
    let retry = Retry::start(&config_of(&db, &broker), Clock::System, stop.clone()).unwrap();
    let taken = || async {
        let slots = "SELECT count(*) FROM job_slots WHERE job = 'retry_transfers'";
        sql.query_one(slots, &[]).await.unwrap().get::<_, i64>(0)
    };
    testkit::eventually(testkit::PATIENCE, || async { taken().await == 1 }).await;
    sql.batch_execute(&rename("away", "next_at")).await.unwrap();
    until_made(&broker, &sql, retry, stop).await;
}

/// At a start the broker is not there yet when the hour's run is due, and it must not be lost for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_that_is_due_at_a_start_waits_for_the_broker() {
    let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
    let sql = db.superuser().await;
    refused(&sql, 1, 1, "transient", -1).await;
    let stop = CancellationToken::new();
    let retry = Retry::start(&config_of(&db, &broker), Clock::System, stop.clone()).unwrap();
    until_made(&broker, &sql, retry, stop).await;
}
