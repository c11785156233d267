//! What Stripe tells: each type that escrow hears, with what follows from it.

use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::accounts::thin;
use super::{Scenario, distributed_to_one, fault, held_for_one, terms};
use crate::end::Subject;
use crate::stage::Stage;
use crate::support::unique;

pub fn scenarios() -> [Scenario; 8] {
    [
        Scenario {
            name: "webhooks of a payment: declined, authorised, captured and refunded outside",
            has_timer: false,
            prepare: |stage| created(stage, "manual").boxed_local(),
            act: |stage, subject| {
                async move {
                    let payment = payment(stage, &subject.escrows[0]).await;
                    stage.pay(&payment, "pm_card_chargeDeclined").await;
                    stage.hear(&["payment_intent.payment_failed"]).await;
                    stage.until(&subject.escrows[0], "payment_failed").await;
                    stage.pay(&payment, "pm_card_bypassPending").await;
                    stage
                        .hear(&["payment_intent.amount_capturable_updated", "charge.succeeded"])
                        .await;
                    let id = payment["payment_intent_id"].as_str().unwrap().to_owned();
                    stage
                        .world
                        .stripe(
                            Method::POST,
                            &format!("/v1/payment_intents/{id}/capture"),
                            &[("amount_to_capture", "10000")],
                        )
                        .await;
                    stage.hear(&["payment_intent.succeeded", "charge.captured"]).await;
                    let form = [("payment_intent", id.as_str()), ("amount", "1234")];
                    stage.world.stripe(Method::POST, "/v1/refunds", &form).await;
                    stage.hear(&["charge.refunded"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "webhook of a payment that is canceled outside",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "manual").boxed_local(),
            act: |stage, subject| {
                async move {
                    let payment = payment(stage, &subject.escrows[0]).await;
                    let id = payment["payment_intent_id"].as_str().unwrap();
                    let form = [("cancellation_reason", "abandoned")];
                    stage
                        .world
                        .stripe(Method::POST, &format!("/v1/payment_intents/{id}/cancel"), &form)
                        .await;
                    stage.hear(&["payment_intent.canceled"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "webhooks of a dispute that is lost",
            has_timer: false,
            prepare: |stage| distributed_to_one(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    let dispute = dispute(stage, &subject.escrows[0]).await;
                    stage.hear(DISPUTE).await;
                    stage.until(&subject.escrows[0], "disputed").await;
                    stage
                        .world
                        .act(json!({"act": "close_dispute", "dispute": dispute, "status": "lost"}))
                        .await;
                    stage.hear(DISPUTE).await;
                    stage.until(&subject.escrows[0], "reversed").await;
                    stage.hear(&["transfer.reversed"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "webhooks of a dispute that is won",
            has_timer: false,
            prepare: |stage| held_for_one(stage, "automatic").boxed_local(),
            act: |stage, subject| {
                async move {
                    let dispute = dispute(stage, &subject.escrows[0]).await;
                    stage.hear(DISPUTE).await;
                    stage.until(&subject.escrows[0], "disputed").await;
                    stage
                        .world
                        .act(json!({"act": "close_dispute", "dispute": dispute, "status": "won"}))
                        .await;
                    stage.hear(DISPUTE).await;
                    stage.until(&subject.escrows[0], "held").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "webhooks of a transfer: created, updated, reversed outside",
            has_timer: false,
            prepare: |stage| distributed_to_one(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    let transfer = transfer(stage, &subject.escrows[0]).await;
                    let id = transfer["id"].as_str().unwrap();
                    stage
                        .world
                        .stripe(
                            Method::POST,
                            &format!("/v1/transfers/{id}"),
                            &[("description", "a gift")],
                        )
                        .await;
                    stage.hear(&["transfer.updated"]).await;
                    stage
                        .world
                        .stripe(
                            Method::POST,
                            &format!("/v1/transfers/{id}/reversals"),
                            &[("amount", "1000")],
                        )
                        .await;
                    stage.hear(&["transfer.reversed"]).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "webhooks that old accounts send: transfer.failed, payout.failed",
            has_timer: false,
            prepare: |stage| distributed_to_one(stage).boxed_local(),
            act: |stage, subject| {
                async move {
                    let payout = event(
                        stage,
                        "payout.failed",
                        json!({"id": unique("po"), "object": "payout"}),
                        Some(&subject.accounts[0]),
                    );
                    stage.tell(&payout, "connect").await;
                    // Stripe has taken the money back by then.
                    let transfer = transfer(stage, &subject.escrows[0]).await;
                    let id = transfer["id"].as_str().unwrap();
                    stage
                        .world
                        .stripe(
                            Method::POST,
                            &format!("/v1/transfers/{id}/reversals"),
                            &[("description", "failed")],
                        )
                        .await;
                    let object = stage
                        .world
                        .stripe(Method::GET, &format!("/v1/transfers/{id}"), &[])
                        .await;
                    let failed = event(stage, "transfer.failed", object, None);
                    stage.tell(&failed, "platform").await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "thin events of a payment and a transfer",
            has_timer: true,
            prepare: |stage| {
                async move {
                    let subject = created(stage, "automatic").await;
                    let payment = payment(stage, &subject.escrows[0]).await;
                    stage.pay(&payment, "pm_card_bypassPending").await;
                    subject
                }
                .boxed_local()
            },
            act: |stage, subject| {
                async move {
                    let id = payment(stage, &subject.escrows[0]).await["payment_intent_id"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    tell_thin(stage, "payment_intent.succeeded", "payment_intent", &id).await;
                    stage.until(&subject.escrows[0], "held").await;
                    let charge = stage.world.book(&subject.escrows[0]).await["captures"][0]["charge"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    tell_thin(stage, "charge.captured", "charge", &charge).await;
                    subject
                }
                .boxed_local()
            },
        },
        Scenario {
            name: "thin event that comes while Stripe is away",
            has_timer: true,
            prepare: |stage| {
                async move {
                    let subject = created(stage, "automatic").await;
                    let payment = payment(stage, &subject.escrows[0]).await;
                    stage.pay(&payment, "pm_card_bypassPending").await;
                    subject
                }
                .boxed_local()
            },
            act: |stage, subject| {
                async move {
                    fault(stage, "GET", "/v1/payment_intents/*", "lost_before").await;
                    let id = payment(stage, &subject.escrows[0]).await["payment_intent_id"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    tell_thin(stage, "payment_intent.succeeded", "payment_intent", &id).await;
                    stage.until(&subject.escrows[0], "held").await;
                    subject
                }
                .boxed_local()
            },
        },
    ]
}

const DISPUTE: &[&str] = &[
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

/// An escrow that is yet to be paid.
async fn created(stage: &mut Stage, capture: &str) -> Subject {
    let account = stage.world.account().await;
    let terms = terms(stage, &[&account], capture);
    let body = stage.create(&terms).await;
    Subject::of(body["escrow_id"].as_str().unwrap(), &[&account])
}

/// The payment of an escrow, as its creator was told.
async fn payment(stage: &Stage, escrow: &str) -> Value {
    let sql = "SELECT payment_intent_id FROM escrow_transactions WHERE id = $1";
    let id: String = stage.world.sql.query_one(sql, &[&escrow]).await.unwrap().get(0);
    json!({"escrow_id": escrow, "payment_intent_id": id})
}

/// Opens a dispute of the whole payment.
async fn dispute(stage: &Stage, escrow: &str) -> Value {
    let charge = stage.world.book(escrow).await["captures"][0]["charge"].clone();
    let opened = json!({"act": "create_dispute", "charge": charge, "reason": "fraudulent", "status": "needs_response"});
    stage.world.act(opened).await["id"].clone()
}

/// The first transfer.
async fn transfer(stage: &Stage, escrow: &str) -> Value {
    stage.world.book(escrow).await["transfers"][0].clone()
}

fn event(stage: &Stage, kind: &str, object: Value, account: Option<&String>) -> Value {
    json!({
        "id": unique("evt_made"), "object": "event", "type": kind, "account": account, "livemode": false,
        "created": stage.world.clock.unix_seconds(), "api_version": "2026-09-30.endive", "data": {"object": object},
    })
}

async fn tell_thin(stage: &mut Stage, kind: &str, object: &str, id: &str) {
    let related = json!({"id": id, "type": object, "url": format!("/v1/{object}s/{id}")});
    let event = thin(stage, &format!("v1.{kind}"), &related);
    stage.tell(&event, "platform").await;
}
