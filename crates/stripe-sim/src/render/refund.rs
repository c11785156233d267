//! Refunds.

use serde_json::{Value, json};

use super::{add, metadata};
use crate::state::refund::{Refund, RefundStatus};

pub(super) fn refund(one: &Refund) -> Value {
    let mut value = json!({
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
        "status": one.status.as_str(),
        "transfer_reversal": null
    });
    match one.status {
        RefundStatus::Failed => add(
            &mut value,
            json!({
                "failure_balance_transaction": one.failure_balance_transaction,
                "failure_reason": one.failure_reason
            }),
        ),
        RefundStatus::Pending => {
            let waits_for_money = one.balance_transaction.is_none();
            let reason = if waits_for_money {
                "insufficient_funds"
            } else {
                "processing"
            };
            add(&mut value, json!({ "pending_reason": reason }));
        }
        RefundStatus::Succeeded | RefundStatus::Canceled => {}
    }
    value
}
