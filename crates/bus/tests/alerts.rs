//! Alerts on their way: merged, published, kept while nobody takes them.
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

use bus::{AlertMessage, AlertRaiser, AlertRaiserConfig, BrokerConfig, Publisher, PublisherConfig};
use domain::alert::{Alert, AlertKind};
use lapin::options::QueueDeleteOptions;
use support::{Bench, PATIENCE, clock};
use testkit::eventually;

fn forged(subject: &str) -> Alert {
    Alert::new(
        AlertKind::WebhookSignature,
        subject,
        "deliveries with a wrong signature",
    )
    .with("cause", "mismatch")
}

async fn received(bench: &Bench) -> Vec<AlertMessage> {
    let mut messages = Vec::new();
    while let Some(message) = bench.broker.take("alerts").await {
        assert_eq!(message.delivery.routing_key.as_str(), "warning.webhook_signature");
        messages.push(serde_json::from_slice(&message.delivery.data).expect("decodes"));
    }
    messages
}

#[tokio::test]
async fn a_thousand_raises_of_one_cause_are_few_messages_with_the_whole_count() {
    let bench = Bench::new().await;
    let alerts = bench.alerts();
    for _ in 0..1_000 {
        alerts.raise(forged("platform"));
    }
    alerts.raise(forged("connect"));
    assert!(alerts.flush(PATIENCE).await);
    let messages: Vec<AlertMessage> = received(&bench).await;
    let count = |subject: &str| {
        let of_subject = messages.iter().filter(|message| message.subject == subject);
        of_subject.map(|message| message.occurrences).sum::<u64>()
    };
    assert_eq!((count("platform"), count("connect")), (1_000, 1));
    assert!(messages.len() <= 4, "{} messages", messages.len());
    assert_eq!(messages[0].details["cause"], "mismatch");
}

#[tokio::test]
async fn alerts_that_nobody_takes_are_kept_merged_and_sent_later() {
    let bench = Bench::new().await;
    let channel = bench.broker.channel().await;
    channel
        .queue_delete("alerts".into(), QueueDeleteOptions::default())
        .await
        .expect("deleted");
    let alerts = bench.alerts();
    alerts.raise(forged("platform"));
    assert!(
        !alerts.flush(Duration::from_millis(300)).await,
        "there is nobody to take it"
    );
    alerts.raise(forged("platform"));
    bench.topology.declare(&bench.config).await.expect("declared again");
    assert!(alerts.flush(PATIENCE).await);
    let counts = received(&bench)
        .await
        .into_iter()
        .map(|message| message.occurrences)
        .collect::<Vec<_>>();
    assert_eq!(counts.iter().sum::<u64>(), 2, "{counts:?}");
}

#[tokio::test]
async fn without_a_broker_the_database_takes_alerts() {
    let nowhere = BrokerConfig::new("amqp://127.0.0.1:1/%2f", "nowhere");
    let publisher = Publisher::start(PublisherConfig::new(nowhere));
    let stored = Arc::new(Mutex::new(Vec::new()));
    let store = Arc::clone(&stored);
    let config = AlertRaiserConfig {
        fallback: Some(Arc::new(move |message: AlertMessage| {
            let store = Arc::clone(&store);
            Box::pin(async move {
                store.lock().unwrap().push(message.key);
                Ok(())
            })
        })),
        ..AlertRaiserConfig::new(publisher, clock())
    };
    let alerts = AlertRaiser::start(config);
    alerts.raise(forged("platform"));
    eventually(PATIENCE, || async {
        *stored.lock().unwrap() == ["webhook_signature:platform"]
    })
    .await;
    assert!(alerts.flush(PATIENCE).await);
}
