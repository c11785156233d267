//! A database that is there and too slow: who waits, and who uses up attempts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{AlertMessage, BatchError, BatchHandler, ConsumerSpec, DatabaseWatch, Incoming, Verdict, consumer, parked};
use db::error::During as _;
use db::{Database, DatabaseConfig, DbError, in_txn};
use support::running::Seen;
use support::{Bench, PATIENCE, QUEUE};
use testkit::{TestDb, eventually};
use tokio_util::sync::CancellationToken;

/// Writes one row for each message; those with special names also wait for a lock, or sleep.
struct Writes {
    database: Database,
    seen: Seen,
    done: Arc<Mutex<Vec<String>>>,
}

impl BatchHandler for Writes {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let notes = batch
            .iter()
            .map(|message| (message.message_id.clone(), message.failed_attempts()));
        self.seen.lock().unwrap().extend(notes);
        let written: Result<(), DbError> = self
            .database
            .transact(|txn| {
                in_txn(async move {
                    for message in batch {
                        let id = message.message_id.as_str();
                        let sql = if id == "evt_locked" {
                            "SELECT pg_advisory_xact_lock(7)"
                        } else if id.starts_with("evt_slow") {
                            "SELECT pg_sleep(30)"
                        } else {
                            "DELETE FROM outbox WHERE message_id = 'nobody'"
                        };
                        txn.execute(sql, &[]).await.during("test")?;
                    }
                    Ok(())
                })
            })
            .await;
        written.map_err(|error| BatchError::of_database(&error))?;
        let ids = batch.iter().map(|message| message.message_id.clone());
        self.done.lock().unwrap().extend(ids);
        Ok(batch.iter().map(|_| Verdict::Done).collect())
    }
}

struct Running {
    seen: Seen,
    done: Arc<Mutex<Vec<String>>>,
    cancel: CancellationToken,
}

impl Running {
    fn start(bench: &Bench, test: &TestDb) -> Self {
        let database = Database::open(&DatabaseConfig {
            statement_timeout: Duration::from_millis(1_500),
            lock_timeout: Duration::from_millis(750),
            ..DatabaseConfig::new(test.service_url().into(), "bus-test")
        })
        .unwrap();
        let (seen, done, cancel) = (Seen::default(), Arc::default(), CancellationToken::new());
        let handler = DatabaseWatch {
            name: "test",
            handler: Writes {
                database: database.clone(),
                seen: Arc::clone(&seen),
                done: Arc::clone(&done),
            },
            database,
            alerts: bench.alerts(),
        };
        let spec = ConsumerSpec {
            batch_wait: Duration::from_millis(200),
            put_off_at_most: 2,
            ..bench.spec()
        };
        tokio::spawn(consumer::run(spec, handler, cancel.clone()));
        Self { seen, done, cancel }
    }

    fn done(&self) -> Vec<String> {
        let mut done = self.done.lock().unwrap().clone();
        done.sort();
        done
    }

    fn attempts(&self) -> u32 {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, attempts)| *attempts).max().unwrap_or_default()
    }

    /// How many attempts were counted when a message came for the n-th time, from 0.
    fn attempts_at(&self, id: &str, nth: usize) -> u32 {
        let seen = self.seen.lock().unwrap();
        let (_, attempts) = seen.iter().filter(|(seen, _)| seen == id).nth(nth).unwrap();
        *attempts
    }

    fn times(&self, id: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(seen, _)| seen == id).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn publish(bench: &Bench, ids: &[&str]) {
    for id in ids {
        bench.publish(id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_whose_table_is_locked_costs_no_attempt_and_a_person_is_told() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let owner = test.superuser().await;
    owner
        .batch_execute("BEGIN; LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let ids = ["evt_1", "evt_2", "evt_3", "evt_4"];
    publish(&bench, &ids).await;
    let running = Running::start(&bench, &test);
    // Longer than what the schedule of retries would bear.
    eventually(PATIENCE, || async { running.times("evt_4") > 5 }).await;
    assert_eq!(running.done(), [""; 0]);
    let alert = bench.broker.take("alerts").await.expect("an alert").delivery;
    let alert: AlertMessage = serde_json::from_slice(&alert.data).expect("decodes");
    assert_eq!(alert.key, "database_unavailable:test");
    owner.batch_execute("COMMIT").await.unwrap();
    eventually(PATIENCE, || async { running.done() == ids }).await;
    assert_eq!((running.attempts(), bench.ready("work.parked").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_holds_up_only_the_message_whose_row_is_locked() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let owner = test.superuser().await;
    owner
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7)")
        .await
        .unwrap();
    publish(&bench, &["evt_1", "evt_locked", "evt_2"]).await;
    let running = Running::start(&bench, &test);
    eventually(PATIENCE, || async { running.times("evt_locked") > 5 }).await;
    assert_eq!(running.done(), ["evt_1", "evt_2"]);
    owner.batch_execute("COMMIT").await.unwrap();
    eventually(PATIENCE, || async {
        running.done() == ["evt_1", "evt_2", "evt_locked"]
    })
    .await;
    assert_eq!((running.attempts(), bench.ready("work.parked").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_is_no_excuse_for_a_message_that_takes_too_long_alone() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    publish(&bench, &["evt_1", "evt_slow", "evt_2"]).await;
    let running = Running::start(&bench, &test);
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 1 }).await;
    assert_eq!(running.done(), ["evt_1", "evt_2"]);
    let shown = parked::show(&bench.config, QUEUE, "evt_slow").await.expect("read");
    assert!(shown[0].reason.contains("statement timeout"), "{}", shown[0].reason);
    bench.publish("evt_3").await;
    eventually(PATIENCE, || async { running.done() == ["evt_1", "evt_2", "evt_3"] }).await;
}

/// They come back together, and would excuse each other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_is_no_excuse_for_two_that_are_too_slow_in_an_empty_queue() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    publish(&bench, &["evt_slow_1", "evt_slow_2"]).await;
    let running = Running::start(&bench, &test);
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 2 }).await;
    assert_eq!(running.done(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_with_many_held_rows_is_waited_for_only_twice_a_batch() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let owner = test.superuser().await;
    owner
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7)")
        .await
        .unwrap();
    publish(&bench, &["evt_locked"; 20]).await;
    let running = Running::start(&bench, &test);
    // The batch, two alone, and all of them are put off.
    eventually(PATIENCE, || async {
        bench.ready("work").await == 0 && running.times("evt_locked") >= 22
    })
    .await;
    owner.batch_execute("COMMIT").await.unwrap();
    eventually(PATIENCE, || async { running.done().len() == 20 }).await;
    assert_eq!((running.attempts(), bench.ready("work.parked").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_that_lets_nothing_of_a_batch_through_costs_no_attempt() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let ids = ["evt_slow_1", "evt_slow_2"];
    publish(&bench, &ids).await;
    let running = Running::start(&bench, &test);
    // In the batch, alone, and once more after the pause.
    eventually(PATIENCE, || async { ids.iter().all(|id| running.times(id) > 2) }).await;
    for id in ids {
        assert_eq!(running.attempts_at(id, 2), 0, "{id}");
    }
}
