//! What bad input gets: 400 that names the field.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use service_kit::auth::Role;
use support::{in_world, unique};

#[test]
fn every_bad_field_is_named() {
    in_world(|world| async move {
        let account = world.account().await;
        let one = |share: Value| json!([{"account": account, "share_bps": share}]);
        let cases = [
            ("amount", json!(0), "amount"),
            ("amount", json!(-5), "amount"),
            ("amount", json!(49), "amount"),
            ("amount", json!(100_000_000), "amount"),
            ("amount", json!(10.5), "amount"),
            ("amount", json!("100"), "amount"),
            ("amount", Value::Null, "amount"),
            ("currency", json!("xxx"), "currency"),
            ("currency", json!("euro"), "currency"),
            ("recipients", json!([]), "recipients"),
            ("recipients", json!({}), "recipients"),
            ("recipients", one(json!(10_001)), "recipients"),
            ("recipients", one(json!(9_999)), "recipients"),
            ("recipients", one(json!(0)), "recipients.0"),
            ("recipients", one(json!(-1)), "recipients.0.share_bps"),
            (
                "recipients",
                json!([{"account": account, "share_bps": 5_000}, {"account": account, "share_bps": 5_000}]),
                "recipients.1.account",
            ),
            ("recipients", json!([{"account": account}]), "recipients.0"),
            (
                "recipients",
                json!([{"account": "acct_nobody", "share_bps": 10_000}]),
                "recipients.0.account",
            ),
            (
                "recipients",
                json!([{"account": "../refunds", "share_bps": 10_000}]),
                "recipients.0.account",
            ),
            (
                "recipients",
                json!([{"account": account, "share_bps": 10_000, "x": 1}]),
                "x",
            ),
            ("platform_fee", json!({"bps": 10_001}), "platform_fee"),
            ("platform_fee", json!({"amount": -1}), "platform_fee"),
            ("platform_fee", json!({"amount": 10_001}), "platform_fee"),
            ("platform_fee", json!({}), "platform_fee"),
            ("capture", json!("later"), "capture"),
            ("on_authorization_expiry", json!("ignore"), "on_authorization_expiry"),
            ("expires_at", json!("yesterday"), "expires_at"),
            ("expires_at", json!(1_000_000_000), "expires_at"),
            ("expires_at", json!(world.in_days(8)), "expires_at"),
            ("metadata", json!({"escrow_id": "mine"}), "metadata"),
            ("metadata", json!({"a": 1}), "metadata"),
            ("metdata", json!({}), "metdata"),
        ];
        for (field, value, named) in cases {
            let mut terms = world.terms(&account);
            terms[field] = value.clone();
            let (status, body) = world.post("/api/escrows", Some(&unique("key")), &terms).await;
            assert_eq!(
                (status, &body["field"]),
                (400, &json!(named)),
                "{field} {value}: {body:#}"
            );
        }
        assert_eq!(world.count("SELECT count(*) FROM escrow_transactions").await, 0);
        let (status, body) = world.command("esc_nobody", "release", &json!({})).await;
        assert_eq!((status, &body["code"]), (404, &json!("not_found")));
    });
}

#[test]
fn all_bad_fields_are_told_at_once() {
    in_world(|world| async move {
        let account = world.account().await;
        let cases = [
            (
                json!({"recipients": [{"account": account, "share_bps": 9_999}]}),
                "recipients",
                1,
            ),
            (
                json!({"amount": "100", "capture": "later", "expires_at": "yesterday", "metadata": {"a": 1}, "metdata": {}}),
                "metdata",
                5,
            ),
            (
                json!({"currency": "euro", "platform_fee": {"bps": -1, "x": 1}, "recipients": [{"account": "../refunds"}, {}, 7]}),
                "currency",
                8,
            ),
            (json!({"amount": 49, "on_authorization_expiry": 7}), "amount", 2),
        ];
        for (changes, first, count) in cases {
            let mut terms = world.terms(&account);
            for (name, value) in changes.as_object().unwrap() {
                terms[name] = value.clone();
            }
            let (status, body) = world.post("/api/escrows", Some(&unique("key")), &terms).await;
            assert_eq!(
                (status, &body["code"], &body["field"]),
                (400, &json!("field_invalid"), &json!(first)),
                "{body:#}"
            );
            let errors = body["errors"].as_object().unwrap();
            assert_eq!(errors.len(), count, "{body:#}");
            assert_eq!(errors[first], body["detail"], "{body:#}");
        }
        let terms = json!({"recipients": [{}, {"account": account, "share_bps": 1.5}], "platform_fee": 7});
        let (_, body) = world.post("/api/escrows", Some(&unique("key")), &terms).await;
        assert_eq!(
            body["errors"],
            json!({
                "currency": "currency is missing.",
                "amount": "amount is missing.",
                "recipients.0.account": "recipients.0.account is missing.",
                "recipients.0": "recipients.0 has to have either share_bps or amount.",
                "recipients.1.share_bps": "recipients.1.share_bps has to be an integer of minor units or basis points.",
                "platform_fee": "platform_fee has to be an object.",
                "capture": "capture is missing.",
                "expires_at": "expires_at is missing.",
            })
        );
        assert_eq!(world.count("SELECT count(*) FROM escrow_transactions").await, 0);
    });
}

#[test]
fn an_event_of_no_escrow_is_ignored_by_name_and_a_repeat_is_counted() {
    in_world(|world| async move {
        let event = json!({
            "id": "evt_stranger", "object": "event", "type": "payment_intent.succeeded", "created": 1_790_000_000,
            "livemode": false, "api_version": "2026-09-30.endive",
            "data": {"object": {"id": "pi_stranger", "object": "payment_intent", "status": "succeeded", "amount": 100,
                "amount_received": 100, "currency": "eur", "created": 1_790_000_000, "metadata": {"escrow_id": "esc_made_up"}}},
        });
        world.deliver(&event, "platform").await;
        world.deliver(&event, "platform").await;
        let sql = "SELECT outcome, reason, deliveries FROM billing_events WHERE stripe_event_id = 'evt_stranger' AND consumer = 'escrow'";
        testkit::eventually(support::SOON, || async {
            let rows = world.sql.query(sql, &[]).await.unwrap();
            rows.first().is_some_and(|row| row.get::<_, i32>(2) == 2)
        })
        .await;
        let row = world.sql.query_one(sql, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), ("ignored", "not_an_escrow"));
    });
}

/// Who may not ask is told so, whatever else is wrong.
#[test]
fn a_user_is_refused_before_anything_else_is_looked_at() {
    in_world(|world| async move {
        for (path, body) in [
            ("/api/escrows", json!({})),
            ("/api/escrows/esc_1/release", json!({})),
            ("/api/escrows/not%20an%20id/release", json!({})),
            ("/api/escrows/esc_1/refund", json!({"amount": "x"})),
            ("/api/escrows/esc_1/operations/1/retry", json!({"object": 5})),
            ("/api/escrows/esc_1/recipients/nobody/bear-loss", json!({})),
            ("/api/escrows/esc_1/recipients/nobody/read", json!({})),
        ] {
            let (status, answer) = world.post_as(Role::User, path, &body).await;
            assert_eq!((status, &answer["code"]), (403, &json!("forbidden")), "{path}");
        }
    });
}
