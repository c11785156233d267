//! Disputes.

use serde_json::{Value, json};

use super::metadata;
use crate::state::dispute::Dispute;

pub(super) fn dispute(one: &Dispute) -> Value {
    let inquiry = one.status.starts_with("warning");
    json!({
        "id": one.id,
        "object": "dispute",
        "amount": one.amount,
        "balance_transactions": one.balance_transactions,
        "charge": one.charge,
        "created": one.created,
        "currency": one.currency,
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": one.created + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": one.submissions > 0,
            "past_due": false,
            "submission_count": one.submissions
        },
        "is_charge_refundable": inquiry,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "payment_intent": one.intent,
        "payment_method_details": {
            "card": { "brand": "visa", "case_type": if inquiry { "inquiry" } else { "chargeback" }, "network": "visa", "network_reason_code": "10.4" },
            "type": "card"
        },
        "reason": one.reason,
        "status": one.status
    })
}
