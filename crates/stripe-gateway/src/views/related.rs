//! What a thin event points to.

use serde_json::value::RawValue;

use super::ViewError;
use super::read::Object;
use crate::envelope::EnvelopeError;

/// `related_object.url` of a thin event, as it stands; [`crate::client::read::Related`] says whether it is followed. None in an event
/// that is about no object.
///
/// # Errors
/// When the body is not JSON, or the field is there and is no text.
pub fn related_url(body: &[u8]) -> Result<Option<String>, ViewError> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| EnvelopeError::NotAnObject)?;
    match Object::parse(raw, "event")?.object("related_object")? {
        Some(related) => related.text("url"),
        None => Ok(None),
    }
}
