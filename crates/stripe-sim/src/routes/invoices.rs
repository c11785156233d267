//! Invoices, invoice items and invoice payments.

use serde_json::{Value, json};

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::invoice::{Invoice, InvoiceItem, InvoicePayment, InvoiceStatus, Line, NewInvoice, Reason};
use crate::state::object::Object;
use crate::state::subscription::Collection;

pub(super) fn invoices(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let show = |world: &World, id: &str| call.show(Object::Invoice(world.invoice(id)?.clone().into()));
    match at {
        ("POST", []) => {
            let id = create(world, call)?;
            show(world, &id)
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            let (customer, subscription, status) = (p.some("customer")?, p.some("subscription")?, p.some("status")?);
            p.ignore(&["collection_method"]);
            p.finish()?;
            let fits = |one: &Invoice| {
                customer.as_ref().is_none_or(|id| one.customer == *id)
                    && subscription
                        .as_ref()
                        .is_none_or(|id| one.subscription.as_ref() == Some(id))
                    && status.as_ref().is_none_or(|name| one.status.as_str() == name)
            };
            page.of(
                call,
                world.invoices.iter(),
                |one| one.created,
                fits,
                |one| crate::render::object(&Object::Invoice(one.clone().into()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            show(world, id)
        }
        ("POST", [id]) => {
            let (metadata, advance) = (p.dict("metadata")?, p.flag("auto_advance")?);
            let (description, method) = (p.some("description")?, p.some("default_payment_method")?);
            p.finish()?;
            let customer = world.invoice(id)?.customer.clone();
            let method = method
                .map(|given| world.payment_method_for(&customer, &given, "default_payment_method"))
                .transpose()?;
            world.change_invoice(id, |one| {
                merge_metadata(&mut one.metadata, metadata);
                one.auto_advance = advance.unwrap_or(one.auto_advance);
                one.description = description.or_else(|| one.description.clone());
                one.default_payment_method = method.or_else(|| one.default_payment_method.clone());
            });
            show(world, id)
        }
        ("DELETE", [id]) => {
            p.finish()?;
            only(world, id, &[InvoiceStatus::Draft], "You can only delete draft invoices")?;
            world.tell_invoice(id, "invoice.deleted");
            world.invoices.remove(id);
            Ok(json!({ "id": id, "object": "invoice", "deleted": true }))
        }
        ("POST", [id, "finalize"]) => {
            p.ignore(&["auto_advance"]);
            p.finish()?;
            only(world, id, &[InvoiceStatus::Draft], "This invoice is already finalized")?;
            world.finalize_invoice(id);
            show(world, id)
        }
        ("POST", [id, "pay"]) => {
            let (method, out_of_band) = (p.some("payment_method")?, p.flag("paid_out_of_band")?.unwrap_or(false));
            p.ignore(&["off_session", "forgive"]);
            p.finish()?;
            let customer = world.invoice(id)?.customer.clone();
            let method = method
                .map(|given| world.payment_method_for(&customer, &given, "payment_method"))
                .transpose()?;
            world.pay_invoice(id, method.as_deref(), out_of_band)?;
            show(world, id)
        }
        ("POST", [id, "void"]) => {
            p.finish()?;
            only(
                world,
                id,
                &[InvoiceStatus::Open, InvoiceStatus::Uncollectible],
                "You can only void open or uncollectible invoices",
            )?;
            world.void_invoice(id);
            show(world, id)
        }
        ("POST", [id, "mark_uncollectible"]) => {
            p.finish()?;
            only(
                world,
                id,
                &[InvoiceStatus::Open],
                "You can only mark open invoices uncollectible",
            )?;
            world.mark_uncollectible(id);
            show(world, id)
        }
        ("POST", [id, "send"]) => {
            p.finish()?;
            world.finalize_invoice(id);
            world.tell_invoice(id, "invoice.sent");
            show(world, id)
        }
        _ => Err(unknown(call)),
    }
}

fn only(world: &World, id: &str, allowed: &[InvoiceStatus], message: &str) -> ApiResult<()> {
    if allowed.contains(&world.invoice(id)?.status) {
        return Ok(());
    }
    Err(ApiError::state("invoice_not_editable", message))
}

fn create(world: &mut World, call: &Call) -> ApiResult<String> {
    let p = &call.params;
    let customer = p.required("customer")?;
    let days = p.int("days_until_due")?;
    let collection = match p.choice("collection_method", &["charge_automatically", "send_invoice"])? {
        Some("send_invoice") => Collection::Send(days.and_then(|days| u32::try_from(days).ok()).unwrap_or(30)),
        _ => Collection::Automatic,
    };
    let (currency, description) = (p.some("currency")?, p.some("description")?);
    let auto_advance = p.flag("auto_advance")?.unwrap_or(false);
    let include = p.choice("pending_invoice_items_behavior", &["include", "exclude"])? == Some("include");
    let mut metadata = Metadata::new();
    merge_metadata(&mut metadata, p.dict("metadata")?);
    let method = p.some("default_payment_method")?;
    p.ignore(&[
        "automatic_tax",
        "payment_settings",
        "footer",
        "custom_fields",
        "statement_descriptor",
        "due_date",
    ]);
    p.finish()?;
    let clock = world.customer(&customer, "customer")?.test_clock.clone();
    let method = method
        .map(|given| world.payment_method_for(&customer, &given, "default_payment_method"))
        .transpose()?;
    let now = world.now_on(clock.as_deref());
    let waiting: Vec<InvoiceItem> = world
        .invoice_items
        .iter()
        .filter(|(_, one)| include && one.customer == customer && one.invoice.is_none())
        .map(|(_, one)| one.clone())
        .collect();
    let currency = currency
        .or_else(|| waiting.first().map(|one| one.currency.clone()))
        .unwrap_or_else(|| "usd".to_owned());
    let lines = waiting.iter().map(|one| line_of(world, one)).collect();
    let id = world.create_invoice(NewInvoice {
        customer,
        subscription: None,
        reason: Reason::Manual,
        currency,
        lines,
        period: (now, now),
        collection,
        metadata,
        description,
        auto_advance,
    });
    if let Some(method) = method {
        world.change_invoice(&id, |one| one.default_payment_method = Some(method));
    }
    for item in &waiting {
        if let Some(one) = world.invoice_items.get_mut(&item.id) {
            one.invoice = Some(id.clone());
        }
    }
    if auto_advance {
        world
            .agenda
            .add(now + 3_600, clock, crate::time::Task::Finalize { invoice: id.clone() });
    }
    Ok(id)
}

fn line_of(world: &mut World, item: &InvoiceItem) -> Line {
    Line {
        id: world.ids.next("il"),
        description: item.description.clone().unwrap_or_default(),
        amount: item.amount,
        price: item.price.clone(),
        quantity: item.quantity,
        proration: item.proration,
        subscription: item.subscription.clone(),
        subscription_item: None,
        invoice_item: Some(item.id.clone()),
        period: item.period,
        metadata: item.metadata.clone(),
    }
}

pub(super) fn invoice_items(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("POST", []) => {
            let customer = p.required("customer")?;
            let (amount, currency, description) = (p.int("amount")?, p.some("currency")?, p.some("description")?);
            let price = p
                .some("price")?
                .or(p.child("pricing").map(|one| one.some("price")).transpose()?.flatten());
            let (quantity, invoice) = (p.int("quantity")?.unwrap_or(1), p.some("invoice")?);
            let mut metadata = Metadata::new();
            merge_metadata(&mut metadata, p.dict("metadata")?);
            p.finish()?;
            let clock = world.customer(&customer, "customer")?.test_clock.clone();
            let price = price.map(|id| world.price(&id, "price")).transpose()?;
            let amount = amount.or_else(|| price.as_ref().map(|one| one.unit_amount.saturating_mul(quantity)));
            let amount = amount
                .ok_or_else(|| ApiError::invalid("amount", "parameter_missing", "Missing required param: amount."))?;
            if let Some(id) = &invoice {
                only(
                    world,
                    id,
                    &[InvoiceStatus::Draft],
                    "This invoice can no longer be edited",
                )?;
            }
            let now = world.now_on(clock.as_deref());
            let currency = currency
                .or_else(|| price.as_ref().map(|one| one.currency.clone()))
                .unwrap_or_else(|| "usd".to_owned());
            let id = world.ids.next("ii");
            let item = InvoiceItem {
                id: id.clone(),
                created: now,
                customer,
                currency,
                amount,
                description,
                price,
                quantity,
                invoice: invoice.clone(),
                subscription: None,
                proration: false,
                period: (now, now),
                metadata,
                test_clock: clock,
            };
            world.invoice_items.insert(&id, item.clone());
            world.emit("invoiceitem.created", Object::InvoiceItem(item.clone()));
            if let Some(invoice) = invoice {
                let line = line_of(world, &item);
                world.change_invoice(&invoice, |one| one.lines.push(line));
            }
            call.show(Object::InvoiceItem(item))
        }
        ("GET", [id]) => {
            p.finish()?;
            let one = world
                .invoice_items
                .get(id)
                .cloned()
                .ok_or_else(|| ApiError::missing("invoiceitem", id, "id"))?;
            call.show(Object::InvoiceItem(one))
        }
        _ => Err(unknown(call)),
    }
}

pub(super) fn invoice_payments(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let all: Vec<InvoicePayment> = world
        .invoices
        .iter()
        .flat_map(|(_, one)| one.payments.clone())
        .collect();
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let invoice = call.params.some("invoice")?;
            let payment = call.params.child("payment");
            let intent = payment
                .as_ref()
                .map(|one| one.some("payment_intent"))
                .transpose()?
                .flatten();
            call.params.ignore(&["payment", "status"]);
            call.params.finish()?;
            let fits = |one: &InvoicePayment| {
                invoice.as_ref().is_none_or(|id| one.invoice == *id)
                    && intent.as_ref().is_none_or(|id| one.intent == *id)
            };
            let pairs: Vec<(&str, &InvoicePayment)> = all.iter().map(|one| (one.id.as_str(), one)).collect();
            page.of(
                call,
                pairs.into_iter(),
                |one| one.created,
                fits,
                |one| crate::render::object(&Object::InvoicePayment(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            call.params.finish()?;
            let one = all
                .iter()
                .find(|one| one.id == *id)
                .cloned()
                .ok_or_else(|| ApiError::missing("invoice_payment", id, "id"))?;
            call.show(Object::InvoicePayment(one))
        }
        _ => Err(unknown(call)),
    }
}
