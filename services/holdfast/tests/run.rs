//! `holdfast run` from outside: what it does when it is told to stop, and when what it needs is away.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Running, WAIT, environment, event};
use testkit::{PrivateBroker, TestBroker, TestDb};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_that_was_answered_200() {
    let broker = TestBroker::create().await;
    let env = environment("", &broker.amqp_url());
    let running = Running::start(&env, &["webhook-ingest"]).await;
    running.ready().await;
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let sent = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (poster, accepted, sent) = (running.poster(), Arc::clone(&accepted), Arc::clone(&sent));
            tokio::spawn(async move {
                loop {
                    let id = format!("evt_{}", sent.fetch_add(1, Ordering::Relaxed));
                    match poster.post(&event(&id, "payout.paid")).await {
                        Ok(answer) if answer.status() == 200 => drop(accepted.lock().unwrap().insert(id)),
                        Ok(answer) => assert_eq!(answer.status(), 503),
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    testkit::eventually(WAIT, || async { accepted.lock().unwrap().len() > 200 }).await;
    running.terminate();
    for sender in senders {
        sender.await.unwrap();
    }
    let (status, log) = running.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let mut stored = BTreeSet::new();
    while let Some(message) = broker.take("archive.events").await {
        let id = message.delivery.properties.message_id().as_ref().unwrap().to_string();
        stored.insert(id);
    }
    let accepted = accepted.lock().unwrap();
    let lost: Vec<_> = accepted.difference(&stored).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {lost:?}",
        lost.len(),
        accepted.len()
    );
}

/// The largest bodies there may be, on more connections than Stripe opens, from Stripe and from strangers at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_bodies_on_many_connections_are_all_accepted_in_bounded_memory() {
    const LARGEST: usize = 1_048_576;
    // Above ING-11's 60 MiB, which the optimised program keeps (docs/PERFORMANCE.md) and one for tests need not.
    const MOST_KIB: u64 = 80 * 1024;
    let broker = TestBroker::create().await;
    let running = Running::start(&environment("", &broker.amqp_url()), &["webhook-ingest"]).await;
    running.ready().await;
    let senders: Vec<_> = (0..64)
        .map(|n| {
            let poster = running.poster();
            tokio::spawn(async move {
                let mut body = event(&format!("evt_{n}"), "payout.paid");
                body.extend(std::iter::repeat_n(' ', LARGEST - body.len()));
                // One that is turned away in the middle of its body may hear of a lost connection only.
                if let Ok(forged) = poster.post_signed_by("whsec_guessed_0123456789", &body).await {
                    assert_ne!(forged.status(), 200);
                }
                while !poster.post(&body).await.is_ok_and(|answer| answer.status() == 200) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    let all_sent = async {
        for sender in senders {
            sender.await.unwrap();
        }
    };
    tokio::time::timeout(WAIT, all_sent).await.unwrap();
    let mut stored = BTreeSet::new();
    while let Some(message) = broker.take("archive.events").await {
        assert_eq!(message.delivery.data.len(), LARGEST);
        stored.insert(message.delivery.properties.message_id().as_ref().unwrap().to_string());
    }
    assert_eq!(stored.len(), 64);
    let peak = running.memory_peak_kib();
    println!("at most {} MiB", peak / 1024);
    assert!(peak < MOST_KIB, "{} MiB", peak / 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_broker_and_database_lives_says_so_and_recovers() {
    let mut broker = PrivateBroker::start().await;
    let amqp_url = broker.amqp_url().to_owned();
    broker.stop().await.unwrap();
    let db = TestDb::create().await;
    let server = TestDb::empty().await;
    let allow = |allowed: bool| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", db.name());
    let elsewhere = server.superuser().await;
    elsewhere.batch_execute(&allow(false)).await.unwrap();

    let running = Running::start(&environment(&db.service_url(), &amqp_url), &["all"]).await;
    let (status, report) = running.get("/readyz").await;
    assert_eq!(status, 503);
    for missing in [
        "webhook-ingest: broker",
        "billing: broker",
        "billing: database",
        "admin: broker",
        "admin: database",
    ] {
        assert!(report.contains(missing), "{missing} in {report}");
    }
    assert_eq!(running.get("/healthz").await.0, 200);
    assert_eq!(
        running.post(&event("evt_1", "payout.paid")).await.unwrap().status(),
        503
    );

    elsewhere.batch_execute(&allow(true)).await.unwrap();
    broker.start_again().await.unwrap();
    running.ready().await;
    assert_eq!(
        running.post(&event("evt_1", "payout.paid")).await.unwrap().status(),
        200
    );
    let client = db.superuser().await;
    testkit::eventually(WAIT, || async {
        let found = client
            .query("SELECT 1 FROM billing_events WHERE stripe_event_id = 'evt_1'", &[])
            .await;
        found.unwrap().len() == 1
    })
    .await;
    running.terminate();
    let (status, log) = running.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_ignored_leaves_a_line_in_the_log_that_says_why() {
    let (db, broker) = (TestDb::create().await, TestBroker::create().await);
    let running = Running::start(&environment(&db.service_url(), &broker.amqp_url()), &["all"]).await;
    running.ready().await;
    let body = event("evt_advisory", "customer.subscription.trial_will_end");
    assert_eq!(running.post(&body).await.unwrap().status(), 200);
    let client = db.superuser().await;
    let decided = "SELECT 1 FROM billing_events WHERE stripe_event_id = 'evt_advisory' AND outcome = 'ignored'";
    testkit::eventually(WAIT, || async { client.query(decided, &[]).await.unwrap().len() == 1 }).await;
    running.terminate();
    let (status, log) = running.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let line = lines
        .into_iter()
        .find(|line| line["event_id"] == "evt_advisory")
        .expect(&log);
    let said = ["level", "message", "type", "outcome", "guard", "reason", "source"].map(|name| line[name].as_str());
    let expected = [
        "INFO",
        "not applied",
        "customer.subscription.trial_will_end",
        "ignored",
        "none",
        "advisory",
        "platform",
    ];
    assert_eq!(said, expected.map(Some), "{line}");
}

/// A team that sells subscriptions runs no escrow: its queue would fill for ever, and the archive would miss what lies in it.
#[tokio::test(flavor = "multi_thread")]
async fn without_escrow_its_events_are_archived_and_with_it_they_are_decided() {
    let (db, broker) = (TestDb::create().await, TestBroker::create().await);
    let env = environment(&db.service_url(), &broker.amqp_url());
    let client = db.superuser().await;
    let is_of = async |id: &str, consumer: &str| {
        let sql = "SELECT 1 FROM billing_events WHERE stripe_event_id = $1 AND consumer = $2";
        let row = || async { client.query(sql, &[&id, &consumer]).await.unwrap().len() == 1 };
        testkit::eventually(WAIT, row).await;
    };
    let running = Running::start(&env, &["webhook-ingest", "billing", "admin"]).await;
    running.ready().await;
    let send = async |id| {
        let answer = running.post(&event(id, "payment_intent.succeeded")).await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    send("evt_early").await;
    is_of("evt_early", "archive").await;
    let escrow = Running::start(&env, &["escrow"]).await;
    escrow.ready().await;
    send("evt_late").await;
    is_of("evt_late", "escrow").await;
    let replay = async |id| {
        let env = env.clone();
        let run = move || common::holdfast(&env, &["events", "replay", id]);
        let replayed = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(replayed.status.code(), Some(0), "{}", common::stderr(&replayed));
    };
    replay("evt_early").await;
    is_of("evt_early", "escrow").await;

    let unbind = async || {
        let env = env.clone();
        let run = move || common::holdfast(&env, &["escrow", "unbind", "--json"]);
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let refused = unbind().await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        common::stderr(&refused).contains("stop it first"),
        "{}",
        common::stderr(&refused)
    );
    escrow.terminate();
    let (status, log) = escrow.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    // Whoever is away loses nothing, and what is given up is archived.
    send("evt_between").await;
    testkit::eventually(WAIT, || async { broker.ready("escrow.events").await == Some(1) }).await;
    // A consumer that has just ended may still be counted.
    let unbound = testkit::eventually_some(WAIT, || async {
        let done = unbind().await;
        done.status.success().then(|| common::json(&done))
    })
    .await;
    // The two before have no payment in them and are parked, where they stay.
    assert_eq!(
        (&unbound["archived"], &unbound["waiting"], &unbound["parked"]),
        (&1.into(), &0.into(), &2.into()),
        "{unbound}"
    );
    is_of("evt_between", "archive").await;
    send("evt_after").await;
    is_of("evt_after", "archive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_exists_with_other_arguments_stops_the_start_and_is_named() {
    let broker = TestBroker::create().await;
    let in_the_way = bus::Topology::one_queue(bus::topology::QueueFamily {
        delivery_limit: 7,
        ..bus::topology::QueueFamily::new(bus::topology::BILLING_EVENTS)
    });
    let config = bus::BrokerConfig::new(broker.amqp_url(), "test");
    in_the_way.declare(&config).await.unwrap();
    // All others are there, so that a slow broker is not taken for one that is away: that stops no start.
    bus::Topology::holdfast().declare(&config).await.unwrap_err();
    let env = environment("", &broker.amqp_url());
    let ended = tokio::task::spawn_blocking(move || common::holdfast(&env, &["run", "webhook-ingest"]));
    let ended = ended.await.unwrap();
    let said = format!("{}{}", common::stdout(&ended), common::stderr(&ended));
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("billing.events") && said.contains("x-delivery-limit"),
        "{said}"
    );
}
