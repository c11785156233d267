//! What the platform and its accounts have: fees, disputes, refunds that wait, payouts.

use crate::harness::{DAY, Sim, id};
use serde_json::{Value, json};

async fn pay(sim: &Sim, amount: &str, card: &str) -> Value {
    let form = [
        ("amount", amount),
        ("currency", "eur"),
        ("confirm", "true"),
        ("payment_method", card),
    ];
    sim.post("/v1/payment_intents", &form).await.ok()
}

async fn available(sim: &Sim) -> i64 {
    let sheet = sim.get("/v1/balance").await.ok();
    let sum = |name: &str| sheet[name][0]["amount"].as_i64().unwrap_or(0);
    sum("available") + sum("pending")
}

async fn act(sim: &Sim, act: Value) -> Value {
    sim.control("act", act).await.ok()
}

#[tokio::test]
async fn every_movement_is_a_transaction_and_the_balance_is_their_sum() {
    let sim = Sim::start().await;
    sim.control("settings", json!({ "fee_bps": 150, "fee_fixed": 25 }))
        .await
        .ok();
    let intent = pay(&sim, "10000", "pm_card_visa").await;
    sim.post("/v1/refunds", &[("payment_intent", id(&intent)), ("amount", "1000")])
        .await
        .ok();
    let charge = intent["latest_charge"].as_str().unwrap();
    let dispute = act(
        &sim,
        json!({ "act": "create_dispute", "charge": charge, "amount": 9_000 }),
    )
    .await;
    let all = sim.get("/v1/balance_transactions?limit=100").await.ok();
    let rows: Vec<(String, i64, i64)> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|one| {
            let number = |name: &str| one[name].as_i64().unwrap();
            (
                one["type"].as_str().unwrap().to_owned(),
                number("amount"),
                number("net"),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("charge".to_owned(), 10_000, 9_825),
            ("refund".to_owned(), -1_000, -1_000),
            ("adjustment".to_owned(), -9_000, -10_500)
        ]
    );
    assert_eq!(available(&sim).await, 9_825 - 1_000 - 10_500);
    let shown = sim
        .get(&format!("/v1/charges/{charge}?expand[]=balance_transaction"))
        .await
        .ok();
    assert_eq!(
        (
            &shown["balance_transaction"]["fee"],
            &shown["balance_transaction"]["status"]
        ),
        (&json!(175), &json!("pending"))
    );
    act(
        &sim,
        json!({ "act": "close_dispute", "dispute": id(&dispute), "status": "lost" }),
    )
    .await;
    act(
        &sim,
        json!({ "act": "close_dispute", "dispute": id(&dispute), "status": "won" }),
    )
    .await;
    assert_eq!(available(&sim).await, 9_825 - 1_000 - 1_500, "the fee stays");
    let book = sim.get("/_sim/ledger").await.ok();
    assert_eq!(book["disputes"].as_array().unwrap().len(), 1);
    assert!(book["disputes"][0]["failed_at"].is_i64(), "{book}");
    sim.advance(2 * DAY).await;
    let path = format!("/v1/balance_transactions?source={charge}");
    assert_eq!(sim.get(&path).await.ok()["data"][0]["status"], "available");
}

#[tokio::test]
async fn a_refund_waits_until_the_balance_covers_it() {
    let sim = Sim::start().await;
    let first = pay(&sim, "10000", "pm_card_bypassPending").await;
    act(&sim, json!({ "act": "pay_out", "currency": "eur" })).await;
    let refund = sim.post("/v1/refunds", &[("payment_intent", id(&first))]).await.ok();
    assert_eq!(
        (
            &refund["status"],
            &refund["pending_reason"],
            &refund["balance_transaction"]
        ),
        (&json!("pending"), &json!("insufficient_funds"), &Value::Null)
    );
    assert_eq!(sim.get("/_sim/ledger").await.ok()["refunds"], json!([]));
    pay(&sim, "4000", "pm_card_visa").await;
    let path = format!("/v1/refunds/{}", id(&refund));
    assert_eq!(sim.get(&path).await.ok()["status"], "pending");
    let before = sim.mark().await;
    act(&sim, json!({ "act": "add_funds", "amount": 6_000, "currency": "eur" })).await;
    assert_eq!(
        sim.story(&before).await,
        ["refund.updated succeeded", "charge.refund.updated succeeded"]
    );
    assert_eq!(sim.get("/_sim/ledger").await.ok()["refunds"][0]["amount"], 10_000);
    assert_eq!(available(&sim).await, 0);
}

#[tokio::test]
async fn payouts_arrive_after_a_day_or_come_back() {
    let sim = Sim::start().await;
    let form = [
        ("type", "custom"),
        ("country", "DE"),
        ("capabilities[transfers][requested]", "true"),
        ("external_account[account_number]", "000111111113"),
        ("tos_acceptance[date]", "1769860800"),
    ];
    let account = sim.post("/v1/accounts", &form).await.ok();
    act(
        &sim,
        json!({ "act": "add_funds", "account": id(&account), "amount": 5_000, "currency": "eur" }),
    )
    .await;
    let pay_out = |amount: &'static str| {
        sim.request("POST", "/v1/payouts")
            .header("Stripe-Account", id(&account))
            .form(&[("amount", amount), ("currency", "eur")])
    };
    let over = sim.send(pay_out("5001")).await;
    assert_eq!(over.body["error"]["code"], "balance_insufficient");
    let payout = sim.send(pay_out("5000")).await.ok();
    assert_eq!(payout["status"], "pending");
    assert_eq!(sim.get(&format!("/v1/payouts/{}", id(&payout))).await.status, 404);
    sim.advance(DAY).await;
    let read = sim.request("GET", &format!("/v1/payouts/{}", id(&payout)));
    let failed = sim.send(read.header("Stripe-Account", id(&account))).await.ok();
    assert_eq!(
        (&failed["status"], &failed["failure_code"]),
        (&json!("failed"), &json!("account_closed"))
    );
    let sheet = sim.request("GET", "/v1/balance").header("Stripe-Account", id(&account));
    assert_eq!(sim.send(sheet).await.ok()["available"][0]["amount"], 5_000);

    act(&sim, json!({ "act": "add_funds", "amount": 900, "currency": "eur" })).await;
    let own = act(&sim, json!({ "act": "pay_out", "currency": "eur" })).await;
    sim.advance(DAY).await;
    let path = format!("/v1/payouts/{}", id(&own));
    assert_eq!(sim.get(&path).await.ok()["status"], "paid");
    act(
        &sim,
        json!({ "act": "fail_payout", "payout": id(&own), "failure_code": "no_account" }),
    )
    .await;
    assert_eq!(available(&sim).await, 900);
    let told = sim.story("").await;
    let payouts: Vec<_> = told.iter().filter(|one| one.starts_with("payout.")).collect();
    assert_eq!(
        payouts,
        ["payout.created pending", "payout.paid paid", "payout.failed failed"]
    );
    let stranger = sim
        .request("GET", "/v1/balance")
        .header("Stripe-Account", "acct_unknown");
    assert_eq!(sim.send(stranger).await.status, 403);
}
