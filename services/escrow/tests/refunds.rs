//! Refunds that end otherwise than they began: made by hand, refused for ever, come back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use reqwest::Method;
use serde_json::json;
use support::{SOON, in_world, unique};

#[test]
fn a_refund_that_comes_back_after_it_was_done_is_told_to_a_person_once() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.command(&id, "refund", &json!({})).await;
        world.until(&id, "refunded").await;
        world.carry().await;
        let refund = world.book(&id).await["refunds"][0]["id"].as_str().unwrap().to_owned();
        world.act(json!({"act": "fail_refund", "refund": refund})).await;
        world.carry().await;
        let subject = format!("{id}/refund_failed/{refund}");
        testkit::eventually(SOON, || async { world.alerts(&subject).await > 0 }).await;
        // Three events tell of it, and whoever changes its description later makes a fourth.
        let told = "SELECT count(*) FROM billing_events WHERE consumer = 'escrow' AND status = 'decided' \
                    AND (type LIKE 'refund.%' OR type LIKE 'charge.refund.%')";
        let before = world.count(told).await;
        let object = world
            .stripe(reqwest::Method::GET, &format!("/v1/refunds/{refund}"), &[])
            .await;
        let event = json!({
            "id": unique("evt_refund"), "object": "event", "type": "refund.updated", "created": world.clock.unix_seconds(),
            "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": object},
        });
        world.deliver(&event, "platform").await;
        testkit::eventually(SOON, || async { world.count(told).await > before }).await;
        assert_eq!(world.alerts(&subject).await, 1);
    });
}

/// Stripe accepts a refund that takes its time, and tells of its end under the newer name alone.
#[test]
fn a_refund_that_is_canceled_after_it_was_accepted_is_told_to_a_person() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        let id = world.held_by(&terms, "pm_card_pendingRefund").await;
        world.command(&id, "refund", &json!({})).await;
        world.until(&id, "refunded").await;
        let refunds = world.stripe(reqwest::Method::GET, "/v1/refunds", &[]).await;
        let refund = refunds["data"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(refunds["data"][0]["status"], "pending");
        world.act(json!({"act": "cancel_refund", "refund": refund})).await;
        world.carry().await;
        let subject = format!("{id}/refund_failed/{refund}");
        testkit::eventually(SOON, || async { world.alerts(&subject).await == 1 }).await;
    });
}

/// Our refund is done before its webhook is here, and what others refunded is in nobody's way.
#[test]
fn after_a_refund_in_the_dashboard_ours_is_made_once() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        let charge = world.book(&id).await["captures"][0]["charge"]
            .as_str()
            .unwrap()
            .to_owned();
        let form = [("charge", charge.as_str()), ("amount", "5000")];
        world.stripe(reqwest::Method::POST, "/v1/refunds", &form).await;
        world.carry().await;
        let shown = async || world.get(&id).await;
        testkit::eventually(SOON, || async { shown().await["refunded"] == 5_000 }).await;
        let (status, body) = world.command(&id, "refund", &json!({"amount": 1_000})).await;
        assert_eq!(status, 202, "{body:#}");
        testkit::eventually(SOON, || async { shown().await["refunded"] == 6_000 }).await;
        world.until(&id, "held").await;
        world.carry().await;
        assert_eq!(world.moved(&id, "refunds").await, [1_000, 5_000]);
        world.assert_book_holds().await;
    });
}

/// Whoever sees that ours is not made and makes it in the dashboard has made that one.
#[test]
fn a_refund_that_is_made_in_the_dashboard_because_ours_was_refused_is_not_made_again() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        let refusal =
            json!({"path": "/v1/refunds", "method": "POST", "kind": "error", "code": "charge_not_refundable"});
        world.fault(refusal).await;
        world.command(&id, "refund", &json!({"amount": 5_000})).await;
        testkit::eventually(SOON, || async {
            world.alerts(&format!("escrow_gave_up:{id}/refund")).await > 0
        })
        .await;
        let charge = world.book(&id).await["captures"][0]["charge"]
            .as_str()
            .unwrap()
            .to_owned();
        let form = [("charge", charge.as_str()), ("amount", "5000")];
        world.stripe(Method::POST, "/v1/refunds", &form).await;
        world.carry().await;
        let shown = world.until(&id, "distributed").await;
        assert_eq!(shown["refunded"], 5_000);
        assert_eq!(world.moved(&id, "refunds").await, [5_000]);
        assert_eq!(world.moved(&id, "reversals").await, [4_500]);
        let open = "SELECT count(*) FROM stripe_operations WHERE kind = 'refund' AND job IS NOT NULL";
        assert_eq!(world.count(open).await, 0);
        world.assert_book_holds().await;
    });
}

#[test]
fn a_refund_that_stripe_never_makes_is_withdrawn() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        let (status, body) = world.command(&id, "refund/withdraw", &json!({})).await;
        assert_eq!((status, &body["code"]), (409, &json!("wrong_state")), "{body:#}");
        let refusal = json!({"path": "/v1/refunds", "method": "POST", "kind": "error", "code": "charge_not_refundable", "times": 100});
        world.fault(refusal).await;
        world.command(&id, "refund", &json!({"amount": 1_000})).await;
        let subject = format!("{id}/gave_up");
        testkit::eventually(SOON, || async {
            world.get(&id).await["operations"][1]["status"] == "failed_permanent" || world.alerts(&subject).await > 0
        })
        .await;
        let (status, body) = world.command(&id, "refund/withdraw", &json!({})).await;
        assert_eq!((status, &body["status"]), (202, &json!("held")), "{body:#}");
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        assert_eq!(world.moved(&id, "refunds").await, [0_i64; 0]);
        world.assert_book_holds().await;
    });
}
