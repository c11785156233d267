//! The same seed and the same calls: the same ids, the same answers, the same book, the same order of delivery.

use crate::harness::{DAY, Got, Receiver, Sim, config, id};
use serde_json::{Value, json};
use stripe_sim::{EndpointConfig, SimConfig};

/// A day of escrows with everything that is random switched on, as bytes.
async fn run(seed: u64) -> (Value, Vec<String>) {
    let (receiver, thin) = (Receiver::start(&[]), Receiver::start(&[]));
    let sim = Sim::with(SimConfig {
        endpoints: vec![EndpointConfig::new(&receiver.url), EndpointConfig::thin(&thin.url)],
        ..config(seed)
    })
    .await;
    let faults = json!({ "reorder": 0.4, "duplicate": 0.2, "twin": 0.2, "thin": 0.2, "drop": 0.1 });
    sim.control("faults", faults).await.ok();
    sim.control("pause_deliveries", json!({})).await.ok();
    let account = sim
        .post(
            "/v1/accounts",
            &[("country", "DE"), ("capabilities[transfers][requested]", "true")],
        )
        .await
        .ok();
    let act = json!({ "act": "complete_onboarding", "account": id(&account) });
    sim.control("act", act).await.ok();
    sim.control(
        "faults",
        json!({ "path": "/v1/transfers", "kind": 500, "chance": 0.3, "after_effect": true }),
    )
    .await
    .ok();
    for amount in ["5000", "7000", "9000"] {
        let form = [
            ("amount", amount),
            ("currency", "eur"),
            ("confirm", "true"),
            ("payment_method", "pm_card_visa"),
            ("capture_method", "manual"),
        ];
        let intent = sim.post("/v1/payment_intents", &form).await.ok();
        sim.post(&format!("/v1/payment_intents/{}/capture", id(&intent)), &[])
            .await
            .ok();
        let source = intent["latest_charge"].as_str().unwrap();
        for part in ["1000", "2000"] {
            let form = [
                ("amount", part),
                ("currency", "eur"),
                ("destination", id(&account)),
                ("source_transaction", source),
            ];
            sim.post("/v1/transfers", &form).await;
        }
        let refund = [("payment_intent", id(&intent)), ("amount", "500")];
        sim.post("/v1/refunds", &refund).await.ok();
    }
    sim.advance(3 * DAY).await;
    sim.control("resume_deliveries", json!({})).await.ok();
    sim.quiet().await;
    let bodies = |one: &Receiver| one.got().iter().map(|got: &Got| got.id()).collect::<Vec<_>>();
    let mut ids = bodies(&receiver);
    ids.extend(bodies(&thin));
    (sim.get("/_sim/ledger").await.ok(), ids)
}

#[tokio::test]
async fn the_same_seed_and_calls_give_the_same_money_ids_and_deliveries() {
    let (first, again, other) = (run(7).await, run(7).await, run(8).await);
    assert_eq!(first.0["transfers"].as_array().unwrap().len(), 6);
    assert_eq!(first, again);
    assert_ne!(first.0["transfers"][0]["id"], other.0["transfers"][0]["id"]);
    assert_ne!(first.1, other.1);
}
