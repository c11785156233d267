//! Products, prices and the plans that older fields still show.

use serde_json::{Value, json};

use super::metadata;
use crate::state::catalog::{Price, Product};

pub(super) fn product(one: &Product) -> Value {
    json!({
        "id": one.id,
        "object": "product",
        "active": one.active,
        "attributes": [],
        "created": one.created,
        "default_price": null,
        "description": one.description,
        "images": [],
        "livemode": false,
        "marketing_features": [],
        "metadata": metadata(&one.metadata),
        "name": one.name,
        "package_dimensions": null,
        "shippable": null,
        "statement_descriptor": null,
        "tax_code": null,
        "type": "service",
        "unit_label": null,
        "updated": one.updated,
        "url": null
    })
}

pub(super) fn price(one: &Price) -> Value {
    json!({
        "id": one.id,
        "object": "price",
        "active": one.active,
        "billing_scheme": "per_unit",
        "created": one.created,
        "currency": one.currency,
        "custom_unit_amount": null,
        "livemode": false,
        "lookup_key": one.lookup_key,
        "metadata": metadata(&one.metadata),
        "nickname": one.nickname,
        "product": one.product,
        "recurring": one.recurring.map(|(interval, count)| json!({
            "aggregate_usage": null,
            "interval": interval.as_str(),
            "interval_count": count,
            "meter": null,
            "trial_period_days": null,
            "usage_type": "licensed"
        })),
        "tax_behavior": "unspecified",
        "tiers_mode": null,
        "transform_quantity": null,
        "type": if one.recurring.is_some() { "recurring" } else { "one_time" },
        "unit_amount": one.unit_amount,
        "unit_amount_decimal": one.unit_amount.to_string()
    })
}

pub(super) fn plan(one: &Price) -> Value {
    json!({
        "id": one.id,
        "object": "plan",
        "active": one.active,
        "aggregate_usage": null,
        "amount": one.unit_amount,
        "amount_decimal": one.unit_amount.to_string(),
        "billing_scheme": "per_unit",
        "created": one.created,
        "currency": one.currency,
        "interval": one.recurring.map(|(interval, _)| interval.as_str()),
        "interval_count": one.recurring.map(|(_, count)| count),
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "meter": null,
        "nickname": one.nickname,
        "product": one.product,
        "tiers_mode": null,
        "transform_usage": null,
        "trial_period_days": null,
        "usage_type": "licensed"
    })
}
