//! Refunds and disputes.

use serde_json::{Value, json};

use super::metadata;
use crate::state::refund::{Dispute, Refund};

pub(super) fn refund(one: &Refund) -> Value {
    json!({
        "id": one.id,
        "object": "refund",
        "amount": one.amount,
        "balance_transaction": one.balance_transaction,
        "charge": one.charge,
        "created": one.created,
        "currency": one.currency,
        "destination_details": {
            "card": { "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund" },
            "type": "card"
        },
        "metadata": metadata(&one.metadata),
        "payment_intent": one.intent,
        "reason": one.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": "succeeded",
        "transfer_reversal": null
    })
}

pub(super) fn dispute(one: &Dispute) -> Value {
    let inquiry = one.status.starts_with("warning");
    json!({
        "id": one.id,
        "object": "dispute",
        "amount": one.amount,
        "balance_transactions": [],
        "charge": one.charge,
        "created": one.created,
        "currency": one.currency,
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": one.created + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": false,
            "past_due": false,
            "submission_count": 0
        },
        "is_charge_refundable": inquiry,
        "livemode": false,
        "metadata": {},
        "payment_intent": one.intent,
        "payment_method_details": {
            "card": { "brand": "visa", "case_type": if inquiry { "inquiry" } else { "chargeback" }, "network": "visa", "network_reason_code": "10.4" },
            "type": "card"
        },
        "reason": one.reason,
        "status": one.status
    })
}
