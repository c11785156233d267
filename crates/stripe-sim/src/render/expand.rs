//! `expand[]`: an id becomes the object it names.

use serde_json::Value;

use super::object;
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::object::Object;
use crate::version::ApiVersion;

const MAX_DEPTH: usize = 4;

/// Expands the paths in an answer. A path that leads to nothing expandable is refused, as at Stripe.
pub(crate) fn expand(world: &World, value: &mut Value, paths: &[String], version: &ApiVersion) -> ApiResult<()> {
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        if parts.len() > MAX_DEPTH {
            return Err(ApiError::invalid(
                "expand",
                "",
                "You cannot expand more than 4 levels of a property.",
            ));
        }
        follow(world, value, &parts, version)
            .ok_or_else(|| ApiError::invalid("expand", "", format!("This property cannot be expanded ({path}).")))?;
    }
    Ok(())
}

fn follow(world: &World, value: &mut Value, path: &[&str], version: &ApiVersion) -> Option<()> {
    let Some((first, rest)) = path.split_first() else {
        return Some(());
    };
    if let Value::Array(list) = value {
        return list.iter_mut().try_for_each(|one| follow(world, one, path, version));
    }
    let map = value.as_object_mut()?;
    if *first == "payments" && !map.contains_key("payments") {
        let id = map.get("id")?.as_str()?;
        let payments = &world.invoices.get(id)?.payments;
        let data = payments
            .iter()
            .map(|one| object(&Object::InvoicePayment(one.clone()), version))
            .collect();
        map.insert(
            "payments".to_owned(),
            super::list(&format!("/v1/invoices/{id}/payments"), data, false),
        );
    }
    if *first == "line_items" && !map.contains_key("line_items") {
        let id = map.get("id")?.as_str()?;
        let data = super::checkout::line_items(world.sessions.get(id)?);
        map.insert(
            "line_items".to_owned(),
            super::list(&format!("/v1/checkout/sessions/{id}/line_items"), data, false),
        );
    }
    let inner = map.get_mut(*first)?;
    if inner.is_null() {
        return Some(());
    }
    if let Some(id) = inner.as_str() {
        *inner = by_id(world, id, version)?;
    }
    follow(world, inner, rest, version)
}

/// Any object by its id.
fn by_id(world: &World, id: &str, version: &ApiVersion) -> Option<Value> {
    let (prefix, _) = id.split_once('_')?;
    let found = match prefix {
        "cus" => Object::Customer(world.customers.get(id)?.clone()),
        "pm" => Object::PaymentMethod(world.payment_methods.get(id)?.clone()),
        "prod" => Object::Product(world.products.get(id)?.clone()),
        "price" => Object::Price(world.prices.get(id)?.clone()),
        "sub" => Object::Subscription(world.subscriptions.get(id)?.clone().into()),
        "in" => Object::Invoice(world.invoices.get(id)?.clone().into()),
        "pi" => Object::Intent(world.intents.get(id)?.clone()),
        "ch" => Object::Charge(world.charges.get(id)?.clone().into()),
        "re" => Object::Refund(world.refunds.get(id)?.clone()),
        "clock" => Object::TestClock(world.test_clocks.get(id)?.clone()),
        "acct" => Object::Account(world.accounts.get(id)?.clone().into()),
        "tr" => Object::Transfer(world.transfers.get(id)?.clone().into()),
        "po" => Object::Payout(world.payouts.get(id)?.clone()),
        "du" => Object::Dispute(world.disputes.get(id)?.clone()),
        "txn" => {
            let now = world.now();
            return world
                .balance_transactions
                .get(id)
                .map(|one| super::balance::transaction(one, now));
        }
        _ => return None,
    };
    Some(object(&found, version))
}
