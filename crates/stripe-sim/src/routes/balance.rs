//! The balance of the platform, or of a connected account named in `Stripe-Account`, and its transactions.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::balance::BalanceTransaction;

pub(super) fn balance(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let owner = call.owner(world)?;
    match at {
        ("GET", []) => {
            call.params.finish()?;
            Ok(render::balance(&world.balance_sheet(&owner)))
        }
        _ => Err(unknown(call)),
    }
}

pub(super) fn transactions(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let owner = call.owner(world)?;
    let now = world.now();
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let (source, kind, currency) = (p.some("source")?, p.some("type")?, p.some("currency")?);
            p.finish()?;
            let fits = |one: &BalanceTransaction| {
                one.owner == owner
                    && source.as_ref().is_none_or(|id| one.source == *id)
                    && kind.as_ref().is_none_or(|name| one.kind == name)
                    && currency.as_ref().is_none_or(|name| one.currency == *name)
            };
            page.of(
                call,
                world.balance_transactions.iter(),
                |one| one.created,
                fits,
                |one| render::transaction(one, now),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            let one = world.balance_transactions.get(id).filter(|one| one.owner == owner);
            one.map(|one| render::transaction(one, now))
                .ok_or_else(|| ApiError::missing("balance transaction", id, "id"))
        }
        _ => Err(unknown(call)),
    }
}
