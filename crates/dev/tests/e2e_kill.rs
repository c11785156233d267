//! `kill -9` of each process in turn under load: afterwards every event that was answered 200 is in the archive exactly once
//! and decided once, and every client is in the state that its newest fact says (ING-3, BIL-6, BIL-11).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

mod e2e;

use e2e::house::{House, PATIENCE, Service, until};
use e2e::load::{Answer, Load};
use e2e::{books, events};

const PER_SECOND: u32 = 120;
/// Events between two blows, so that each one meets a system at work.
const BETWEEN: usize = 60;
const ROUNDS: usize = 2;

async fn crash(service: &mut Service, load: &Load) {
    for _ in 0..ROUNDS {
        load.accepts(BETWEEN).await;
        service.crash_and_start();
        service.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_doubles_or_leaves_undecided_what_was_answered_200() {
    let mut house = House::start().await;
    let database = house.database().await;
    let load = Load::start(house.ingest.base(), PER_SECOND, events::source(&house).await);

    crash(&mut house.ingest, &load).await;
    crash(&mut house.billing, &load).await;
    crash(&mut house.admin, &load).await;
    // Where it hurts most: messages are taken, and their transaction has begun and not ended.
    let held = house.hold_a_batch("billing").await;
    house.billing.crash_and_start();
    held.release().await;
    house.billing.ready().await;
    let held = house.hold_a_batch("admin").await;
    house.admin.crash_and_start();
    held.release().await;
    house.admin.ready().await;

    load.accepts(BETWEEN).await;
    let before = books::archived(&database).await;
    drop(database);
    house.postgres.kill9().await.unwrap();
    // Ingest has no database and does not notice.
    load.accepts(BETWEEN).await;
    house.postgres.start_again().await.unwrap();
    let database = house.database().await;
    let back = until("the consumers go on", PATIENCE, || async {
        books::archived(&database).await > before + BETWEEN
    })
    .await;
    println!(
        "after Postgres came back the archive grew again within {} ms",
        back.as_millis()
    );

    let refused = load.ledger().count(&Answer::Status(503));
    house.broker.kill9().await.unwrap();
    until("deliveries are refused", PATIENCE, || async {
        load.ledger().count(&Answer::Status(503)) >= refused + 20
    })
    .await;
    house.broker.start_again().await.unwrap();
    house.ingest.ready().await;
    load.accepts(BETWEEN).await;

    let ledger = load.finish().await;
    let took = books::drained(&house, &database, &ledger, PATIENCE).await;
    println!("{}; drained {} ms after the last", ledger.summary(), took.as_millis());
    let deliveries = books::assert_archive(&database, &ledger).await;
    let again = deliveries.values().filter(|count| **count > 1).count();
    println!("{again} events were delivered more than once and decided once");
    events::assert_states(&database, &ledger).await;
    for service in house.services() {
        assert!(service.is_running());
    }
    house.close().await;
    books::assert_nothing_parked(house.broker.amqp_url()).await;
    assert!(
        books::queued(house.broker.amqp_url()).await.is_empty(),
        "a consumer left something behind"
    );
}
