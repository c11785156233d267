//! Subscriptions. The billing period is on the subscription before basil and on the items from there on.

use serde_json::{Value, json};

use super::{add, catalog, metadata};
use crate::state::subscription::{Collection, Item, MissingMethod, Status, Subscription};
use crate::version::Train;

/// A list within an object shows its first page only.
const SHOWN: usize = 10;

pub(super) fn subscription(one: &Subscription, train: Train) -> Value {
    let mut items = items(one, train);
    let total = items.len();
    items.truncate(SHOWN);
    let mut value = json!({
        "id": one.id,
        "object": "subscription",
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
        "billing_cycle_anchor": one.anchor,
        "billing_cycle_anchor_config": null,
        "billing_thresholds": null,
        "cancel_at": one.cancel_at,
        "cancel_at_period_end": one.cancel_at_period_end,
        "canceled_at": one.canceled_at,
        "cancellation_details": { "comment": null, "feedback": null, "reason": one.cancel_reason },
        "collection_method": collection_method(one.collection),
        "created": one.created,
        "currency": one.currency,
        "customer": one.customer,
        "days_until_due": days_until_due(one.collection),
        "default_payment_method": one.default_payment_method,
        "default_source": null,
        "default_tax_rates": [],
        "description": one.description,
        "discounts": [],
        "ended_at": one.ended_at,
        "invoice_settings": { "account_tax_ids": null, "issuer": { "type": "self" } },
        "items": {
            "object": "list",
            "data": items,
            "has_more": total > SHOWN,
            "total_count": total,
            "url": format!("/v1/subscription_items?subscription={}", one.id)
        },
        "latest_invoice": one.latest_invoice,
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": one.pause_collection.as_ref().map(|pause| json!({ "behavior": pause.behavior, "resumes_at": pause.resumes_at })),
        "payment_settings": {
            "payment_method_options": null,
            "payment_method_types": null,
            "save_default_payment_method": "off"
        },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "start_date": one.created,
        "status": one.status.as_str(),
        "test_clock": one.test_clock,
        "transfer_data": null,
        "trial_end": one.trial.map(|(_, end)| end),
        "trial_settings": { "end_behavior": { "missing_payment_method": missing_method(one.missing_method) } },
        "trial_start": one.trial.map(|(start, _)| start)
    });
    let single = one.items.first().filter(|_| one.items.len() == 1);
    add(
        &mut value,
        json!({
            "plan": single.map(|item| catalog::plan(&item.price)),
            "quantity": single.map(|item| item.quantity)
        }),
    );
    match train {
        Train::Classic => add(
            &mut value,
            json!({ "current_period_end": one.period.1, "current_period_start": one.period.0, "discount": null }),
        ),
        Train::Basil | Train::Endive => add(
            &mut value,
            json!({ "billing_mode": { "flexible": null, "type": "classic" } }),
        ),
    }
    if train == Train::Endive {
        let paused = (one.status == Status::Paused).then(|| json!({ "subscription": { "type": "subscription" } }));
        add(
            &mut value,
            json!({ "billing_schedules": [], "status_details": { "paused": paused } }),
        );
    }
    value
}

pub(super) fn items(of: &Subscription, train: Train) -> Vec<Value> {
    of.items.iter().map(|one| item(one, of, train)).collect()
}

fn item(one: &Item, of: &Subscription, train: Train) -> Value {
    let mut value = json!({
        "id": one.id,
        "object": "subscription_item",
        "billing_thresholds": null,
        "created": one.created,
        "discounts": [],
        "metadata": metadata(&one.metadata),
        "plan": catalog::plan(&one.price),
        "price": catalog::price(&one.price),
        "quantity": one.quantity,
        "subscription": of.id,
        "tax_rates": []
    });
    if train > Train::Classic {
        add(
            &mut value,
            json!({ "current_period_end": of.period.1, "current_period_start": of.period.0 }),
        );
    }
    value
}

pub(super) const fn collection_method(collection: Collection) -> &'static str {
    match collection {
        Collection::Automatic => "charge_automatically",
        Collection::Send(_) => "send_invoice",
    }
}

const fn days_until_due(collection: Collection) -> Option<u32> {
    match collection {
        Collection::Automatic => None,
        Collection::Send(days) => Some(days),
    }
}

const fn missing_method(missing: MissingMethod) -> &'static str {
    match missing {
        MissingMethod::CreateInvoice => "create_invoice",
        MissingMethod::Pause => "pause",
        MissingMethod::Cancel => "cancel",
    }
}
