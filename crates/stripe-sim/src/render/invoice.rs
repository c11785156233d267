//! Invoices, their lines and payments. Basil moved the subscription into `parent`, took `payment_intent`, `charge` and `paid` away and
//! gave lines `pricing` and `parent`.

use serde_json::{Value, json};

use super::billing::collection_method;
use super::{add, catalog, metadata};
use crate::state::invoice::{Invoice, InvoiceItem, InvoicePayment, InvoiceStatus, Line};
use crate::version::Train;

pub(super) fn invoice(one: &Invoice, train: Train) -> Value {
    let (total, due) = (one.total(), one.amount_due());
    let paid = one.status == InvoiceStatus::Paid;
    let open = one.finalized_at.is_some();
    let host = format!("https://invoice.stripe.com/i/acct_sim/test_{}", one.id);
    let lines: Vec<Value> = one.lines.iter().map(|line| self::line(line, one, train)).collect();
    let count = lines.len();
    let mut value = json!({
        "id": one.id,
        "object": "invoice",
        "account_country": "DE",
        "account_name": "Holdfast simulator",
        "account_tax_ids": null,
        "amount_due": due,
        "amount_overpaid": 0,
        "amount_paid": one.amount_paid,
        "amount_remaining": due - one.amount_paid,
        "amount_shipping": 0,
        "application": null,
        "attempt_count": one.attempt_count,
        "attempted": one.attempt_count > 0 || (paid && due == 0),
        "auto_advance": one.auto_advance && !matches!(one.status, InvoiceStatus::Paid | InvoiceStatus::Void),
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null },
        "automatically_finalizes_at": one.next_payment_attempt.filter(|_| one.status == InvoiceStatus::Draft),
        "billing_reason": one.reason.as_str(),
        "collection_method": collection_method(one.collection),
        "created": one.created,
        "currency": one.currency,
        "custom_fields": null,
        "customer": one.customer,
        "customer_address": null,
        "customer_email": one.customer_email,
        "customer_name": one.customer_name,
        "customer_phone": null,
        "customer_shipping": null,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": one.default_payment_method,
        "default_source": null,
        "default_tax_rates": [],
        "description": one.description,
        "discounts": [],
        "due_date": one.due_date,
        "effective_at": one.finalized_at,
        "ending_balance": open.then_some(0),
        "footer": null,
        "from_invoice": null,
        "hosted_invoice_url": open.then(|| host.clone()),
        "invoice_pdf": open.then(|| format!("{host}/pdf")),
        "issuer": { "type": "self" },
        "last_finalization_error": null,
        "latest_revision": null,
        "lines": { "object": "list", "data": lines, "has_more": false, "total_count": count, "url": format!("/v1/invoices/{}/lines", one.id) },
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "next_payment_attempt": one.next_payment_attempt,
        "number": one.number,
        "on_behalf_of": null
    });
    let subscription_details = one
        .subscription
        .as_ref()
        .map(|_| json!({ "metadata": metadata(&one.subscription_metadata) }));
    match train {
        Train::Classic => add(
            &mut value,
            json!({
                "charge": one.charge,
                "discount": null,
                "paid": paid,
                "paid_out_of_band": one.paid_out_of_band,
                "payment_intent": one.intent,
                "quote": null,
                "subscription": one.subscription,
                "subscription_details": subscription_details.unwrap_or_else(|| json!({ "metadata": null })),
                "tax": null,
                "total_tax_amounts": [],
                "transfer_data": null
            }),
        ),
        Train::Basil | Train::Endive => add(
            &mut value,
            json!({
                "confirmation_secret": null,
                "parent": one.subscription.as_ref().map(|subscription| json!({
                    "quote_details": null,
                    "subscription_details": { "metadata": metadata(&one.subscription_metadata), "subscription": subscription },
                    "type": "subscription_details"
                })),
                "total_taxes": []
            }),
        ),
    }
    if train == Train::Endive {
        add(&mut value, json!({ "customer_account": null }));
    }
    add(
        &mut value,
        json!({
            "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
            "period_end": one.period.1,
            "period_start": one.period.0,
            "post_payment_credit_notes_amount": 0,
            "pre_payment_credit_notes_amount": 0,
            "receipt_number": null,
            "rendering": null,
            "shipping_cost": null,
            "shipping_details": null,
            "starting_balance": -one.credit_used,
            "statement_descriptor": null,
            "status": one.status.as_str(),
            "status_transitions": {
                "finalized_at": one.finalized_at,
                "marked_uncollectible_at": one.uncollectible_at,
                "paid_at": one.paid_at,
                "voided_at": one.voided_at
            },
            "subtotal": total,
            "subtotal_excluding_tax": total,
            "test_clock": one.test_clock,
            "total": total,
            "total_discount_amounts": [],
            "total_excluding_tax": total,
            "total_pretax_credit_amounts": [],
            "webhooks_delivered_at": one.finalized_at
        }),
    );
    value
}

fn line(one: &Line, of: &Invoice, train: Train) -> Value {
    let mut value = json!({
        "id": one.id,
        "object": "line_item",
        "amount": one.amount,
        "currency": of.currency,
        "description": one.description,
        "discount_amounts": [],
        "discountable": !one.proration,
        "discounts": [],
        "invoice": of.id,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "period": { "end": one.period.1, "start": one.period.0 },
        "pretax_credit_amounts": [],
        "quantity": one.quantity
    });
    match train {
        Train::Classic => add(
            &mut value,
            json!({
                "amount_excluding_tax": one.amount,
                "invoice_item": one.invoice_item,
                "plan": one.price.as_ref().filter(|price| price.recurring.is_some()).map(catalog::plan),
                "price": one.price.as_ref().map(catalog::price),
                "proration": one.proration,
                "proration_details": { "credited_items": null },
                "subscription": one.subscription,
                "subscription_item": one.subscription_item,
                "tax_amounts": [],
                "tax_rates": [],
                "type": if one.invoice_item.is_some() { "invoiceitem" } else { "subscription" },
                "unit_amount_excluding_tax": one.price.as_ref().map(|price| price.unit_amount.to_string())
            }),
        ),
        Train::Basil | Train::Endive => {
            let parent = if one.invoice_item.is_some() {
                json!({
                    "invoice_item_details": {
                        "invoice_item": one.invoice_item,
                        "proration": one.proration,
                        "proration_details": { "credited_items": null },
                        "subscription": one.subscription
                    },
                    "subscription_item_details": null,
                    "type": "invoice_item_details"
                })
            } else {
                json!({
                    "invoice_item_details": null,
                    "subscription_item_details": {
                        "invoice_item": null,
                        "proration": one.proration,
                        "proration_details": { "credited_items": null },
                        "subscription": one.subscription,
                        "subscription_item": one.subscription_item
                    },
                    "type": "subscription_item_details"
                })
            };
            let pricing = one.price.as_ref().map(|price| {
                json!({
                    "price_details": { "price": price.id, "product": price.product },
                    "type": "price_details",
                    "unit_amount_decimal": price.unit_amount.to_string()
                })
            });
            add(&mut value, json!({ "parent": parent, "pricing": pricing, "taxes": [] }));
        }
    }
    if train == Train::Endive {
        add(&mut value, json!({ "subtotal": one.amount }));
    }
    value
}

pub(super) fn invoice_item(one: &InvoiceItem, train: Train) -> Value {
    let mut value = json!({
        "id": one.id,
        "object": "invoiceitem",
        "amount": one.amount,
        "currency": one.currency,
        "customer": one.customer,
        "date": one.created,
        "description": one.description,
        "discountable": !one.proration,
        "discounts": [],
        "invoice": one.invoice,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "period": { "end": one.period.1, "start": one.period.0 },
        "proration": one.proration,
        "quantity": one.quantity,
        "tax_rates": [],
        "test_clock": one.test_clock
    });
    match train {
        Train::Classic => add(
            &mut value,
            json!({
                "plan": null,
                "price": one.price.as_ref().map(catalog::price),
                "subscription": one.subscription,
                "unit_amount": one.price.as_ref().map(|price| price.unit_amount)
            }),
        ),
        Train::Basil | Train::Endive => add(
            &mut value,
            json!({
                "parent": one.subscription.as_ref().map(|subscription| json!({
                    "subscription_details": { "subscription": subscription, "subscription_item": null },
                    "type": "subscription_details"
                })),
                "pricing": one.price.as_ref().map(|price| json!({
                    "price_details": { "price": price.id, "product": price.product },
                    "type": "price_details",
                    "unit_amount_decimal": price.unit_amount.to_string()
                }))
            }),
        ),
    }
    value
}

pub(super) fn payment(one: &InvoicePayment) -> Value {
    let status = match (one.paid_at, one.canceled_at) {
        (Some(_), _) => "paid",
        (None, Some(_)) => "canceled",
        (None, None) => "open",
    };
    json!({
        "id": one.id,
        "object": "invoice_payment",
        "amount_paid": one.paid_at.map(|_| one.amount),
        "amount_requested": one.amount,
        "created": one.created,
        "currency": one.currency,
        "invoice": one.invoice,
        "is_default": true,
        "livemode": false,
        "payment": { "payment_intent": one.intent, "type": "payment_intent" },
        "status": status,
        "status_transitions": { "canceled_at": one.canceled_at, "paid_at": one.paid_at }
    })
}
