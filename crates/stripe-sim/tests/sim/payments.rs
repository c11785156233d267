//! Checkout, invoices of their own, refunds and disputes.

use crate::harness::{DAY, Sim, id};
use serde_json::{Value, json};

#[tokio::test]
async fn checkout_makes_customer_and_subscription_and_then_completes() {
    let sim = Sim::start().await;
    let price = sim.price("1000", "month").await;
    let form = [
        ("mode", "subscription"),
        ("line_items[0][price]", price.as_str()),
        ("line_items[0][quantity]", "2"),
        ("success_url", "https://x.test/ok"),
        ("client_reference_id", "ref"),
        ("metadata[client_id]", "client_9"),
        ("subscription_data[metadata][client_id]", "client_9"),
    ];
    let session = sim.post("/v1/checkout/sessions", &form).await.ok();
    let act =
        json!({ "act": "complete_checkout", "session": id(&session), "payment_method": "pm_card_chargeDeclined" });
    assert_eq!(sim.control("act", act).await.status, 402);
    assert_eq!(
        sim.get(&format!("/v1/checkout/sessions/{}", id(&session))).await.ok()["status"],
        "open"
    );
    let done = sim
        .control("act", json!({ "act": "complete_checkout", "session": id(&session) }))
        .await
        .ok();
    assert_eq!(
        (&done["status"], &done["payment_status"], &done["amount_total"]),
        (&json!("complete"), &json!("paid"), &json!(2_000))
    );
    let subscription = sim
        .get(&format!("/v1/subscriptions/{}", done["subscription"].as_str().unwrap()))
        .await
        .ok();
    assert_eq!(
        (&subscription["status"], &subscription["metadata"]["client_id"]),
        (&json!("active"), &json!("client_9"))
    );
    assert_eq!(subscription["customer"], done["customer"]);
    let told = sim.story("").await;
    let place = |kind: &str| {
        told.iter()
            .position(|one| one == kind)
            .unwrap_or_else(|| panic!("no {kind} in {told:?}"))
    };
    assert!(place("customer.subscription.created incomplete") < place("customer.subscription.updated active"));
    assert!(place("customer.subscription.updated active") < place("checkout.session.completed complete"));
    assert_eq!(
        sim.control("act", json!({ "act": "complete_checkout", "session": id(&session) }))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_delayed_checkout_payment_comes_later_and_an_unused_session_expires() {
    let sim = Sim::start().await;
    let form = [
        ("mode", "payment"),
        ("line_items[0][price_data][currency]", "eur"),
        ("line_items[0][price_data][unit_amount]", "500"),
        ("line_items[0][price_data][product_data][name]", "Thing"),
    ];
    let (first, second) = (
        sim.post("/v1/checkout/sessions", &form).await.ok(),
        sim.post("/v1/checkout/sessions", &form).await.ok(),
    );
    let done = sim
        .control(
            "act",
            json!({ "act": "complete_checkout", "session": id(&first), "delayed": true }),
        )
        .await
        .ok();
    assert_eq!(
        (&done["status"], &done["payment_status"]),
        (&json!("complete"), &json!("unpaid"))
    );
    sim.control(
        "act",
        json!({ "act": "settle_checkout", "session": id(&first), "succeeds": true }),
    )
    .await
    .ok();
    sim.advance(DAY).await;
    let told = sim.story("").await;
    assert_eq!(
        told[told.len() - 2..],
        [
            "checkout.session.async_payment_succeeded complete",
            "checkout.session.expired expired"
        ]
    );
    assert_eq!(sim.events().await.last().unwrap()["data"]["object"]["id"], second["id"]);
}

#[tokio::test]
async fn invoices_of_their_own_are_paid_out_of_band_voided_or_for_nothing() {
    let sim = Sim::start().await;
    let customer = sim.customer(None).await;
    let mut made = Vec::new();
    for amount in ["700", "800", "0"] {
        sim.post(
            "/v1/invoiceitems",
            &[("customer", &customer), ("amount", amount), ("currency", "eur")],
        )
        .await
        .ok();
        let form = [
            ("customer", customer.as_str()),
            ("pending_invoice_items_behavior", "include"),
            ("collection_method", "send_invoice"),
        ];
        let invoice = sim.post("/v1/invoices", &form).await.ok();
        made.push(
            sim.post(&format!("/v1/invoices/{}/finalize", id(&invoice)), &[])
                .await
                .ok(),
        );
    }
    assert_eq!(
        (&made[0]["parent"], &made[0]["status"], &made[2]["status"]),
        (&Value::Null, &json!("open"), &json!("paid"))
    );
    let before = sim.mark().await;
    let paid = sim
        .post(
            &format!("/v1/invoices/{}/pay", id(&made[0])),
            &[("paid_out_of_band", "true")],
        )
        .await
        .ok();
    assert_eq!((&paid["status"], &paid["amount_paid"]), (&json!("paid"), &json!(700)));
    let told = sim.story(&before).await;
    assert!(
        told.contains(&"invoice.paid paid".to_owned()) && !told.contains(&"invoice.payment_succeeded paid".to_owned()),
        "{told:?}"
    );
    sim.post(&format!("/v1/invoices/{}/void", id(&made[1])), &[]).await.ok();
    assert_eq!(
        sim.get("/_sim/ledger").await.ok()["captures"],
        json!([]),
        "no money moved through Stripe"
    );
}

#[tokio::test]
async fn refunds_are_cumulative_and_bounded_and_disputes_take_the_rest() {
    let sim = Sim::start().await;
    sim.running().await;
    let charge = sim.get("/v1/charges").await.ok()["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    sim.post("/v1/refunds", &[("charge", &charge), ("amount", "300")])
        .await
        .ok();
    assert_eq!(
        sim.post("/v1/refunds", &[("charge", &charge), ("amount", "701")])
            .await
            .status,
        400
    );
    sim.post("/v1/refunds", &[("charge", &charge)]).await.ok();
    assert_eq!(
        sim.post("/v1/refunds", &[("charge", &charge)]).await.body["error"]["code"],
        "charge_already_refunded"
    );
    let refunded: Vec<Value> = sim
        .events()
        .await
        .into_iter()
        .filter(|one| one["type"] == "charge.refunded")
        .collect();
    let seen: Vec<_> = refunded
        .iter()
        .map(|one| {
            (
                &one["data"]["object"]["amount_refunded"],
                &one["data"]["object"]["refunded"],
            )
        })
        .collect();
    assert_eq!(seen, [(&json!(300), &json!(false)), (&json!(1_000), &json!(true))]);
    assert_eq!(
        sim.get("/_sim/ledger").await.ok()["refunds"].as_array().unwrap().len(),
        2
    );

    sim.running().await;
    let charge = sim.get("/v1/charges?limit=1").await.ok()["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let dispute = sim
        .control("act", json!({ "act": "create_dispute", "charge": charge }))
        .await
        .ok();
    assert_eq!(
        sim.post("/v1/refunds", &[("charge", &charge)]).await.body["error"]["code"],
        "charge_disputed"
    );
    sim.control(
        "act",
        json!({ "act": "close_dispute", "dispute": id(&dispute), "status": "lost" }),
    )
    .await
    .ok();
    let told = sim.story("").await;
    assert_eq!(
        told[told.len() - 3..],
        [
            "charge.dispute.created needs_response",
            "charge.dispute.funds_withdrawn needs_response",
            "charge.dispute.closed lost"
        ]
    );
}
