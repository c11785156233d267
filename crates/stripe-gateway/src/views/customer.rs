//! Whose an event's object is, whatever its kind.

use super::EventView;
use super::read::Object;

impl EventView<'_> {
    /// The customer that the object names, or is; none where it names nobody or cannot be read. For filing an event that nothing
    /// is decided by, never for a decision.
    #[must_use]
    pub fn customer_id(&self) -> Option<String> {
        let object = Object::parse(self.object?, "object").ok()?;
        let is_customer = object.text("object").ok()?.as_deref() == Some("customer");
        object.id(if is_customer { "id" } else { "customer" }).ok()?
    }
}
