//! PaymentIntents and charges.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::object::Object;
use crate::state::payment::{Attempt, Charge, Intent, IntentStatus};
use crate::state::refund::Refund;

pub(super) fn intents(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let find = |world: &World, id: &str| {
        world
            .intents
            .get(id)
            .cloned()
            .ok_or_else(|| ApiError::missing("payment_intent", id, "id"))
    };
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let customer = p.some("customer")?;
            p.finish()?;
            let fits = |one: &Intent| customer.as_ref().is_none_or(|id| one.customer.as_ref() == Some(id));
            page.of(
                call,
                world.intents.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Intent(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.ignore(&["client_secret"]);
            p.finish()?;
            call.show(Object::Intent(find(world, id)?))
        }
        ("POST", [id, "confirm"]) => {
            let given = p.some("payment_method")?;
            p.ignore(&["return_url", "off_session", "use_stripe_sdk", "client_secret"]);
            p.finish()?;
            let intent = find(world, id)?;
            if matches!(intent.status, IntentStatus::Succeeded | IntentStatus::Canceled) {
                let message = format!(
                    "You cannot confirm this PaymentIntent because it has a status of {}.",
                    intent.status.as_str()
                );
                return Err(ApiError::state("payment_intent_unexpected_state", message));
            }
            let customer = intent.customer.clone().unwrap_or_default();
            let method = given
                .map(|given| world.payment_method_for(&customer, &given, "payment_method"))
                .transpose()?;
            let method = method.or(intent.payment_method).ok_or_else(|| {
                ApiError::state(
                    "payment_intent_unexpected_state",
                    "You cannot confirm this PaymentIntent because it's missing a payment method.",
                )
            })?;
            let attempt = match &intent.invoice {
                Some(invoice) => world.attempt_invoice(invoice, Some(&method), true),
                None => world.confirm_intent(id, &method, true),
            };
            if let Attempt::Failed(failure) = attempt {
                let shown = render::object(&Object::Intent(find(world, id)?), &call.version);
                return Err(ApiError::card(&failure).with("payment_intent", shown));
            }
            call.show(Object::Intent(find(world, id)?))
        }
        _ => Err(unknown(call)),
    }
}

pub(super) fn charges(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let (customer, intent) = (p.some("customer")?, p.some("payment_intent")?);
            p.finish()?;
            let fits = |one: &Charge| {
                customer.as_ref().is_none_or(|id| one.customer.as_ref() == Some(id))
                    && intent.as_ref().is_none_or(|id| one.intent == *id)
            };
            page.of(
                call,
                world.charges.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Charge(one.clone()), &call.version),
            )
        }
        ("GET", [id, "refunds"]) => {
            let page = Page::read(call)?;
            p.finish()?;
            page.of(
                call,
                world.refunds.iter(),
                |one| one.created,
                |one: &Refund| one.charge == *id,
                |one| render::object(&Object::Refund(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            let one = world
                .charges
                .get(id)
                .cloned()
                .ok_or_else(|| ApiError::missing("charge", id, "id"))?;
            call.show(Object::Charge(one))
        }
        _ => Err(unknown(call)),
    }
}
