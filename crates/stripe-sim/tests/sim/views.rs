//! What the simulator posts is what the gateway reads, in every version.

use crate::harness::{DAY, Receiver, START, Sim, config, id};
use serde_json::json;
use stripe_gateway::views::EventView;
use stripe_sim::{ApiVersion, EndpointConfig, SimConfig};

const VERSIONS: [&str; 3] = ["2023-10-16", "2025-04-30.basil", "2026-09-30.endive"];

/// Renewals, a refusal, an upgrade, a checkout, a refund, a dispute, an end.
async fn live(sim: &Sim) {
    let made = sim.running().await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let larger = sim.price("3000", "month").await;
    let item = made["items"]["data"][0]["id"].as_str().unwrap();
    sim.post(&path, &[("items[0][id]", item), ("items[0][price]", &larger)])
        .await
        .ok();
    sim.advance(29 * DAY).await;
    sim.post(&path, &[("default_payment_method", "pm_card_chargeDeclined")])
        .await
        .ok();
    sim.post(&path, &[("pause_collection[behavior]", "void")]).await.ok();
    sim.post(&path, &[("pause_collection", "")]).await.ok();
    sim.advance(33 * DAY).await;
    let form = [("mode", "subscription"), ("line_items[0][price]", larger.as_str())];
    let session = sim.post("/v1/checkout/sessions", &form).await.ok();
    sim.control("act", json!({ "act": "complete_checkout", "session": id(&session) }))
        .await
        .ok();
    let charge = sim.get("/v1/charges?limit=1").await.ok()["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    sim.post("/v1/refunds", &[("charge", &charge), ("amount", "100")])
        .await
        .ok();
    sim.control("act", json!({ "act": "create_dispute", "charge": charge }))
        .await
        .ok();
    sim.delete(&path).await.ok();
    sim.quiet().await;
}

/// Reads an event through the view of its object and tells what billing would see.
fn read(body: &[u8]) -> Option<String> {
    let event = EventView::parse(body).unwrap();
    let value: serde_json::Value = serde_json::from_slice(body).unwrap();
    Some(match value["data"]["object"]["object"].as_str().unwrap() {
        "subscription" => {
            let now = event.subscription().unwrap();
            let before = event.previous_subscription(&now).unwrap();
            format!("{now:?} {before:?}")
        }
        "invoice" => {
            let mut invoice = event.invoice().unwrap();
            invoice.paid_out_of_band = None;
            format!("{invoice:?}")
        }
        "charge" => event.charge().map(|one| one.id).unwrap(),
        "payment_intent" => event.payment_intent().map(|one| one.id).unwrap(),
        "checkout.session" => format!("{:?}", event.checkout_session().unwrap()),
        "refund" => format!("{:?}", event.refund().unwrap()),
        "dispute" => format!("{:?}", event.dispute().unwrap()),
        "invoice_payment" => {
            event.invoice_payment().unwrap();
            return None;
        }
        _ => event.object_id().unwrap().unwrap(),
    })
}

#[tokio::test]
async fn the_gateway_sees_the_same_in_every_version() {
    let receivers = VERSIONS.map(|_| Receiver::start(&[]));
    let endpoint = |(receiver, version): (&Receiver, &str)| EndpointConfig {
        api_version: ApiVersion::parse(version),
        ..EndpointConfig::new(&receiver.url)
    };
    let endpoints = receivers.iter().zip(VERSIONS).map(endpoint).collect();
    let sim = Sim::with(SimConfig { endpoints, ..config(7) }).await;
    live(&sim).await;
    let seen: Vec<Vec<String>> = receivers
        .iter()
        .map(|one| one.got().iter().filter_map(|got| read(&got.body)).collect())
        .collect();
    assert!(seen[0].len() > 60, "{} events", seen[0].len());
    for (old, new) in [(0, 1), (1, 2)] {
        for (one, other) in seen[old].iter().zip(&seen[new]) {
            assert_eq!(one, other, "{} and {}", VERSIONS[old], VERSIONS[new]);
        }
        assert_eq!(seen[old].len(), seen[new].len());
    }
}

#[tokio::test]
async fn an_invoice_has_the_period_before_and_its_lines_the_one_to_come() {
    let sim = Sim::start().await;
    let made = sim.running().await;
    let latest = |made: &serde_json::Value| format!("/v1/invoices/{}", made["latest_invoice"].as_str().unwrap());
    let period = |one: &serde_json::Value| {
        (
            one["period_start"].as_i64().unwrap(),
            one["period_end"].as_i64().unwrap(),
        )
    };
    let line = |one: &serde_json::Value| {
        let period = &one["lines"]["data"][0]["period"];
        (period["start"].as_i64().unwrap(), period["end"].as_i64().unwrap())
    };
    let first = sim.get(&latest(&made)).await.ok();
    assert_eq!(
        (period(&first), line(&first)),
        ((START, START), (START, START + 28 * DAY))
    );
    sim.advance(29 * DAY).await;
    let renewed = sim.get(&format!("/v1/subscriptions/{}", id(&made))).await.ok();
    let second = sim.get(&latest(&renewed)).await.ok();
    assert_eq!(
        (period(&second), line(&second)),
        ((START, START + 28 * DAY), (START + 28 * DAY, START + 59 * DAY))
    );
}
