//! Release, and transfers that have to be made again.

use std::time::Duration;

use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Scenario, held, held_for_one, outage, terms};
use crate::end::Subject;
use crate::stage::Stage;
use crate::support::unique;

pub fn scenarios() -> [Scenario; 7] {
    [
        Scenario {
            name: "release, and Stripe tells before time goes by",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "manual").boxed_local(),
            act: |stage, subject| {
                async move {
                    stage.hears_early(&["payment_intent.succeeded", "charge.captured", "transfer.created"]);
                    release(stage, &subject).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "release to two recipients",
            has_timer: false,
            prepare: |stage| held(stage, "manual").boxed_local(),
            act: |stage, subject| {
                async move {
                    release(stage, &subject).await;
                    stage
                        .hear(&["payment_intent.succeeded", "charge.captured", "transfer.created"])
                        .await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "release of a charge that nobody has told of",
            has_timer: false,
            prepare: |stage| {
                async move {
                    let account = stage.world.account().await;
                    let terms = terms(stage, &[&account], "automatic");
                    let body = stage.create(&terms).await;
                    stage.pay(&body, "pm_card_bypassPending").await;
                    for mut event in stage.new_events().await {
                        if event["type"] == "payment_intent.succeeded" {
                            event["data"]["object"]["latest_charge"] = Value::Null;
                            stage.tell(&event, "platform").await;
                        }
                    }
                    Subject::of(body["escrow_id"].as_str().unwrap(), &[&account])
                }
                .boxed_local()
            },
            act: |stage, subject| {
                async move {
                    release(stage, &subject).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "release with an answer that is lost for longer than its key lives",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "automatic").boxed_local(),
            act: |stage, mut subject| {
                async move {
                    subject.keys_grow_old = true;
                    outage(stage, "POST", "/v1/transfers$", "lost_after").await;
                    stage.command(&subject.escrows[0], "release", &json!({})).await;
                    let unknown = "SELECT count(*) FROM stripe_operations WHERE escrow_id = $1 AND kind = 'transfer' \
                                   AND status IN ('in_flight', 'unknown')";
                    stage.soon_count(unknown, &subject.escrows[0], 1).await;
                    stage.clear_faults().await;
                    stage.advance(Duration::from_secs(21 * 3_600)).await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "retry of a refused transfer by the retry service",
            has_timer: false,
            prepare: |stage| refused(stage, "balance_insufficient").boxed_local(),
            act: |stage, subject| {
                async move {
                    let number = number(stage, &subject.escrows[0]).await;
                    let command = json!({"escrow_id": subject.escrows[0], "number": number});
                    stage.world.send_command(&command).await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "retry by a person of what was refused for good",
            has_timer: false,
            prepare: |stage| refused(stage, "no_account").boxed_local(),
            act: |stage, subject| {
                async move {
                    let number = number(stage, &subject.escrows[0]).await;
                    let path = format!("/api/escrows/{}/operations/{number}/retry", subject.escrows[0]);
                    stage
                        .request(Method::POST, &path, Some(&unique("retry")), &json!({}))
                        .await;
                    stage.until(&subject.escrows[0], "distributed").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "release of what is refused at first",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "manual").boxed_local(),
            act: |stage, subject| {
                async move {
                    let refusal = json!({"method": "POST", "path": "/v1/payment_intents/*/capture", "kind": "error", "code": "charge_expired_for_capture"});
                    stage.world.fault(refusal).await;
                    stage.command(&subject.escrows[0], "release", &json!({})).await;
                    // Refused, and held again; or, where the refusal struck a process that died, paid out.
                    stage.rest().await;
                    subject
                }
                .boxed_local()
            },
        },
    ]
}

async fn release(stage: &mut Stage, subject: &Subject) {
    stage.command(&subject.escrows[0], "release", &json!({})).await;
    stage.until(&subject.escrows[0], "distributed").await;
}

/// An escrow of which one transfer was refused, at a time at which it may be made again.
async fn refused(stage: &mut Stage, code: &str) -> Subject {
    let subject = held_for_one(stage, "automatic").await;
    let refusal = json!({"method": "POST", "path": "/v1/transfers$", "kind": "error", "code": code});
    stage.world.fault(refusal).await;
    stage.command(&subject.escrows[0], "release", &json!({})).await;
    stage.until(&subject.escrows[0], "transfer_failed").await;
    stage.advance(Duration::from_secs(3_600)).await;
    subject
}

/// The job of the transfer that was refused.
async fn number(stage: &Stage, escrow: &str) -> i32 {
    let sql = "SELECT number FROM stripe_operations WHERE escrow_id = $1 AND kind = 'transfer' AND job IS NOT NULL";
    stage.world.sql.query_one(sql, &[&escrow]).await.unwrap().get(0)
}
