//! Test clocks: customers made on one live in its time.

use super::World;
use super::object::Object;
use crate::error::{ApiError, ApiResult};

#[derive(Clone, Debug)]
pub(crate) struct TestClock {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) frozen_time: i64,
    pub(crate) name: Option<String>,
    pub(crate) status: &'static str,
}

impl World {
    pub(crate) fn create_test_clock(&mut self, frozen_time: i64, name: Option<String>) -> TestClock {
        let clock = TestClock {
            id: self.ids.next("clock"),
            created: self.now(),
            frozen_time,
            name,
            status: "ready",
        };
        self.test_clocks.insert(&clock.id, clock.clone());
        self.emit("test_helpers.test_clock.created", Object::TestClock(clock.clone()));
        clock
    }

    /// Moves a test clock and does everything that becomes due, in order. The answer shows it `advancing`, as Stripe's does; by the next
    /// read it is `ready`.
    pub(crate) fn advance_test_clock(&mut self, id: &str, to: i64) -> ApiResult<TestClock> {
        let clock = self
            .test_clocks
            .get_mut(id)
            .ok_or_else(|| ApiError::missing("test_clock", id, "id"))?;
        if to <= clock.frozen_time {
            return Err(ApiError::state(
                "",
                "frozen_time must be after the test clock's current frozen_time.",
            ));
        }
        let before = clock.clone();
        clock.frozen_time = to;
        clock.status = "advancing";
        let advancing = clock.clone();
        self.emit_with_previous(
            "test_helpers.test_clock.advancing",
            Object::TestClock(before),
            Object::TestClock(advancing.clone()),
        );
        self.run_due(Some(id));
        if let Some(clock) = self.test_clocks.get_mut(id) {
            clock.status = "ready";
            let ready = clock.clone();
            self.emit_with_previous(
                "test_helpers.test_clock.ready",
                Object::TestClock(advancing.clone()),
                Object::TestClock(ready),
            );
        }
        Ok(advancing)
    }

    /// Deletes a clock and the customers on it; their subscriptions end without events of their own, as at Stripe.
    pub(crate) fn delete_test_clock(&mut self, id: &str) -> ApiResult<()> {
        let clock = self
            .test_clocks
            .remove(id)
            .ok_or_else(|| ApiError::missing("test_clock", id, "id"))?;
        self.agenda.forget(id);
        self.emit("test_helpers.test_clock.deleted", Object::TestClock(clock));
        Ok(())
    }
}
