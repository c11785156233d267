//! Checkout sessions.

use serde_json::Value;

use super::catalog::GivenPrice;
use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::checkout::{Mode, Session};
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;
use crate::state::payment::CaptureMethod;

const UNMODELLED: [&str; 21] = [
    "automatic_tax",
    "allow_promotion_codes",
    "billing_address_collection",
    "shipping_address_collection",
    "shipping_options",
    "phone_number_collection",
    "customer_creation",
    "customer_update",
    "payment_method_types",
    "payment_method_collection",
    "payment_method_options",
    "invoice_creation",
    "locale",
    "submit_type",
    "tax_id_collection",
    "consent_collection",
    "custom_text",
    "custom_fields",
    "discounts",
    "ui_mode",
    "return_url",
];

pub(super) fn sessions(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let (method, path) = at;
    let Some((&"sessions", path)) = path.split_first() else {
        return Err(unknown(call));
    };
    match (method, path) {
        ("POST", []) => create(world, call),
        ("GET", []) => {
            let page = Page::read(call)?;
            let (customer, subscription) = (p.some("customer")?, p.some("subscription")?);
            let (intent, status) = (p.some("payment_intent")?, p.some("status")?);
            p.finish()?;
            let fits = |one: &Session| {
                customer.as_ref().is_none_or(|id| one.customer.as_ref() == Some(id))
                    && subscription
                        .as_ref()
                        .is_none_or(|id| one.subscription.as_ref() == Some(id))
                    && intent.as_ref().is_none_or(|id| one.intent.as_ref() == Some(id))
                    && status.as_ref().is_none_or(|name| one.status == name)
            };
            page.of(
                call,
                world.sessions.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Session(one.clone().into()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            call.show(Object::Session(world.session(id)?.clone().into()))
        }
        ("POST", [id, "expire"]) => {
            p.finish()?;
            let session = world.expire_session(id)?;
            call.show(Object::Session(session.into()))
        }
        ("GET", [id, "line_items"]) => {
            p.ignore(&["limit", "starting_after"]);
            p.finish()?;
            Ok(render::list(&call.path, render::line_items(world.session(id)?), false))
        }
        _ => Err(unknown(call)),
    }
}

fn create(world: &mut World, call: &Call) -> ApiResult<Value> {
    let p = &call.params;
    let mode = match p.choice("mode", &["payment", "subscription", "setup"])? {
        Some("subscription") => Mode::Subscription,
        Some("setup") => Mode::Setup,
        Some(_) => Mode::Payment,
        None => {
            return Err(ApiError::invalid(
                "mode",
                "parameter_missing",
                "Missing required param: mode.",
            ));
        }
    };
    let mut given = Vec::new();
    for line in p.children("line_items") {
        line.ignore(&["adjustable_quantity", "tax_rates", "dynamic_tax_rates"]);
        let price = GivenPrice::read(&line)?.ok_or_else(|| {
            ApiError::invalid(
                "line_items",
                "parameter_missing",
                "Missing required param: line_items[0][price].",
            )
        })?;
        given.push((price, line.int("quantity")?.unwrap_or(1)));
    }
    if given.is_empty() && mode != Mode::Setup {
        return Err(ApiError::invalid(
            "line_items",
            "parameter_missing",
            "Missing required param: line_items.",
        ));
    }
    let subscription = p.child("subscription_data");
    let intent = p.child("payment_intent_data");
    let (mut metadata, mut subscription_metadata, mut intent_metadata) =
        (Metadata::new(), Metadata::new(), Metadata::new());
    merge_metadata(&mut metadata, p.dict("metadata")?);
    let mut trial_days = None;
    if let Some(data) = &subscription {
        merge_metadata(&mut subscription_metadata, data.dict("metadata")?);
        trial_days = data.int("trial_period_days")?;
        data.ignore(&[
            "description",
            "trial_settings",
            "billing_mode",
            "proration_behavior",
            "default_tax_rates",
        ]);
    }
    let (mut transfer_group, mut capture) = (None, CaptureMethod::Automatic);
    if let Some(data) = &intent {
        merge_metadata(&mut intent_metadata, data.dict("metadata")?);
        transfer_group = data.some("transfer_group")?;
        if data.choice("capture_method", &["automatic", "automatic_async", "manual"])? == Some("manual") {
            capture = CaptureMethod::Manual;
        }
        data.ignore(&[
            "description",
            "receipt_email",
            "setup_future_usage",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "shipping",
        ]);
    }
    let mut session = Session {
        id: String::new(),
        created: 0,
        expires_at: p.int("expires_at")?.unwrap_or(0),
        mode,
        status: "open",
        payment_status: if mode == Mode::Setup {
            "no_payment_required"
        } else {
            "unpaid"
        },
        line_items: Vec::new(),
        currency: p.some("currency")?,
        customer: p.some("customer")?,
        customer_email: p.some("customer_email")?,
        client_reference_id: p.some("client_reference_id")?,
        success_url: p.some("success_url")?,
        cancel_url: p.some("cancel_url")?,
        metadata,
        subscription_metadata,
        intent_metadata,
        transfer_group,
        capture,
        trial_days,
        subscription: None,
        intent: None,
        invoice: None,
    };
    p.ignore(&UNMODELLED);
    p.finish()?;
    if session.customer.is_some() && session.customer_email.is_some() {
        return Err(ApiError::invalid(
            "customer_email",
            "",
            "You may only specify one of these parameters: customer, customer_email.",
        ));
    }
    if let Some(customer) = &session.customer {
        world.customer(customer, "customer")?;
    }
    for (price, quantity) in given {
        let price = price.resolve(world)?;
        if price.recurring.is_some() && mode == Mode::Payment {
            return Err(ApiError::invalid(
                "line_items",
                "",
                "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.",
            ));
        }
        session.line_items.push((world.ids.next("li"), price, quantity));
    }
    session.currency = session
        .line_items
        .first()
        .map(|(_, price, _)| price.currency.clone())
        .or(session.currency);
    let made = world.create_session(session);
    call.show(Object::Session(made.into()))
}
