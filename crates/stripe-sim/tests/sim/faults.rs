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
        json!({ "path": "/v1/customers", "kind": "slow", "delay_ms": 1500 }),
    )
    .await
    .ok();
    let request = sim
        .request("POST", "/v1/customers")
        .header("Idempotency-Key", "k")
        .timeout(Duration::from_millis(500));
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
