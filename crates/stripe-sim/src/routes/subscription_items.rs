//! The items of subscriptions, for reading. They are changed through their subscription.

use serde_json::Value;

use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;

pub(super) fn subscription_items(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("GET", []) => {
            let of = p.required("subscription")?;
            p.ignore(&["limit", "starting_after", "ending_before"]);
            p.finish()?;
            let all = render::items(world.subscription(&of, "subscription")?, &call.version);
            Ok(render::list(&call.path, all, false))
        }
        ("GET", [id]) => {
            p.finish()?;
            let subscriptions = world.subscriptions.iter().map(|(_, one)| one);
            let mut all = subscriptions.filter(|one| one.items.iter().any(|item| item.id == *id));
            all.next()
                .map(|one| render::items(one, &call.version))
                .and_then(|items| {
                    items
                        .into_iter()
                        .find(|item| item.get("id").is_some_and(|one| one == id))
                })
                .ok_or_else(|| ApiError::missing("subscription_item", id, "id"))
        }
        _ => Err(unknown(call)),
    }
}
