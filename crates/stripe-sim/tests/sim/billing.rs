//! A subscription's life, told by its events.

use crate::harness::{DAY, START, Sim, id, tell};
use serde_json::{Value, json};

const PAID: [&str; 7] = [
    "charge.succeeded succeeded",
    "payment_intent.succeeded succeeded",
    "invoice.updated paid",
    "invoice.paid paid",
    "invoice.payment_succeeded paid",
    "invoice_payment.paid paid",
    "",
];
const REFUSED: [&str; 4] = [
    "charge.failed failed",
    "payment_intent.payment_failed requires_payment_method",
    "invoice.updated open",
    "invoice.payment_failed open",
];

fn story(parts: &[&[&str]]) -> Vec<String> {
    parts
        .concat()
        .into_iter()
        .filter(|one| !one.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

const FINALIZED: [&str; 2] = ["payment_intent.created requires_confirmation", "invoice.finalized open"];

#[tokio::test]
async fn a_subscription_starts_renews_and_ends() {
    let sim = Sim::start().await;
    let (customer, price) = (
        sim.customer(Some("pm_card_visa")).await,
        sim.price("1000", "month").await,
    );
    let before = sim.mark().await;
    let made = sim.subscribe(&customer, &price, &[]).await.ok();
    assert_eq!(made["status"], "active");
    let start = story(&[
        &["customer.subscription.created active", "invoice.created draft"],
        &FINALIZED,
        &PAID,
    ]);
    assert_eq!(sim.story(&before).await, start);

    let before = sim.mark().await;
    sim.advance(29 * DAY).await;
    let renewed = story(&[
        &["invoice.created draft", "customer.subscription.updated active"],
        &FINALIZED,
        &PAID,
    ]);
    assert_eq!(sim.story(&before).await, renewed);
    let events = sim.since(&before).await;
    let cycle = &events[0]["data"]["object"];
    assert_eq!(
        (&cycle["billing_reason"], &cycle["created"]),
        (&json!("subscription_cycle"), &json!(START + 28 * DAY))
    );
    assert_eq!(
        events.last().unwrap()["created"],
        json!(START + 28 * DAY + 3_600),
        "an hour as a draft"
    );
    assert_eq!(
        events.last().unwrap()["request"]["id"],
        Value::Null,
        "nobody asked for it"
    );

    let before = sim.mark().await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let scheduled = sim.post(&path, &[("cancel_at_period_end", "true")]).await.ok();
    assert_eq!(
        (&scheduled["status"], &scheduled["cancel_at"]),
        (&json!("active"), &json!(START + 59 * DAY))
    );
    assert_eq!(sim.story(&before).await, ["customer.subscription.updated active"]);
    let before = sim.mark().await;
    sim.advance(30 * DAY).await;
    assert_eq!(sim.story(&before).await, ["customer.subscription.deleted canceled"]);
    let ended = sim.get(&path).await.ok();
    assert_eq!(
        (&ended["ended_at"], &ended["cancellation_details"]["reason"]),
        (&json!(START + 59 * DAY), &json!("cancellation_requested"))
    );
    assert_eq!(sim.delete(&path).await.status, 404);
    let ledger = sim.get("/_sim/ledger").await.ok();
    assert_eq!(
        ledger["captures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["amount"].as_i64().unwrap())
            .sum::<i64>(),
        2_000
    );
}

#[tokio::test]
async fn a_refused_first_payment_leaves_the_subscription_incomplete_until_it_expires() {
    let sim = Sim::start().await;
    let (customer, price) = (sim.customer(None).await, sim.price("1000", "month").await);
    let before = sim.mark().await;
    let made = sim
        .subscribe(
            &customer,
            &price,
            &[("default_payment_method", "pm_card_chargeDeclined")],
        )
        .await
        .ok();
    assert_eq!(made["status"], "incomplete");
    let told = story(&[
        &[
            "payment_method.attached",
            "customer.subscription.created incomplete",
            "invoice.created draft",
        ],
        &FINALIZED,
        &REFUSED,
    ]);
    assert_eq!(sim.story(&before).await, told);
    let before = sim.mark().await;
    sim.advance(23 * 3_600).await;
    assert_eq!(
        sim.story(&before).await,
        [
            "customer.subscription.updated incomplete_expired",
            "invoice.updated void",
            "payment_intent.canceled canceled",
            "invoice.voided void"
        ]
    );
}

#[tokio::test]
async fn an_incomplete_subscription_becomes_active_by_its_payment_intent() {
    let sim = Sim::start().await;
    let (customer, price) = (sim.customer(None).await, sim.price("1000", "month").await);
    let made = sim
        .subscribe(&customer, &price, &[("payment_behavior", "default_incomplete")])
        .await
        .ok();
    assert_eq!(made["status"], "incomplete");
    let invoice = sim
        .get_as(
            "2023-10-16",
            &format!("/v1/invoices/{}", made["latest_invoice"].as_str().unwrap()),
        )
        .await;
    let confirm = format!(
        "/v1/payment_intents/{}/confirm",
        invoice["payment_intent"].as_str().unwrap()
    );
    assert_eq!(
        sim.post(&confirm, &[("payment_method", "pm_card_chargeDeclined")])
            .await
            .status,
        402
    );
    sim.post(&confirm, &[("payment_method", "pm_card_visa")]).await.ok();
    let last = sim.events().await.pop().unwrap();
    assert_eq!(tell(&last), "customer.subscription.updated active");
    assert_eq!(last["data"]["previous_attributes"], json!({ "status": "incomplete" }));
    assert_eq!(
        sim.post(&confirm, &[("payment_method", "pm_card_visa")]).await.body["error"]["code"],
        "payment_intent_unexpected_state"
    );
}

#[tokio::test]
async fn a_renewal_that_fails_is_retried_recovers_or_ends() {
    for (recovers, after_retries, end) in [
        (true, "cancel", "active"),
        (false, "cancel", "canceled"),
        (false, "unpaid", "unpaid"),
        (false, "past_due", "past_due"),
    ] {
        let sim = Sim::start().await;
        sim.control("settings", json!({ "after_retries": after_retries }))
            .await
            .ok();
        let made = sim.running().await;
        let (path, customer) = (
            format!("/v1/subscriptions/{}", id(&made)),
            made["customer"].as_str().unwrap(),
        );
        let broken = sim
            .post(
                &format!("/v1/payment_methods/{}/attach", "pm_card_chargeCustomerFail"),
                &[("customer", customer)],
            )
            .await
            .ok();
        sim.post(&path, &[("default_payment_method", id(&broken))]).await.ok();
        let before = sim.mark().await;
        sim.advance(29 * DAY).await;
        let told = story(&[
            &["invoice.created draft", "customer.subscription.updated active"],
            &FINALIZED,
            &REFUSED,
            &["customer.subscription.updated past_due"],
        ]);
        assert_eq!(sim.story(&before).await, told);
        let invoice = sim.get(&path).await.ok()["latest_invoice"].as_str().unwrap().to_owned();
        assert_eq!(
            sim.get(&format!("/v1/invoices/{invoice}")).await.ok()["next_payment_attempt"],
            json!(START + 31 * DAY + 3_600)
        );
        let before = sim.mark().await;
        if recovers {
            sim.post(&path, &[("default_payment_method", "pm_card_visa")])
                .await
                .ok();
            sim.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await.ok();
            let told = story(&[
                &["payment_method.attached", "customer.subscription.updated past_due"],
                &PAID,
                &["customer.subscription.updated active"],
            ]);
            assert_eq!(sim.story(&before).await, told);
            assert_eq!(
                sim.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await.body["error"]["code"],
                "invoice_already_paid"
            );
        } else {
            sim.advance(16 * DAY).await;
            assert_eq!(
                sim.story(&before)
                    .await
                    .iter()
                    .filter(|one| one.starts_with("invoice.payment_failed"))
                    .count(),
                3
            );
            let invoice = sim.get(&format!("/v1/invoices/{invoice}")).await.ok();
            assert_eq!(
                (&invoice["attempt_count"], &invoice["next_payment_attempt"]),
                (&json!(4), &Value::Null)
            );
        }
        let now = sim.get(&path).await.ok();
        assert_eq!(now["status"], end);
        if end == "canceled" {
            assert_eq!(now["cancellation_details"]["reason"], "payment_failed");
        }
    }
}

#[tokio::test]
async fn a_trial_is_free_is_announced_and_then_paid() {
    let sim = Sim::start().await;
    let (customer, price) = (
        sim.customer(Some("pm_card_visa")).await,
        sim.price("1000", "month").await,
    );
    let before = sim.mark().await;
    let made = sim
        .subscribe(&customer, &price, &[("trial_period_days", "14")])
        .await
        .ok();
    assert_eq!(
        sim.story(&before).await,
        [
            "customer.subscription.created trialing",
            "invoice.created draft",
            "invoice.finalized open",
            "invoice.updated paid",
            "invoice.paid paid",
            "invoice.payment_succeeded paid"
        ]
    );
    assert_eq!(sim.events().await.last().unwrap()["data"]["object"]["amount_paid"], 0);
    let before = sim.mark().await;
    sim.advance(15 * DAY).await;
    let told = story(&[
        &[
            "customer.subscription.trial_will_end trialing",
            "invoice.created draft",
            "customer.subscription.updated active",
        ],
        &FINALIZED,
        &PAID,
    ]);
    assert_eq!(sim.story(&before).await, told);
    assert_eq!(sim.since(&before).await[0]["created"], json!(START + 11 * DAY));
    assert_eq!(
        sim.get(&format!("/v1/subscriptions/{}", id(&made))).await.ok()["status"],
        "active"
    );
}

#[tokio::test]
async fn a_trial_without_a_card_pauses_when_told_to_and_resumes() {
    let sim = Sim::start().await;
    let (customer, price) = (sim.customer(None).await, sim.price("1000", "month").await);
    let pause = ("trial_settings[end_behavior][missing_payment_method]", "pause");
    let made = sim
        .subscribe(&customer, &price, &[("trial_period_days", "7"), pause])
        .await
        .ok();
    sim.advance(8 * DAY).await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    assert_eq!(sim.get(&path).await.ok()["status"], "paused");
    sim.post(&path, &[("default_payment_method", "pm_card_visa")])
        .await
        .ok();
    assert_eq!(sim.post(&format!("{path}/resume"), &[]).await.ok()["status"], "active");
    let told = sim.story("").await;
    for kind in [
        "customer.subscription.paused paused",
        "customer.subscription.resumed active",
    ] {
        assert_eq!(told.iter().filter(|one| *one == kind).count(), 1, "{kind}");
    }
}
