//! Customers, payment methods, test clocks.

use serde_json::{Value, json};

use super::metadata;
use crate::state::customer::Customer;
use crate::state::payment_method::PaymentMethod;
use crate::state::test_clock::TestClock;

pub(super) fn customer(one: &Customer) -> Value {
    if one.deleted {
        return json!({ "id": one.id, "object": "customer", "deleted": true });
    }
    json!({
        "id": one.id,
        "object": "customer",
        "address": null,
        "balance": one.balance,
        "created": one.created,
        "currency": null,
        "default_source": null,
        "delinquent": false,
        "description": one.description,
        "discount": null,
        "email": one.email,
        "invoice_prefix": one.invoice_prefix,
        "invoice_settings": {
            "custom_fields": null,
            "default_payment_method": one.default_payment_method,
            "footer": null,
            "rendering_options": null
        },
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "name": one.name,
        "next_invoice_sequence": one.next_invoice,
        "phone": one.phone,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": one.test_clock
    })
}

pub(super) fn payment_method(one: &PaymentMethod) -> Value {
    json!({
        "id": one.id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(),
        "card": card(one.card.brand, one.card.last4, one.card.funding, &one.fingerprint),
        "created": one.created,
        "customer": one.customer,
        "livemode": false,
        "metadata": {},
        "type": "card"
    })
}

pub(super) fn billing_details() -> Value {
    json!({
        "address": { "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null },
        "email": null,
        "name": null,
        "phone": null,
        "tax_id": null
    })
}

fn card(brand: &str, last4: &str, funding: &str, fingerprint: &str) -> Value {
    json!({
        "brand": brand,
        "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
        "country": "US",
        "display_brand": brand,
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": fingerprint,
        "funding": funding,
        "generated_from": null,
        "last4": last4,
        "networks": { "available": [brand], "preferred": null },
        "regulated_status": "unregulated",
        "three_d_secure_usage": { "supported": true },
        "wallet": null
    })
}

pub(super) fn test_clock(one: &TestClock) -> Value {
    json!({
        "id": one.id,
        "object": "test_helpers.test_clock",
        "created": one.created,
        "deletes_after": one.created + 30 * 86_400,
        "frozen_time": one.frozen_time,
        "livemode": false,
        "name": one.name,
        "status": one.status,
        "status_details": {}
    })
}
