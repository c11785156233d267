//! Connected accounts, as Accounts v1 and v2 show them, and their capabilities.

use serde_json::{Map, Value, json};

use super::metadata;
use crate::state::account::{Account, Bank, Capability, CapabilityStatus, Requirements};
use crate::state::thin::iso;

pub(super) fn account(one: &Account) -> Value {
    let banks: Vec<Value> = one.bank.iter().map(|bank| self::bank(bank, one)).collect();
    let active = |name: &str| one.capabilities.get(name) == Some(&CapabilityStatus::Active);
    json!({
        "id": one.id,
        "object": "account",
        "business_profile": {
            "annual_revenue": null, "estimated_worker_count": null, "mcc": null, "name": one.business_name,
            "product_description": null, "support_address": null, "support_email": one.email,
            "support_phone": null, "support_url": null, "url": null
        },
        "business_type": one.business_type,
        "capabilities": capabilities(one),
        "charges_enabled": active("card_payments"),
        "controller": {
            "fees": { "payer": "application" },
            "is_controller": true,
            "losses": { "payments": "application" },
            "requirement_collection": if one.kind == "custom" { "application" } else { "stripe" },
            "stripe_dashboard": { "type": match one.kind { "custom" => "none", "standard" => "full", _ => "express" } },
            "type": "application"
        },
        "country": one.country,
        "created": one.created,
        "default_currency": one.default_currency,
        "details_submitted": one.details_submitted,
        "email": one.email,
        "external_accounts": {
            "object": "list",
            "total_count": banks.len(),
            "data": banks,
            "has_more": false,
            "url": format!("/v1/accounts/{}/external_accounts", one.id)
        },
        "future_requirements": requirements(&Requirements::default()),
        "metadata": metadata(&one.metadata),
        "payouts_enabled": one.payouts_enabled,
        "requirements": requirements(&one.requirements),
        "settings": {
            "branding": { "icon": null, "logo": null, "primary_color": null, "secondary_color": null },
            "card_payments": { "decline_on": { "avs_failure": false, "cvc_failure": false }, "statement_descriptor_prefix": null },
            "dashboard": { "display_name": one.business_name, "timezone": "Etc/UTC" },
            "payouts": {
                "debit_negative_balances": true,
                "schedule": { "delay_days": 2, "interval": "manual" },
                "statement_descriptor": null
            }
        },
        "tos_acceptance": { "date": one.tos_accepted },
        "type": one.kind
    })
}

fn capabilities(one: &Account) -> Value {
    let all: Map<String, Value> = one
        .capabilities
        .iter()
        .map(|(name, status)| (name.clone(), json!(status.as_str())))
        .collect();
    Value::Object(all)
}

fn requirements(one: &Requirements) -> Value {
    json!({
        "alternatives": [],
        "current_deadline": one.current_deadline,
        "currently_due": one.currently_due,
        "disabled_reason": one.disabled_reason,
        "errors": [],
        "eventually_due": one.currently_due,
        "past_due": one.past_due,
        "pending_verification": one.pending_verification
    })
}

fn bank(one: &Bank, of: &Account) -> Value {
    json!({
        "id": one.id,
        "object": "bank_account",
        "account": of.id,
        "account_holder_name": null,
        "account_holder_type": null,
        "account_type": null,
        "available_payout_methods": ["standard"],
        "bank_name": "STRIPE TEST BANK",
        "country": of.country,
        "currency": one.currency,
        "default_for_currency": true,
        "fingerprint": format!("fp{}", one.last4),
        "last4": one.last4,
        "metadata": {},
        "routing_number": null,
        "status": "new"
    })
}

pub(super) fn capability(one: &Capability) -> Value {
    let status = one.account.capabilities.get(&one.name).map(|status| status.as_str());
    json!({
        "id": one.name,
        "object": "capability",
        "account": one.account.id,
        "future_requirements": requirements(&Requirements::default()),
        "requested": status.is_some(),
        "requested_at": status.map(|_| one.account.created),
        "requirements": requirements(&one.account.requirements),
        "status": status.unwrap_or("unrequested")
    })
}

/// An account as `GET /v2/core/accounts/{id}` shows it: a recipient of transfers, with what is due as entries.
pub(crate) fn account_v2(one: &Account) -> Value {
    let status = match one.capabilities.get("transfers") {
        None => "unsupported",
        Some(CapabilityStatus::Active) => "active",
        Some(CapabilityStatus::Pending) => "pending",
        Some(CapabilityStatus::Inactive) => "restricted",
    };
    let due = |names: &[&String], status: &str| -> Vec<Value> {
        let entry = |name: &&String| {
            json!({
                "awaiting_action_from": "user",
                "description": name,
                "errors": [],
                "minimum_deadline": { "status": status, "time": one.requirements.current_deadline.map(|at| iso(at, 0)) },
                "reference": { "inquiry": null, "resource": null, "type": null },
                "requested_reasons": [{ "code": "routine_onboarding" }]
            })
        };
        names.iter().map(entry).collect()
    };
    let Requirements {
        currently_due,
        past_due,
        ..
    } = &one.requirements;
    let (past, current): (Vec<_>, Vec<_>) = currently_due.iter().partition(|name| past_due.contains(name));
    let mut entries = due(&past, "past_due");
    entries.extend(due(&current, "currently_due"));
    json!({
        "id": one.id,
        "object": "v2.core.account",
        "applied_configurations": ["recipient"],
        "closed": false,
        "configuration": {
            "customer": null,
            "merchant": null,
            "recipient": {
                "applied": true,
                "capabilities": {
                    "stripe_balance": {
                        "stripe_transfers": {
                            "status": status,
                            "status_details": one.requirements.disabled_reason.as_ref().map_or_else(Vec::new, |code| vec![json!({ "code": code, "resolution": "provide_info" })])
                        }
                    }
                }
            }
        },
        "contact_email": one.email,
        "created": iso(one.created, 0),
        "dashboard": match one.kind { "custom" => "none", "standard" => "full", _ => "express" },
        "defaults": { "currency": one.default_currency, "locales": [], "responsibilities": { "fees_collector": "application", "losses_collector": "application" } },
        "display_name": one.business_name,
        "identity": { "country": one.country.to_ascii_lowercase(), "entity_type": one.business_type },
        "livemode": false,
        "metadata": metadata(&one.metadata),
        "requirements": { "entries": entries, "summary": null }
    })
}
