//! The event log, as the account's version shows it.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::event::Event;

const KEPT_SECONDS: i64 = 30 * 86_400;

pub(super) fn events(world: &World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let show = |one: &Event| render::event(one, &world.version, world.courier.pending(&one.id));
    match at {
        ("GET", []) => {
            let page = Page::read(call)?;
            let mut kinds = p.texts("types")?;
            kinds.extend(p.some("type")?);
            let delivered = p.flag("delivery_success")?;
            p.finish()?;
            let oldest = world.now() - KEPT_SECONDS;
            let named = |kind: &str| {
                kinds.is_empty()
                    || kinds
                        .iter()
                        .any(|one| one == kind || one.strip_suffix('*').is_some_and(|start| kind.starts_with(start)))
            };
            let fits = |one: &Event| {
                let success = world.courier.pending(&one.id) == 0;
                named(&one.kind)
                    && one.thin.is_none()
                    && one.made_at >= oldest
                    && one.account == call.account
                    && delivered.is_none_or(|wanted| wanted == success)
            };
            page.of(call, world.events.iter(), |one| one.created, fits, show)
        }
        ("GET", [id]) => {
            p.finish()?;
            world
                .events
                .get(id)
                .filter(|one| one.thin.is_none())
                .map(|one| show(one))
                .ok_or_else(|| ApiError::missing("event", id, "id"))
        }
        _ => Err(unknown(call)),
    }
}
