//! Refunds.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::currency;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;
use crate::state::refund::Refund;

pub(super) fn refunds(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("POST", []) => {
            let (charge, intent) = (p.some("charge")?, p.some("payment_intent")?);
            let amount = p.int("amount")?.map(currency::positive).transpose()?;
            let reason = p.choice("reason", &["duplicate", "fraudulent", "requested_by_customer"])?;
            let mut metadata = Metadata::new();
            merge_metadata(&mut metadata, p.dict("metadata")?);
            p.finish()?;
            let charge = match (charge, intent) {
                (Some(charge), _) => charge,
                (None, Some(intent)) => {
                    let known = world
                        .intents
                        .get(&intent)
                        .ok_or_else(|| ApiError::missing("payment_intent", &intent, "payment_intent"))?;
                    let charge = known.latest_charge.clone();
                    charge.ok_or_else(|| {
                        ApiError::state(
                            "",
                            format!("This PaymentIntent ({intent}) does not have a successful charge to refund."),
                        )
                    })?
                }
                (None, None) => {
                    return Err(ApiError::invalid(
                        "charge",
                        "parameter_missing",
                        "One of the following params should be provided for this request: payment_intent or charge.",
                    ));
                }
            };
            let made = world.refund(&charge, amount, reason, metadata)?;
            call.show(Object::Refund(made))
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            let (charge, intent) = (p.some("charge")?, p.some("payment_intent")?);
            p.finish()?;
            let fits = |one: &Refund| {
                charge.as_ref().is_none_or(|id| one.charge == *id) && intent.as_ref().is_none_or(|id| one.intent == *id)
            };
            page.of(
                call,
                world.refunds.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Refund(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            call.show(Object::Refund(world.find_refund(id, "id")?.clone()))
        }
        ("POST", [id]) => {
            let metadata = p.dict("metadata")?;
            p.finish()?;
            let before = world.find_refund(id, "id")?.clone();
            let after = world.change_refund(before, |one| merge_metadata(&mut one.metadata, metadata));
            call.show(Object::Refund(after))
        }
        _ => Err(unknown(call)),
    }
}
