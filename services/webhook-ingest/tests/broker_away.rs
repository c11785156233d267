//! A broker that is stopped, blocked or frozen: a 503 within a second for every delivery, and recovery by itself (ING-11).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Ingest, PLATFORM, PLATFORM_PATH, event};
use lapin::options::BasicGetOptions;
use lapin::{Connection, ConnectionProperties};
use testkit::{PrivateBroker, eventually};

/// A second where nothing else is at work, which `cargo dev bench ingest` measures.
const LIMIT: Duration = Duration::from_secs(5);

async fn post(ingest: &Ingest, n: usize) -> (Answer, Duration) {
    let body = event(&format!("evt_{n}"), "invoice.paid");
    let started = Instant::now();
    let answer = ingest.post_signed(PLATFORM_PATH, PLATFORM, &body).await;
    (answer, started.elapsed())
}

/// Posts from many connections at once; every answer must be a 503 and come in time.
async fn assert_refused_in_time(ingest: &Ingest) {
    for round in 0..5 {
        let posts = (0..20).map(|n| post(ingest, round * 20 + n));
        for (answer, took) in futures_util::future::join_all(posts).await {
            assert_eq!((answer.status, answer.code().as_str()), (503, "broker_unavailable"));
            assert!(answer.head.contains("retry-after: "), "{answer:?}");
            assert!(took < LIMIT, "{took:?}");
        }
    }
}

async fn accepted(ingest: &Ingest) -> bool {
    post(ingest, 1_000).await.0.status == 200
}

/// The ids in the billing queue, which is emptied.
async fn queued(amqp_url: &str) -> Vec<String> {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut ids = Vec::new();
    while let Some(message) = channel
        .basic_get("billing.events".into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
    {
        ids.push(message.properties.message_id().as_ref().unwrap().to_string());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_gives_503_in_time_and_comes_back_by_itself() {
    let mut broker = PrivateBroker::start().await;
    let ingest = Ingest::start_hasty(broker.amqp_url()).await;
    assert!(accepted(&ingest).await);

    broker.ctl(&["set_vm_memory_high_watermark", "0"]).await.unwrap();
    eventually(testkit::PATIENCE, || async { !accepted(&ingest).await }).await;
    assert_refused_in_time(&ingest).await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    eventually(testkit::PATIENCE, || accepted(&ingest)).await;

    let frozen = broker.pid().unwrap();
    signal(frozen, "STOP");
    assert_refused_in_time(&ingest).await;
    signal(frozen, "CONT");
    eventually(testkit::PATIENCE, || accepted(&ingest)).await;

    broker.kill9().await.unwrap();
    assert_refused_in_time(&ingest).await;
    let readyz = ingest
        .send(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(readyz.json()["missing"][0], "webhook-ingest: broker");
    broker.start_again().await.unwrap();
    eventually(testkit::PATIENCE, || accepted(&ingest)).await;
    assert!(queued(broker.amqp_url()).await.contains(&"evt_1000".to_owned()));
    let url = broker.amqp_url().to_owned();
    ingest.stop().await;

    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let alert = channel
        .basic_get("alerts.raise".into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
        .unwrap();
    let alert: serde_json::Value = serde_json::from_slice(&alert.data).unwrap();
    assert_eq!(alert["key"], "broker_unavailable:webhook-ingest");
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}
