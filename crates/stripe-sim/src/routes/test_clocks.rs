//! Test clocks.

use serde_json::{Value, json};

use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::object::Object;

pub(super) fn test_clocks(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    let (method, path) = at;
    let Some((&"test_clocks", path)) = path.split_first() else {
        return Err(unknown(call));
    };
    let frozen_time = || {
        p.int("frozen_time")?.ok_or_else(|| {
            ApiError::invalid(
                "frozen_time",
                "parameter_missing",
                "Missing required param: frozen_time.",
            )
        })
    };
    match (method, path) {
        ("POST", []) => {
            let (at, name) = (frozen_time()?, p.some("name")?);
            p.finish()?;
            call.show(Object::TestClock(world.create_test_clock(at, name)))
        }
        ("GET", [id]) => {
            p.finish()?;
            let one = world
                .test_clocks
                .get(id)
                .cloned()
                .ok_or_else(|| ApiError::missing("test_clock", id, "id"))?;
            call.show(Object::TestClock(one))
        }
        ("POST", [id, "advance"]) => {
            let to = frozen_time()?;
            p.finish()?;
            call.show(Object::TestClock(world.advance_test_clock(id, to)?))
        }
        ("DELETE", [id]) => {
            p.finish()?;
            world.delete_test_clock(id)?;
            Ok(json!({ "id": id, "object": "test_helpers.test_clock", "deleted": true }))
        }
        _ => Err(unknown(call)),
    }
}
