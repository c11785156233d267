//! The same request again (`Idempotency-Key`), in whatever spelling and however late; and what only a new escrow is asked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use domain::escrow::terms::Settlement;
use domain::money::Currency;
use serde_json::{Value, json};
use support::{World, in_world, unique};

#[test]
fn a_repeat_gets_its_escrow_in_any_order_of_fields_and_after_its_time_is_over() {
    in_world(|world| async move {
        let account = world.account().await;
        let (key, terms) = (unique("key"), world.terms(&account));
        let (status, first) = world.post("/api/escrows", Some(&key), &terms).await;
        assert_eq!(status, 201, "{first:#}");

        let fields: Vec<(String, Value)> = terms.as_object().unwrap().clone().into_iter().collect();
        let turned_round: serde_json::Map<String, Value> = fields.into_iter().rev().collect();
        let turned_round = Value::Object(turned_round);
        assert_ne!(turned_round.to_string(), terms.to_string());
        let (status, again) = world.post("/api/escrows", Some(&key), &turned_round).await;
        assert_eq!((status, &again["escrow_id"]), (201, &first["escrow_id"]), "{again:#}");

        let mut other = terms.clone();
        other["amount"] = json!(10_001);
        let (status, refused) = world.post("/api/escrows", Some(&key), &other).await;
        assert_eq!((status, &refused["code"]), (422, &json!("idempotency_key_reused")));

        // It lives three days; a client that was down comes back with what it has. Keys are kept for one day.
        let mut short = world.terms(&account);
        short["expires_at"] = json!(world.clock.now() + chrono::TimeDelta::hours(1));
        let key = unique("key");
        let (_, first) = world.post("/api/escrows", Some(&key), &short).await;
        world.clock.advance(Duration::from_secs(2 * 3_600));
        let (status, again) = world.post("/api/escrows", Some(&key), &short).await;
        assert_eq!((status, &again["escrow_id"]), (201, &first["escrow_id"]), "{again:#}");
        let (status, refused) = world.post("/api/escrows", Some(&unique("key")), &short).await;
        assert_eq!((status, &refused["field"]), (400, &json!("expires_at")));

        // The account is gone: a new escrow cannot be for it, and the old one is what it was.
        world
            .fault(json!({"path": "/v1/accounts/*", "method": "GET", "kind": "error", "code": "account_invalid", "times": 100}))
            .await;
        let (status, again) = world.post("/api/escrows", Some(&key), &short).await;
        assert_eq!((status, &again["escrow_id"]), (201, &first["escrow_id"]), "{again:#}");
    });
}

#[test]
fn a_currency_that_the_platform_does_not_settle_in_is_refused_by_name() {
    let settlement = Settlement::In([Currency::EUR].into());
    World::with_settlement(settlement, |world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["currency"] = json!("usd");
        let (status, body) = world.post("/api/escrows", Some(&unique("key")), &terms).await;
        assert_eq!((status, &body["field"]), (400, &json!("currency")), "{body:#}");
        world.escrow(&world.terms(&account)).await;
        assert_eq!(world.count("SELECT count(*) FROM escrow_transactions").await, 1);
    });
}

#[test]
fn what_only_stripe_can_refuse_names_the_field_as_well() {
    in_world(|world| async move {
        let account = world.account().await;
        for (code, field) in [
            ("amount_too_small", json!("amount")),
            ("currency_not_supported", json!("currency")),
            ("secret_key_required", Value::Null),
        ] {
            let refusal = json!({"path": "/v1/payment_intents$", "method": "POST", "kind": "error", "code": code});
            world.fault(refusal).await;
            let key = unique("key");
            let (status, body) = world.post("/api/escrows", Some(&key), &world.terms(&account)).await;
            assert_eq!((status, &body["code"]), (400, &json!("stripe_refused")), "{body:#}");
            assert_eq!(
                (&body["stripe_code"], &body["field"]),
                (&json!(code), &field),
                "{body:#}"
            );
        }
    });
}
