//! A page of a list, as the API answers with it: `{"object": "list", "data": [..], "has_more": ..}`.

use serde_json::value::RawValue;

use super::read::Object;
use super::{ObjectView, Problem, ViewError};

/// The items of one page, as they were sent.
#[derive(Debug, Clone)]
pub struct List<'a> {
    /// In Stripe's order: the newest first.
    pub items: Vec<&'a RawValue>,
    /// Whether there is a page after this one.
    pub has_more: bool,
}

impl<'a> List<'a> {
    /// Reads the page and leaves its items as they are.
    ///
    /// # Errors
    /// When the body is no list, or does not say whether it has more, or has more after nothing: guessing there would end a walk too
    /// early, or never.
    pub fn parse(body: &'a [u8]) -> Result<Self, ViewError> {
        let list = ObjectView::parse(body)?.of_kind("list", "list")?;
        let items = list.required("data", Object::raw_items)?;
        let has_more = list.required("has_more", Object::flag)?;
        if has_more && items.is_empty() {
            return Err(ViewError::field("list.has_more", Problem::MoreAfterNothing));
        }
        Ok(Self { items, has_more })
    }
}
