//! Subscriptions.

use serde_json::Value;

use super::catalog::GivenPrice;
use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::form::Params;
use crate::state::World;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;
use crate::state::subscription::{
    Collection, FirstPayment, ItemChange, MissingMethod, NewSubscription, PauseCollection, Subscription, Update,
};

const UNMODELLED: [&str; 17] = [
    "automatic_tax",
    "billing_mode",
    "billing_thresholds",
    "payment_settings",
    "off_session",
    "invoice_settings",
    "application_fee_percent",
    "on_behalf_of",
    "transfer_data",
    "default_tax_rates",
    "discounts",
    "currency",
    "trial_from_plan",
    "cancellation_details",
    "proration_date",
    "pending_invoice_item_interval",
    "billing_cycle_anchor",
];
const PRORATION: [&str; 3] = ["create_prorations", "none", "always_invoice"];

pub(super) fn subscriptions(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let show = |world: &World, id: &str| call.show(Object::Subscription(world.subscription(id, "id")?.clone().into()));
    match at {
        ("POST", []) => {
            let id = create(world, call)?;
            show(world, &id)
        }
        ("GET", []) => list(world, call),
        ("GET", [id]) => {
            call.params.finish()?;
            show(world, id)
        }
        ("POST", [id]) => {
            update(world, call, id)?;
            show(world, id)
        }
        ("DELETE", [id]) | ("POST", [id, "cancel"]) => {
            let p = &call.params;
            let prorate = p.flag("prorate")?.unwrap_or(false);
            p.ignore(&["cancellation_details", "invoice_now"]);
            p.finish()?;
            if world.subscription(id, "id")?.status.is_terminal() {
                return Err(ApiError::missing("subscription", id, "id"));
            }
            world.cancel_subscription(id, "cancellation_requested", prorate);
            show(world, id)
        }
        ("POST", [id, "pause"]) => {
            call.params.ignore(&["type", "bill_for", "invoicing_behavior"]);
            call.params.finish()?;
            world.pause_subscription(id)?;
            show(world, id)
        }
        ("POST", [id, "resume"]) => {
            call.params
                .ignore(&["billing_cycle_anchor", "proration_behavior", "proration_date"]);
            call.params.finish()?;
            world.resume_subscription(id)?;
            show(world, id)
        }
        _ => Err(unknown(call)),
    }
}

fn list(world: &World, call: &Call) -> ApiResult<Value> {
    let page = Page::read(call)?;
    let p = &call.params;
    let (customer, status, price) = (p.some("customer")?, p.some("status")?, p.some("price")?);
    let (collection, clock) = (p.some("collection_method")?, p.some("test_clock")?);
    p.finish()?;
    let fits = |one: &Subscription| {
        let name = one.status.as_str();
        let wanted = match status.as_deref() {
            Some("all") => true,
            Some("ended") => one.status.is_terminal(),
            Some(other) => name == other,
            None => !one.status.is_terminal(),
        };
        wanted
            && customer.as_ref().is_none_or(|id| one.customer == *id)
            && price
                .as_ref()
                .is_none_or(|id| one.items.iter().any(|item| item.price.id == *id))
            && clock.as_ref().is_none_or(|id| one.test_clock.as_ref() == Some(id))
            && collection
                .as_ref()
                .is_none_or(|name| (name == "charge_automatically") == (one.collection == Collection::Automatic))
    };
    page.of(
        call,
        world.subscriptions.iter(),
        |one| one.created,
        fits,
        |one| crate::render::object(&Object::Subscription(one.clone().into()), &call.version),
    )
}

fn read_collection(p: &Params) -> ApiResult<Option<Collection>> {
    let days = p.int("days_until_due")?;
    Ok(
        match p.choice("collection_method", &["charge_automatically", "send_invoice"])? {
            None => None,
            Some("send_invoice") => Some(Collection::Send(
                days.and_then(|days| u32::try_from(days).ok()).unwrap_or(30),
            )),
            Some(_) => Some(Collection::Automatic),
        },
    )
}

fn read_missing_method(p: &Params) -> ApiResult<Option<MissingMethod>> {
    let Some(end) = p.child("trial_settings").and_then(|one| one.child("end_behavior")) else {
        return Ok(None);
    };
    Ok(end
        .choice("missing_payment_method", &["create_invoice", "pause", "cancel"])?
        .map(|name| match name {
            "pause" => MissingMethod::Pause,
            "cancel" => MissingMethod::Cancel,
            _ => MissingMethod::CreateInvoice,
        }))
}

fn create(world: &mut World, call: &Call) -> ApiResult<String> {
    let p = &call.params;
    let customer = p.required("customer")?;
    let mut given = Vec::new();
    for item in p.children("items") {
        let price = GivenPrice::read(&item)?.ok_or_else(|| {
            ApiError::invalid(
                "items[0][price]",
                "parameter_missing",
                "Missing required param: items[0][price].",
            )
        })?;
        let quantity = item.int("quantity")?.unwrap_or(1);
        item.ignore(&["billing_thresholds", "tax_rates", "discounts"]);
        given.push((price, quantity, item.dict("metadata")?.unwrap_or_default()));
    }
    if given.is_empty() {
        return Err(ApiError::invalid(
            "items",
            "parameter_missing",
            "Missing required param: items.",
        ));
    }
    let mut metadata = Metadata::new();
    merge_metadata(&mut metadata, p.dict("metadata")?);
    let trial_days = p.int("trial_period_days")?;
    let trial_end = p.int("trial_end")?;
    let method = p.some("default_payment_method")?;
    let collection = read_collection(p)?.unwrap_or(Collection::Automatic);
    let behavior = match p.choice(
        "payment_behavior",
        &["allow_incomplete", "default_incomplete", "error_if_incomplete"],
    )? {
        Some("default_incomplete") => FirstPayment::Wait,
        Some("error_if_incomplete") => FirstPayment::MustSucceed,
        _ => FirstPayment::Try,
    };
    let (cancel_at, at_end) = (p.int("cancel_at")?, p.flag("cancel_at_period_end")?.unwrap_or(false));
    let (missing_method, description) = (
        read_missing_method(p)?.unwrap_or(MissingMethod::CreateInvoice),
        p.some("description")?,
    );
    p.ignore(&["proration_behavior", "default_source"]);
    p.ignore(&UNMODELLED);
    p.finish()?;

    let clock = world.customer(&customer, "customer")?.test_clock.clone();
    let now = world.now_on(clock.as_deref());
    let mut items = Vec::new();
    for (price, quantity, metadata) in given {
        let price = price.resolve(world)?;
        if price.recurring.is_none() {
            return Err(ApiError::invalid(
                "items",
                "",
                "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            ));
        }
        items.push((price, quantity, metadata));
    }
    let method = method
        .map(|given| world.payment_method_for(&customer, &given, "default_payment_method"))
        .transpose()?;
    world.create_subscription(NewSubscription {
        customer,
        items,
        metadata,
        description,
        trial_end: trial_end.or_else(|| trial_days.filter(|days| *days > 0).map(|days| now + days * 86_400)),
        missing_method,
        default_payment_method: method,
        collection,
        behavior,
        cancel_at,
        cancel_at_period_end: at_end,
    })
}

fn update(world: &mut World, call: &Call, id: &str) -> ApiResult<()> {
    let p = &call.params;
    let customer = world.subscription(id, "id")?.customer.clone();
    let now = world.now_on(world.subscription(id, "id")?.test_clock.as_deref());
    let mut given = Vec::new();
    for item in p.children("items") {
        item.ignore(&[
            "metadata",
            "billing_thresholds",
            "tax_rates",
            "discounts",
            "clear_usage",
        ]);
        let change = ItemChange {
            id: item.some("id")?,
            price: None,
            quantity: item.int("quantity")?,
            deleted: item.flag("deleted")?.unwrap_or(false),
        };
        given.push((change, GivenPrice::read(&item)?));
    }
    let pause_collection = match p.child("pause_collection") {
        Some(pause) => {
            let behavior = pause.choice("behavior", &["keep_as_draft", "mark_uncollectible", "void"])?;
            let behavior = behavior.ok_or_else(|| {
                ApiError::invalid(
                    "pause_collection[behavior]",
                    "parameter_missing",
                    "Missing required param: pause_collection[behavior].",
                )
            })?;
            Some(Some(PauseCollection {
                behavior,
                resumes_at: pause.int("resumes_at")?,
            }))
        }
        None => p.text("pause_collection")?.map(|_| None),
    };
    let trial_end = match p.some("trial_end")?.as_deref() {
        Some("now") => Some(now),
        _ => p.int("trial_end")?,
    };
    let cancel_at = p.text("cancel_at")?.map(|text| text.parse::<i64>().ok());
    let method = p.text("default_payment_method")?;
    let mut change = Update {
        items: Vec::new(),
        proration: p.choice("proration_behavior", &PRORATION)?,
        metadata: p.dict("metadata")?,
        description: p
            .text("description")?
            .map(|text| Some(text).filter(|text| !text.is_empty())),
        default_payment_method: None,
        cancel_at_period_end: p.flag("cancel_at_period_end")?,
        cancel_at,
        pause_collection,
        trial_end,
        missing_method: read_missing_method(p)?,
    };
    p.ignore(&["payment_behavior", "collection_method", "days_until_due"]);
    p.ignore(&UNMODELLED);
    p.finish()?;
    for (mut item, price) in given {
        item.price = price.map(|price| price.resolve(world)).transpose()?;
        change.items.push(item);
    }
    change.default_payment_method = match method {
        Some(text) if text.is_empty() => Some(None),
        Some(text) => Some(Some(world.payment_method_for(
            &customer,
            &text,
            "default_payment_method",
        )?)),
        None => None,
    };
    world.update_subscription(id, change)
}
