//! Refunds that are decided later, and the ways of disputes.

use crate::harness::{DAY, Sim, id};
use serde_json::{Value, json};

/// A charge of 10 euros on a test card.
async fn charge(sim: &Sim, card: &str) -> String {
    let (customer, price) = (sim.customer(Some(card)).await, sim.price("1000", "month").await);
    sim.subscribe(&customer, &price, &[]).await.ok();
    let newest = sim.get("/v1/charges?limit=1").await.ok();
    id(&newest["data"][0]).to_owned()
}

async fn act(sim: &Sim, act: Value) -> Value {
    sim.control("act", act).await.ok()
}

#[tokio::test]
async fn a_refund_that_fails_later_gives_the_money_back_and_can_be_made_again() {
    let sim = Sim::start().await;
    let charge = charge(&sim, "pm_card_visa").await;
    let refund = sim
        .post("/v1/refunds", &[("charge", &charge), ("amount", "300")])
        .await
        .ok();
    assert_eq!(refund["status"], "succeeded");
    let before = sim.mark().await;
    let failed = act(&sim, json!({ "act": "fail_refund", "refund": id(&refund) })).await;
    assert_eq!(
        (&failed["status"], &failed["failure_reason"]),
        (&json!("failed"), &json!("lost_or_stolen_card"))
    );
    assert_eq!(
        sim.story(&before).await,
        [
            "refund.updated failed",
            "charge.refund.updated failed",
            "refund.failed failed",
            "charge.updated succeeded"
        ]
    );
    let shown = sim.get(&format!("/v1/charges/{charge}")).await.ok();
    assert_eq!(
        (&shown["amount_refunded"], &shown["refunded"]),
        (&json!(0), &json!(false))
    );
    let entry = &sim.get("/_sim/ledger").await.ok()["refunds"][0];
    assert!(entry["failed_at"].is_i64(), "{entry}");
    let again = json!({ "act": "fail_refund", "refund": id(&refund) });
    assert_eq!(sim.control("act", again).await.status, 400);
    sim.post("/v1/refunds", &[("charge", &charge)]).await.ok();
    let refunds = sim.get(&format!("/v1/charges/{charge}/refunds")).await.ok();
    assert_eq!(refunds["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn test_cards_decide_a_refund_a_day_later() {
    let sim = Sim::start().await;
    for (card, first, then) in [
        ("pm_card_pendingRefund", "pending", "succeeded"),
        ("pm_card_refundFail", "succeeded", "failed"),
    ] {
        let charge = charge(&sim, card).await;
        let refund = sim
            .post("/v1/refunds", &[("charge", &charge), ("metadata[why]", "test")])
            .await
            .ok();
        assert_eq!(refund["status"], first, "{card}");
        sim.advance(DAY).await;
        let later = sim.get(&format!("/v1/refunds/{}", id(&refund))).await.ok();
        assert_eq!(
            (&later["status"], &later["metadata"]["why"]),
            (&json!(then), &json!("test")),
            "{card}"
        );
    }
}

#[tokio::test]
async fn an_inquiry_holds_no_money_until_it_becomes_a_dispute() {
    let sim = Sim::start().await;
    let charge = charge(&sim, "pm_card_createDisputeInquiry").await;
    let dispute = sim.get("/v1/disputes").await.ok()["data"][0].clone();
    assert_eq!(
        (&dispute["status"], &dispute["is_charge_refundable"]),
        (&json!("warning_needs_response"), &json!(true))
    );
    sim.post("/v1/refunds", &[("charge", &charge), ("amount", "100")])
        .await
        .ok();
    let before = sim.mark().await;
    let dispute = id(&dispute).to_owned();
    for status in ["needs_response", "lost", "won"] {
        act(
            &sim,
            json!({ "act": "update_dispute", "dispute": dispute, "status": status }),
        )
        .await;
    }
    assert_eq!(
        sim.story(&before).await,
        [
            "charge.dispute.updated needs_response",
            "charge.dispute.funds_withdrawn needs_response",
            "charge.dispute.closed lost",
            "charge.dispute.closed won",
            "charge.dispute.funds_reinstated won"
        ]
    );
}

#[tokio::test]
async fn evidence_decides_a_dispute_by_stripes_test_texts() {
    let sim = Sim::start().await;
    for (text, expected) in [
        ("winning_evidence", "won"),
        ("losing_evidence", "lost"),
        ("a letter", "under_review"),
    ] {
        charge(&sim, "pm_card_createDispute").await;
        let dispute = sim.get("/v1/disputes?limit=1").await.ok()["data"][0].clone();
        let path = format!("/v1/disputes/{}", id(&dispute));
        let form = [("evidence[uncategorized_text]", text), ("submit", "true")];
        let answer = sim.post(&path, &form).await.ok();
        assert_eq!(
            (&answer["status"], &answer["evidence_details"]["submission_count"]),
            (&json!(expected), &json!(1))
        );
        let closed = sim.post(&path, &form).await;
        assert_eq!(closed.status == 200, expected == "under_review", "{}", closed.body);
    }
}
