//! Answers that are lost, and keys that have grown old: nothing is paid twice, and nothing is forgotten. Processes that are stopped are in
//! `crash_grid`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::in_world;

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
