//! Customers and payment methods.

use serde_json::{Value, json};

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::customer::{Customer, merge_metadata};
use crate::state::object::Object;
use crate::state::payment_method::card_of;

const UNMODELLED: [&str; 9] = [
    "address",
    "shipping",
    "preferred_locales",
    "tax_exempt",
    "tax_id_data",
    "tax",
    "next_invoice_sequence",
    "cash_balance",
    "source",
];

pub(super) fn customers(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    match at {
        ("POST", []) => create(world, call),
        ("GET", []) => {
            let page = Page::read(call)?;
            let (email, clock) = (call.params.some("email")?, call.params.some("test_clock")?);
            call.params.finish()?;
            let fits = |one: &Customer| {
                !one.deleted
                    && email.as_ref().is_none_or(|email| one.email.as_ref() == Some(email))
                    && clock.is_none() == one.test_clock.is_none()
                    && (clock.is_none() || one.test_clock == clock)
            };
            page.of(
                call,
                world.customers.iter(),
                |one| one.created,
                fits,
                |one| crate::render::object(&Object::Customer(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            call.params.finish()?;
            let one = world
                .customers
                .get(id)
                .cloned()
                .ok_or_else(|| ApiError::missing("customer", id, "id"))?;
            call.show(Object::Customer(one))
        }
        ("POST", [id]) => update(world, call, id),
        ("DELETE", [id]) => delete(world, call, id),
        ("GET", [id, "payment_methods"]) => {
            let page = Page::read(call)?;
            call.params.ignore(&["type"]);
            call.params.finish()?;
            world.customer(id, "id")?;
            let fits = |one: &crate::state::payment_method::PaymentMethod| one.customer.as_deref() == Some(id);
            page.of(
                call,
                world.payment_methods.iter(),
                |one| one.created,
                fits,
                |one| crate::render::object(&Object::PaymentMethod(one.clone()), &call.version),
            )
        }
        _ => Err(unknown(call)),
    }
}

fn create(world: &mut World, call: &Call) -> ApiResult<Value> {
    let p = &call.params;
    let mut customer = Customer {
        email: p.some("email")?,
        name: p.some("name")?,
        phone: p.some("phone")?,
        description: p.some("description")?,
        balance: p.int("balance")?.unwrap_or(0),
        test_clock: p.some("test_clock")?,
        ..Customer::blank()
    };
    merge_metadata(&mut customer.metadata, p.dict("metadata")?);
    let method = p.some("payment_method")?;
    let settings = p.child("invoice_settings");
    let default = settings
        .as_ref()
        .map(|one| one.some("default_payment_method"))
        .transpose()?
        .flatten();
    p.ignore(&UNMODELLED);
    p.finish()?;
    if let Some(clock) = customer
        .test_clock
        .as_ref()
        .filter(|clock| world.test_clocks.get(clock).is_none())
    {
        return Err(ApiError::missing("test_clock", clock, "test_clock"));
    }
    check_attachable(&[method.as_deref(), default.as_deref()])?;
    let made = world.create_customer(customer);
    let attached = method
        .map(|given| world.payment_method_for(&made.id, &given, "payment_method"))
        .transpose()?;
    if let Some(given) = default {
        let same = attached.filter(|_| card_of(&given).is_some());
        let method = same.map_or_else(
            || world.payment_method_for(&made.id, &given, "invoice_settings[default_payment_method]"),
            Ok,
        )?;
        world.change_customer(&made.id, |one| one.default_payment_method = Some(method));
    }
    call.show(Object::Customer(world.customer(&made.id, "id")?.clone()))
}

/// As Stripe: a card that is always declined cannot be attached.
fn check_attachable(tokens: &[Option<&str>]) -> ApiResult<()> {
    for card in tokens
        .iter()
        .flatten()
        .filter_map(|token| card_of(token))
        .filter(|card| card.refused_at_attach)
    {
        if let crate::state::payment_method::Behaviour::Declined(failure) = card.behaviour {
            return Err(ApiError::card(&failure));
        }
    }
    Ok(())
}

fn update(world: &mut World, call: &Call, id: &str) -> ApiResult<Value> {
    let p = &call.params;
    let (email, name, phone, description) = (
        p.text("email")?,
        p.text("name")?,
        p.text("phone")?,
        p.text("description")?,
    );
    let (metadata, balance) = (p.dict("metadata")?, p.int("balance")?);
    let default = p
        .child("invoice_settings")
        .map(|one| one.text("default_payment_method"))
        .transpose()?
        .flatten();
    p.ignore(&UNMODELLED);
    p.finish()?;
    world.customer(id, "id")?;
    let default = match default {
        Some(given) if given.is_empty() => Some(None),
        Some(given) => Some(Some(world.payment_method_for(
            id,
            &given,
            "invoice_settings[default_payment_method]",
        )?)),
        None => None,
    };
    let set = |field: &mut Option<String>, given: Option<String>| {
        if let Some(text) = given {
            *field = Some(text).filter(|text| !text.is_empty());
        }
    };
    world.change_customer(id, |one| {
        set(&mut one.email, email);
        set(&mut one.name, name);
        set(&mut one.phone, phone);
        set(&mut one.description, description);
        merge_metadata(&mut one.metadata, metadata);
        one.balance = balance.unwrap_or(one.balance);
        if let Some(method) = default {
            one.default_payment_method = method;
        }
    });
    call.show(Object::Customer(world.customer(id, "id")?.clone()))
}

fn delete(world: &mut World, call: &Call, id: &str) -> ApiResult<Value> {
    call.params.finish()?;
    let before = world.customer(id, "id")?.clone();
    let running: Vec<String> = world
        .subscriptions
        .iter()
        .filter(|(_, one)| one.customer == id && !one.status.is_terminal())
        .map(|(id, _)| id.to_owned())
        .collect();
    for subscription in running {
        world.cancel_subscription(&subscription, "cancellation_requested", false);
    }
    world.emit("customer.deleted", Object::Customer(before));
    if let Some(one) = world.customers.get_mut(id) {
        one.deleted = true;
    }
    Ok(json!({ "id": id, "object": "customer", "deleted": true }))
}

pub(super) fn payment_methods(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let show = |world: &World, id: &str| {
        let one = world
            .payment_methods
            .get(id)
            .cloned()
            .ok_or_else(|| ApiError::missing("PaymentMethod", id, "payment_method"))?;
        call.show(Object::PaymentMethod(one))
    };
    match at {
        ("GET", [id]) => {
            call.params.finish()?;
            show(world, id)
        }
        ("POST", []) => {
            call.params.ignore(&["type", "billing_details", "metadata"]);
            let card = call.params.child("card");
            let token = card
                .as_ref()
                .map(|one| one.some("token"))
                .transpose()?
                .flatten()
                .unwrap_or_else(|| "tok_visa".to_owned());
            call.params.finish()?;
            let card = card_of(&token).ok_or_else(|| ApiError::missing("token", &token, "card[token]"))?;
            let id = world.new_payment_method(card);
            show(world, &id)
        }
        ("POST", [given, "attach"]) => {
            let customer = call.params.required("customer")?;
            call.params.finish()?;
            world.customer(&customer, "customer")?;
            check_attachable(&[Some(given), world.payment_methods.get(given).map(|one| one.card.token)])?;
            let id = world.payment_method_for(&customer, given, "payment_method")?;
            show(world, &id)
        }
        ("POST", [id, "detach"]) => {
            call.params.finish()?;
            if let Some(one) = world.payment_methods.get_mut(id) {
                one.customer = None;
                let after = Object::PaymentMethod(one.clone());
                world.emit("payment_method.detached", after);
            }
            show(world, id)
        }
        _ => Err(unknown(call)),
    }
}
