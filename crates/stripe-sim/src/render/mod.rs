//! Objects as JSON, in the field places of an API version.

mod account;
mod balance;
mod billing;
mod catalog;
mod checkout;
mod customer;
mod dispute;
mod event;
mod expand;
mod invoice;
mod payment;
mod refund;
mod transfer;

pub(crate) use account::account_v2;
pub(crate) use balance::{balance, transaction};
pub(crate) use checkout::line_items;
pub(crate) use event::{event, event_body, event_exists};
pub(crate) use expand::expand;

use serde_json::{Map, Value, json};

use crate::state::customer::Metadata;
use crate::state::object::Object;
use crate::state::subscription::Subscription;
use crate::version::ApiVersion;

/// An object as the version shows it.
pub(crate) fn object(object: &Object, version: &ApiVersion) -> Value {
    let train = version.train();
    match object {
        Object::Customer(one) => customer::customer(one),
        Object::PaymentMethod(one) => customer::payment_method(one),
        Object::Product(one) => catalog::product(one),
        Object::Price(one) => catalog::price(one),
        Object::Plan(one) => catalog::plan(one),
        Object::Subscription(one) => billing::subscription(one, train),
        Object::Invoice(one) => invoice::invoice(one, train),
        Object::InvoiceItem(one) => invoice::invoice_item(one, train),
        Object::InvoicePayment(one) => invoice::payment(one),
        Object::Intent(one) => payment::intent(one, train),
        Object::Charge(one) => payment::charge(one, train),
        Object::Refund(one) => refund::refund(one),
        Object::Dispute(one) => dispute::dispute(one),
        Object::Session(one) => checkout::session(one, train),
        Object::Account(one) => account::account(one),
        Object::Capability(one) => account::capability(one),
        Object::Transfer(one) => transfer::transfer(one),
        Object::Reversal(one) => transfer::reversal(one),
        Object::Payout(one) => balance::payout(one),
        Object::TestClock(one) => customer::test_clock(one),
        Object::Raw(value) => value.clone(),
    }
}

/// The items of a subscription as the version shows them.
pub(crate) fn items(of: &Subscription, version: &ApiVersion) -> Vec<Value> {
    billing::items(of, version.train())
}

/// A list as Stripe's lists look.
pub(crate) fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({ "object": "list", "data": data, "has_more": has_more, "url": url })
}

fn metadata(map: &Metadata) -> Value {
    json!(map)
}

/// Adds to an object what only some versions show.
fn add(value: &mut Value, fields: Value) {
    if let (Value::Object(map), Value::Object(more)) = (value, fields) {
        map.extend(more);
    }
}

/// What is different in `after`, as it was in `before`: nested objects in part, lists whole, `null` for what is new.
fn difference(before: &Value, after: &Value) -> Map<String, Value> {
    let mut out = Map::new();
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return out;
    };
    for (key, new) in after {
        match before.get(key) {
            Some(old) if old == new => {}
            Some(old @ Value::Object(_)) if new.is_object() => {
                out.insert(key.clone(), Value::Object(difference(old, new)));
            }
            Some(old) => {
                out.insert(key.clone(), old.clone());
            }
            None => {
                out.insert(key.clone(), Value::Null);
            }
        }
    }
    for (key, old) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
        out.insert(key.clone(), old.clone());
    }
    out
}
