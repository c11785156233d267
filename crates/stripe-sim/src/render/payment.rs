//! PaymentIntents and charges. Basil took `invoice` away from both.

use serde_json::{Value, json};

use super::{add, customer, metadata};
use crate::state::payment::{Charge, Failure, Intent, IntentStatus};
use crate::version::Train;

pub(super) fn intent(one: &Intent, train: Train) -> Value {
    let mut value = json!({
        "id": one.id,
        "object": "payment_intent",
        "amount": one.amount,
        "amount_capturable": one.amount_capturable,
        "amount_details": { "tip": {} },
        "amount_received": one.amount_received,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": null,
        "canceled_at": one.canceled_at,
        "cancellation_reason": one.cancellation_reason.map(|reason| cancellation(reason, train)),
        "capture_method": one.capture.as_str(),
        "client_secret": one.client_secret,
        "confirmation_method": "automatic",
        "created": one.created,
        "currency": one.currency,
        "customer": one.customer,
        "description": one.description,
        "last_payment_error": one.last_error.map(|failure| self::failure(failure, one)),
        "latest_charge": one.latest_charge,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "next_action": (one.status == IntentStatus::RequiresAction).then(|| json!({
            "type": "use_stripe_sdk",
            "use_stripe_sdk": { "type": "three_d_secure_redirect" }
        })),
        "on_behalf_of": null,
        "payment_method": one.payment_method,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "processing": null,
        "receipt_email": null,
        "review": null,
        "setup_future_usage": one.invoice.as_ref().map(|_| "off_session"),
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": one.status.as_str(),
        "transfer_data": null,
        "transfer_group": one.transfer_group
    });
    if train == Train::Classic {
        add(&mut value, json!({ "invoice": one.invoice }));
    }
    value
}

/// What ended a hold is told by name from basil on.
fn cancellation(reason: &'static str, train: Train) -> &'static str {
    match reason {
        "expired" if train == Train::Classic => "automatic",
        other => other,
    }
}

fn failure(failure: Failure, of: &Intent) -> Value {
    json!({
        "charge": of.latest_charge,
        "code": failure.code,
        "decline_code": failure.decline_code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{}", failure.code.replace('_', "-")),
        "message": failure.message,
        "type": "card_error"
    })
}

pub(super) fn charge(one: &Charge, train: Train) -> Value {
    let succeeded = one.failure.is_none();
    let authorized = if succeeded { one.amount } else { 0 };
    let given_back = one.amount_refunded + one.released;
    let outcome = one.failure.map_or_else(
        || {
            json!({
                "advice_code": null,
                "network_advice_code": null,
                "network_decline_code": null,
                "network_status": "approved_by_network",
                "reason": null,
                "risk_level": "normal",
                "risk_score": 20,
                "seller_message": "Payment complete.",
                "type": "authorized"
            })
        },
        |failure| {
            json!({
                "advice_code": "try_again_later",
                "network_advice_code": null,
                "network_decline_code": null,
                "network_status": "declined_by_network",
                "reason": failure.decline_code.unwrap_or(failure.code),
                "risk_level": "normal",
                "risk_score": 20,
                "seller_message": "The bank did not return any further details with this decline.",
                "type": "issuer_declined"
            })
        },
    );
    let mut value = json!({
        "id": one.id,
        "object": "charge",
        "amount": one.amount,
        "amount_captured": one.amount_captured,
        "amount_refunded": given_back,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": one.balance_transaction,
        "billing_details": customer::billing_details(),
        "calculated_statement_descriptor": "HOLDFAST SIMULATOR",
        "captured": one.is_captured(),
        "created": one.created,
        "currency": one.currency,
        "customer": one.customer,
        "description": one.description,
        "destination": null,
        "dispute": null,
        "disputed": one.disputed,
        "failure_balance_transaction": null,
        "failure_code": one.failure.map(|failure| failure.code),
        "failure_message": one.failure.map(|failure| failure.message),
        "fraud_details": {},
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "on_behalf_of": null,
        "outcome": outcome,
        "paid": succeeded,
        "payment_intent": one.intent,
        "payment_method": one.payment_method,
        "payment_method_details": {
            "card": {
                "amount_authorized": authorized,
                "authorization_code": succeeded.then_some("123456"),
                "brand": one.card.brand,
                "capture_before": one.capture_before,
                "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
                "country": "US",
                "exp_month": 12,
                "exp_year": 2034,
                "extended_authorization": { "status": "disabled" },
                "fingerprint": one.fingerprint,
                "funding": one.card.funding,
                "incremental_authorization": { "status": "unavailable" },
                "installments": null,
                "last4": one.card.last4,
                "mandate": null,
                "multicapture": { "status": "unavailable" },
                "network": one.card.brand,
                "network_token": { "used": false },
                "overcapture": { "maximum_amount_capturable": authorized, "status": "unavailable" },
                "regulated_status": "unregulated",
                "three_d_secure": null,
                "wallet": null
            },
            "type": "card"
        },
        "radar_options": {},
        "receipt_email": null,
        "receipt_number": null,
        "receipt_url": succeeded.then(|| format!("https://pay.stripe.com/receipts/invoices/{}", one.id)),
        "refunded": succeeded && given_back == one.amount,
        "review": null,
        "shipping": null,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": if succeeded { "succeeded" } else { "failed" },
        "transfer_data": null,
        "transfer_group": one.transfer_group
    });
    if train == Train::Classic {
        add(&mut value, json!({ "invoice": one.invoice }));
    }
    value
}
