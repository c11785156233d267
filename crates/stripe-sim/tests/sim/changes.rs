//! Upgrades, downgrades, pauses, and time that moves for some only.

use crate::harness::{DAY, START, Sim, id};
use serde_json::{Value, json};

#[tokio::test]
async fn an_upgrade_in_place_is_prorated_on_the_next_invoice_or_at_once() {
    for (behavior, amounts) in [
        ("create_prorations", vec![-500, 1_500, 3_000]),
        ("always_invoice", vec![-500, 1_500]),
        ("none", vec![3_000]),
    ] {
        let sim = Sim::start().await;
        let made = sim.running().await;
        let (path, larger) = (
            format!("/v1/subscriptions/{}", id(&made)),
            sim.price("3000", "month").await,
        );
        sim.advance(14 * DAY).await;
        let before = sim.mark().await;
        let item = made["items"]["data"][0]["id"].as_str().unwrap();
        let form = [
            ("items[0][id]", item),
            ("items[0][price]", &larger),
            ("proration_behavior", behavior),
        ];
        let upgraded = sim.post(&path, &form).await.ok();
        assert_eq!(
            (
                &upgraded["items"]["data"][0]["id"],
                &upgraded["items"]["data"][0]["price"]["id"]
            ),
            (&json!(item), &json!(larger))
        );
        let update = sim
            .since(&before)
            .await
            .into_iter()
            .find(|one| one["type"] == "customer.subscription.updated")
            .unwrap();
        assert_eq!(
            update["data"]["previous_attributes"]["items"]["data"][0]["price"]["unit_amount"],
            1_000
        );
        if behavior != "always_invoice" {
            sim.advance(15 * DAY).await;
        }
        let latest = sim.get(&path).await.ok()["latest_invoice"].as_str().unwrap().to_owned();
        let invoice = sim.get(&format!("/v1/invoices/{latest}")).await.ok();
        let found: Vec<i64> = invoice["lines"]["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["amount"].as_i64().unwrap())
            .collect();
        assert_eq!((found, &invoice["status"]), (amounts, &json!("paid")), "{behavior}");
    }
}

#[tokio::test]
async fn a_downgrade_at_once_leaves_credit_that_the_next_invoice_uses() {
    let sim = Sim::start().await;
    let (customer, price) = (
        sim.customer(Some("pm_card_visa")).await,
        sim.price("3000", "month").await,
    );
    let made = sim.subscribe(&customer, &price, &[]).await.ok();
    let (path, smaller) = (
        format!("/v1/subscriptions/{}", id(&made)),
        sim.price("1000", "month").await,
    );
    sim.advance(14 * DAY).await;
    let item = made["items"]["data"][0]["id"].as_str().unwrap();
    sim.post(
        &path,
        &[
            ("items[0][id]", item),
            ("items[0][price]", &smaller),
            ("proration_behavior", "always_invoice"),
        ],
    )
    .await
    .ok();
    assert_eq!(
        sim.get(&format!("/v1/customers/{customer}")).await.ok()["balance"],
        -1_000
    );
    sim.advance(15 * DAY).await;
    let invoices = sim.get("/v1/invoices?limit=1").await.ok();
    let invoice = &invoices["data"][0];
    assert_eq!(
        (&invoice["total"], &invoice["amount_due"], &invoice["status"]),
        (&json!(1_000), &json!(0), &json!("paid"))
    );
    assert_eq!(sim.get(&format!("/v1/customers/{customer}")).await.ok()["balance"], 0);
    assert_eq!(
        sim.get("/_sim/ledger").await.ok()["captures"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_test_clock_moves_only_its_own_customers() {
    let sim = Sim::start().await;
    let clock = sim
        .post("/v1/test_helpers/test_clocks", &[("frozen_time", &START.to_string())])
        .await
        .ok();
    let form = [
        ("test_clock", id(&clock)),
        ("invoice_settings[default_payment_method]", "pm_card_visa"),
    ];
    let customer = sim.post("/v1/customers", &form).await.ok();
    let price = sim.price("1000", "month").await;
    let moved = sim.subscribe(id(&customer), &price, &[]).await.ok();
    let stays = sim.running().await;
    let advanced = sim
        .post(
            &format!("/v1/test_helpers/test_clocks/{}/advance", id(&clock)),
            &[("frozen_time", &(START + 65 * DAY).to_string())],
        )
        .await;
    assert_eq!(advanced.ok()["status"], "advancing");
    assert_eq!(
        sim.get(&format!("/v1/test_helpers/test_clocks/{}", id(&clock)))
            .await
            .ok()["status"],
        "ready"
    );
    for (subscription, count) in [(moved, 3), (stays, 1)] {
        let invoices = sim
            .get(&format!("/v1/invoices?subscription={}&status=paid", id(&subscription)))
            .await
            .ok();
        assert_eq!(invoices["data"].as_array().unwrap().len(), count);
    }
}

#[tokio::test]
async fn paused_collection_changes_no_status_and_voids_what_would_be_due() {
    let sim = Sim::start().await;
    let made = sim.running().await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let paused = sim.post(&path, &[("pause_collection[behavior]", "void")]).await.ok();
    assert_eq!(
        (&paused["status"], &paused["pause_collection"]["behavior"]),
        (&json!("active"), &json!("void"))
    );
    sim.advance(29 * DAY).await;
    assert_eq!(sim.story("").await.last().unwrap(), "invoice.voided void");
    assert_eq!(
        sim.post(&path, &[("pause_collection", "")]).await.ok()["pause_collection"],
        Value::Null
    );
    let deleted = sim.delete(&path).await.ok();
    assert_eq!(
        (&deleted["status"], &deleted["canceled_at"]),
        (&json!("canceled"), &json!(START + 29 * DAY))
    );
}

#[tokio::test]
async fn a_cancellation_at_the_periods_end_can_be_withdrawn_before_it_comes() {
    let sim = Sim::start().await;
    let subscription = sim.running().await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let item = sim
        .get(&format!("/v1/subscription_items?subscription={}", id(&subscription)))
        .await
        .ok();
    let end = item["data"][0]["current_period_end"].as_i64().unwrap();
    let scheduled = sim.post(&path, &[("cancel_at_period_end", "true")]).await.ok();
    assert_eq!(
        (&scheduled["status"], &scheduled["cancel_at"], &scheduled["ended_at"]),
        (&json!("active"), &json!(end), &serde_json::Value::Null)
    );
    let withdrawn = sim.post(&path, &[("cancel_at_period_end", "false")]).await.ok();
    assert_eq!(
        (&withdrawn["cancel_at"], &withdrawn["canceled_at"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    sim.advance(32 * DAY).await;
    assert_eq!(sim.get(&path).await.ok()["status"], "active");
    sim.post(&path, &[("cancel_at_period_end", "true")]).await.ok();
    let before = sim.mark().await;
    sim.advance(32 * DAY).await;
    assert_eq!(sim.story(&before).await, ["customer.subscription.deleted canceled"]);
}
