//! Publishing: what success means, and what happens without a broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use bus::topology::{QueueFamily, Routing};
use bus::{BrokerConfig, PublishError, Publisher, PublisherConfig, Topology};
use futures_util::FutureExt;
use support::{Bench, PATIENCE, QUEUE, message, to_queue};
use testkit::eventually;
use tokio::task::JoinSet;

/// The race that this guards against shows on one lapin channel with many tasks: a refused publish is reported as stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_reported_success_is_stored_and_every_refusal_is_not() {
    const TASKS: usize = 64;
    const EACH: usize = 100;
    let full = QueueFamily {
        max_length: Some(10),
        ..QueueFamily::new("full")
    };
    let bench = Bench::with(full).await;
    let roomy = Topology::one_queue(QueueFamily::new("roomy"));
    roomy.declare(&bench.config).await.expect("declared");

    let one_channel = PublisherConfig {
        channels: 1,
        ..PublisherConfig::new(bench.config.clone())
    };
    let publisher = Publisher::start(one_channel);
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let publisher = publisher.clone();
        tasks.spawn(async move {
            let mut outcomes = Vec::new();
            for number in 0..EACH {
                let queue = if (task + number) % 2 == 0 { "full" } else { "roomy" };
                let id = format!("{queue}-{task}-{number}");
                let outcome = publisher.publish(to_queue(queue, &id)).await;
                outcomes.push((id, outcome));
            }
            outcomes
        });
    }
    let outcomes = tasks.join_all().await.concat();

    let mut stored = HashSet::new();
    for queue in ["full", "roomy"] {
        let ids = bench.drain(queue).await;
        let count = ids.len();
        let before = stored.len();
        stored.extend(ids);
        assert_eq!(stored.len() - before, count, "nothing is stored twice");
    }
    let mut refused = 0;
    for (id, outcome) in &outcomes {
        match outcome {
            Ok(()) => assert!(stored.contains(id), "{id} was reported as stored and is not"),
            Err(PublishError::Refused) => {
                refused += 1;
                assert!(!stored.contains(id), "{id} was reported as refused and is stored");
            }
            Err(other) => panic!("{id}: {other}"),
        }
    }
    assert_eq!(outcomes.len(), TASKS * EACH);
    assert!(refused > 100, "the full queue refused only {refused}");
}

#[tokio::test]
async fn a_returned_message_is_not_a_success() {
    let bench = Bench::new().await;
    let outcome = bench
        .publisher
        .publish(to_queue("nobody-has-this-queue", "evt_1"))
        .await;
    assert!(matches!(outcome, Err(PublishError::Unroutable { .. })), "{outcome:?}");
    bench.publish("evt_2").await;
    assert_eq!(bench.drain(QUEUE).await, ["evt_2"]);
}

#[tokio::test]
async fn an_announcement_that_nobody_listens_to_is_no_failure() {
    let bench = Bench::new().await;
    let announce = Topology::default().with_exchange(bus::topology::EVENTS, Routing::Topic);
    announce.declare(&bench.config).await.expect("declared");
    let outcome = bench
        .publisher
        .publish(message(bus::topology::EVENTS, "client.state_changed", "ann_1"))
        .await;
    assert_eq!(outcome, Ok(()));
}

#[tokio::test]
async fn what_arrives_is_what_was_published() {
    let bench = Bench::new().await;
    let mut outgoing = to_queue(QUEUE, "evt_1");
    outgoing
        .headers
        .set_bool(bus::headers::LIVEMODE, false)
        .set_int("count", 7);
    outgoing.body = bytes::Bytes::from_static(b"{ \"raw\":\t1 }\n\xff");
    bench.publisher.publish(outgoing.clone()).await.expect("published");
    let arrived = bench.broker.take(QUEUE).await.expect("a message").delivery;
    let properties = &arrived.properties;
    assert_eq!(arrived.data, outgoing.body);
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "evt_1");
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "invoice.paid");
    assert_eq!(properties.timestamp(), &Some(outgoing.timestamp));
    assert_eq!(properties.delivery_mode(), &Some(2));
    let headers = properties.headers().as_ref().unwrap().inner();
    let ours = headers
        .keys()
        .filter(|name| name.as_str() != "x-delivery-count")
        .count();
    assert_eq!(ours, 3);
}

#[tokio::test]
async fn a_text_that_amqp_cannot_carry_is_an_error_and_no_panic() {
    let bench = Bench::new().await;
    let outcome = bench.publisher.publish(to_queue(QUEUE, &"x".repeat(256))).await;
    assert_eq!(outcome, Err(PublishError::TooLong { field: "message id" }));
}

#[tokio::test]
async fn a_missing_exchange_fails_its_publish_and_the_next_one_succeeds() {
    let bench = Bench::new().await;
    let outcome = bench
        .publisher
        .publish(message("no-such-exchange", "key", "evt_1"))
        .await;
    assert!(matches!(outcome, Err(PublishError::Lost { .. })), "{outcome:?}");
    eventually(PATIENCE, || async {
        bench.publisher.publish(to_queue(QUEUE, "evt_2")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn without_a_broker_publishing_fails_at_once() {
    let publisher = Publisher::start(PublisherConfig::new(BrokerConfig::new(
        "amqp://127.0.0.1:1/%2f",
        "nowhere",
    )));
    for _ in 0..3 {
        let at_once = publisher.publish(to_queue(QUEUE, "evt")).now_or_never();
        assert_eq!(at_once, Some(Err(PublishError::Unavailable)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_fails_what_is_in_flight_at_once_and_comes_back_by_itself() {
    let bench = Bench::new().await;
    let publisher = bench.publisher.clone();
    let stream = tokio::spawn(async move {
        let (mut stored, mut failures, mut number) = (Vec::new(), Vec::new(), 0);
        while failures.is_empty() || stored.last() != Some(&(number - 1)) || stored.len() < 20 {
            match publisher.publish(to_queue(QUEUE, &number.to_string())).await {
                Ok(()) => stored.push(number),
                Err(error) => {
                    failures.push(error);
                    tokio::task::yield_now().await;
                }
            }
            number += 1;
        }
        (stored, failures)
    });
    bench.broker.close_connections(1).await;
    let (stored, failures) = tokio::time::timeout(PATIENCE, stream)
        .await
        .expect("it comes back")
        .unwrap();
    assert!(
        !failures.contains(&PublishError::TimedOut),
        "one waited for its confirm"
    );
    let in_queue = bench.drain(QUEUE).await.into_iter().collect::<HashSet<_>>();
    let lost = stored
        .iter()
        .filter(|number| !in_queue.contains(&number.to_string()))
        .count();
    assert_eq!(lost, 0, "of {} confirmed messages", stored.len());
}

#[tokio::test]
async fn no_more_than_the_limit_is_in_flight() {
    let bench = Bench::new().await;
    let config = PublisherConfig {
        max_in_flight: 1,
        admission_wait: Duration::ZERO,
        ..PublisherConfig::new(bench.config.clone())
    };
    let publisher = Publisher::start(config);
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let (first, second) = tokio::join!(
        publisher.publish(to_queue(QUEUE, "1")),
        publisher.publish(to_queue(QUEUE, "2"))
    );
    assert_eq!((first, second), (Ok(()), Err(PublishError::Saturated)));
    assert_eq!(publisher.in_flight(), 0);
}

#[tokio::test]
async fn closing_waits_for_confirms_and_refuses_afterwards() {
    let bench = Bench::new().await;
    let (published, ()) = tokio::join!(
        bench.publisher.publish(to_queue(QUEUE, "1")),
        bench.publisher.close(PATIENCE)
    );
    assert_eq!(published, Ok(()));
    assert!(matches!(
        bench.publisher.publish(to_queue(QUEUE, "2")).await,
        Err(PublishError::Unavailable)
    ));
}
