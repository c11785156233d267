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
            assert_eq!(world.get(&id).await["status"], "processing", "{fault}");
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
                .fault(json!({"path": "/v1/transfers$", "method": "POST", "kind": kind}))
                .await;
            world.command(&id, "release", &json!({})).await;
            let conn = &world.sql;
            testkit::eventually(support::SOON, || async {
                let sql = "SELECT count(*) FROM stripe_operations WHERE kind = 'transfer' AND status = 'unknown' AND escrow_id = $1";
                conn.query_one(sql, &[&id]).await.unwrap().get::<_, i64>(0) == 1
            })
            .await;
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
            let mut rounds = 0;
            while world.alerts(&subject).await == 0 {
                assert!(rounds < 150, "{:#}", world.get(&id).await);
                rounds += 1;
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
        }
        world.assert_book_holds().await;
    });
}

/// This cannot happen by itself, so it is made to happen: somebody makes a second transfer in the name of ours.
#[test]
fn what_happened_twice_is_settled_by_a_person_who_undoes_one() {
    in_world(|world| async move {
        let (account, id) = world.captured().await;
        world
            .fault(json!({"path": "/v1/transfers$", "method": "POST", "kind": "lost_after"}))
            .await;
        world.command(&id, "release", &json!({})).await;
        let lost = format!(
            "SELECT count(*) FROM stripe_operations WHERE kind = 'transfer' AND status = 'unknown' AND escrow_id = '{id}'"
        );
        testkit::eventually(SOON, || async { world.count(&lost).await == 1 }).await;
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
        let (status, body) = world.command(&id, &retry, &json!({})).await;
        assert_eq!(status, 202, "{body:#}");
        let done = world.until(&id, "distributed").await;
        assert_eq!(done["recipients"][0]["transfers"], json!([ours["id"]]));
        world.carry().await;
        world.assert_book_holds().await;
    });
}
