//! The example keeps what it promises: repeats and overtaken announcements change nothing, and what is announced while it is away is
//! kept for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, ExchangeKind};
use state_listener::{StateChanged, States, listen};
use testkit::{TestBroker, eventually};

const SOON: Duration = Duration::from_secs(20);
const QUEUE: &str = "example.client-states";
const EXCHANGE: &str = "holdfast.events";
const KEY: &str = "client.state_changed";

/// Client, version, and whether it was new.
type Heard = Arc<Mutex<Vec<(String, i64, bool)>>>;

fn announcement(client: &str, from: &str, to: &str, version: i64) -> String {
    format!(
        r#"{{"type": "client.state_changed", "client_id": "{client}", "org_id": "org_1", "from": "{from}", "to": "{to}",
             "version": {version}, "stripe_subscription_id": "sub_1", "decided_at": "2026-11-01T00:00:00Z",
             "cause": {{"event_id": "evt_{version}", "type": "invoice.paid", "created": 1790000000}}}}"#
    )
}

#[test]
fn a_repeat_and_an_overtaken_change_are_known_already() {
    let change = |version, to: &str| -> StateChanged {
        serde_json::from_str(&announcement("acme", "TRIAL_PENDING", to, version)).unwrap()
    };
    let mut states = States::default();
    assert!(states.take(&change(1, "ACTIVE")));
    assert!(states.take(&change(3, "ACTIVE")));
    assert!(!states.take(&change(3, "ACTIVE")));
    assert!(!states.take(&change(2, "PAST_DUE")));
    assert_eq!(states.of("acme"), Some("ACTIVE"));
    assert_eq!(states.of("nobody"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_is_heard_also_what_was_announced_while_nobody_listened() {
    let broker = TestBroker::create().await;
    let channel = broker.channel().await;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let announce = async |body: &str| {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent = channel.basic_publish(EXCHANGE.into(), KEY.into(), options, body.as_bytes(), properties);
        assert!(sent.await.unwrap().await.unwrap().is_ack());
    };
    let heard = Heard::default();
    let listening = || {
        let (url, heard) = (broker.amqp_url(), Arc::clone(&heard));
        tokio::spawn(async move {
            let note = |change: &StateChanged, is_new| {
                heard
                    .lock()
                    .unwrap()
                    .push((change.client_id.clone(), change.version, is_new));
            };
            listen(&url, QUEUE, note).await
        })
    };
    let wait_for = async |count| eventually(SOON, || async { heard.lock().unwrap().len() == count }).await;

    let first = listening();
    eventually(SOON, || async { consumers(&broker).await == 1 }).await;
    announce("no announcement").await;
    announce(&announcement("acme", "TRIAL_PENDING", "ACTIVE", 1)).await;
    announce(&announcement("acme", "TRIAL_PENDING", "ACTIVE", 1)).await;
    wait_for(2).await;
    first.abort();
    drop(first.await);
    eventually(SOON, || async { consumers(&broker).await == 0 }).await;

    announce(&announcement("acme", "ACTIVE", "PAST_DUE", 2)).await;
    let second = listening();
    wait_for(3).await;
    let acme = |version, is_new| ("acme".to_owned(), version, is_new);
    assert_eq!(*heard.lock().unwrap(), [acme(1, true), acme(1, false), acme(2, true)]);
    second.abort();
}

/// Who consumes the example's queue.
async fn consumers(broker: &TestBroker) -> u32 {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let channel = broker.channel().await;
    let declared = channel
        .queue_declare(QUEUE.into(), passive, FieldTable::default())
        .await;
    declared.map_or(0, |queue| queue.consumer_count())
}
