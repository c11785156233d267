//! Checkout sessions. Basil moved shipping into `collected_information`.

use serde_json::{Value, json};

use super::{add, catalog, metadata};
use crate::state::checkout::{Mode, Session};
use crate::version::Train;

pub(super) fn session(one: &Session, train: Train) -> Value {
    let amount = (one.mode != Mode::Setup).then(|| one.amount());
    let complete = one.status == "complete";
    let mut value = json!({
        "id": one.id,
        "object": "checkout.session",
        "adaptive_pricing": null,
        "after_expiration": null,
        "allow_promotion_codes": null,
        "amount_subtotal": amount,
        "amount_total": amount,
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "billing_address_collection": null,
        "cancel_url": one.cancel_url,
        "client_reference_id": one.client_reference_id,
        "client_secret": null,
        "consent": null,
        "consent_collection": null,
        "created": one.created,
        "currency": one.currency,
        "currency_conversion": null,
        "custom_fields": [],
        "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
        "customer": one.customer,
        "customer_creation": if one.customer.is_none() && one.mode == Mode::Payment { Some("if_required") } else { None },
        "customer_details": complete.then(|| json!({
            "address": { "city": null, "country": "DE", "line1": null, "line2": null, "postal_code": null, "state": null },
            "email": one.customer_email.as_deref().unwrap_or("customer@example.com"),
            "name": "Jenny Rosen",
            "phone": null,
            "tax_exempt": "none",
            "tax_ids": []
        })),
        "customer_email": one.customer_email,
        "discounts": [],
        "expires_at": one.expires_at,
        "invoice": one.invoice,
        "invoice_creation": null,
        "livemode": false,
        "locale": null,
        "metadata": metadata(&one.metadata),
        "mode": one.mode.as_str(),
        "payment_intent": one.intent,
        "payment_link": null,
        "payment_method_collection": if one.mode == Mode::Subscription { "always" } else { "if_required" },
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "payment_status": one.payment_status,
        "phone_number_collection": { "enabled": false },
        "recovered_from": null,
        "saved_payment_method_options": null,
        "setup_intent": null,
        "shipping_address_collection": null,
        "shipping_cost": null,
        "shipping_options": [],
        "status": one.status,
        "submit_type": null,
        "subscription": one.subscription,
        "success_url": one.success_url,
        "total_details": amount.map(|_| json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 })),
        "ui_mode": "hosted",
        "url": (one.status == "open").then(|| format!("https://checkout.stripe.com/c/pay/{}", one.id))
    });
    match train {
        Train::Classic => add(&mut value, json!({ "shipping_details": null })),
        Train::Basil | Train::Endive => add(
            &mut value,
            json!({ "collected_information": { "shipping_details": null } }),
        ),
    }
    value
}

pub(crate) fn line_items(one: &Session) -> Vec<Value> {
    let line = |(id, price, quantity): &(String, crate::state::catalog::Price, i64)| {
        let amount = price.unit_amount.saturating_mul(*quantity);
        json!({
            "id": id,
            "object": "item",
            "amount_discount": 0,
            "amount_subtotal": amount,
            "amount_tax": 0,
            "amount_total": amount,
            "currency": price.currency,
            "description": price.nickname,
            "metadata": {},
            "price": catalog::price(price),
            "quantity": quantity
        })
    };
    one.line_items.iter().map(line).collect()
}
