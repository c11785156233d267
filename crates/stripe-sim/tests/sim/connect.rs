//! Connected accounts, transfers and reversals.

use crate::harness::{Answer, DAY, Form, Receiver, Sim, config, id};
use serde_json::{Value, json};
use stripe_sim::{EndpointConfig, SimConfig};

/// An account that may get transfers.
async fn seller(sim: &Sim) -> String {
    let form = [
        ("type", "express"),
        ("country", "DE"),
        ("capabilities[transfers][requested]", "true"),
    ];
    let account = sim.post("/v1/accounts", &form).await.ok();
    let act = json!({ "act": "complete_onboarding", "account": id(&account) });
    sim.control("act", act).await.ok();
    id(&account).to_owned()
}

/// A captured charge of 100 euros.
async fn charge(sim: &Sim) -> String {
    let form = [
        ("amount", "10000"),
        ("currency", "eur"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
        ("metadata[escrow_id]", "escrow_1"),
    ];
    let intent = sim.post("/v1/payment_intents", &form).await.ok();
    intent["latest_charge"].as_str().unwrap().to_owned()
}

async fn transfer(sim: &Sim, account: &str, amount: &str, more: Form<'_>) -> Answer {
    let mut form = vec![("amount", amount), ("currency", "eur"), ("destination", account)];
    form.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    form.extend(more);
    sim.post("/v1/transfers", &form).await
}

async fn balance(sim: &Sim, account: Option<&str>) -> (i64, i64) {
    let mut request = sim.request("GET", "/v1/balance");
    if let Some(account) = account {
        request = request.header("Stripe-Account", account);
    }
    let sheet = sim.send(request).await.ok();
    let sum = |name: &str| sheet[name][0]["amount"].as_i64().unwrap_or(0);
    (sum("available"), sum("pending"))
}

fn refused(answer: &Answer) -> (u16, String, String) {
    let error = &answer.body["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("param"))
}

fn refusal(code: &str, param: &str) -> (u16, String, String) {
    (400, code.to_owned(), param.to_owned())
}

/// What is due now, what is past due, and why the account is disabled.
fn shown_due(account: &Value) -> (&Value, &Value, &Value) {
    let requirements = &account["requirements"];
    (
        &requirements["currently_due"],
        &requirements["past_due"],
        &requirements["disabled_reason"],
    )
}

#[tokio::test]
async fn what_is_due_fits_the_capability_that_it_is_told_with() {
    let sim = Sim::start().await;
    let account = seller(&sim).await;
    let cases = [
        (
            json!({"status": "inactive", "past_due": ["a"], "currently_due": ["b"]}),
            (json!(["b", "a"]), json!(["a"]), json!("requirements.past_due")),
        ),
        (
            json!({"status": "inactive", "past_due": ["a"], "disabled_reason": "rejected.fraud"}),
            (json!(["a"]), json!(["a"]), json!("rejected.fraud")),
        ),
        (json!({"status": "inactive"}), (json!([]), json!([]), json!("other"))),
        (
            json!({"status": "active", "currently_due": ["b"]}),
            (json!(["b"]), json!([]), Value::Null),
        ),
        (json!({"status": "active"}), (json!([]), json!([]), Value::Null)),
    ];
    for (mut act, (current, past, reason)) in cases {
        act["act"] = json!("set_capability");
        act["account"] = json!(account);
        let shown = sim.control("act", act.clone()).await.ok();
        assert_eq!(shown_due(&shown), (&current, &past, &reason), "{act}");
        assert_eq!(shown["capabilities"]["transfers"], act["status"]);
        let read = sim.get(&format!("/v2/core/accounts/{account}")).await.ok();
        let entries = read["requirements"]["entries"].as_array().unwrap();
        assert_eq!(
            entries.len(),
            current.as_array().unwrap().len(),
            "each once: {entries:?}"
        );
    }
    let act = json!({
        "act": "set_capability", "account": account, "status": "inactive", "past_due": ["external_account"], "currently_due": ["b"]
    });
    sim.control("act", act).await.ok();
    let bank = [("external_account", "btok_us_verified")];
    let brought = sim.post(&format!("/v1/accounts/{account}"), &bank).await.ok();
    assert_eq!(shown_due(&brought), (&json!(["b"]), &json!([]), &Value::Null));
}

#[tokio::test]
async fn an_account_gets_transfers_only_once_nothing_is_due() {
    let sim = Sim::start().await;
    let form = [
        ("type", "custom"),
        ("country", "FR"),
        ("capabilities[transfers][requested]", "true"),
    ];
    let account = sim.post("/v1/accounts", &form).await.ok();
    assert_eq!(
        (
            &account["capabilities"]["transfers"],
            &account["payouts_enabled"],
            &account["default_currency"]
        ),
        (&json!("inactive"), &json!(false), &json!("eur"))
    );
    let due = json!(["external_account", "tos_acceptance.date", "tos_acceptance.ip"]);
    assert_eq!(shown_due(&account), (&due, &due, &json!("requirements.past_due")));
    let charge = charge(&sim).await;
    let source = [("source_transaction", charge.as_str())];
    let early = transfer(&sim, id(&account), "100", &source).await;
    assert_eq!(refused(&early), refusal("insufficient_capabilities_for_transfer", ""));
    let path = format!("/v1/accounts/{}", id(&account));
    let bank = [
        ("external_account[object]", "bank_account"),
        ("external_account[country]", "FR"),
        ("external_account[currency]", "eur"),
        ("external_account[account_number]", "FR1420041010050500013M02606"),
    ];
    let with_bank = sim.post(&path, &bank).await.ok();
    assert_eq!(
        with_bank["capabilities"]["transfers"], "inactive",
        "the terms are not accepted yet"
    );
    let due = json!(["tos_acceptance.date", "tos_acceptance.ip"]);
    assert_eq!(shown_due(&with_bank), (&due, &due, &json!("requirements.past_due")));
    let terms = [
        ("tos_acceptance[date]", "1769860800"),
        ("tos_acceptance[ip]", "203.0.113.9"),
    ];
    let ready = sim.post(&path, &terms).await.ok();
    assert_eq!(
        (&ready["capabilities"]["transfers"], &ready["payouts_enabled"]),
        (&json!("active"), &json!(true))
    );
    assert_eq!(shown_due(&ready), (&json!([]), &json!([]), &Value::Null));
    transfer(&sim, id(&account), "100", &source).await.ok();
    let none = sim
        .post(
            "/v1/transfers",
            &[("amount", "1"), ("currency", "eur"), ("destination", "acct_x")],
        )
        .await;
    assert_eq!(refused(&none), refusal("resource_missing", "destination"));
}

#[tokio::test]
async fn a_lost_capability_is_told_to_the_connect_endpoint_in_both_styles() {
    let (platform, connect, thin) = (Receiver::start(&[]), Receiver::start(&[]), Receiver::start(&[]));
    let sim = Sim::with(SimConfig {
        endpoints: vec![EndpointConfig::new(&platform.url)],
        connect_endpoints: vec![EndpointConfig::new(&connect.url), EndpointConfig::thin(&thin.url)],
        ..config(7)
    })
    .await;
    let account = seller(&sim).await;
    sim.quiet().await;
    let (before, thin_before) = (connect.got().len(), thin.got().len());
    let act = json!({
        "act": "set_capability", "account": account, "status": "inactive",
        "past_due": ["individual.verification.document"], "disabled_reason": "requirements.past_due"
    });
    let shown = sim.control("act", act).await.ok();
    assert_eq!(shown["requirements"]["disabled_reason"], "requirements.past_due");
    sim.quiet().await;
    let told: Vec<Value> = connect.got()[before..].iter().map(crate::harness::Got::json).collect();
    let kinds: Vec<_> = told.iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["account.updated", "capability.updated"]);
    assert!(told.iter().all(|one| one["account"] == account.as_str()));
    assert_eq!(
        (
            &told[0]["data"]["previous_attributes"]["capabilities"]["transfers"],
            &told[1]["data"]["object"]["status"]
        ),
        (&json!("active"), &json!("inactive"))
    );
    let notices: Vec<Value> = thin.got()[thin_before..]
        .iter()
        .map(crate::harness::Got::json)
        .collect();
    let kinds: Vec<_> = notices.iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "v1.account.updated",
            "v2.core.account[requirements].updated",
            "v1.capability.updated",
            "v2.core.account[configuration.recipient].capability_status_updated"
        ]
    );
    let url = notices[3]["related_object"]["url"].as_str().unwrap();
    let read = sim.get(url).await.ok();
    let capability = "/configuration/recipient/capabilities/stripe_balance/stripe_transfers/status";
    assert_eq!(read.pointer(capability), Some(&json!("restricted")));
    assert!(platform.got().iter().all(|one| one.json().get("account").is_none()));
    let refused_now = transfer(&sim, &account, "1", &[]).await;
    assert_eq!(
        refused(&refused_now),
        refusal("insufficient_capabilities_for_transfer", "")
    );
    let request = sim.request("GET", "/v1/events").header("Stripe-Account", &account);
    let own = sim.send(request).await.ok();
    assert!(
        own["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["account"] == account.as_str())
    );
    assert!(!own["data"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn transfers_never_exceed_their_source() {
    let sim = Sim::start().await;
    let (account, charge) = (seller(&sim).await, charge(&sim).await);
    let source = [
        ("source_transaction", charge.as_str()),
        ("transfer_group", "order_1"),
        ("metadata[escrow_id]", "escrow_1"),
        ("metadata[recipient]", "7"),
    ];
    let first = transfer(&sim, &account, "6000", &source).await.ok();
    assert_eq!(
        (&first["transfer_group"], &first["amount_reversed"], &first["reversed"]),
        (&json!("order_1"), &json!(0), &json!(false))
    );
    let over = transfer(&sim, &account, "4001", &source).await;
    assert_eq!(refused(&over), refusal("", "amount"));
    let message = over.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("already a transfer using this source, amounting to 6000"),
        "{message}"
    );
    let other = [("source_transaction", charge.as_str()), ("currency", "usd")];
    assert_eq!(
        refused(&transfer(&sim, &account, "1", &other).await),
        refusal("", "currency")
    );
    transfer(&sim, &account, "4000", &source).await.ok();
    assert_eq!(balance(&sim, None).await, (0, 0));
    assert_eq!(balance(&sim, Some(&account)).await, (0, 10_000));
    sim.advance(2 * DAY).await;
    assert_eq!(balance(&sim, Some(&account)).await, (10_000, 0));

    let listed = sim.get("/v1/transfers?transfer_group=order_1").await.ok();
    let amounts: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["amount"])
        .collect();
    assert_eq!(amounts, [&json!(4_000), &json!(6_000)]);
    assert_eq!(sim.get("/v1/transfers?transfer_group=x").await.ok()["data"], json!([]));
    let path = format!("/v1/transfers?destination={account}&limit=1");
    assert_eq!(sim.get(&path).await.ok()["has_more"], true);
    let book = sim.get(&format!("/_sim/ledger?destination={account}")).await.ok();
    let moved: i64 = book["transfers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["amount"].as_i64().unwrap())
        .sum();
    assert_eq!(
        (moved, &book["transfers"][0]["escrow_id"]),
        (10_000, &json!("escrow_1"))
    );
}

#[tokio::test]
async fn a_held_charge_is_no_source_and_an_unnamed_group_is_given_a_name() {
    let sim = Sim::start().await;
    let account = seller(&sim).await;
    let form = [
        ("amount", "5000"),
        ("currency", "eur"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
        ("capture_method", "manual"),
    ];
    let held = sim.post("/v1/payment_intents", &form).await.ok();
    let charge = held["latest_charge"].as_str().unwrap();
    let source = [("source_transaction", charge)];
    assert_eq!(
        refused(&transfer(&sim, &account, "1", &source).await),
        refusal("", "source_transaction")
    );
    sim.post(
        &format!("/v1/payment_intents/{}/capture", id(&held)),
        &[("amount_to_capture", "2000")],
    )
    .await
    .ok();
    assert_eq!(
        refused(&transfer(&sim, &account, "2001", &source).await),
        refusal("", "amount")
    );
    let made = transfer(&sim, &account, "2000", &source).await.ok();
    assert_eq!(made["transfer_group"], format!("group_{}", id(&held)));
    assert_eq!(
        sim.get(&format!("/v1/charges/{charge}")).await.ok()["transfer_group"],
        made["transfer_group"]
    );
}

#[tokio::test]
async fn without_a_source_only_available_money_is_transferred() {
    let sim = Sim::start().await;
    let account = seller(&sim).await;
    charge(&sim).await;
    assert_eq!(balance(&sim, None).await, (0, 10_000));
    let early = transfer(&sim, &account, "100", &[]).await;
    assert_eq!(refused(&early), refusal("balance_insufficient", ""));
    sim.advance(2 * DAY).await;
    let before = sim.mark().await;
    let made = transfer(&sim, &account, "100", &[]).await.ok();
    assert_eq!(sim.story(&before).await, ["transfer.created"]);
    assert_eq!(balance(&sim, None).await, (9_900, 0));
    let path = format!("/v1/transfers/{}", id(&made));
    sim.post(&path, &[("metadata[note]", "x")]).await.ok();
    let told = sim.since(&before).await;
    assert_eq!(told.last().unwrap()["type"], "transfer.updated");
}

#[tokio::test]
async fn a_reversal_is_partial_bounded_and_needs_the_recipients_money() {
    let sim = Sim::start().await;
    let (account, charge) = (seller(&sim).await, charge(&sim).await);
    let made = transfer(&sim, &account, "8000", &[("source_transaction", &charge)])
        .await
        .ok();
    let path = format!("/v1/transfers/{}/reversals", id(&made));
    let before = sim.mark().await;
    let first = sim
        .post(&path, &[("amount", "3000"), ("metadata[why]", "refund")])
        .await
        .ok();
    assert_eq!(
        (&first["object"], &first["transfer"], &first["amount"]),
        (&json!("transfer_reversal"), &made["id"], &json!(3_000))
    );
    assert_eq!(sim.post(&path, &[("amount", "5001")]).await.status, 400);
    let told = sim.since(&before).await;
    assert_eq!(
        (
            &told[0]["type"],
            &told[0]["data"]["object"]["amount_reversed"],
            &told[0]["data"]["object"]["reversed"]
        ),
        (&json!("transfer.reversed"), &json!(3_000), &json!(false))
    );
    sim.advance(2 * DAY).await;
    let act = json!({ "act": "pay_out", "account": account, "currency": "eur", "amount": 4_000 });
    sim.control("act", act).await.ok();
    let uncovered = sim.post(&path, &[]).await;
    assert_eq!(refused(&uncovered), refusal("balance_insufficient", ""));
    sim.post(&path, &[("amount", "1000")]).await.ok();
    let act = json!({ "act": "add_funds", "account": account, "currency": "eur", "amount": 4_000 });
    sim.control("act", act).await.ok();
    sim.post(&path, &[]).await.ok();
    let shown = sim.get(&format!("/v1/transfers/{}", id(&made))).await.ok();
    assert_eq!(
        (
            &shown["amount_reversed"],
            &shown["reversed"],
            &shown["reversals"]["total_count"]
        ),
        (&json!(8_000), &json!(true), &json!(3))
    );
    assert_eq!(sim.post(&path, &[]).await.status, 400, "nothing is left");
    let book = sim.get("/_sim/ledger").await.ok();
    let amounts: Vec<_> = book["reversals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["amount"])
        .collect();
    assert_eq!(amounts, [&json!(3_000), &json!(1_000), &json!(4_000)]);
    assert_eq!(book["reversals"][0]["transfer"], made["id"]);
    assert_eq!(sim.get(&path).await.ok()["data"].as_array().unwrap().len(), 3);
    transfer(&sim, &account, "10000", &[("source_transaction", &charge)])
        .await
        .ok();
}

#[tokio::test]
async fn capabilities_are_asked_for_one_by_one_and_a_payout_can_be_called_back() {
    let sim = Sim::start().await;
    let account = seller(&sim).await;
    let path = format!("/v1/accounts/{account}/capabilities");
    assert_eq!(
        sim.get(&format!("{path}/card_payments")).await.ok()["status"],
        "unrequested"
    );
    let asked = sim
        .post(&format!("{path}/card_payments"), &[("requested", "true")])
        .await
        .ok();
    assert_eq!(
        (&asked["status"], &asked["requested"]),
        (&json!("active"), &json!(true))
    );
    let all = sim.get(&path).await.ok();
    let names: Vec<_> = all["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(names, ["card_payments", "transfers"]);
    assert_eq!(
        sim.get(&format!("/v1/accounts/{account}")).await.ok()["charges_enabled"],
        true
    );
    let never = json!({ "act": "set_capability", "account": account, "capability": "tax", "status": "active" });
    assert_eq!(sim.control("act", never).await.status, 400);
    let form = [("account", account.as_str()), ("type", "account_onboarding")];
    let link = sim.post("/v1/account_links", &form).await.ok();
    assert!(link["url"].as_str().unwrap().contains(&account));

    let act = json!({ "act": "add_funds", "amount": 500, "currency": "eur" });
    sim.control("act", act).await.ok();
    let payout = sim
        .post("/v1/payouts", &[("amount", "500"), ("currency", "eur")])
        .await
        .ok();
    let path = format!("/v1/payouts/{}/cancel", id(&payout));
    assert_eq!(sim.post(&path, &[]).await.ok()["status"], "canceled");
    assert_eq!(sim.post(&path, &[]).await.status, 400);
    sim.advance(DAY).await;
    assert_eq!(balance(&sim, None).await, (500, 0));
    let uneven = sim.post("/v1/payouts", &[("amount", "150"), ("currency", "huf")]).await;
    assert_eq!(refused(&uneven), refusal("parameter_invalid_integer", "amount"));
    sim.delete(&format!("/v1/accounts/{account}")).await.ok();
    assert_eq!(
        refused(&transfer(&sim, &account, "1", &[]).await),
        refusal("resource_missing", "destination")
    );
}
