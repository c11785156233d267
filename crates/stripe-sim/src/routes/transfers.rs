//! Transfers and their reversals.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::currency;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;
use crate::state::transfer::{NewTransfer, Reversal, Transfer};

pub(super) fn transfers(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("POST", []) => create(world, call),
        ("GET", []) => list(world, call),
        ("GET", [id]) => {
            p.finish()?;
            call.show(Object::Transfer(world.transfer(id, "id")?.clone().into()))
        }
        ("POST", [id]) => {
            let (description, metadata) = (p.text("description")?, p.dict("metadata")?);
            p.finish()?;
            let after = world.change_transfer(id, |one| {
                if let Some(text) = description {
                    one.description = Some(text).filter(|text| !text.is_empty());
                }
                merge_metadata(&mut one.metadata, metadata);
            })?;
            call.show(Object::Transfer(after.into()))
        }
        (_, [id, "reversals", rest @ ..]) => reversals(world, call, id, rest),
        _ => Err(unknown(call)),
    }
}

fn create(world: &mut World, call: &Call) -> ApiResult<Value> {
    let p = &call.params;
    let amount = p
        .int("amount")?
        .ok_or_else(|| ApiError::invalid("amount", "parameter_missing", "Missing required param: amount."))?;
    let mut metadata = Metadata::new();
    merge_metadata(&mut metadata, p.dict("metadata")?);
    let new = NewTransfer {
        amount: currency::positive(amount)?,
        currency: currency::known(&p.required("currency")?)?,
        destination: p.required("destination")?,
        source_transaction: p.some("source_transaction")?,
        transfer_group: p.some("transfer_group")?,
        description: p.some("description")?,
        metadata,
    };
    p.ignore(&["source_type"]);
    p.finish()?;
    let made = world.create_transfer(new)?;
    call.show(Object::Transfer(made.into()))
}

fn list(world: &World, call: &Call) -> ApiResult<Value> {
    let p = &call.params;
    let page = Page::read(call)?;
    let (destination, group) = (p.some("destination")?, p.some("transfer_group")?);
    p.finish()?;
    let fits = |one: &Transfer| destination.as_ref().is_none_or(|id| one.destination == *id);
    let show = |one: &Transfer| render::object(&Object::Transfer(one.clone().into()), &call.version);
    match group {
        Some(group) => {
            let of_group = world.transfers_of_group(&group).into_iter();
            page.of(call, of_group, |one| one.created, fits, show)
        }
        None => page.of(call, world.transfers.iter(), |one| one.created, fits, show),
    }
}

fn reversals(world: &mut World, call: &Call, id: &str, rest: &[&str]) -> ApiResult<Value> {
    let p = &call.params;
    let show = |one: &Reversal| render::object(&Object::Reversal(one.clone().into()), &call.version);
    match (call.method.as_str(), rest) {
        ("POST", []) => {
            let amount = p.int("amount")?.map(currency::positive).transpose()?;
            let description = p.some("description")?;
            let mut metadata = Metadata::new();
            merge_metadata(&mut metadata, p.dict("metadata")?);
            p.ignore(&["refund_application_fee"]);
            p.finish()?;
            let made = world.reverse_transfer(id, amount, description, metadata)?;
            Ok(show(&made))
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            p.finish()?;
            let all = &world.transfer(id, "id")?.reversals;
            let pairs: Vec<(&str, &Reversal)> = all.iter().map(|one| (one.id.as_str(), one)).collect();
            page.of(call, pairs.into_iter(), |one| one.created, |_| true, show)
        }
        ("GET", [reversal]) => {
            p.finish()?;
            let all = &world.transfer(id, "id")?.reversals;
            let one = all.iter().find(|one| one.id == *reversal);
            one.map(show)
                .ok_or_else(|| ApiError::missing("transfer reversal", reversal, "id"))
        }
        ("POST", [reversal]) => {
            let metadata = p.dict("metadata")?;
            p.finish()?;
            world.transfer(id, "id")?;
            let all = world.transfers.get_mut(id).map(|one| &mut one.reversals);
            let one = all.and_then(|all| all.iter_mut().find(|one| one.id == *reversal));
            let one = one.ok_or_else(|| ApiError::missing("transfer reversal", reversal, "id"))?;
            merge_metadata(&mut one.metadata, metadata);
            Ok(show(one))
        }
        _ => Err(unknown(call)),
    }
}
