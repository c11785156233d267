//! News of accounts, with a writer and a teller interleaved by hand: whoever comes between them, the newest is heard.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use db::escrow::accounts::{AccountRow, list_escrows_with_news, take_news_in_txn, upsert_account_in_txn};
use db::{Database, DatabaseConfig};
use domain::escrow::facts::Readiness;
use domain::escrow::failure::ErrorCode;
use domain::time::UnixSeconds;
use serde_json::json;
use testkit::TestDb;
use tokio::task::JoinHandle;

const ESCROW: &str = "BEGIN; \
    INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
        captured, asked_release, created_by, created_at, updated_at) VALUES ('esc_1', 'pending_user_setup', 'eur', 900, 0, 'manual', 'refuse', now(), \
        900, true, 't', now(), now()); \
    INSERT INTO escrow_recipients (escrow_id, position, account, amount, status) VALUES ('esc_1', 0, 'acct_1', 900, 'waiting'); \
    COMMIT;";

fn seen(readiness: Readiness, at: i64) -> AccountRow {
    AccountRow {
        account: "acct_1".to_owned(),
        readiness,
        requirements: json!({}),
        seen_at: UnixSeconds(at),
    }
}

fn not_ready() -> AccountRow {
    seen(Readiness::NotReady(ErrorCode::InsufficientCapabilitiesForTransfer), 1)
}

fn ready() -> AccountRow {
    seen(Readiness::Ready, 2)
}

async fn world() -> (TestDb, Database) {
    let test = TestDb::create().await;
    test.superuser().await.batch_execute(ESCROW).await.unwrap();
    let database = Database::open(&DatabaseConfig::new(test.service_url().into(), "news")).unwrap();
    let mut conn = database.conn().await.unwrap();
    let txn = conn.transaction().await.unwrap();
    assert_eq!(upsert_account_in_txn(&txn, &not_ready()).await.unwrap(), 1);
    txn.commit().await.unwrap();
    drop(conn);
    (test, database)
}

/// Waits until some connection waits for a lock.
async fn somebody_waits(test: &TestDb) {
    let sql = test.superuser().await;
    testkit::eventually(testkit::PATIENCE, || async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        sql.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
}

/// Somebody who takes the news, beside the test.
fn tell(database: &Database) -> JoinHandle<Vec<AccountRow>> {
    let database = database.clone();
    tokio::spawn(async move {
        let mut conn = database.conn().await.unwrap();
        let txn = conn.transaction().await.unwrap();
        let news = take_news_in_txn(&txn, "esc_1").await.unwrap();
        txn.commit().await.unwrap();
        news
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_that_come_while_older_ones_are_being_told_are_told_as_well() {
    let (test, database) = world().await;
    let mut conn = database.conn().await.unwrap();
    let teller = conn.transaction().await.unwrap();
    assert_eq!(take_news_in_txn(&teller, "esc_1").await.unwrap(), [not_ready()]);
    let writer = tokio::spawn({
        let database = database.clone();
        async move {
            let mut conn = database.conn().await.unwrap();
            let txn = conn.transaction().await.unwrap();
            let marked = upsert_account_in_txn(&txn, &ready()).await.unwrap();
            txn.commit().await.unwrap();
            marked
        }
    });
    tokio::select! {
        () = somebody_waits(&test) => {}
        () = async { while !writer.is_finished() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
    teller.commit().await.unwrap();
    assert_eq!(writer.await.unwrap(), 1);
    assert_eq!(list_escrows_with_news(&conn, "", 10).await.unwrap(), ["esc_1"]);
    let teller = conn.transaction().await.unwrap();
    assert_eq!(take_news_in_txn(&teller, "esc_1").await.unwrap(), [ready()]);
    teller.commit().await.unwrap();
    assert_eq!(list_escrows_with_news(&conn, "", 10).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teller_that_waited_for_a_writer_tells_what_was_written() {
    let (test, database) = world().await;
    let mut conn = database.conn().await.unwrap();
    let writer = conn.transaction().await.unwrap();
    assert_eq!(upsert_account_in_txn(&writer, &ready()).await.unwrap(), 1);
    let teller = tell(&database);
    somebody_waits(&test).await;
    writer.commit().await.unwrap();
    assert_eq!(teller.await.unwrap(), [ready()]);
    assert_eq!(list_escrows_with_news(&conn, "", 10).await.unwrap(), [""; 0]);
}

/// Whoever writes does not see that a recipient hears news again just then; whoever tells it waits for what is being written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_hears_news_again_while_they_are_written_is_told_the_new_ones() {
    let (test, database) = world().await;
    let sql = test.superuser().await;
    let at_its_end = "UPDATE escrow_recipients SET status = 'paid', account_news = false";
    sql.execute(at_its_end, &[]).await.unwrap();
    let mut conn = database.conn().await.unwrap();
    let writer = conn.transaction().await.unwrap();
    assert_eq!(
        upsert_account_in_txn(&writer, &ready()).await.unwrap(),
        0,
        "nobody to tell"
    );
    let again = "UPDATE escrow_recipients SET status = 'pending_user_setup', account_news = true";
    sql.execute(again, &[]).await.unwrap();
    let teller = tell(&database);
    tokio::select! {
        () = somebody_waits(&test) => {}
        () = async { while !teller.is_finished() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
    writer.commit().await.unwrap();
    assert_eq!(teller.await.unwrap(), [ready()]);
}
