//! Whole lives of escrows, with what really moved at Stripe as the judge.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{in_world, unique};

#[test]
fn an_escrow_is_held_released_and_paid_out_to_the_last_minor_unit() {
    in_world(|world| async move {
        let (first, second) = (world.account().await, world.account().await);
        // amount, currency, fee in basis points; fee and parts as they must come out
        let cases = [
            (10_000, "eur", 1_000, [1_000, 6_300, 2_700]),
            (10_001, "eur", 333, [333, 6_768, 2_900]),
            (501, "jpy", 1_000, [50, 316, 135]),
            (12_340, "kwd", 500, [620, 8_200, 3_520]),
        ];
        for (amount, currency, fee, [kept, most, rest]) in cases {
            let mut terms = world.terms(&first);
            terms["amount"] = json!(amount);
            terms["currency"] = json!(currency);
            terms["platform_fee"] = json!({"bps": fee});
            terms["recipients"] =
                json!([{"account": first, "share_bps": 7_000}, {"account": second, "share_bps": 3_000}]);
            let id = world.held(&terms).await;
            let (status, body) = world.command(&id, "release", &json!({})).await;
            assert_eq!(status, 202, "{body:#}");
            let body = world.until(&id, "distributed").await;
            assert_eq!(body["platform_fee"], kept, "{amount} {currency}");
            assert_eq!(world.moved(&id, "captures").await, [amount], "{currency}");
            let mut parts = [most, rest];
            parts.sort_unstable();
            assert_eq!(world.moved(&id, "transfers").await, parts, "{amount} {currency}");
            let statuses: Vec<&Value> = body["recipients"]
                .as_array()
                .unwrap()
                .iter()
                .map(|of| &of["status"])
                .collect();
            assert_eq!(statuses, ["paid", "paid"]);
        }
        // What the webhooks tell again changes nothing.
        world.carry().await;
        world.assert_book_holds().await;
    });
}

#[test]
fn of_two_simultaneous_releases_one_wins_and_the_other_gets_409_and_changes_nothing() {
    in_world(|world| async move {
        let account = world.account().await;
        let id = world.held(&world.terms(&account)).await;
        let body = json!({});
        let (one, other) = tokio::join!(
            world.command(&id, "release", &body),
            world.command(&id, "release", &body)
        );
        let mut statuses = [one.0, other.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 409], "{one:?} {other:?}");
        let loser = if one.0 == 409 { one.1 } else { other.1 };
        assert_eq!(loser["code"], "wrong_state");
        assert_eq!(loser["escrow_status"], "processing", "{loser}");
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "transfers").await, [9_000]);
        world.assert_book_holds().await;
    });
}

#[test]
fn what_is_not_captured_is_canceled_and_what_is_captured_is_refunded_also_in_parts() {
    in_world(|world| async move {
        let account = world.account().await;
        let id = world.held(&world.terms(&account)).await;
        let (status, body) = world.command(&id, "refund", &json!({"amount": 100})).await;
        assert_eq!((status, &body["field"]), (400, &json!("amount")), "{body}");
        let (status, _) = world.command(&id, "refund", &json!({})).await;
        assert_eq!(status, 202);
        world.until(&id, "canceled").await;
        assert_eq!(world.moved(&id, "captures").await, [0_i64; 0]);

        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        let id = world.held(&terms).await;
        let (status, body) = world.command(&id, "refund", &json!({"amount": 3_333})).await;
        assert_eq!(status, 202, "{body:#}");
        world.until(&id, "held").await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "refunds").await, [3_333]);
        assert_eq!(world.moved(&id, "transfers").await, [6_000]);
        world.assert_book_holds().await;
    });
}

#[test]
fn a_refund_after_release_reverses_the_transfers_first() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        let (status, body) = world.command(&id, "refund", &json!({"amount": 5_000})).await;
        assert_eq!(status, 202, "{body:#}");
        assert_eq!(body["status"], "refunding");
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "reversals").await, [4_500]);
        assert_eq!(world.moved(&id, "refunds").await, [5_000]);
        world.command(&id, "refund", &json!({})).await;
        world.until(&id, "refunded").await;
        assert_eq!(world.moved(&id, "reversals").await, [4_500, 4_500]);
        assert_eq!(world.moved(&id, "refunds").await, [5_000, 5_000]);
        world.carry().await;
        world.assert_book_holds().await;
    });
}

#[test]
fn a_dispute_freezes_release_and_a_lost_one_claws_back() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        let charge = world.book(&id).await["captures"][0]["charge"]
            .as_str()
            .unwrap()
            .to_owned();
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        let dispute = world
            .act(json!({"act": "create_dispute", "charge": charge, "reason": "fraudulent", "status": "needs_response"}))
            .await;
        world.carry().await;
        world.until(&id, "disputed").await;
        let (status, _) = world.command(&id, "release", &json!({})).await;
        assert_eq!(status, 409);
        world
            .act(json!({"act": "close_dispute", "dispute": dispute["id"], "status": "lost"}))
            .await;
        world.carry().await;
        world.until(&id, "reversed").await;
        assert_eq!(world.moved(&id, "reversals").await, [9_000]);
        assert_eq!(world.moved(&id, "refunds").await, [0_i64; 0]);
        world.assert_book_holds().await;
    });
}

#[test]
fn a_recipient_that_cannot_receive_is_paid_by_itself_when_its_account_says_that_it_can() {
    in_world(|world| async move {
        let (ready, unready) = (world.account().await, world.new_account().await);
        let mut terms = world.terms(&ready);
        terms["recipients"] = json!([{"account": ready, "share_bps": 5_000}, {"account": unready, "share_bps": 5_000}]);
        let id = world.held(&terms).await;
        world.command(&id, "release", &json!({})).await;
        let body = world.until(&id, "pending_user_setup").await;
        assert_eq!(
            world.moved(&id, "transfers").await,
            [4_500],
            "one failure does not hold the others' money"
        );
        let waiting = &body["recipients"][1];
        assert_eq!(waiting["status"], "pending_user_setup", "{waiting:#}");
        assert_eq!(waiting["reason"], "insufficient_capabilities_for_transfer");
        assert!(
            waiting["what_to_do"].as_str().unwrap().contains("set-up"),
            "{waiting:#}"
        );
        world
            .act(json!({"act": "complete_onboarding", "account": unready}))
            .await;
        world.tell_account(&unready).await;
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "transfers").await, [4_500, 4_500]);
        world.assert_book_holds().await;
    });
}

#[test]
fn a_transfer_that_is_refused_stays_visible_and_is_made_again_under_a_new_key() {
    in_world(|world| async move {
        let account = world.account().await;
        let id = world.held(&world.terms(&account)).await;
        let refusal =
            json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "balance_insufficient"});
        world.fault(refusal).await;
        world.command(&id, "release", &json!({})).await;
        let body = world.until(&id, "transfer_failed").await;
        assert_eq!(body["recipients"][0]["reason"], "balance_insufficient", "{body:#}");
        let number = body["operations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|operation| operation["kind"] == "transfer")
            .unwrap()["number"]
            .as_i64()
            .unwrap();
        let path = format!("/api/escrows/{id}/operations/{number}/retry");
        let (status, body) = world.post(&path, None, &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        // A person does not wait for the delay after a refusal.
        let body = world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "transfers").await, [9_000]);
        let transfer = body["operations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|of| of["kind"] == "transfer");
        assert_eq!(transfer.unwrap()["attempts"], 2);
        world.assert_book_holds().await;
    });
}

#[test]
fn a_key_gets_the_first_answer_and_another_body_under_it_is_refused() {
    in_world(|world| async move {
        let account = world.account().await;
        let (terms, key) = (world.terms(&account), unique("key"));
        let (first, second) = tokio::join!(
            world.post("/api/escrows", Some(&key), &terms),
            world.post("/api/escrows", Some(&key), &terms)
        );
        let third = world.post("/api/escrows", Some(&key), &terms).await;
        for (status, body) in [&first, &second, &third] {
            assert!(*status == 201 || *status == 503, "{status} {body:#}");
        }
        assert_eq!(third.0, 201, "{third:?}");
        assert!(third.1["client_secret"].as_str().unwrap().contains("_secret_"));
        assert_eq!(world.count("SELECT count(*) FROM escrow_transactions").await, 1);
        let mut other = terms.clone();
        other["amount"] = json!(9_999);
        let (status, body) = world.post("/api/escrows", Some(&key), &other).await;
        assert_eq!((status, &body["code"]), (422, &json!("idempotency_key_reused")));
        let (status, body) = world.post("/api/escrows", None, &terms).await;
        assert_eq!((status, &body["code"]), (400, &json!("idempotency_key_missing")));
        let id = third.1["escrow_id"].as_str().unwrap();
        assert_eq!(world.get(id).await["status"], "awaiting_payment");
    });
}

#[test]
fn a_command_of_the_retry_service_has_a_refused_transfer_made_again_and_comes_twice_without_harm() {
    in_world(|world| async move {
        let account = world.account().await;
        let id = world.held(&world.terms(&account)).await;
        world
            .fault(json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "balance_insufficient"}))
            .await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "transfer_failed").await;
        world.clock.advance(std::time::Duration::from_secs(3_600));
        let command = json!({"escrow_id": id, "number": 2});
        world.send_command(&command).await;
        world.send_command(&command).await;
        world.until(&id, "distributed").await;
        world.send_command(&command).await;
        world.settled_commands().await;
        assert_eq!(world.moved(&id, "transfers").await, [9_000]);
        let acts =
            "SELECT count(*) FROM admin_actions WHERE action IN ('transfer_refused', 'retry', 'transfer_succeeded')";
        assert_eq!(world.count(acts).await, 3);
    });
}

#[test]
fn a_transfer_that_was_given_up_is_sent_on_by_a_person_and_not_by_the_retry_service() {
    in_world(|world| async move {
        let account = world.account().await;
        let id = world.held(&world.terms(&account)).await;
        world
            .fault(
                json!({"path": "/v1/transfers$", "method": "POST", "kind": "error", "code": "currency_not_supported"}),
            )
            .await;
        world.command(&id, "release", &json!({})).await;
        let alerts =
            "SELECT count(*) FROM admin_actions WHERE action = 'alert' AND reason LIKE 'escrow_gave_up:%/transfer/%'";
        testkit::eventually(support::SOON, || async { world.count(alerts).await == 1 }).await;
        let number = 2;
        world.send_command(&json!({"escrow_id": id, "number": number})).await;
        world.settled_commands().await;
        world.clock.advance(std::time::Duration::from_secs(86_400));
        assert_eq!(world.get(&id).await["status"], "transfer_failed");
        assert_eq!(world.moved(&id, "transfers").await, [0_i64; 0]);
        let path = format!("/api/escrows/{id}/operations/{number}/retry");
        let (status, body) = world.post(&path, None, &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "transfers").await, [9_000]);
        world.assert_book_holds().await;
    });
}

#[test]
fn a_capture_that_is_refused_for_good_leaves_the_escrow_held_and_a_person_is_told() {
    in_world(|world| async move {
        let account = world.account().await;
        let id = world.held(&world.terms(&account)).await;
        let refusal =
            json!({"path": "/v1/payment_intents/*/capture", "kind": "error", "code": "charge_expired_for_capture"});
        world.fault(refusal).await;
        world.command(&id, "release", &json!({})).await;
        let alerts =
            "SELECT count(*) FROM admin_actions WHERE action = 'alert' AND reason LIKE 'escrow_gave_up:%/capture'";
        testkit::eventually(support::SOON, || async { world.count(alerts).await == 1 }).await;
        assert_eq!(world.get(&id).await["status"], "held");
        let (status, body) = world.command(&id, "release", &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "captures").await, [10_000]);
        assert_eq!(world.moved(&id, "transfers").await, [9_000]);
        world.assert_book_holds().await;
    });
}
