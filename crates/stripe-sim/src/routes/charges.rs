//! Charges.

use serde_json::Value;

use super::paging::Page;
use super::search::Query;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::object::Object;
use crate::state::payment::Charge;
use crate::state::refund::Refund;

pub(super) fn charges(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let (customer, intent) = (p.some("customer")?, p.some("payment_intent")?);
            let group = p.some("transfer_group")?;
            p.finish()?;
            let fits = |one: &Charge| {
                customer.as_ref().is_none_or(|id| one.customer.as_ref() == Some(id))
                    && intent.as_ref().is_none_or(|id| one.intent == *id)
                    && group
                        .as_ref()
                        .is_none_or(|name| one.transfer_group.as_ref() == Some(name))
            };
            page.of(
                call,
                world.charges.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Charge(one.clone().into()), &call.version),
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
        ("GET", ["search"]) => {
            let query = Query::read(p)?;
            p.finish()?;
            let fits = |one: &Charge| {
                query.fits(&one.metadata, |name| match name {
                    "currency" => Some(one.currency.clone()),
                    "customer" => one.customer.clone(),
                    "status" => Some(if one.failure.is_some() { "failed" } else { "succeeded" }.to_owned()),
                    _ => None,
                })
            };
            let found = world.charges.iter().rev().filter(|(_, one)| fits(one));
            let shown = |one: &Charge| render::object(&Object::Charge(one.clone().into()), &call.version);
            Ok(query.page(call, found.map(|(_, one)| shown(one))))
        }
        ("GET", [id]) => {
            p.finish()?;
            let one = world
                .charges
                .get(id)
                .cloned()
                .ok_or_else(|| ApiError::missing("charge", id, "id"))?;
            call.show(Object::Charge(one.into()))
        }
        _ => Err(unknown(call)),
    }
}
