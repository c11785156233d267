//! Transfers and their reversals.

use serde_json::{Value, json};

use super::metadata;
use crate::state::transfer::{Reversal, Transfer};

pub(super) fn transfer(one: &Transfer) -> Value {
    let newest: Vec<Value> = one.reversals.iter().rev().take(10).map(reversal).collect();
    json!({
        "id": one.id,
        "object": "transfer",
        "amount": one.amount,
        "amount_reversed": one.amount_reversed,
        "balance_transaction": one.balance_transaction,
        "created": one.created,
        "currency": one.currency,
        "description": one.description,
        "destination": one.destination,
        "destination_payment": one.destination_payment,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "reversals": {
            "object": "list",
            "has_more": one.reversals.len() > newest.len(),
            "data": newest,
            "total_count": one.reversals.len(),
            "url": format!("/v1/transfers/{}/reversals", one.id)
        },
        "reversed": one.amount_reversed == one.amount,
        "source_transaction": one.source_transaction,
        "source_type": "card",
        "transfer_group": one.transfer_group
    })
}

pub(super) fn reversal(one: &Reversal) -> Value {
    json!({
        "id": one.id,
        "object": "transfer_reversal",
        "amount": one.amount,
        "balance_transaction": one.balance_transaction,
        "created": one.created,
        "currency": one.currency,
        "description": one.description,
        "destination_payment_refund": null,
        "metadata": metadata(&one.metadata),
        "source_refund": null,
        "transfer": one.transfer
    })
}
