//! Disputes.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::ApiResult;
use crate::render;
use crate::state::World;
use crate::state::dispute::Dispute;
use crate::state::object::Object;

pub(super) fn disputes(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let (charge, intent) = (p.some("charge")?, p.some("payment_intent")?);
            p.finish()?;
            let fits = |one: &Dispute| {
                charge.as_ref().is_none_or(|id| one.charge == *id) && intent.as_ref().is_none_or(|id| one.intent == *id)
            };
            page.of(
                call,
                world.disputes.iter(),
                |one| one.created,
                fits,
                |one| render::object(&Object::Dispute(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            p.finish()?;
            call.show(Object::Dispute(world.dispute(id, "id")?.clone()))
        }
        ("POST", [id]) => {
            let text = evidence(p)?;
            let submit = p.flag("submit")?.unwrap_or(true);
            let metadata = p.dict("metadata")?;
            p.finish()?;
            world.submit_evidence(id, text.as_deref().filter(|_| submit), metadata)?;
            call.show(Object::Dispute(world.dispute(id, "id")?.clone()))
        }
        ("POST", [id, "close"]) => {
            p.finish()?;
            world.submit_evidence(id, Some("losing_evidence"), None)?;
            call.show(Object::Dispute(world.dispute(id, "id")?.clone()))
        }
        _ => Err(unknown(call)),
    }
}

/// Any evidence; Stripe's test texts (`winning_evidence`, `losing_evidence`) come in `uncategorized_text`.
fn evidence(p: &crate::form::Params) -> ApiResult<Option<String>> {
    let Some(evidence) = p.child("evidence") else {
        return Ok(None);
    };
    let text = evidence.some("uncategorized_text")?;
    p.ignore(&["evidence"]);
    Ok(Some(text.unwrap_or_default()))
}
