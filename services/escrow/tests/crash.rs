//! Answers that are lost, and workers that are killed: nothing is paid twice, and nothing is forgotten.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use escrow::{Step, Steps};
use serde_json::json;
use support::{World, in_world};

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

/// Kills the worker after the `nth` time of a step, starts another one, and compares the end.
async fn killed_after(step: Step, nth: usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let (reached, counted) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&count));
    let told = Arc::clone(&reached);
    let steps = Steps::stopping(move |now| {
        let stops = now == step && counted.fetch_add(1, Ordering::SeqCst) + 1 == nth;
        if stops {
            told.fetch_add(1, Ordering::SeqCst);
        }
        stops
    });
    let mut world = World::create(steps).await;
    let (first, second) = (world.account().await, world.account().await);
    let mut terms = world.terms(&first);
    terms["recipients"] = json!([{"account": first, "share_bps": 6_000}, {"account": second, "share_bps": 4_000}]);
    // A request that is killed is made again under its key, as its caller would.
    let create = world.post("/api/escrows", Some("the_key"), &terms);
    if tokio::time::timeout(Duration::from_secs(5), create).await.is_err() {
        world.crash_and_restart().await;
        world.clock.advance(Duration::from_secs(400));
    }
    let body = testkit::eventually_some(support::SOON, || async {
        let (status, body) = world.post("/api/escrows", Some("the_key"), &terms).await;
        (status == 201).then_some(body)
    })
    .await;
    let id = body["escrow_id"].as_str().unwrap().to_owned();
    let payment = body["payment_intent_id"].as_str().unwrap();
    let form = [
        ("payment_method", "pm_card_bypassPending"),
        ("return_url", "https://example.com"),
    ];
    let path = format!("/v1/payment_intents/{payment}/confirm");
    world.stripe(reqwest::Method::POST, &path, &form).await;
    world.carry().await;
    for status in ["held", "distributed"] {
        loop {
            let has = world.get(&id).await["status"] == status;
            let is_killed = reached.load(Ordering::SeqCst) == 1;
            if is_killed {
                world.crash_and_restart().await;
                world.clock.advance(Duration::from_secs(400));
                reached.store(2, Ordering::SeqCst);
            }
            if has {
                break;
            }
            if reached.load(Ordering::SeqCst) == 2 {
                world.clock.advance(Duration::from_secs(60));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if status == "held" {
            let body = json!({});
            let release = world.command(&id, "release", &body);
            drop(tokio::time::timeout(Duration::from_secs(5), release).await);
        }
    }
    assert!(
        count.load(Ordering::SeqCst) >= nth,
        "{step:?} was not reached {nth} times"
    );
    assert_eq!(world.moved(&id, "captures").await, [10_000], "{step:?} {nth}");
    assert_eq!(world.moved(&id, "transfers").await, [3_600, 5_400], "{step:?} {nth}");
    world.assert_book_holds().await;
}

fn check(step: Step, times: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for nth in 1..=times {
        runtime.block_on(async {
            let limit = Duration::from_secs(120);
            let ended = tokio::time::timeout(limit, killed_after(step, nth)).await;
            assert!(ended.is_ok(), "{step:?} {nth} did not end");
        });
    }
}

#[test]
fn a_worker_that_is_killed_after_a_commit_leaves_nothing_undone() {
    check(Step::Created, 1);
    check(Step::Commanded, 1);
    check(Step::EventDecided, 1);
}

#[test]
fn a_worker_that_is_killed_before_its_call_leaves_it_to_another_one() {
    check(Step::PickedUp, 4);
}

#[test]
fn a_worker_that_is_killed_after_its_call_has_not_paid_twice() {
    check(Step::Called, 4);
}

#[test]
fn a_worker_that_is_killed_after_an_outcome_leaves_the_next_call_to_another_one() {
    check(Step::Settled, 4);
}
