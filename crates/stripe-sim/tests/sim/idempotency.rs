//! Stripe's rules for `Idempotency-Key`.

use crate::harness::Sim;
use serde_json::json;

#[tokio::test]
async fn the_first_result_is_answered_again_without_a_second_effect() {
    let sim = Sim::start().await;
    let first = sim
        .keyed("k1", "/v1/customers", &[("email", "a@b.c"), ("name", "A")])
        .await;
    let again = sim
        .keyed("k1", "/v1/customers", &[("name", "A"), ("email", "a@b.c")])
        .await;
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_ne!(first.header("request-id"), again.header("request-id"));
    assert_eq!(first.ok(), again.ok());
    assert_eq!(sim.get("/v1/customers").await.ok()["data"].as_array().unwrap().len(), 1);
    let event = sim.events().await.pop().unwrap();
    assert_eq!(event["request"]["idempotency_key"], "k1");
}

#[tokio::test]
async fn another_call_with_the_key_is_refused() {
    let sim = Sim::start().await;
    sim.keyed("k1", "/v1/customers", &[("email", "a@b.c")]).await.ok();
    for (path, form) in [
        ("/v1/customers", [("email", "x@b.c")]),
        ("/v1/products", [("email", "a@b.c")]),
    ] {
        let refused = sim.keyed("k1", path, &form).await;
        assert_eq!(
            (refused.status, &refused.body["error"]["type"]),
            (400, &json!("idempotency_error"))
        );
    }
}

#[tokio::test]
async fn a_key_in_use_is_409_and_its_result_is_there_afterwards() {
    let sim = Sim::start().await;
    sim.control(
        "faults",
        json!({ "path": "/v1/customers", "kind": "slow", "delay_ms": 300 }),
    )
    .await
    .ok();
    let (first, second) = tokio::join!(sim.keyed("k1", "/v1/customers", &[]), async {
        loop {
            let answer = sim.keyed("k1", "/v1/customers", &[]).await;
            if answer.status == 409 {
                return answer;
            }
            assert_ne!(
                answer.header("idempotent-replayed"),
                Some("true"),
                "the first was over before it was asked"
            );
        }
    });
    assert_eq!(second.body["error"]["code"], "idempotency_key_in_use");
    let first = first.ok();
    assert_eq!(sim.keyed("k1", "/v1/customers", &[]).await.ok(), first);
}

#[tokio::test]
async fn a_500_is_kept_and_a_validation_failure_or_429_is_not() {
    let sim = Sim::start().await;
    sim.control("faults", json!({ "api": [{ "path": "/v1/customers", "kind": 500 }] }))
        .await
        .ok();
    assert_eq!(sim.keyed("broken", "/v1/customers", &[]).await.status, 500);
    let again = sim.keyed("broken", "/v1/customers", &[]).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (500, Some("true")));

    assert_eq!(sim.keyed("typo", "/v1/products", &[("nam", "x")]).await.status, 400);
    sim.keyed("typo", "/v1/products", &[("name", "x")]).await.ok();

    sim.control("faults", json!({ "kind": 429, "reason": "global-rate" }))
        .await
        .ok();
    let limited = sim.keyed("limited", "/v1/customers", &[]).await;
    assert_eq!(
        (limited.status, limited.header("stripe-rate-limited-reason")),
        (429, Some("global-rate"))
    );
    sim.keyed("limited", "/v1/customers", &[("email", "other@b.c")])
        .await
        .ok();
}

#[tokio::test]
async fn a_refused_card_is_a_result_and_kept() {
    let sim = Sim::start().await;
    let (customer, price) = (sim.customer(None).await, sim.price("1000", "month").await);
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("default_payment_method", "pm_card_chargeDeclined"),
        ("payment_behavior", "error_if_incomplete"),
    ];
    for replayed in [None, Some("true")] {
        let refused = sim.keyed("card", "/v1/subscriptions", &form).await;
        assert_eq!((refused.status, refused.header("idempotent-replayed")), (402, replayed));
        assert_eq!(refused.body["error"]["decline_code"], "generic_decline");
    }
    assert_eq!(sim.get("/v1/subscriptions?status=all").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn keys_are_new_again_after_24_hours_or_when_pruned() {
    let sim = Sim::start().await;
    let first = sim.keyed("k1", "/v1/customers", &[]).await.ok();
    sim.advance(86_399).await;
    assert_eq!(sim.keyed("k1", "/v1/customers", &[]).await.ok(), first);
    sim.advance(1).await;
    let second = sim.keyed("k1", "/v1/customers", &[("email", "new@b.c")]).await.ok();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(
        sim.control("act", json!({ "act": "prune_idempotency_keys" }))
            .await
            .ok()["pruned"],
        1
    );
    assert_ne!(
        sim.keyed("k1", "/v1/customers", &[("email", "new@b.c")]).await.ok()["id"],
        second["id"]
    );
}

#[tokio::test]
async fn keys_of_a_connected_account_are_its_own() {
    let sim = Sim::start().await;
    let platform = sim.keyed("k1", "/v1/customers", &[]).await.ok();
    let request = sim
        .request("POST", "/v1/customers")
        .header("Idempotency-Key", "k1")
        .header("Stripe-Account", "acct_1");
    assert_ne!(sim.send(request).await.ok()["id"], platform["id"]);
}
