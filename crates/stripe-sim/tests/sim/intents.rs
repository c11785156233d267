//! PaymentIntents of one's own: confirmed, held, captured, given up, expired.

use crate::harness::{Answer, DAY, Form, START, Sim, id};
use serde_json::{Value, json};

/// A confirmed intent of 100 euros.
async fn confirmed(sim: &Sim, more: Form<'_>) -> Answer {
    let mut form = vec![
        ("amount", "10000"),
        ("currency", "eur"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
        ("transfer_group", "order_1"),
        ("metadata[escrow_id]", "escrow_1"),
    ];
    form.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    form.extend(more);
    sim.post("/v1/payment_intents", &form).await
}

async fn charge_of(sim: &Sim, intent: &Value) -> Value {
    let charge = intent["latest_charge"].as_str().unwrap();
    sim.get(&format!("/v1/charges/{charge}")).await.ok()
}

#[tokio::test]
async fn an_automatic_intent_takes_the_money_at_once() {
    let sim = Sim::start().await;
    let intent = confirmed(&sim, &[]).await.ok();
    assert_eq!(
        (&intent["status"], &intent["amount_received"], &intent["capture_method"]),
        (&json!("succeeded"), &json!(10_000), &json!("automatic_async"))
    );
    let charge = charge_of(&sim, &intent).await;
    assert_eq!(
        (
            &charge["captured"],
            &charge["transfer_group"],
            &charge["metadata"]["escrow_id"]
        ),
        (&json!(true), &json!("order_1"), &json!("escrow_1"))
    );
    let book = sim.get("/_sim/ledger?escrow_id=escrow_1").await.ok();
    assert_eq!(
        (&book["captures"][0]["amount"], &book["captures"][0]["payment_intent"]),
        (&json!(10_000), &intent["id"])
    );
    assert_eq!(
        sim.get("/_sim/ledger?escrow_id=other").await.ok()["captures"],
        json!([])
    );
    assert_eq!(
        sim.story("").await,
        [
            "payment_intent.created requires_confirmation",
            "charge.succeeded succeeded",
            "payment_intent.succeeded succeeded"
        ]
    );
}

#[tokio::test]
async fn a_hold_is_captured_in_part_once_and_the_rest_is_released() {
    let sim = Sim::start().await;
    let held = confirmed(&sim, &[("capture_method", "manual")]).await.ok();
    assert_eq!(
        (&held["status"], &held["amount_capturable"], &held["amount_received"]),
        (&json!("requires_capture"), &json!(10_000), &json!(0))
    );
    let charge = charge_of(&sim, &held).await;
    assert_eq!(
        (
            &charge["captured"],
            &charge["payment_method_details"]["card"]["capture_before"]
        ),
        (&json!(false), &json!(START + 7 * DAY))
    );
    assert_eq!(sim.get("/_sim/ledger").await.ok()["captures"], json!([]));
    let refund = sim.post("/v1/refunds", &[("payment_intent", id(&held))]).await;
    assert_eq!(refund.body["error"]["code"], "charge_not_refundable");
    let path = format!("/v1/payment_intents/{}/capture", id(&held));
    let over = sim.post(&path, &[("amount_to_capture", "10001")]).await;
    assert_eq!(
        (
            over.status,
            &over.body["error"]["code"],
            &over.body["error"]["payment_intent"]["status"]
        ),
        (400, &json!("amount_too_large"), &json!("requires_capture"))
    );
    let before = sim.mark().await;
    let captured = sim.post(&path, &[("amount_to_capture", "6000")]).await.ok();
    assert_eq!(
        (
            &captured["status"],
            &captured["amount_received"],
            &captured["amount_capturable"]
        ),
        (&json!("succeeded"), &json!(6_000), &json!(0))
    );
    let charge = charge_of(&sim, &captured).await;
    assert_eq!(
        (
            &charge["amount_captured"],
            &charge["amount_refunded"],
            &charge["refunded"]
        ),
        (&json!(6_000), &json!(4_000), &json!(false))
    );
    assert_eq!(
        sim.story(&before).await,
        [
            "charge.captured succeeded",
            "charge.refunded succeeded",
            "payment_intent.succeeded succeeded"
        ]
    );
    let again = sim.post(&path, &[]).await;
    assert_eq!(again.body["error"]["code"], "payment_intent_unexpected_state");
    let over = sim
        .post("/v1/refunds", &[("payment_intent", id(&held)), ("amount", "6001")])
        .await;
    assert_eq!(over.status, 400, "what was released cannot be refunded");
    sim.post("/v1/refunds", &[("payment_intent", id(&held))]).await.ok();
    let charge = charge_of(&sim, &captured).await;
    assert_eq!(
        (&charge["amount_refunded"], &charge["refunded"]),
        (&json!(10_000), &json!(true))
    );
    let book = sim.get("/_sim/ledger").await.ok();
    assert_eq!(
        (&book["captures"][0]["amount"], &book["refunds"][0]["amount"]),
        (&json!(6_000), &json!(6_000))
    );
}

#[tokio::test]
async fn a_hold_ends_by_being_canceled_or_by_its_time() {
    let sim = Sim::start().await;
    let first = confirmed(&sim, &[("capture_method", "manual")]).await.ok();
    let form = [("cancellation_reason", "requested_by_customer")];
    let path = format!("/v1/payment_intents/{}/cancel", id(&first));
    let canceled = sim.post(&path, &form).await.ok();
    assert_eq!(
        (&canceled["status"], &canceled["cancellation_reason"]),
        (&json!("canceled"), &json!("requested_by_customer"))
    );
    let again = sim.post(&path, &form).await;
    assert_eq!(again.body["error"]["code"], "payment_intent_unexpected_state");

    let second = confirmed(&sim, &[("capture_method", "manual")]).await.ok();
    let before = sim.mark().await;
    sim.advance(7 * DAY - 1).await;
    assert_eq!(sim.story(&before).await, [] as [&str; 0]);
    sim.advance(1).await;
    assert_eq!(
        sim.story(&before).await,
        ["charge.expired succeeded", "payment_intent.canceled canceled"]
    );
    let path = format!("/v1/payment_intents/{}", id(&second));
    assert_eq!(sim.get(&path).await.ok()["cancellation_reason"], "expired");
    assert_eq!(
        sim.get_as("2023-10-16", &path).await["cancellation_reason"],
        "automatic"
    );
    let late = sim.post(&format!("{path}/capture"), &[]).await;
    assert_eq!(late.body["error"]["code"], "payment_intent_unexpected_state");

    let third = confirmed(&sim, &[("capture_method", "manual")]).await.ok();
    let act = json!({ "act": "expire_hold", "payment_intent": id(&third) });
    assert_eq!(sim.control("act", act).await.ok()["cancellation_reason"], "expired");
    assert_eq!(sim.get("/_sim/ledger").await.ok()["captures"], json!([]));
}

#[tokio::test]
async fn a_declined_card_leaves_the_intent_usable() {
    let sim = Sim::start().await;
    let refused = confirmed(&sim, &[("payment_method", "pm_card_chargeDeclinedInsufficientFunds")]).await;
    let error = &refused.body["error"];
    assert_eq!(
        (refused.status, &error["code"], &error["decline_code"]),
        (402, &json!("card_declined"), &json!("insufficient_funds"))
    );
    let intent = error["payment_intent"].clone();
    assert_eq!(
        (&intent["status"], &intent["last_payment_error"]["decline_code"]),
        (&json!("requires_payment_method"), &json!("insufficient_funds"))
    );
    let path = format!("/v1/payment_intents/{}/confirm", id(&intent));
    let without = sim.post(&path, &[]).await;
    assert_eq!(without.body["error"]["code"], "payment_intent_unexpected_state");
    let paid = sim.post(&path, &[("payment_method", "pm_card_visa")]).await.ok();
    assert_eq!(paid["status"], "succeeded");
}

#[tokio::test]
async fn a_card_that_wants_its_owner_waits_or_is_refused_without_one() {
    let sim = Sim::start().await;
    let card = ("payment_method", "pm_card_authenticationRequired");
    for (succeeds, status) in [(true, "succeeded"), (false, "requires_payment_method")] {
        let waiting = confirmed(&sim, &[card]).await.ok();
        assert_eq!(waiting["status"], "requires_action");
        let act = json!({ "act": "authenticate", "payment_intent": id(&waiting), "succeeds": succeeds });
        assert_eq!(sim.control("act", act).await.ok()["status"], status);
    }
    let refused = confirmed(&sim, &[card, ("off_session", "true")]).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (402, &json!("authentication_required"))
    );
}

#[tokio::test]
async fn amounts_and_currencies_follow_stripes_rules() {
    let sim = Sim::start().await;
    for (amount, currency, code, param) in [
        ("49", "eur", json!("amount_too_small"), "amount"),
        ("100000000", "eur", json!("amount_too_large"), "amount"),
        ("-1", "eur", json!("parameter_invalid_integer"), "amount"),
        ("1.5", "eur", json!("parameter_invalid_integer"), "amount"),
        ("1234", "kwd", json!("parameter_invalid_integer"), "amount"),
        ("1000", "xyz", Value::Null, "currency"),
    ] {
        let answer = confirmed(&sim, &[("amount", amount), ("currency", currency)]).await;
        assert_eq!(
            (
                answer.status,
                &answer.body["error"]["code"],
                &answer.body["error"]["param"]
            ),
            (400, &code, &json!(param)),
            "{amount} {currency}"
        );
    }
    assert_eq!(sim.get("/v1/payment_intents").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn an_intent_is_found_again_by_its_metadata() {
    let sim = Sim::start().await;
    let first = confirmed(&sim, &[]).await.ok();
    confirmed(&sim, &[("metadata[escrow_id]", "escrow_2")]).await.ok();
    for path in ["payment_intents", "charges"] {
        let query = "metadata['escrow_id']:'escrow_1' AND status:\"succeeded\"";
        let request = sim
            .request("GET", &format!("/v1/{path}/search"))
            .query(&[("query", query)]);
        let found = sim.send(request).await.ok();
        assert_eq!(found["data"].as_array().unwrap().len(), 1, "{path}");
        assert_eq!(found["data"][0]["metadata"], first["metadata"]);
    }
    let bad = sim.request("GET", "/v1/charges/search").query(&[("query", "amount>5")]);
    assert_eq!(sim.send(bad).await.status, 400);
}

#[tokio::test]
async fn a_checkout_with_manual_capture_is_complete_and_unpaid() {
    let sim = Sim::start().await;
    let form = [
        ("mode", "payment"),
        ("line_items[0][price_data][currency]", "eur"),
        ("line_items[0][price_data][unit_amount]", "5000"),
        ("line_items[0][price_data][product_data][name]", "Thing"),
        ("payment_intent_data[capture_method]", "manual"),
    ];
    let session = sim.post("/v1/checkout/sessions", &form).await.ok();
    let act = json!({ "act": "complete_checkout", "session": id(&session) });
    let done = sim.control("act", act).await.ok();
    assert_eq!(
        (&done["status"], &done["payment_status"]),
        (&json!("complete"), &json!("unpaid"))
    );
    let intent = done["payment_intent"].as_str().unwrap();
    let captured = sim
        .post(&format!("/v1/payment_intents/{intent}/capture"), &[])
        .await
        .ok();
    assert_eq!(captured["amount_received"], 5_000);
}
