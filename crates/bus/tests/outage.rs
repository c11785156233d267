//! A broker that blocks, stops, dies or misses a queue. Each test has a broker of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use bus::{BrokerConfig, PublishError, Publisher, PublisherConfig, Topology};
use futures_util::FutureExt;
use lapin::options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use support::{PATIENCE, QUEUE, family, to_queue};
use testkit::{PrivateBroker, eventually};
use tokio::task::JoinSet;

/// What a publish gives that waits for nothing: ready when it is first looked at, on however slow a machine.
fn at_once(publisher: &Publisher, id: &str) -> Option<Result<(), PublishError>> {
    publisher.publish(to_queue(QUEUE, id)).now_or_never()
}

fn publisher_for(broker: &PrivateBroker, confirm_timeout: Duration) -> Publisher {
    Publisher::start(PublisherConfig {
        topology: Topology::one_queue(family()),
        confirm_timeout,
        // One that has published to a queue waits for it; another is told that it is not there.
        channels: 1,
        max_in_flight: 50,
        ..PublisherConfig::new(BrokerConfig::new(broker.amqp_url(), "bus-test"))
    })
}

async fn channel_of(broker: &PrivateBroker) -> (Connection, Channel) {
    let connection = Connection::connect(broker.amqp_url(), ConnectionProperties::default())
        .await
        .expect("connects");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

async fn ready(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
        .expect("it exists")
        .message_count()
}

async fn take_all(channel: &Channel, queue: &str) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(message) = channel
        .basic_get(queue.into(), BasicGetOptions { no_ack: true })
        .await
        .expect("get")
    {
        ids.push(
            message
                .delivery
                .properties
                .message_id()
                .as_ref()
                .expect("an id")
                .to_string(),
        );
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_broker_is_an_error_at_once_and_publishing_recovers() {
    let broker = PrivateBroker::start().await;
    let publisher = publisher_for(&broker, Duration::from_secs(5));
    publisher.wait_ready(PATIENCE).await.expect("connected");
    publisher.publish(to_queue(QUEUE, "before")).await.expect("published");

    broker
        .ctl(&["set_vm_memory_high_watermark", "0"])
        .await
        .expect("blocked");
    // The broker tells a connection that it is blocked when the next message arrives on it.
    let mut crowd = JoinSet::new();
    for number in 0..200 {
        let publisher = publisher.clone();
        crowd.spawn(async move { publisher.publish(to_queue(QUEUE, &format!("crowd_{number}"))).await });
    }
    let outcomes = crowd.join_all().await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(publisher.in_flight() <= 50, "memory is bounded by the limit");
    eventually(PATIENCE, || async { publisher.check() == Err(PublishError::Blocked) }).await;
    for _ in 0..5 {
        assert_eq!(at_once(&publisher, "blocked"), Some(Err(PublishError::Blocked)));
    }
    assert!(!publisher.is_ready());

    broker
        .ctl(&["set_vm_memory_high_watermark", "0.6"])
        .await
        .expect("unblocked");
    publisher.wait_ready(PATIENCE).await.expect("it recovers");
    publisher.publish(to_queue(QUEUE, "after")).await.expect("published");
    eventually(PATIENCE, || async { publisher.in_flight() == 0 }).await;

    let (_connection, channel) = channel_of(&broker).await;
    let ids = take_all(&channel, QUEUE).await;
    assert!(ids.contains(&"before".to_owned()) && ids.contains(&"after".to_owned()));
    assert!(!ids.contains(&"blocked".to_owned()), "what was refused was never sent");
    assert!(
        ids.iter().filter(|id| id.starts_with("crowd_")).count() >= stored,
        "what was confirmed is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_is_an_error_at_once_and_nothing_confirmed_is_lost() {
    let mut broker = PrivateBroker::start().await;
    let publisher = publisher_for(&broker, PATIENCE);
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let stop = tokio_util::sync::CancellationToken::new();
    let (stream, stopped) = (publisher.clone(), stop.clone());
    let load = tokio::spawn(async move {
        let (mut stored, mut failures, mut number) = (Vec::new(), Vec::new(), 0_u32);
        while !stopped.is_cancelled() {
            match stream.publish(to_queue(QUEUE, &number.to_string())).await {
                Ok(()) => stored.push(number.to_string()),
                Err(error) => {
                    failures.push(error);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            number += 1;
        }
        (stored, failures)
    });
    eventually(PATIENCE, || async { publisher.is_ready() }).await;
    broker.kill9().await.expect("killed");
    eventually(PATIENCE, || async { !publisher.is_ready() }).await;
    for _ in 0..5 {
        assert_eq!(at_once(&publisher, "away"), Some(Err(PublishError::Unavailable)));
    }
    broker.start_again().await.expect("started");
    publisher
        .wait_ready(PATIENCE)
        .await
        .expect("it recovers within seconds");
    publisher.publish(to_queue(QUEUE, "after")).await.expect("published");
    stop.cancel();
    let (stored, failures) = load.await.expect("no panic");
    assert!(
        !failures.contains(&PublishError::TimedOut),
        "one waited for its confirm"
    );

    let (_connection, channel) = channel_of(&broker).await;
    let ids = take_all(&channel, QUEUE)
        .await
        .into_iter()
        .collect::<std::collections::HashSet<_>>();
    let lost = stored.iter().filter(|id| !ids.contains(*id)).collect::<Vec<_>>();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?} of {}", stored.len());
}

/// The broker asks again for a missing target every three minutes; this one is told to ask every second.
#[tokio::test]
async fn a_missing_dead_letter_target_delays_a_retry_and_loses_nothing() {
    let broker = PrivateBroker::start().await;
    let sooner = "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 1000).";
    broker.ctl(&["eval", sooner]).await.expect("set");
    let publisher = publisher_for(&broker, PATIENCE);
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let (_connection, channel) = channel_of(&broker).await;
    channel
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await
        .expect("deleted");
    for id in ["1", "2", "3"] {
        publisher
            .publish(to_queue("work.retry.100ms", id))
            .await
            .expect("published");
    }
    let expired = || async { ready(&channel, "work.retry.100ms").await == 0 };
    eventually(PATIENCE, expired).await;
    let config = BrokerConfig::new(broker.amqp_url(), "bus-test");
    Topology::one_queue(family())
        .declare(&config)
        .await
        .expect("declared again");
    eventually(PATIENCE, || async { ready(&channel, QUEUE).await == 3 }).await;
    let mut ids = take_all(&channel, QUEUE).await;
    ids.sort();
    assert_eq!(ids, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_never_confirms_takes_no_place_from_the_others_for_good() {
    let broker = PrivateBroker::start().await;
    let publisher = publisher_for(&broker, Duration::from_secs(5));
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let (_connection, channel) = channel_of(&broker).await;
    for (queue, kind) in [("stuck", "quorum"), ("well", "classic")] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString(kind.into()));
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(queue.into(), durable, arguments)
            .await
            .expect("declared");
    }
    publisher.publish(to_queue("stuck", "before")).await.expect("published");
    // The queue is there, and whoever keeps its log is not.
    let stop = "ra:stop_server(quorum_queues, {list_to_atom(\"%2F_stuck\"), node()}).";
    broker.ctl(&["eval", stop]).await.expect("stopped");
    let stuck = (0..50).map(|number| publisher.publish(to_queue("stuck", &format!("stuck_{number}"))));
    let outcomes = futures_util::future::join_all(stuck).await;
    assert!(
        outcomes.iter().all(|outcome| *outcome == Err(PublishError::TimedOut)),
        "{outcomes:?}"
    );
    assert!(publisher.in_flight() > 0, "they have their places still");
    eventually(PATIENCE, || async { publisher.in_flight() == 0 }).await;
    eventually(PATIENCE, || async {
        publisher.publish(to_queue("well", "after")).await.is_ok()
    })
    .await;
}
