//! API calls that go wrong on demand.

use std::time::{Duration, Instant};

use crate::harness::Sim;
use serde_json::{Value, json};

async fn customers(sim: &Sim) -> usize {
    sim.get("/v1/customers").await.ok()["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn each_fault_strikes_as_often_as_told_and_only_there() {
    let sim = Sim::start().await;
    sim.control(
        "faults",
        json!({ "path": "/v1/customers", "method": "POST", "kind": 409, "times": 2 }),
    )
    .await
    .ok();
    sim.get("/v1/customers").await.ok();
    sim.post("/v1/products", &[("name", "x")]).await.ok();
    let statuses = [
        sim.post("/v1/customers", &[]).await.status,
        sim.post("/v1/customers", &[]).await.status,
        sim.post("/v1/customers", &[]).await.status,
    ];
    assert_eq!(statuses, [409, 409, 200]);
}

#[tokio::test]
async fn answers_look_as_they_do_in_the_wild() {
    let sim = Sim::start().await;
    let cases = [
        (
            json!({ "kind": "429", "reason": "endpoint-rate" }),
            429,
            json!("rate_limit"),
        ),
        (
            json!({ "kind": "429", "reason": "lock_timeout" }),
            429,
            json!("lock_timeout"),
        ),
        (json!({ "kind": "500" }), 500, Value::Null),
        (json!({ "kind": "409" }), 409, json!("idempotency_key_in_use")),
    ];
    for (fault, status, code) in cases {
        sim.control("faults", fault).await.ok();
        let answer = sim.post("/v1/customers", &[]).await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (status, &code));
    }
    sim.control("faults", json!({ "kind": "html502", "should_retry": false }))
        .await
        .ok();
    let html = sim.post("/v1/customers", &[]).await;
    assert_eq!((html.status, html.header("content-type")), (502, Some("text/html")));
    assert!(html.body.as_str().unwrap().starts_with("<html>"));
    assert_eq!(customers(&sim).await, 0);
    sim.control(
        "faults",
        json!({ "kind": "500", "after_effect": true, "should_retry": false }),
    )
    .await
    .ok();
    assert_eq!(
        sim.post("/v1/customers", &[]).await.header("stripe-should-retry"),
        Some("false")
    );
    assert_eq!(customers(&sim).await, 1);
    assert_eq!(sim.control("faults", json!({ "kind": "unheard" })).await.status, 400);
    assert_eq!(sim.control("faults", json!({ "drop": 2 })).await.status, 400);
}

#[tokio::test]
async fn a_lost_response_has_its_effect_and_a_refused_call_has_none() {
    let sim = Sim::start().await;
    for (kind, expected) in [("refuse", 0), ("lost_response", 1)] {
        sim.control(
            "faults",
            json!({ "path": "/v1/customers", "method": "POST", "kind": kind }),
        )
        .await
        .ok();
        let request = sim
            .request("POST", "/v1/customers")
            .header("Idempotency-Key", kind)
            .form(&[("name", kind)]);
        let error = request
            .send()
            .await
            .expect_err("the connection is closed without an answer");
        assert!(error.status().is_none());
        assert_eq!(customers(&sim).await, expected, "{kind}");
    }
    let again = sim
        .keyed("lost_response", "/v1/customers", &[("name", "lost_response")])
        .await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    again.ok();
    assert_eq!(customers(&sim).await, 1);
}

#[tokio::test]
async fn a_slow_call_is_done_even_if_the_client_gives_up() {
    let sim = Sim::start().await;
    sim.control(
        "faults",
        json!({ "path": "/v1/customers", "kind": "slow", "delay_ms": 5_000 }),
    )
    .await
    .ok();
    let request = sim
        .request("POST", "/v1/customers")
        .header("Idempotency-Key", "k")
        .timeout(Duration::from_secs(2));
    assert!(request.send().await.unwrap_err().is_timeout());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let again = sim.keyed("k", "/v1/customers", &[]).await;
        if again.status == 200 {
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            break;
        }
        assert_eq!(again.status, 409);
        assert!(Instant::now() < deadline, "the key stays in use");
    }
    assert_eq!(customers(&sim).await, 1);
}

/// Accounts, charge and a form for a transfer of one euro.
async fn ready(sim: &Sim) -> (String, String) {
    let form = [("country", "DE"), ("capabilities[transfers][requested]", "true")];
    let account = sim.post("/v1/accounts", &form).await.ok();
    let act = json!({ "act": "complete_onboarding", "account": account["id"] });
    sim.control("act", act).await.ok();
    let form = [
        ("amount", "10000"),
        ("currency", "eur"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
    ];
    let intent = sim.post("/v1/payment_intents", &form).await.ok();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&account["id"]), text(&intent["latest_charge"]))
}

async fn moved(sim: &Sim) -> Vec<Value> {
    sim.get("/_sim/ledger").await.ok()["transfers"]
        .as_array()
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_made_up_refusal_moves_nothing_and_is_kept_under_its_key() {
    let sim = Sim::start().await;
    let (account, charge) = ready(&sim).await;
    let form = [
        ("amount", "100"),
        ("currency", "eur"),
        ("destination", account.as_str()),
        ("source_transaction", charge.as_str()),
    ];
    let fault = json!({ "path": "/v1/transfers$", "kind": "error", "code": "balance_insufficient" });
    sim.control("faults", fault).await.ok();
    for replayed in [None, Some("true")] {
        let answer = sim.keyed("k1", "/v1/transfers", &form).await;
        assert_eq!(
            (
                answer.status,
                &answer.body["error"]["code"],
                answer.header("idempotent-replayed")
            ),
            (400, &json!("balance_insufficient"), replayed)
        );
    }
    assert_eq!(moved(&sim).await, [] as [Value; 0]);
    let made = sim.keyed("k2", "/v1/transfers", &form).await.ok();
    let book = moved(&sim).await;
    assert_eq!(
        (&book[0]["id"], &book[0]["idempotency_key"]),
        (&made["id"], &json!("k2"))
    );
}

#[tokio::test]
async fn an_answer_lost_after_the_effect_is_found_under_its_key_or_by_reading() {
    let sim = Sim::start().await;
    let (account, charge) = ready(&sim).await;
    let form = [
        ("amount", "100"),
        ("currency", "eur"),
        ("destination", account.as_str()),
        ("source_transaction", charge.as_str()),
        ("transfer_group", "order_1"),
    ];
    for (kind, count) in [("lost_before", 0), ("lost_after", 1)] {
        let fault = json!({ "path": "/v1/transfers", "method": "POST", "kind": kind });
        sim.control("faults", fault).await.ok();
        let request = sim.request("POST", "/v1/transfers").header("Idempotency-Key", "k1");
        assert!(request.form(&form).send().await.is_err());
        assert_eq!(moved(&sim).await.len(), count, "{kind}");
    }
    let listed = sim.get("/v1/transfers?transfer_group=order_1").await.ok();
    let again = sim.keyed("k1", "/v1/transfers", &form).await.ok();
    assert_eq!(again["id"], listed["data"][0]["id"]);
    assert_eq!(moved(&sim).await.len(), 1);
    let act = json!({ "act": "prune_idempotency_keys", "key": "k1" });
    assert_eq!(sim.control("act", act).await.ok()["pruned"], 1);
    sim.keyed("k1", "/v1/transfers", &form).await.ok();
    assert_eq!(moved(&sim).await.len(), 2, "a pruned key is a new execution");
}

#[tokio::test]
async fn faults_let_calls_pass_first_and_strike_by_chance_as_the_seed_says() {
    let sim = Sim::start().await;
    sim.control("faults", json!({ "path": "/v1/products", "kind": 409, "skip": 1 }))
        .await
        .ok();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(sim.post("/v1/products", &[("name", "x")]).await.status);
    }
    assert_eq!(statuses, [200, 409, 200]);
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let sim = Sim::with(crate::harness::config(seed)).await;
        sim.control("faults", json!({ "path": "/v1/customers", "kind": 429, "chance": 0.5 }))
            .await
            .ok();
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(sim.post("/v1/customers", &[]).await.status);
        }
        assert!(statuses.contains(&429) && statuses.contains(&200), "{statuses:?}");
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert_eq!(
        sim.control("faults", json!({ "kind": 500, "chance": 2 })).await.status,
        400
    );
}

#[tokio::test]
async fn a_fixed_latency_delays_calls_side_by_side() {
    let sim = Sim::start().await;
    sim.control("faults", json!({ "latency_ms": 2_000 })).await.ok();
    let started = Instant::now();
    let (a, b, c, d) = tokio::join!(
        sim.get("/v1/customers"),
        sim.get("/v1/customers"),
        sim.post("/v1/customers", &[]),
        sim.post("/v1/customers", &[])
    );
    let took = started.elapsed();
    for answer in [a, b, c, d] {
        answer.ok();
    }
    assert!(took >= Duration::from_millis(2_000), "{took:?}");
    assert!(took < Duration::from_millis(8_000), "not one after the other: {took:?}");
}
