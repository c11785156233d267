//! Answers that are lost, and keys that have grown old: nothing is paid twice, and nothing is forgotten. Processes that are stopped are in
//! `crash_grid`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use support::{SOON, in_world};

#[test]
fn an_answer_that_is_lost_after_the_effect_never_pays_twice() {
    in_world(|world| async move {
        let account = world.account().await;
        for fault in [
            json!({"kind": "lost_after"}),
            json!({"kind": "html502", "after_effect": true}),
            json!({"kind": "500", "after_effect": true}),
        ] {
            let mut terms = world.terms(&account);
            terms["capture"] = json!("automatic");
            // So little that Stripe would pay it twice out of the charge.
            terms["platform_fee"] = json!({"bps": 6_000});
            let id = world.held(&terms).await;
            let mut fault = fault;
            fault["path"] = json!("/v1/transfers$");
            fault["method"] = json!("POST");
            world.fault(fault.clone()).await;
            world.command(&id, "release", &json!({})).await;
            let conn = &world.sql;
            testkit::eventually(support::SOON, || async {
                let sql = "SELECT count(*) FROM stripe_operations WHERE kind = 'transfer' AND status IN ('unknown', 'succeeded') \
                           AND escrow_id = $1";
                conn.query_one(sql, &[&id]).await.unwrap().get::<_, i64>(0) == 1
            })
            .await;
            // The wait after an unknown outcome has any length down to none: it may have been found out already.
            let status = world.get(&id).await["status"].clone();
            assert!(status == "processing" || status == "distributed", "{fault}: {status}");
            // Later than the longest wait after an unknown outcome, and than a look counts.
            world.clock.advance(Duration::from_secs(2 * 3_600));
            world.until_later(&id, "distributed").await;
            assert_eq!(world.moved(&id, "transfers").await, [4_000], "{fault}");
        }
        world.assert_book_holds().await;
    });
}

#[test]
fn a_key_that_has_grown_old_is_not_used_again_and_stripe_is_looked_at_first() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        terms["platform_fee"] = json!({"bps": 6_000});
        for (kind, transfers) in [("lost_after", 1), ("lost_before", 1)] {
            let id = world.held(&terms).await;
            world
                .fault(json!({"path": "/v1/transfers$", "method": "POST", "kind": kind, "times": 1_000}))
                .await;
            world.command(&id, "release", &json!({})).await;
            world.until_unknown("transfer").await;
            world.heal().await;
            world.act(json!({"act": "prune_idempotency_keys"})).await;
            world.clock.advance(Duration::from_secs(30 * 3_600));
            world.until_later(&id, "distributed").await;
            assert_eq!(world.moved(&id, "transfers").await.len(), transfers, "{kind}");
        }
        world.assert_book_holds().await;
    });
}

/// A refund that the bank does not take is no refund, however its answer went.
#[test]
fn a_refund_that_fails_at_once_waits_for_a_person_and_is_not_booked() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        for fault in [None, Some("lost_after")] {
            let id = world.held_by(&terms, "pm_card_refundFailAtOnce").await;
            if let Some(kind) = fault {
                world
                    .fault(json!({"path": "/v1/refunds$", "method": "POST", "kind": kind}))
                    .await;
            }
            world.command(&id, "refund", &json!({"amount": 1_000})).await;
            let subject = format!("escrow_gave_up:{id}/refund");
            let began = std::time::Instant::now();
            while world.alerts(&subject).await == 0 {
                assert!(began.elapsed() < SOON, "{:#}", world.get(&id).await);
                world.clock.advance(Duration::from_secs(90));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            world.carry().await;
            let shown = world.get(&id).await;
            assert_eq!(
                (&shown["status"], &shown["refunded"]),
                (&json!("refunding"), &json!(0)),
                "{shown:#}"
            );
            let refused = shown["operations"]
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["kind"] == "refund")
                .unwrap();
            assert_eq!(
                (&refused["status"], &refused["reason"]),
                (&json!("failed_permanent"), &json!("declined"))
            );
            let (status, body) = world.command(&id, "refund/withdraw", &json!({})).await;
            assert_eq!((status, &body["status"]), (202, &json!("held")), "{body:#}");
            assert_eq!(world.moved(&id, "refunds").await, [0_i64; 0]);
            let heard =
                "SELECT count(*) FROM billing_events WHERE type = 'refund.failed' AND reason = 'refund_was_refused'";
            testkit::eventually(SOON, || async { world.count(heard).await > 0 }).await;
            assert_eq!(
                world.alerts("refund_failed").await,
                0,
                "nobody pays by hand what is made again, or not, by the rules"
            );
        }
        world.assert_book_holds().await;
    });
}

/// The bank's refusal is told before the answer to the call is: it waits until it is known which of both the call was.
#[test]
fn a_refund_that_came_back_while_its_call_is_unknown_is_told_once_it_was_taken_for_done() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.lose_answers("/v1/refunds$").await;
        world.command(&id, "refund", &json!({"amount": 1_000})).await;
        world.until_unknown("refund").await;
        world.heal().await;
        let mut refund = world.stripe(Method::GET, "/v1/refunds", &[]).await["data"][0].clone();
        refund["status"] = json!("failed");
        let event = json!({
            "id": support::unique("evt_refund"), "object": "event", "type": "refund.failed", "created": world.clock.unix_seconds(),
            "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": refund},
        });
        world.deliver(&event, "platform").await;
        let waiting = "SELECT count(*) FROM billing_events WHERE type = 'refund.failed' AND status = 'waiting'";
        testkit::eventually(SOON, || async { world.count(waiting).await == 1 }).await;
        assert_eq!(world.alerts("refund_failed").await, 0);
        // The same call under its key says that it was made.
        world.clock.advance(Duration::from_secs(2 * 3_600));
        testkit::eventually(SOON, || async { world.alerts("refund_failed").await == 1 }).await;
        assert_eq!(world.count(waiting).await, 0);
    });
}

/// Made, its answer lost, and come back before anybody looked: it ends as it would have if the answer had been heard.
#[test]
fn a_refund_that_came_back_before_it_was_looked_for_is_told_and_not_made_again() {
    in_world(|world| async move {
        for (amount, is_paid_out, taken_back) in [(10_000, false, vec![]), (6_000, true, vec![5_400])] {
            let (_, id) = world.captured().await;
            if is_paid_out {
                world.command(&id, "release", &json!({})).await;
                world.until(&id, "distributed").await;
            }
            world.lose_answers("/v1/refunds$").await;
            world.command(&id, "refund", &json!({"amount": amount})).await;
            world.until_unknown("refund").await;
            world.heal().await;
            world.carry().await;
            let refund = world.book(&id).await["refunds"][0]["id"].as_str().unwrap().to_owned();
            world.act(json!({"act": "fail_refund", "refund": refund})).await;
            world.carry().await;
            world.clock.advance(Duration::from_secs(2 * 3_600));
            let came_back = format!("{id}/refund_failed/{refund}");
            testkit::eventually(SOON, || async { world.alerts(&came_back).await > 0 }).await;
            let shown = world.get(&id).await;
            let refunds = shown["operations"].as_array().unwrap().iter();
            let refunds: Vec<_> = refunds
                .filter(|one| one["kind"] == "refund")
                .map(|one| &one["status"])
                .collect();
            assert_eq!(refunds, ["succeeded"], "{shown:#}");
            assert_eq!(world.alerts(&format!("{id}/refunded_outside")).await, 0);
            assert_eq!(world.moved(&id, "reversals").await, taken_back);
        }
        world.assert_book_holds().await;
    });
}

/// Somebody captures a part in the dashboard, and we only learn of it by looking: what is there is divided, and not what was asked for.
#[test]
fn a_capture_that_others_made_of_a_part_is_taken_for_what_it_is() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["platform_fee"] = json!({"bps": 6_000});
        let id = world.held(&terms).await;
        let payment = world.get(&id).await["payment_intent_id"].as_str().unwrap().to_owned();
        let capture = format!("/v1/payment_intents/{payment}/capture");
        world
            .stripe(Method::POST, &capture, &[("amount_to_capture", "6000")])
            .await;
        world.command(&id, "release", &json!({})).await;
        let began = std::time::Instant::now();
        while world.moved(&id, "transfers").await.is_empty() {
            assert!(began.elapsed() < SOON, "{:#}", world.get(&id).await);
            world.clock.advance(Duration::from_secs(600));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.until(&id, "distributed").await;
        // Of the 40.00 that were never taken each bears its part: of EUR 40.00 the recipient has 24.00, of 60.00 the platform 36.00.
        assert_eq!(world.moved(&id, "transfers").await, [2_400]);
        world.carry().await;
        assert_eq!(world.get(&id).await["captured"], 6_000);
        world.assert_book_holds().await;
    });
}

/// Others end a payment in the dashboard, its webhook is lost, and our call the other way is refused: what is there is seen by looking.
#[test]
fn a_payment_that_others_captured_or_canceled_is_seen_where_our_call_is_refused() {
    in_world(|world| async move {
        let account = world.account().await;
        let terms = world.terms(&account);
        for (theirs, ours, end, refunds) in [
            ("capture", "refund", "refunded", vec![10_000]),
            ("cancel", "release", "canceled", vec![]),
        ] {
            let id = world.held(&terms).await;
            let payment = world.get(&id).await["payment_intent_id"].as_str().unwrap().to_owned();
            let path = format!("/v1/payment_intents/{payment}/{theirs}");
            world.stripe(Method::POST, &path, &[]).await;
            let (status, body) = world.command(&id, ours, &json!({})).await;
            assert_eq!(status, 202, "{body:#}");
            world.until_later(&id, end).await;
            assert_eq!(world.moved(&id, "refunds").await, refunds, "{theirs}");
            // What is told of it late is known.
            world.carry().await;
            world.until(&id, end).await;
        }
        world.assert_book_holds().await;
    });
}

/// A key that may not list what it made would leave calls unknown for ever.
#[test]
fn a_look_that_stripe_refuses_is_told() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.lose_answers("/v1/transfers$").await;
        let refused = json!({"path": "/v1/transfers", "method": "GET", "kind": "error", "code": "secret_key_required", "times": 3});
        world.fault(refused).await;
        world.command(&id, "release", &json!({})).await;
        world.until_unknown("transfer").await;
        world.clock.advance(Duration::from_secs(30 * 3_600));
        testkit::eventually(SOON, || async {
            world.alerts("stripe_api_failure:escrow/look").await > 0
        })
        .await;
        world.until_later(&id, "distributed").await;
    });
}

/// This cannot happen by itself, so it is made to happen: somebody makes a second transfer in the name of ours.
#[test]
fn what_happened_twice_is_settled_by_a_person_who_undoes_one() {
    in_world(|world| async move {
        let (account, id) = world.captured().await;
        world.lose_answers("/v1/transfers$").await;
        world.command(&id, "release", &json!({})).await;
        world.until_unknown("transfer").await;
        world.heal().await;
        let ours = world.book(&id).await["transfers"][0].clone();
        let operation: String = world
            .sql
            .query_one("SELECT id FROM stripe_operations WHERE kind = 'transfer'", &[])
            .await
            .unwrap()
            .get(0);
        let charge = world.book(&id).await["captures"][0]["charge"]
            .as_str()
            .unwrap()
            .to_owned();
        let form = [
            ("amount", "1000"),
            ("currency", "eur"),
            ("destination", account.as_str()),
            ("source_transaction", charge.as_str()),
            ("transfer_group", id.as_str()),
            ("metadata[operation_id]", operation.as_str()),
            ("metadata[escrow_id]", id.as_str()),
        ];
        let second = world.stripe(Method::POST, "/v1/transfers", &form).await;
        world.clock.advance(Duration::from_secs(30 * 3_600));
        testkit::eventually(SOON, || async { world.alerts("escrow_happened_twice").await > 0 }).await;
        let number = world.get(&id).await["operations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["kind"] == "transfer")
            .unwrap()["number"]
            .clone();
        let retry = format!("operations/{number}/retry");
        let told = world.alerts("escrow_happened_twice").await;
        world.command(&id, &retry, &json!({})).await;
        testkit::eventually(SOON, || async { world.alerts("escrow_happened_twice").await > told }).await;
        assert_eq!(world.get(&id).await["status"], "processing", "both are there still");

        let second = second["id"].as_str().unwrap();
        let reversal = format!("/v1/transfers/{second}/reversals");
        world.stripe(Method::POST, &reversal, &[("amount", "1000")]).await;
        // What is told of both settles nothing, and least of all by the one that was undone.
        world.carry().await;
        let heard = "SELECT count(*) FROM billing_events WHERE type LIKE 'transfer.%' AND status = 'decided'";
        testkit::eventually(SOON, || async { world.count(heard).await >= 3 }).await;
        let (status, body) = world.command(&id, &retry, &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        let done = world.until(&id, "distributed").await;
        let operation = done["operations"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["kind"] == "transfer");
        assert_eq!(operation.unwrap()["object"], ours["id"]);
        world.assert_book_holds().await;
    });
}

/// `charge.refunded` is often faster than the answer. What it tells is our own refund until the opposite is known, and is not taken from
/// the recipient for a second time.
#[test]
fn a_refund_whose_webhook_is_here_before_its_answer_takes_nothing_more_from_the_recipient() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.command(&id, "release", &json!({})).await;
        world.until(&id, "distributed").await;
        world.lose_answers("/v1/refunds$").await;
        world.command(&id, "refund", &json!({"amount": 5_000})).await;
        world.until_unknown("refund").await;
        world.heal().await;
        world.carry().await;
        testkit::eventually(SOON, || async { world.get(&id).await["refunded"] == 5_000 }).await;
        world.until_later(&id, "distributed").await;
        assert_eq!(world.moved(&id, "refunds").await, [5_000]);
        assert_eq!(world.moved(&id, "reversals").await, [4_500]);
        world.assert_book_holds().await;
    });
}

/// A refund cannot be undone: a person says which of the two counts, and the other one is what others did.
#[test]
fn of_two_refunds_a_person_says_which_counts() {
    in_world(|world| async move {
        let (_, id) = world.captured().await;
        world.lose_answers("/v1/refunds$").await;
        world.command(&id, "refund", &json!({"amount": 1_000})).await;
        world.until_unknown("refund").await;
        world.heal().await;
        let ours = world.stripe(Method::GET, "/v1/refunds", &[]).await["data"][0].clone();
        let form = [
            ("payment_intent", ours["payment_intent"].as_str().unwrap()),
            ("amount", "1000"),
            (
                "metadata[operation_id]",
                ours["metadata"]["operation_id"].as_str().unwrap(),
            ),
        ];
        world.stripe(Method::POST, "/v1/refunds", &form).await;
        world.clock.advance(Duration::from_secs(30 * 3_600));
        testkit::eventually(SOON, || async { world.alerts("escrow_happened_twice").await > 0 }).await;
        let (status, body) = world.command(&id, "refund", &json!({"amount": 1_000})).await;
        assert_eq!(status, 409, "{body:#}");
        let (status, body) = world.command(&id, "operations/1/retry", &json!({"object": 7})).await;
        assert_eq!((status, &body["field"]), (400, &json!("object")));
        let (status, body) = world
            .command(&id, "operations/1/retry", &json!({"object": "tr_1"}))
            .await;
        assert_eq!((status, &body["field"]), (400, &json!("object")), "{body:#}");
        let (status, body) = world
            .command(&id, "operations/1/retry", &json!({"object": ours["id"]}))
            .await;
        assert_eq!((status, &body["status"]), (202, &json!("held")), "{body:#}");
        let (status, _) = world
            .command(&id, "operations/1/retry", &json!({"object": ours["id"]}))
            .await;
        assert_eq!(status, 409, "it is settled");
        world.carry().await;
        testkit::eventually(SOON, || async { world.get(&id).await["refunded"] == 2_000 }).await;
        world.command(&id, "refund", &json!({"amount": 500})).await;
        testkit::eventually(SOON, || async { world.get(&id).await["refunded"] == 2_500 }).await;
        world.assert_book_holds().await;
    });
}
