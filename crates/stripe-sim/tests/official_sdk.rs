//! A second opinion: Stripe's own package for Node plays an escrow against the simulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise"
)]

use std::path::Path;

use serde_json::{Value, json};
use stripe_sim::SimConfig;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_package_for_node_plays_an_escrow() {
    let sim = stripe_sim::start(SimConfig::default()).await.unwrap();
    let address = sim.base_url.trim_start_matches("http://").to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let (host, port) = (host.to_owned(), port.to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/escrow.mjs");
    let playing = tokio::task::spawn_blocking(move || testkit::run_node(&script, &[&host, &port], ""));
    let told = playing.await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        json!({
            "account": "active",
            "declined": { "type": "StripeCardError", "code": "card_declined", "status": 402 },
            "small": { "type": "StripeInvalidRequestError", "code": "amount_too_small", "status": 400 },
            "captured": ["succeeded", 8_000, true],
            "replayed": [true, "true"],
            "mismatch": { "type": "StripeIdempotencyError", "code": null, "status": 400 },
            "over": { "type": "StripeInvalidRequestError", "code": null, "status": 400 },
            "reversal": 500,
            "refund": "succeeded",
            "listed": 1,
            "pending": 6_500,
            "v2": "active",
            "net": 8_000
        })
    );
    sim.stop().await;
}
