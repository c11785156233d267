//! SIGTERM to each service under load: it leaves with 0 within its deadline, answers what it has accepted, and neither drops
//! nor repeats a message that it has taken.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

mod e2e;

use std::time::{Duration, Instant};

use e2e::house::{House, PLATFORM_PATH, PLATFORM_SECRET, Service, unix_now};
use e2e::load::Load;
use e2e::{books, events, raw};
use stripe_gateway::signature::sign;
use tokio::io::AsyncWriteExt;

const PER_SECOND: u32 = 150;
const BETWEEN: usize = 100;
const ROUNDS: usize = 2;
/// How long something in hand is left unfinished, to see that it is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// The drain's own deadline (25 s) and 5 s to close connections.
const DEADLINE: Duration = Duration::from_secs(30);

/// Asks it to end, sees it end well, and starts it again.
async fn stop_and_start(name: &str, service: &mut Service) {
    service.terminate();
    let asked = Instant::now();
    let status = service.ended().await;
    println!("{name} left with {status} after {} ms", asked.elapsed().as_millis());
    assert_eq!(status.code(), Some(0), "{name}: {status}\n{}", service.log());
    assert!(asked.elapsed() < DEADLINE);
    service.start();
    service.ready().await;
}

/// Asks it to end while it has something in hand, sees it wait for that, and starts it again when it has ended well.
async fn stop_half_way<Fut: Future<Output = ()>>(service: &mut Service, finish: impl FnOnce() -> Fut) {
    service.terminate();
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        assert!(service.is_running(), "it left with work in hand:\n{}", service.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finish().await;
    let status = service.ended().await;
    assert_eq!(status.code(), Some(0), "{status}\n{}", service.log());
    service.start();
    service.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_told_to_stop_drops_nothing() {
    let mut house = House::start().await;
    let database = house.database().await;
    let load = Load::start(house.ingest.base(), PER_SECOND, events::source(&house).await);
    for _ in 0..ROUNDS {
        load.accepts(BETWEEN).await;
        stop_and_start("billing", &mut house.billing).await;
        load.accepts(BETWEEN).await;
        stop_and_start("admin", &mut house.admin).await;
        load.accepts(BETWEEN).await;
        stop_and_start("webhook-ingest", &mut house.ingest).await;
    }

    // A batch whose transaction is half-way when the signal comes.
    load.accepts(BETWEEN).await;
    let held = house.hold_a_batch("billing").await;
    stop_half_way(&mut house.billing, || held.release()).await;
    let held = house.hold_a_batch("admin").await;
    stop_half_way(&mut house.admin, || held.release()).await;

    // A request whose body is still on its way when the signal comes.
    load.accepts(BETWEEN).await;
    let slow = events::of_platform(
        "evt_slow",
        events::fixture("payment_intent.created").with_id("evt_slow"),
    );
    let signature = sign(PLATFORM_SECRET, &slow.body, unix_now());
    let headers = [("stripe-signature", signature.as_bytes())];
    let request = raw::request(PLATFORM_PATH, &headers, &slow.body);
    let (first, rest) = request.split_at(request.len() - 1_000);
    let mut stream = raw::connect(house.ingest.port(), 1).await;
    stream.write_all(first).await.unwrap();
    // Its own connection was accepted before these, so it is in work.
    load.accepts(BETWEEN).await;
    stop_half_way(&mut house.ingest, || async { stream.write_all(rest).await.unwrap() }).await;
    let answer = raw::answer(stream).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let mut ledger = load.finish().await;
    println!("{}", ledger.summary());
    ledger.accepted.insert(slow.id.clone(), slow);
    books::drained(&house, &database, &ledger, e2e::house::PATIENCE).await;
    let deliveries = books::assert_archive(&database, &ledger).await;
    events::assert_states(&database, &ledger).await;
    // A confirmed event whose answer got lost is sent again by Stripe, a decided one whose ack got lost by the broker: either
    // would be seen twice.
    let doubled: Vec<_> = deliveries
        .iter()
        .filter(|(id, count)| **count != 1 && !ledger.refused.contains_key(*id))
        .collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let alerts = books::alerts(&database).await;
    let false_ones: Vec<_> = alerts
        .keys()
        .filter(|key| key.starts_with("database_unavailable"))
        .collect();
    assert!(
        false_ones.is_empty(),
        "nothing was away but what was told to stop: {false_ones:?}"
    );
    house.close().await;
    assert!(
        books::queued(house.broker.amqp_url()).await.is_empty(),
        "a consumer left something behind"
    );
}
