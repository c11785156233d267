//! Bad input against the real process, byte by byte: every row of ING-6 with its code, oddities that must never end in a 5xx, a
//! panic or a hang, and forgeries that leave a count and one alert and nothing else (ING-6, ING-7, ALT-1).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

mod e2e;

use std::time::Instant;

use e2e::attacks::{Attacker, assert_answer, bad_bodies, bad_signatures, broken_requests, event, odd_signatures};
use e2e::house::{CONNECT_PATH, House, PATIENCE, PLATFORM_PATH, PLATFORM_SECRET, client, unix_now, until};
use e2e::load::Ledger;
use e2e::{books, events, raw};
use futures_util::future::join_all;
use stripe_gateway::signature::sign;

const FORGERIES: usize = 500;

/// The sum of a counter's samples whose labels contain all of these.
async fn metric(house: &House, name: &str, labels: &[&str]) -> u64 {
    let url = format!("{}/metrics", house.ingest.base());
    let text = client().get(url).send().await.unwrap().text().await.unwrap();
    let of_name = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    of_name
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Half of them from one address, which is throttled for it, half from everywhere.
async fn forge(house: &House) {
    let (port, started) = (house.ingest.port(), Instant::now());
    let mut throttled = 0;
    for round in 0..FORGERIES / 25 {
        let forgeries = (0..25).map(|n| async move {
            let n = round * 25 + n;
            let body = event(&format!("evt_forged_{n}"));
            let header = sign("whsec_guessed_0123456789", &body, unix_now());
            let request = raw::request(PLATFORM_PATH, &[("stripe-signature", header.as_bytes())], &body);
            let from = if n % 2 == 0 {
                1
            } else {
                u8::try_from(n % 250).unwrap() + 2
            };
            raw::exchange(port, from, &request).await
        });
        for reply in join_all(forgeries).await {
            match reply.status {
                429 => {
                    assert_answer("throttled", &reply, 429, "too_many_bad_attempts");
                    assert!(reply.head.contains("retry-after: "), "{reply:?}");
                    throttled += 1;
                }
                _ => assert_answer("forged", &reply, 400, "signature_mismatch"),
            }
        }
    }
    println!(
        "{FORGERIES} forgeries in {} ms, {throttled} answered 429",
        started.elapsed().as_millis()
    );
    // One a second is allowed again meanwhile.
    let again = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(
        throttled + again >= FORGERIES / 2 - 70,
        "60 a minute from one address: {throttled}"
    );

    // A good delivery passes all the same, from the address of the forger.
    let body = event("evt_good_neighbour");
    let header = sign(PLATFORM_SECRET, &body, unix_now());
    let good = raw::request(PLATFORM_PATH, &[("stripe-signature", header.as_bytes())], &body);
    assert_answer("a good neighbour", &raw::exchange(port, 1, &good).await, 200, "");

    let counted = metric(house, "holdfast_webhooks_total", &["signature_mismatch"]).await
        + metric(house, "holdfast_webhooks_total", &["too_many_bad_attempts"]).await;
    assert_eq!(counted, u64::try_from(FORGERIES).unwrap());
    let database = house.database().await;
    let one = [(
        "webhook_signature:platform/signature_mismatch".to_owned(),
        i64::try_from(FORGERIES).unwrap(),
    )];
    until("one alert counts all forgeries", PATIENCE, || async {
        books::alerts(&database).await == one.clone().into()
    })
    .await;
    let rows = database
        .query("SELECT alert_key FROM billing_alerts", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "resolved or not");
    until("only the good one is archived", PATIENCE, || async {
        books::archived(&database).await == 1
    })
    .await;
    let queued = books::queued(house.broker.amqp_url()).await;
    assert!(queued.is_empty(), "{queued:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_its_code_and_leaves_nothing_behind() {
    let mut house = House::start().await;
    let attacker = Attacker::of(house.ingest.port());
    forge(&house).await;
    let mut ledger = Ledger::default();
    let slow = broken_requests(&attacker);
    let quick = async {
        bad_signatures(&attacker).await;
        odd_signatures(&attacker, &mut ledger).await;
        bad_bodies(&attacker, &mut ledger).await;
    };
    tokio::join!(slow, quick);

    // Of the other mode: taken, kept, told, never applied.
    let live = events::fixture("invoice.paid").with_id("evt_live").replacen(
        "\"livemode\": false,\n  \"pending",
        "\"livemode\": true,\n  \"pending",
        1,
    );
    assert!(live.contains("\"livemode\": true"));
    assert_answer("live", &attacker.signed(live.as_bytes()).await, 200, "");
    ledger
        .accepted
        .insert("evt_live".to_owned(), events::of_platform("evt_live", live));

    // A delivery to the endpoint for connected accounts that is signed with the platform's secret.
    let body = event("evt_wrong_door");
    let header = sign(PLATFORM_SECRET, &body, unix_now());
    let request = raw::request(CONNECT_PATH, &[("stripe-signature", header.as_bytes())], &body);
    assert_answer(
        "the wrong door",
        &attacker.send(&request).await,
        400,
        "signature_mismatch",
    );

    let database = house.database().await;
    let told = "livemode_mismatch:platform";
    until("the other mode is told", PATIENCE, || async {
        books::alerts(&database).await.contains_key(told)
    })
    .await;
    let rejected = "SELECT outcome, reason FROM billing_events WHERE stripe_event_id = 'evt_live'";
    until("what was taken is archived", PATIENCE, || async {
        books::archived(&database).await == ledger.accepted.len() + 1
    })
    .await;
    let row = database.query_one(rejected, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, String>(1)),
        ("ignored".to_owned(), "livemode_mismatch".to_owned())
    );
    let expected = database
        .query("SELECT stripe_event_id, payload FROM billing_events", &[])
        .await
        .unwrap();
    for row in expected
        .iter()
        .filter(|row| row.get::<_, String>(0) != "evt_good_neighbour")
    {
        let (id, payload) = (row.get::<_, String>(0), row.get::<_, String>(1));
        assert_eq!(payload.as_bytes(), ledger.accepted[&id].body, "{id}, byte for byte");
    }
    println!("alerts: {:?}", books::alerts(&database).await);
    let queued = books::queued(house.broker.amqp_url()).await;
    assert!(queued.is_empty(), "{queued:?}");

    // The last row of the table: no broker, no 200.
    house.broker.kill9().await.unwrap();
    let reply = attacker.signed(&event("evt_no_broker")).await;
    assert_answer("no broker", &reply, 503, "broker_unavailable");
    assert!(reply.head.contains("retry-after: "), "{reply:?}");
    assert!(house.ingest.is_running());
    // A stop is clean without a broker too.
    house.close().await;
}
