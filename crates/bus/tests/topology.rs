//! Declaring: idempotent, complete, and clear about what is in the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use bus::topology::{self, QueueFamily, RetrySchedule, Routing, TopologyError};
use bus::{BrokerConfig, Publisher, PublisherConfig, Topology};
use lapin::options::QueueDeleteOptions;
use support::{Bench, PATIENCE, QUEUE, message};
use testkit::{TestBroker, eventually};

#[tokio::test]
async fn the_whole_topology_is_declared_twice_and_routes_each_type_to_its_owner() {
    let broker = TestBroker::create().await;
    let config = BrokerConfig::new(broker.amqp_url(), "bus-test");
    let topology = Topology::with_escrow();
    topology.declare(&config).await.expect("declared");
    topology.declare(&config).await.expect("declared again");
    Topology::holdfast()
        .declare(&config)
        .await
        .expect("declared by those that are not escrow");

    let publisher = Publisher::start(PublisherConfig::new(config));
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let (billing, escrow, archive) = (
        topology::BILLING_EVENTS,
        topology::ESCROW_EVENTS,
        topology::ARCHIVE_EVENTS,
    );
    let cases: [(&str, &[&str]); 30] = [
        ("platform.customer.subscription.updated", &[billing]),
        ("platform.customer.subscription.trial_will_end", &[billing]),
        ("platform.invoice.paid", &[billing]),
        ("platform.v1.invoice.paid", &[billing]),
        ("platform.checkout.session.async_payment_failed", &[billing]),
        ("platform.charge.refund.updated", &[billing, escrow]),
        ("platform.refund.failed", &[billing, escrow]),
        ("platform.refund.updated", &[billing, escrow]),
        ("platform.v1.refund.updated", &[billing, escrow]),
        ("platform.v1.charge.refund.updated", &[billing, escrow]),
        ("platform.payout.failed", &[escrow]),
        ("platform.refund.created", &[billing]),
        ("platform.charge.refunded", &[billing, escrow]),
        ("platform.charge.dispute.created", &[billing, escrow]),
        ("platform.charge.succeeded", &[billing, escrow]),
        ("platform.payment_intent.succeeded", &[escrow]),
        ("platform.payment_intent.amount_capturable_updated", &[escrow]),
        ("platform.v1.payment_intent.canceled", &[escrow]),
        ("platform.transfer.reversed", &[escrow]),
        ("connect.account.updated", &[escrow]),
        ("connect.payout.failed", &[escrow]),
        ("connect.v1.account.updated", &[escrow]),
        ("connect.v2.core.account[requirements].updated", &[escrow]),
        (
            "connect.v2.core.account[configuration.recipient].capability_status_updated",
            &[escrow],
        ),
        ("platform.payment_intent.created", &[archive]),
        ("platform.customer.updated", &[archive]),
        ("platform.v2.core.event_destination.ping", &[archive]),
        ("platform.type.of.the.future", &[archive]),
        ("connect.invoice.paid", &[archive]),
        ("connect.payout.paid", &[archive]),
    ];
    for (key, queues) in cases {
        publisher
            .publish(message(topology::STRIPE_EVENTS, key, key))
            .await
            .expect("routed");
        for queue in queues {
            let arrived = broker
                .take(queue)
                .await
                .unwrap_or_else(|| panic!("{key} is not in {queue}"));
            assert_eq!(arrived.delivery.routing_key.as_str(), key);
        }
    }
    for family in &topology.queues {
        assert_eq!(
            broker.ready(&family.name).await,
            Some(0),
            "{} has only its own",
            family.name
        );
    }
    publisher
        .publish(message(topology::ALERTS, "warning.test", "a"))
        .await
        .expect("routed");
    assert!(broker.take(topology::ALERTS_RAISE).await.is_some());
    publisher
        .publish(message(topology::COMMANDS, topology::ESCROW_COMMANDS, "c"))
        .await
        .expect("routed");
    assert!(broker.take(topology::ESCROW_COMMANDS).await.is_some());
}

/// A queue that nobody reads would fill for ever, and the archive would miss what is in it.
#[tokio::test]
async fn without_escrow_its_types_go_to_the_archive_and_again_once_it_is_given_up() {
    let broker = TestBroker::create().await;
    let config = BrokerConfig::new(broker.amqp_url(), "bus-test");
    let publisher = Publisher::start(PublisherConfig::new(config.clone()));
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let reaches = async |id: &str, queue: &str| {
        let key = "platform.payment_intent.succeeded";
        publisher
            .publish(message(topology::STRIPE_EVENTS, key, id))
            .await
            .expect("routed");
        assert!(broker.take(queue).await.is_some(), "{id} is not in {queue}");
    };
    Topology::holdfast().declare(&config).await.expect("declared");
    reaches("before", topology::ARCHIVE_EVENTS).await;
    Topology::with_escrow().declare(&config).await.expect("declared");
    reaches("bound", topology::ESCROW_EVENTS).await;
    Topology::holdfast().declare(&config).await.expect("declared");
    reaches("while escrow is away", topology::ESCROW_EVENTS).await;
    // More than go to the archive at once.
    for at in 0..100 {
        let id = format!("evt_{at}");
        let waits = message(topology::STRIPE_EVENTS, "connect.account.updated", &id);
        publisher.publish(waits).await.expect("routed");
    }
    for _ in 0..2 {
        let bindings = Topology::with_escrow().unbind(&config, topology::ESCROW_EVENTS).await;
        assert_eq!(bindings.expect("unbound"), topology::ESCROW_PATTERNS.len());
    }
    reaches("after", topology::ARCHIVE_EVENTS).await;
    let moved = topology::archive_rest(&config, &publisher, topology::ESCROW_EVENTS).await;
    assert_eq!(moved.expect("moved"), 100);
    assert_eq!(broker.ready(topology::ESCROW_EVENTS).await, Some(0));
    let mut ids = BTreeSet::new();
    for _ in 0..100 {
        let archived = broker.take(topology::ARCHIVE_EVENTS).await.expect("archived").delivery;
        assert_eq!(archived.routing_key.as_str(), "connect.account.updated");
        ids.insert(archived.properties.message_id().as_ref().expect("an id").to_string());
    }
    assert_eq!(ids.len(), 100, "each once");
    let key = "platform.charge.refunded";
    publisher
        .publish(message(topology::STRIPE_EVENTS, key, "of both"))
        .await
        .expect("routed");
    assert!(broker.take(topology::BILLING_EVENTS).await.is_some());
    assert_eq!(
        broker.ready(topology::ARCHIVE_EVENTS).await,
        Some(0),
        "it has its row already"
    );
}

#[tokio::test]
async fn other_arguments_are_a_clear_error_that_names_everything_in_the_way() {
    let bench = Bench::new().await;
    let other = Topology::default()
        .with_exchange(topology::ALERTS, Routing::Direct)
        .with_queue(QueueFamily {
            delivery_limit: 7,
            ..bench.family.clone()
        })
        .with_queue(QueueFamily {
            max_length: Some(5),
            ..QueueFamily::new("alerts")
        })
        .with_queue(QueueFamily::new("new"));
    let error = other.declare(&bench.config).await.expect_err("in the way");
    let TopologyError::Conflicts(conflicts) = &error else {
        panic!("{error:?}")
    };
    let found = conflicts
        .iter()
        .map(|conflict| (conflict.object, conflict.name.as_str(), conflict.argument.as_deref()))
        .collect::<Vec<_>>();
    let expected = [
        ("exchange", topology::ALERTS, Some("type")),
        ("queue", QUEUE, Some("x-delivery-limit")),
        ("queue", "alerts", Some("x-max-length")),
    ];
    assert_eq!(found, expected);
    let text = error.to_string();
    assert!(
        text.contains("'work'") && text.contains("'x-delivery-limit'") && text.contains("delete it"),
        "{text}"
    );
    assert_eq!(
        bench.broker.ready("new").await,
        Some(0),
        "the rest is declared all the same"
    );
}

#[tokio::test]
async fn another_delay_is_another_queue_and_no_conflict() {
    let bench = Bench::new().await;
    let slower = QueueFamily {
        retry: RetrySchedule::new([Duration::from_secs(3)]),
        ..bench.family.clone()
    };
    Topology::one_queue(slower)
        .declare(&bench.config)
        .await
        .expect("no conflict");
    assert_eq!(bench.broker.ready("work.retry.3s").await, Some(0));
}

/// The broker looks for the target again after three minutes only, so the test asks for what must hold meanwhile.
#[tokio::test]
async fn a_missing_dead_letter_target_keeps_the_message() {
    let bench = Bench::new().await;
    let channel = bench.broker.channel().await;
    channel
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await
        .expect("deleted");
    let retry = "work.retry.100ms";
    for id in ["1", "2", "3"] {
        bench
            .publisher
            .publish(support::to_queue(retry, id))
            .await
            .expect("published");
    }
    eventually(PATIENCE, || async { bench.ready(retry).await == 0 }).await;
    let kept = async || {
        (
            bench.number(retry, "messages_dlx").await,
            bench.number(retry, "messages").await,
        )
    };
    eventually(PATIENCE, || async { kept().await == (Some(3), Some(3)) }).await;
}
