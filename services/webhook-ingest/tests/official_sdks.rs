//! What Stripe's own packages sign is accepted over HTTP, byte for byte; what they would refuse is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use common::{CONNECT, CONNECT_PATH, Ingest, PLATFORM, PLATFORM_NEXT, PLATFORM_PATH, event};
use serde_json::{Value, json};
use testkit::{TestBroker, sign_with_node, sign_with_python};

/// The endpoint, its secret, and an event for it.
fn deliveries(by: &str) -> Vec<(&'static str, &'static str, String)> {
    let body = |n: usize| {
        let text = String::from_utf8(event(&format!("evt_{by}_{n}"), "product.created")).unwrap();
        // What a signature must survive: other alphabets, escapes and line ends.
        text.replacen(
            '{',
            "{\r\n \"note\": \"Z\u{fc}rich \u{6771}\u{4eac} \u{1f600} \\u00e9\",",
            1,
        )
    };
    [
        (PLATFORM_PATH, PLATFORM),
        (PLATFORM_PATH, PLATFORM_NEXT),
        (CONNECT_PATH, CONNECT),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (path, secret))| (path, secret, body(n)))
    .collect()
}

async fn posts_what_is_signed_by(name: &'static str, package: fn(&Value) -> Value) {
    let broker = TestBroker::create().await;
    let ingest = Ingest::start(&broker.amqp_url()).await;
    let deliveries = deliveries(name);
    let now = ingest.now();
    let sign = deliveries
        .iter()
        .map(|(_, secret, body)| json!({"payload": body, "secret": secret, "timestamp": now}));
    let job = json!({"sign": sign.collect::<Vec<_>>(), "verify": []});
    let answer = tokio::task::spawn_blocking(move || package(&job)).await.unwrap();
    let headers = answer["headers"].as_array().unwrap();
    assert_eq!(headers.len(), deliveries.len());
    for ((path, _, body), header) in deliveries.iter().zip(headers) {
        let header = [("stripe-signature", header.as_str().unwrap().as_bytes())];
        let accepted = ingest.post(path, &header, body.as_bytes()).await;
        assert_eq!(accepted.status, 200, "{accepted:?}");
        let other = ingest.post(path, &header, format!("{body} ").as_bytes()).await;
        assert_eq!(
            (other.status, other.json()["code"].as_str()),
            (400, Some("signature_mismatch"))
        );
        let elsewhere = if *path == CONNECT_PATH {
            PLATFORM_PATH
        } else {
            CONNECT_PATH
        };
        assert_eq!(ingest.post(elsewhere, &header, body.as_bytes()).await.status, 400);
    }
    let mut stored = Vec::new();
    for _ in &deliveries {
        stored.push(
            testkit::eventually_some(testkit::PATIENCE, || broker.take("archive.events"))
                .await
                .data
                .clone(),
        );
    }
    for (_, _, body) in &deliveries {
        assert!(stored.iter().any(|data| data == body.as_bytes()), "{body}");
    }
    assert!(broker.take("archive.events").await.is_none());
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_official_package_for_node_signs_is_accepted() {
    posts_what_is_signed_by("node", sign_with_node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_official_package_for_python_signs_is_accepted() {
    posts_what_is_signed_by("python", sign_with_python).await;
}
