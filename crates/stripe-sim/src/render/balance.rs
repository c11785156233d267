//! Balances, their transactions, and payouts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::metadata;
use crate::state::balance::BalanceTransaction;
use crate::state::payout::Payout;

/// Available and pending sums by currency.
pub(crate) fn balance(sums: &BTreeMap<String, (i64, i64)>) -> Value {
    let line = |amount: i64, currency: &str| json!({ "amount": amount, "currency": currency, "source_types": { "card": amount } });
    let available: Vec<Value> = sums.iter().map(|(currency, sum)| line(sum.0, currency)).collect();
    let pending: Vec<Value> = sums.iter().map(|(currency, sum)| line(sum.1, currency)).collect();
    json!({ "object": "balance", "available": available, "livemode": false, "pending": pending })
}

pub(crate) fn transaction(one: &BalanceTransaction, now: i64) -> Value {
    let fees = if one.fee == 0 {
        json!([])
    } else {
        json!([{ "amount": one.fee, "application": null, "currency": one.currency, "description": "Stripe processing fees", "type": "stripe_fee" }])
    };
    json!({
        "id": one.id,
        "object": "balance_transaction",
        "amount": one.amount,
        "available_on": one.available_on,
        "created": one.created,
        "currency": one.currency,
        "description": null,
        "exchange_rate": null,
        "fee": one.fee,
        "fee_details": fees,
        "net": one.net(),
        "reporting_category": reporting_category(one.kind),
        "source": one.source,
        "status": if one.available_on <= now { "available" } else { "pending" },
        "type": one.kind
    })
}

fn reporting_category(kind: &'static str) -> &'static str {
    match kind {
        "adjustment" => "dispute",
        "payment" => "charge",
        "payment_refund" | "refund_failure" => "refund",
        "transfer_refund" => "transfer_reversal",
        "payout_failure" | "payout_cancel" => "payout_reversal",
        other => other,
    }
}

pub(super) fn payout(one: &Payout) -> Value {
    let message = one.failure_code.as_deref().map(|code| match code {
        "account_closed" => "The bank account has been closed.",
        "no_account" => "The bank account details on file are probably incorrect. No bank account could be located with those details.",
        _ => "The bank sent the payout back.",
    });
    json!({
        "id": one.id,
        "object": "payout",
        "amount": one.amount,
        "application_fee": null,
        "application_fee_amount": null,
        "arrival_date": one.arrival_date,
        "automatic": false,
        "balance_transaction": one.balance_transaction,
        "created": one.created,
        "currency": one.currency,
        "description": one.description,
        "destination": one.destination,
        "failure_balance_transaction": one.failure_balance_transaction,
        "failure_code": one.failure_code,
        "failure_message": message,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "method": "standard",
        "original_payout": null,
        "payout_method": null,
        "reconciliation_status": "not_applicable",
        "reversed_by": null,
        "source_type": "card",
        "statement_descriptor": null,
        "status": one.status.as_str(),
        "trace_id": null,
        "type": "bank_account"
    })
}
