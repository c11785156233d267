//! Creating an escrow, and giving back what was paid for it.

use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::json;

use super::{Scenario, distributed, distributed_to_one, held_for_one, terms};
use crate::end::Subject;
use crate::support::unique;

pub fn scenarios() -> [Scenario; 7] {
    [
        Scenario {
            name: "create, to be captured on release",
            has_timer: false,
            prepare: |stage| async move { Subject::of("", &[&stage.world.account().await]) }.boxed_local(),
            act: |stage, mut subject| {
                async move {
                    let terms = terms(stage, &[&subject.accounts[0]], "manual");
                    let key = unique("create");
                    let first = stage.request(Method::POST, "/api/escrows", Some(&key), &terms).await;
                    // Its caller may have lost the answer; the secret is read from Stripe then.
                    let again = stage.request(Method::POST, "/api/escrows", Some(&key), &terms).await;
                    for field in ["escrow_id", "payment_intent_id", "client_secret"] {
                        assert_eq!(first[field], again[field]);
                        assert!(first[field].is_string(), "{field} is missing: {first}");
                    }
                    subject.escrows = vec![first["escrow_id"].as_str().unwrap().to_owned()];
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "create, captured at once, and pay",
            has_timer: false,
            prepare: |stage| async move { Subject::of("", &[&stage.world.account().await]) }.boxed_local(),
            act: |stage, mut subject| {
                async move {
                    let terms = terms(stage, &[&subject.accounts[0]], "automatic");
                    let id = stage.held(&terms).await;
                    stage.hear(&["charge.succeeded"]).await;
                    subject.escrows = vec![id];
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "refund of what is authorised",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "manual").boxed_local(),
            act: |stage, subject| {
                async move {
                    stage.command(&subject.escrows[0], "refund", &json!({})).await;
                    stage.until(&subject.escrows[0], "canceled").await;
                    stage.hear(&["payment_intent.canceled"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "refund of what is captured",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "automatic").boxed_local(),
            act: |stage, subject| {
                async move {
                    stage.command(&subject.escrows[0], "refund", &json!({})).await;
                    stage.until(&subject.escrows[0], "refunded").await;
                    stage.hear(&["charge.refunded"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "refund that the bank refuses, which is withdrawn",
            has_timer: false,
            prepare: |stage| {
                async move {
                    let account = stage.world.account().await;
                    let terms = terms(stage, &[&account], "automatic");
                    Subject::of(stage.held_by(&terms, "pm_card_refundFailAtOnce").await, &[&account])
                }
                .boxed_local()
            },
            act: |stage, subject| {
                async move {
                    let refused = "SELECT count(*) FROM stripe_operations \
                                   WHERE escrow_id = $1 AND kind = 'refund' AND status = 'failed_permanent'";
                    let escrow = &subject.escrows[0];
                    stage.command(escrow, "refund", &json!({"amount": 1_000})).await;
                    stage.until_count(refused, escrow, 1).await;
                    stage.hear(&["refund.failed"]).await;
                    stage.command(escrow, "refund/withdraw", &json!({})).await;
                    stage.until(escrow, "held").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "refund of a part after release",
            has_timer: false,
            prepare: |stage| distributed_to_one(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    stage
                        .command(&subject.escrows[0], "refund", &json!({"amount": 3_333}))
                        .await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    stage.hear(&["transfer.reversed", "charge.refunded"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "refund of all after release",
            has_timer: false,
            prepare: |stage| distributed(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    stage.hears_early(&["transfer.reversed", "charge.refunded"]);
                    stage.command(&subject.escrows[0], "refund", &json!({})).await;
                    stage.until(&subject.escrows[0], "refunded").await;
                    subject
                }
                .boxed_local()
            },
        },
    ]
}
