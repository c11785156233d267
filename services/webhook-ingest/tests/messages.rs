//! What is accepted, and the message that stands in the queue afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use common::{CONNECT, CONNECT_PATH, Ingest, PLATFORM, PLATFORM_NEXT, PLATFORM_PATH, event, event_with};
use lapin::message::BasicGetMessage;
use lapin::types::AMQPValue;
use serde_json::json;
use stripe_gateway::signature::sign;
use testkit::{TestBroker, eventually_some};

async fn taken(broker: &TestBroker, queue: &str) -> BasicGetMessage {
    eventually_some(testkit::PATIENCE, || broker.take(queue)).await
}

fn text_header(message: &BasicGetMessage, name: &str) -> Option<String> {
    match message.properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

#[tokio::test]
async fn the_message_is_the_body_byte_for_byte_with_the_event_in_its_properties() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event("evt_1", "invoice.paid");
    let signature = sign(PLATFORM, &body, ingest.now());
    let trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("stripe-signature", signature.as_bytes()),
        ("traceparent", trace),
        ("x-request-id", b"req-7"),
    ];
    let answer = ingest.post(PLATFORM_PATH, &headers, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({"received": true, "event_id": "evt_1"}));
    assert!(answer.head.contains("x-request-id: req-7"));

    let message = taken(&broker, "billing.events").await;
    assert_eq!(message.data, body);
    assert_eq!(message.exchange.as_str(), "stripe.events");
    assert_eq!(message.routing_key.as_str(), "platform.invoice.paid");
    let properties = &message.properties;
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "evt_1");
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "invoice.paid");
    assert_eq!(properties.timestamp(), &Some(1_760_000_000));
    assert_eq!(text_header(&message, "x-endpoint").as_deref(), Some("platform"));
    assert_eq!(
        text_header(&message, "x-api-version").as_deref(),
        Some(webhook_ingest::NEWEST_KNOWN)
    );
    assert_eq!(text_header(&message, "x-stripe-account"), None);
    assert_eq!(
        properties.headers().as_ref().unwrap().inner().get("x-livemode"),
        Some(&AMQPValue::Boolean(false))
    );
    let received = text_header(&message, "x-received-at").unwrap();
    assert_eq!(
        received,
        ingest.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    );
    let parent = text_header(&message, "traceparent").unwrap();
    assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && !parent.contains("00f067aa0ba902b7"));
    ingest.stop().await;
}

#[tokio::test]
async fn types_that_do_not_exist_yet_and_thin_events_are_taken_and_archived() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let thin = serde_json::to_vec(&json!({
        "id": "evt_thin", "object": "v2.core.event", "type": "v1.product.updated", "livemode": false,
        "created": "2026-10-01T12:00:00.000Z", "related_object": {"id": "prod_1", "type": "product", "url": "/v1/products/prod_1"},
    }))
    .unwrap();
    let bodies = [
        event("evt_new", "never.heard.of_before"),
        event_with(
            "evt_old",
            "charge.expired",
            json!({"api_version": "2015-10-16", "request": "req_1"}),
        ),
        event_with(
            "evt_none",
            "account.application.authorized",
            json!({"api_version": null, "novel": [1, {"deep": null}]}),
        ),
        thin,
    ];
    for body in &bodies {
        let answer = ingest.post_signed(PLATFORM_PATH, PLATFORM, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let message = taken(&broker, "archive.events").await;
        assert_eq!(&message.data, body);
    }
    ingest.stop().await;
}

#[tokio::test]
async fn each_endpoint_has_secrets_of_its_own_and_a_rotation_drops_nothing() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event_with("evt_c", "capability.updated", json!({"account": "acct_1"}));
    for (path, secret, status) in [
        (PLATFORM_PATH, PLATFORM, 200),
        (PLATFORM_PATH, PLATFORM_NEXT, 200),
        (PLATFORM_PATH, CONNECT, 400),
        (CONNECT_PATH, CONNECT, 200),
        (CONNECT_PATH, PLATFORM, 400),
    ] {
        assert_eq!(
            ingest.post_signed(path, secret, &body).await.status,
            status,
            "{path} {secret}"
        );
    }
    let messages = [
        taken(&broker, "archive.events").await,
        taken(&broker, "archive.events").await,
    ];
    assert!(
        messages
            .iter()
            .all(|message| message.routing_key.as_str() == "platform.capability.updated")
    );
    let connected = taken(&broker, "archive.events").await;
    assert_eq!(connected.routing_key.as_str(), "connect.capability.updated");
    assert_eq!(text_header(&connected, "x-stripe-account").as_deref(), Some("acct_1"));
    assert_eq!(text_header(&connected, "x-endpoint").as_deref(), Some("connect"));
    ingest.stop().await;
}

#[tokio::test]
async fn both_signatures_of_a_rotation_in_one_header_are_accepted() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event("evt_r", "invoice.paid");
    let (old, new) = (
        sign("whsec_retired_0123456789", &body, ingest.now()),
        sign(PLATFORM_NEXT, &body, ingest.now()),
    );
    let both = format!("{old},{}", new.split_once(',').unwrap().1);
    let answer = ingest
        .post(PLATFORM_PATH, &[("stripe-signature", both.as_bytes())], &body)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    ingest.stop().await;
}

#[tokio::test]
async fn bodies_in_chunks_and_in_pieces_arrive_whole() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let note = "x".repeat(common::MAX_BODY - 2_000);
    let body = event_with("evt_big", "invoice.paid", json!({"note": note}));
    let signature = sign(PLATFORM, &body, ingest.now());
    let headers = [("stripe-signature", signature.as_bytes())];
    for size in [7_000, body.len()] {
        assert_eq!(
            ingest.post_chunked(PLATFORM_PATH, &headers, &body, size).await.status,
            200
        );
        assert_eq!(taken(&broker, "billing.events").await.data, body);
    }
    let small = event("evt_small", "invoice.paid");
    let signature = sign(PLATFORM, &small, ingest.now());
    let headers = [("stripe-signature", signature.as_bytes())];
    assert_eq!(
        ingest.post_chunked(PLATFORM_PATH, &headers, &small, 1).await.status,
        200
    );
    assert_eq!(taken(&broker, "billing.events").await.data, small);
    ingest.stop().await;
}

#[tokio::test]
async fn an_event_of_the_other_mode_is_answered_200_kept_and_alerted_on() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let body = event_with("evt_live", "invoice.paid", json!({"livemode": true}));
    assert_eq!(ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await.status, 200);
    let message = taken(&broker, "billing.events").await;
    assert_eq!(message.data, body);
    assert_eq!(
        message.properties.headers().as_ref().unwrap().inner().get("x-livemode"),
        Some(&AMQPValue::Boolean(true))
    );
    let alert: serde_json::Value = serde_json::from_slice(&taken(&broker, "alerts.raise").await.data).unwrap();
    assert_eq!(alert["key"], "livemode_mismatch:platform");
    assert_eq!(
        (&alert["details"]["expected"], &alert["details"]["found"]),
        (&json!("test"), &json!("live"))
    );
    ingest.stop().await;
}

#[tokio::test]
async fn an_event_at_the_endpoint_of_the_other_kind_is_answered_200_kept_and_alerted_on() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let own = event("evt_own", "customer.updated");
    let of_account = event_with("evt_c", "capability.updated", json!({"account": "acct_1"}));
    let v2 = json!({
        "id": "evt_v2", "object": "v2.core.event", "type": "v2.core.claim", "livemode": false, "created": "2026-10-01T12:00:00.000Z",
    });
    let v2 = serde_json::to_vec(&v2).unwrap();
    for (path, secret, body) in [
        (PLATFORM_PATH, PLATFORM, &own),
        (CONNECT_PATH, CONNECT, &of_account),
        (CONNECT_PATH, CONNECT, &v2),
        (CONNECT_PATH, CONNECT, &own),
        (PLATFORM_PATH, PLATFORM, &of_account),
    ] {
        assert_eq!(ingest.post_signed(path, secret, body).await.status, 200);
        let message = taken(&broker, "archive.events").await;
        assert_eq!(&message.data, body);
    }
    for (key, kind) in [
        ("webhook_endpoint:connect", "customer.updated"),
        ("webhook_endpoint:platform", "capability.updated"),
    ] {
        let alert: serde_json::Value = serde_json::from_slice(&taken(&broker, "alerts.raise").await.data).unwrap();
        assert_eq!((&alert["key"], &alert["details"]["type"]), (&json!(key), &json!(kind)));
    }
    ingest.stop().await;
}

#[tokio::test]
async fn beside_escrow_its_events_wait_for_it_from_the_first_on_and_else_they_are_archived() {
    let patience = std::time::Duration::from_millis(500);
    for (topology, queue) in [
        (bus::Topology::holdfast(), "archive.events"),
        (bus::Topology::with_escrow(), "escrow.events"),
    ] {
        let broker = TestBroker::create().await;
        let ingest = Ingest::start_in(topology, &broker.amqp_url(), patience).await;
        let body = event("evt_pi", "payment_intent.succeeded");
        assert_eq!(ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await.status, 200);
        assert_eq!(taken(&broker, queue).await.data, body);
        ingest.stop().await;
    }
}

#[tokio::test]
async fn another_api_version_is_counted_and_alerted_on_once() {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    for n in 0..3 {
        let body = event_with(
            &format!("evt_{n}"),
            "invoice.paid",
            json!({"api_version": "2019-02-11"}),
        );
        assert_eq!(ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await.status, 200);
    }
    let alert: serde_json::Value = serde_json::from_slice(&taken(&broker, "alerts.raise").await.data).unwrap();
    assert_eq!(
        (&alert["key"], &alert["occurrences"]),
        (&json!("api_version_drift:2019-02-11"), &json!(1))
    );
    let count = ingest.counter("holdfast_webhook_api_version_total{version=\"2019-02-11\"}");
    assert!((count - 3.0).abs() < f64::EPSILON, "{count}");
    ingest.stop().await;
    assert!(broker.take("alerts.raise").await.is_none());
}
