//! PaymentIntents.

use serde_json::Value;

use super::paging::Page;
use super::search::Query;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};

use crate::render;
use crate::state::World;
use crate::state::currency;
use crate::state::customer::merge_metadata;
use crate::state::object::Object;
use crate::state::payment::{Attempt, CaptureMethod, Intent, IntentStatus};

/// Accepted without effect.
const UNMODELLED: [&str; 16] = [
    "automatic_payment_methods",
    "confirmation_method",
    "error_on_requires_action",
    "mandate",
    "mandate_data",
    "payment_method_configuration",
    "payment_method_options",
    "payment_method_types",
    "radar_options",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "use_stripe_sdk",
];

const REASONS: [&str; 4] = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];

pub(super) fn payment_intents(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("POST", []) => create(world, call),
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
        ("GET", ["search"]) => {
            let query = Query::read(p)?;
            p.finish()?;
            let fits = |one: &Intent| {
                query.fits(&one.metadata, |name| match name {
                    "currency" => Some(one.currency.clone()),
                    "customer" => one.customer.clone(),
                    "status" => Some(one.status.as_str().to_owned()),
                    _ => None,
                })
            };
            let found = world.intents.iter().rev().filter(|(_, one)| fits(one));
            let shown = |one: &Intent| render::object(&Object::Intent(one.clone()), &call.version);
            Ok(query.page(call, found.map(|(_, one)| shown(one))))
        }
        ("GET", [id]) => {
            p.ignore(&["client_secret"]);
            p.finish()?;
            show(world, call, id)
        }
        ("POST", [id]) => update(world, call, id),
        ("POST", [id, "confirm"]) => {
            let given = p.some("payment_method")?;
            let off_session = p.some("off_session")?.is_some_and(|text| text != "false");
            p.ignore(&["client_secret"]);
            p.ignore(&UNMODELLED);
            p.finish()?;
            confirm(world, call, id, given, off_session)
        }
        ("POST", [id, "capture"]) => {
            let (amount, metadata) = (p.int("amount_to_capture")?, p.dict("metadata")?);
            p.ignore(&["final_capture", "statement_descriptor", "statement_descriptor_suffix"]);
            p.finish()?;
            let amount = amount.map(currency::positive).transpose()?;
            world
                .capture_intent(id, amount, metadata)
                .map_err(|error| with_intent(world, call, id, error))?;
            show(world, call, id)
        }
        ("POST", [id, "cancel"]) => {
            let reason = p.choice("cancellation_reason", &REASONS)?;
            p.finish()?;
            let canceled = world.cancel_own_intent(id, reason);
            canceled.map_err(|error| with_intent(world, call, id, error))?;
            show(world, call, id)
        }
        _ => Err(unknown(call)),
    }
}

fn show(world: &World, call: &Call, id: &str) -> ApiResult<Value> {
    call.show(Object::Intent(world.intent(id, "id")?.clone()))
}

/// Stripe tells with an error how the intent is now.
fn with_intent(world: &World, call: &Call, id: &str, error: ApiError) -> ApiError {
    match show(world, call, id) {
        Ok(shown) => error.with("payment_intent", shown),
        Err(_) => error,
    }
}

fn create(world: &mut World, call: &Call) -> ApiResult<Value> {
    let p = &call.params;
    let amount = p
        .int("amount")?
        .ok_or_else(|| ApiError::invalid("amount", "parameter_missing", "Missing required param: amount."))?;
    let currency = currency::known(&p.required("currency")?)?;
    currency::chargeable(amount, &currency)?;
    let mut intent = Intent::of(amount, &currency);
    intent.capture = match p.choice("capture_method", &["automatic", "automatic_async", "manual"])? {
        Some("manual") => CaptureMethod::Manual,
        Some("automatic") => CaptureMethod::Automatic,
        _ => CaptureMethod::AutomaticAsync,
    };
    intent.customer = p.some("customer")?;
    intent.description = p.some("description")?;
    intent.transfer_group = p.some("transfer_group")?;
    merge_metadata(&mut intent.metadata, p.dict("metadata")?);
    let method = p.some("payment_method")?;
    let confirmed = p.flag("confirm")?.unwrap_or(false);
    let off_session = p.some("off_session")?.is_some_and(|text| text != "false");
    if off_session && !confirmed {
        return Err(ApiError::invalid(
            "off_session",
            "",
            "You cannot set `off_session` without `confirm=true`.",
        ));
    }
    p.ignore(&UNMODELLED);
    p.finish()?;
    if let Some(customer) = &intent.customer {
        intent.test_clock = world.customer(customer, "customer")?.test_clock.clone();
    }
    if let Some(method) = &method {
        let resolved = world.method_for_intent(intent.customer.as_deref(), method)?;
        intent.payment_method = Some(resolved);
        intent.status = IntentStatus::RequiresConfirmation;
    }
    let id = world.create_intent(intent);
    if confirmed {
        return confirm(world, call, &id, None, off_session);
    }
    show(world, call, &id)
}

fn update(world: &mut World, call: &Call, id: &str) -> ApiResult<Value> {
    let p = &call.params;
    let intent = world.intent(id, "id")?.clone();
    let (amount, method) = (p.int("amount")?, p.some("payment_method")?);
    let (description, group) = (p.some("description")?, p.some("transfer_group")?);
    let metadata = p.dict("metadata")?;
    p.ignore(&UNMODELLED);
    p.finish()?;
    let begun = !matches!(
        intent.status,
        IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation | IntentStatus::RequiresAction
    );
    if begun && (amount.is_some() || method.is_some()) {
        let message = format!(
            "This PaymentIntent's amount could not be updated because it has a status of {}. You may only update the amount of a PaymentIntent with one of the following statuses: requires_payment_method, requires_confirmation, requires_action.",
            intent.status.as_str()
        );
        return Err(with_intent(
            world,
            call,
            id,
            ApiError::state("payment_intent_unexpected_state", message),
        ));
    }
    if let Some(amount) = amount {
        currency::chargeable(amount, &intent.currency)?;
    }
    let method = method
        .map(|given| world.method_for_intent(intent.customer.as_deref(), &given))
        .transpose()?;
    if let Some(one) = world.intents.get_mut(id) {
        one.amount = amount.unwrap_or(one.amount);
        one.description = description.or_else(|| one.description.take());
        one.transfer_group = group.or_else(|| one.transfer_group.take());
        merge_metadata(&mut one.metadata, metadata);
        if method.is_some() {
            one.payment_method = method;
            one.status = IntentStatus::RequiresConfirmation;
        }
    }
    show(world, call, id)
}

fn confirm(world: &mut World, call: &Call, id: &str, given: Option<String>, off_session: bool) -> ApiResult<Value> {
    let intent = world.intent(id, "id")?.clone();
    let confirmable = matches!(
        intent.status,
        IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation | IntentStatus::RequiresAction
    );
    if !confirmable {
        let message = format!(
            "You cannot confirm this PaymentIntent because it has a status of {}.",
            intent.status.as_str()
        );
        let error = ApiError::state("payment_intent_unexpected_state", message);
        return Err(with_intent(world, call, id, error));
    }
    let given = match (given, &intent.invoice) {
        (None, _) => None,
        (Some(given), Some(_)) => {
            let customer = intent.customer.clone().unwrap_or_default();
            Some(world.payment_method_for(&customer, &given, "payment_method")?)
        }
        (Some(given), None) => Some(world.method_for_intent(intent.customer.as_deref(), &given)?),
    };
    let method = given.or(intent.payment_method).ok_or_else(|| {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method or ConfirmationToken.";
        with_intent(world, call, id, ApiError::state("payment_intent_unexpected_state", message))
    })?;
    let attempt = match &intent.invoice {
        Some(invoice) => world.attempt_invoice(invoice, Some(&method), true),
        None => world.confirm_intent(id, &method, false),
    };
    match attempt {
        Attempt::Failed(failure) => Err(with_intent(world, call, id, ApiError::card(&failure))),
        Attempt::NeedsAction if off_session => {
            let failed = world.refuse_off_session(id);
            Err(with_intent(world, call, id, ApiError::card(&failed)))
        }
        Attempt::NeedsAction | Attempt::Paid { .. } => show(world, call, id),
    }
}

impl World {
    /// The payment method of an intent: a test card is new and nobody's, a known one has to be the customer's or nobody's.
    fn method_for_intent(&mut self, customer: Option<&str>, given: &str) -> ApiResult<String> {
        match self.payment_methods.get(given) {
            None => {
                let card = crate::state::payment_method::card_of(given)
                    .ok_or_else(|| ApiError::missing("PaymentMethod", given, "payment_method"))?;
                Ok(self.new_payment_method(card))
            }
            Some(known) if known.customer.is_none() || known.customer.as_deref() == customer => Ok(given.to_owned()),
            Some(_) => {
                let message =
                    format!("The PaymentMethod {given} belongs to a Customer and can only be used with that Customer.");
                Err(ApiError::state("", message).about("payment_method"))
            }
        }
    }
}
