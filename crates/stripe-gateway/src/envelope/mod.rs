//! What routing needs to know of an event, read from its body in one pass without building a tree.
//!
//! [`peek`] runs once per delivery, before the broker. It reads the eight fields of the envelope and skips everything else,
//! yet the whole body is checked to be UTF-8 and JSON, so that what is archived can be read again. The skipping is
//! iterative: nesting, however deep, uses no stack. A field of the envelope that appears twice is refused, because readers
//! disagree which one counts.
//!
//! The texts it gives out are bounded and drawn from a small alphabet, so that they are safe as AMQP routing keys and
//! headers, as database keys and in logs. It knows no list of event types and no API version: whatever Stripe may send in
//! future passes (ING-8).

use std::borrow::Cow;

use serde::de::DeserializeSeed as _;

mod error;
mod read;

pub use error::EnvelopeError;
pub(crate) use read::{Data, DataMembers};
use read::{Fields, Scalar};

/// The longest routing key that AMQP carries.
const AMQP_SHORT_STRING: usize = 255;
/// The longest prefix that a routing key gets before the type.
const LONGEST_ROUTING_PREFIX: &str = "platform.";
/// The longest event type: with the longest prefix it must fit a routing key.
pub const MAX_TYPE_BYTES: usize = AMQP_SHORT_STRING - LONGEST_ROUTING_PREFIX.len();
/// The longest event id, account, context and API version.
pub const MAX_ID_BYTES: usize = 255;
/// The last second of the year 9999: what every database and calendar on the way can hold.
const MAX_CREATED: i64 = 253_402_300_799;

/// The outermost fields of an event. Texts borrow from the body unless they had escapes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `evt_...`; 1 to [`MAX_ID_BYTES`] characters of `A-Z a-z 0-9 _ . - : / [ ]`.
    pub id: Cow<'a, str>,
    /// `type`, such as `invoice.paid`; 1 to [`MAX_TYPE_BYTES`] characters of the same alphabet.
    pub kind: Cow<'a, str>,
    /// When the event came to be, in unix seconds, 0 to the year 9999. Never orders events: see `docs.stripe.com/webhooks`.
    pub created: i64,
    /// The connected account that the event happened on (`acct_...`); none for the platform's own.
    pub account: Option<Cow<'a, str>>,
    /// The account or organisation context, sent since 2025-04-30.basil.
    pub context: Option<Cow<'a, str>>,
    /// Whether real money is meant. `None` when the body does not say so: treat it as not matching either mode.
    pub livemode: Option<bool>,
    /// The API version that the body was rendered in; none in thin events and in some old ones.
    pub api_version: Option<Cow<'a, str>>,
    /// Whether the object is inside.
    pub form: Form,
}

impl Envelope<'_> {
    /// The same, independent of the body.
    #[must_use]
    pub fn into_owned(self) -> Envelope<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Envelope {
            id: own(self.id),
            kind: own(self.kind),
            created: self.created,
            account: self.account.map(own),
            context: self.context.map(own),
            livemode: self.livemode,
            api_version: self.api_version.map(own),
            form: self.form,
        }
    }
}

impl Envelope<'_> {
    /// The connected account that the event is of; none where it is of the platform's own account. A thin event names it as its
    /// context.
    #[must_use]
    pub fn connected_account(&self) -> Option<&str> {
        let context = self.context.as_deref().filter(|_| self.form == Form::Thin);
        self.account.as_deref().or(context)
    }
}

/// The two forms of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `object: event`, with the object as it was then under `data.object`.
    Snapshot,
    /// `object: v2.core.event`, with a `related_object` to be fetched.
    Thin,
}

/// Reads the envelope of an event.
///
/// # Errors
/// When the body is not UTF-8, JSON, an object and an event, or a field of the envelope cannot be carried.
pub fn peek(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    Ok(read(body, Fields::default())?.0)
}

/// As [`peek`], and what stands under `data`, in the same pass.
pub(crate) fn peek_with_data(body: &[u8]) -> Result<(Envelope<'_>, Data<'_>), EnvelopeError> {
    let fields = Fields {
        with_data: true,
        ..Fields::default()
    };
    read(body, fields)
}

fn read<'a>(body: &'a [u8], mut fields: Fields<'a>) -> Result<(Envelope<'a>, Data<'a>), EnvelopeError> {
    if body.is_empty() {
        return Err(EnvelopeError::Empty);
    }
    let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if text.starts_with('\u{feff}') {
        return Err(EnvelopeError::ByteOrderMark);
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    (&mut fields)
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| {
            // A data error comes from the visitor for the outermost value, the only one that names what it expects.
            if error.is_data() {
                EnvelopeError::NotAnObject
            } else {
                EnvelopeError::NotJson {
                    line: error.line(),
                    column: error.column(),
                }
            }
        })?;
    let data = std::mem::take(&mut fields.data);
    Ok((fields.into_envelope()?, data))
}

impl<'a> Fields<'a> {
    fn into_envelope(self) -> Result<Envelope<'a>, EnvelopeError> {
        if let Some(field) = self.duplicate {
            return Err(EnvelopeError::Duplicate { field });
        }
        let form = match self.object {
            Scalar::Absent | Scalar::Null => Form::Snapshot,
            Scalar::Text(object) if object == "event" => Form::Snapshot,
            Scalar::Text(object) if object.starts_with("v2.") => Form::Thin,
            _ => return Err(EnvelopeError::NotAnEvent),
        };
        let livemode = match self.livemode {
            Scalar::Absent | Scalar::Null => None,
            Scalar::Bool(livemode) => Some(livemode),
            _ => {
                return Err(EnvelopeError::WrongType {
                    field: "livemode",
                    expected: "true or false",
                });
            }
        };
        Ok(Envelope {
            id: required(self.id, "id", MAX_ID_BYTES)?,
            kind: required(self.kind, "type", MAX_TYPE_BYTES)?,
            created: created(self.created)?,
            account: optional(self.account, "account", MAX_ID_BYTES, is_identifier)?,
            context: optional(self.context, "context", MAX_ID_BYTES, is_identifier)?,
            livemode,
            api_version: optional(self.api_version, "api_version", MAX_ID_BYTES, is_version)?,
            form,
        })
    }
}

/// `[` and `]` stand in types of API v2, such as `v2.core.account[requirements].updated`; `/` in contexts.
const fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':' | b'/' | b'[' | b']')
}

/// Preview versions carry flags, such as `2025-03-31.basil; some_beta=v1`.
const fn is_version(byte: u8) -> bool {
    is_identifier(byte) || matches!(byte, b' ' | b';' | b'=' | b',' | b'+')
}

fn required<'a>(value: Scalar<'a>, field: &'static str, limit: usize) -> Result<Cow<'a, str>, EnvelopeError> {
    optional(value, field, limit, is_identifier)?.ok_or(EnvelopeError::Missing { field })
}

fn optional<'a>(
    value: Scalar<'a>,
    field: &'static str,
    limit: usize,
    allowed: fn(u8) -> bool,
) -> Result<Option<Cow<'a, str>>, EnvelopeError> {
    let text = match value {
        Scalar::Absent | Scalar::Null => return Ok(None),
        Scalar::Text(text) => text,
        _ => {
            return Err(EnvelopeError::WrongType {
                field,
                expected: "a text",
            });
        }
    };
    if text.is_empty() {
        return Err(EnvelopeError::EmptyText { field });
    }
    if text.len() > limit {
        return Err(EnvelopeError::TooLong { field, limit });
    }
    if !text.bytes().all(allowed) {
        return Err(EnvelopeError::UnsafeText { field });
    }
    Ok(Some(text))
}

fn created(value: Scalar<'_>) -> Result<i64, EnvelopeError> {
    const WRONG: EnvelopeError = EnvelopeError::WrongType {
        field: "created",
        expected: "whole unix seconds or an ISO 8601 time",
    };
    let seconds = match value {
        Scalar::Absent | Scalar::Null => return Err(EnvelopeError::Missing { field: "created" }),
        Scalar::Integer(seconds) => seconds,
        Scalar::Text(text) => chrono::DateTime::parse_from_rfc3339(&text)
            .map_err(|_| WRONG)?
            .timestamp(),
        _ => return Err(WRONG),
    };
    if (0..=MAX_CREATED).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(EnvelopeError::CreatedOutOfRange)
    }
}
