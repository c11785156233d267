//! Payouts of the platform, and of a connected account named in `Stripe-Account`.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::currency;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;
use crate::state::payout::Payout;

pub(super) fn payouts(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let owner = call.owner(world)?;
    let own = |world: &World, id: &str| {
        let found = world.payout(id, "id").cloned();
        found.and_then(|one| {
            if one.account == owner {
                Ok(one)
            } else {
                Err(ApiError::missing("payout", id, "id"))
            }
        })
    };
    match at {
        ("POST", []) => {
            let amount = p
                .int("amount")?
                .ok_or_else(|| ApiError::invalid("amount", "parameter_missing", "Missing required param: amount."))?;
            let currency = currency::known(&p.required("currency")?)?;
            currency::payable(amount, &currency)?;
            let description = p.some("description")?;
            let mut metadata = Metadata::new();
            merge_metadata(&mut metadata, p.dict("metadata")?);
            p.ignore(&["method", "source_type", "destination", "statement_descriptor"]);
            p.finish()?;
            let made = world.create_payout(owner, amount, &currency, description, metadata)?;
            call.show(Object::Payout(made))
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            let status = p.some("status")?;
            p.finish()?;
            let fits =
                |one: &Payout| one.account == owner && status.as_ref().is_none_or(|name| one.status.as_str() == name);
            page.of(
                call,
                world.payouts.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Payout(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            call.show(Object::Payout(own(world, id)?))
        }
        ("POST", [id, "cancel"]) => {
            p.finish()?;
            own(world, id)?;
            call.show(Object::Payout(world.cancel_payout(id)?))
        }
        _ => Err(unknown(call)),
    }
}
