//! What a timer does: giving back what has expired, and capturing in time.

use std::time::Duration;

use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Scenario, terms};
use crate::end::Subject;
use crate::stage::Stage;

/// A day, in seconds: each run has the day's limit of its own.
const DAY: u64 = 86_400;

pub fn scenarios() -> [Scenario; 5] {
    [
        Scenario {
            name: "time-out of what is captured, by request",
            has_timer: false,
            prepare: |stage| expired(stage, "automatic", &[5_000]).boxed_local(),
            act: |stage, subject| {
                async move {
                    loop {
                        let report = stage
                            .request(Method::POST, "/api/escrows/timeouts", None, &json!({}))
                            .await;
                        if report["found"] == 0 {
                            break;
                        }
                    }
                    stage.until(&subject.escrows[0], "refunded").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "time-out of what is authorised, by the timer",
            has_timer: true,
            prepare: |stage| expired(stage, "manual", &[5_000]).boxed_local(),
            act: |stage, subject| until_all(stage, subject, "canceled").boxed_local(),
        },
        Scenario {
            name: "time-out above the limit, which is set aside",
            has_timer: true,
            prepare: |stage| expired(stage, "automatic", &[10_001]).boxed_local(),
            act: |stage, subject| {
                async move {
                    stage.advance(Duration::from_secs(DAY)).await;
                    let sql = "SELECT count(*) FROM escrow_transactions WHERE id = $1 AND set_aside_at IS NOT NULL";
                    stage.until_count(sql, &subject.escrows[0], 1).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "time-out of more than the breaker lets pass",
            has_timer: true,
            prepare: |stage| expired(stage, "automatic", &[6_000, 5_000]).boxed_local(),
            act: |stage, subject| until_all(stage, subject, "refunded").boxed_local(),
        },
        Scenario {
            name: "an authorisation that is captured in time",
            has_timer: true,
            prepare: |stage| {
                async move {
                    let account = stage.world.account().await;
                    let mut terms = terms(stage, &[&account], "manual");
                    terms["expires_at"] = json!(stage.world.in_days(300));
                    terms["on_authorization_expiry"] = json!("capture");
                    let body = stage.create(&terms).await;
                    stage.pay(&body, "pm_card_bypassPending").await;
                    Subject::of(body["escrow_id"].as_str().unwrap(), &[&account])
                }
                .boxed_local()
            },
            act: |stage, subject| {
                async move {
                    // Its event does not say when the authorisation ends.
                    stage.hear(&["payment_intent.amount_capturable_updated"]).await;
                    stage.until(&subject.escrows[0], "held").await;
                    let asked = "SELECT count(*) FROM escrow_transactions WHERE id = $1 AND capture_before IS NOT NULL";
                    stage.until_count(asked, &subject.escrows[0], 1).await;
                    stage.advance(Duration::from_secs(6 * DAY + 15 * 3_600)).await;
                    let captured = "SELECT count(*) FROM escrow_transactions WHERE id = $1 AND captured IS NOT NULL";
                    stage.until_count(captured, &subject.escrows[0], 1).await;
                    subject
                }
                .boxed_local()
            },
        },
    ]
}

/// Escrows of these amounts that are paid. With a timer they have yet to expire, without one they have.
async fn expired(stage: &mut Stage, capture: &str, amounts: &[i64]) -> Subject {
    let account = stage.world.account().await;
    let mut subject = Subject {
        escrows: Vec::new(),
        accounts: vec![account.clone()],
        ..Subject::default()
    };
    for amount in amounts {
        let mut terms = terms(stage, &[&account], capture);
        terms["amount"] = json!(amount);
        terms["expires_at"] = Value::from(stage.world.clock.unix_seconds() + i64::try_from(DAY).unwrap() - 60);
        subject.escrows.push(stage.held(&terms).await);
    }
    if !stage.has_timer() {
        stage.advance(Duration::from_secs(DAY)).await;
    }
    subject
}

/// Lets the time of all be over, and waits until the timer has seen to them.
async fn until_all(stage: &mut Stage, subject: Subject, status: &str) -> Subject {
    stage.advance(Duration::from_secs(DAY)).await;
    for escrow in &subject.escrows {
        stage.until(escrow, status).await;
    }
    subject
}
