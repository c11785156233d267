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
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

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

/// The two forms of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `object: event`, with the object as it was then under `data.object`.
    Snapshot,
    /// `object: v2.core.event`, with a `related_object` to be fetched.
    Thin,
}

/// Why a body is not an event that can be taken in. All answer 400 with [`EnvelopeError::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Nothing was sent.
    #[error("the body is empty")]
    Empty,
    /// The body is not text.
    #[error("the body is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first wrong byte, counted from 0.
        at: usize,
    },
    /// JSON does not allow one, and libraries disagree about it.
    #[error("the body begins with a byte order mark")]
    ByteOrderMark,
    /// The body breaks JSON's grammar.
    #[error("the body is not JSON at line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1; 0 when the line is empty.
        column: usize,
    },
    /// JSON, but no object.
    #[error("the body is JSON but not an object")]
    NotAnObject,
    /// JSON, an object, but of some other kind.
    #[error("the body's object field says neither event nor v2.*")]
    NotAnEvent,
    /// A field that routing cannot do without.
    #[error("the event has no {field}")]
    Missing {
        /// Its name in the body.
        field: &'static str,
    },
    /// A field has another JSON type.
    #[error("the event's {field} is not {expected}")]
    WrongType {
        /// Its name in the body.
        field: &'static str,
        /// What it should be, in words.
        expected: &'static str,
    },
    /// A field of the envelope appears more than once.
    #[error("the event has more than one {field}")]
    Duplicate {
        /// Its name in the body.
        field: &'static str,
    },
    /// A text is empty.
    #[error("the event's {field} is empty")]
    EmptyText {
        /// Its name in the body.
        field: &'static str,
    },
    /// A text does not fit where it has to go.
    #[error("the event's {field} is longer than {limit} bytes")]
    TooLong {
        /// Its name in the body.
        field: &'static str,
        /// What fits.
        limit: usize,
    },
    /// A text has a character that could mean something to a broker, a log or a terminal.
    #[error("the event's {field} has a character that no {field} of Stripe's has")]
    UnsafeText {
        /// Its name in the body.
        field: &'static str,
    },
    /// A time before 1970 or after 9999.
    #[error("the event's created lies outside the years 1970 to 9999")]
    CreatedOutOfRange,
}

impl EnvelopeError {
    /// The stable code of the problem answer.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "payload_malformed"
    }
}

/// Reads the envelope of an event.
///
/// # Errors
/// When the body is not UTF-8, JSON, an object and an event, or a field of the envelope cannot be carried.
pub fn peek(body: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    Ok(peek_with_data(body)?.0)
}

/// As [`peek`], and the value of `data` as it stands.
pub(crate) fn peek_with_data(body: &[u8]) -> Result<(Envelope<'_>, Option<&RawValue>), EnvelopeError> {
    if body.is_empty() {
        return Err(EnvelopeError::Empty);
    }
    let text = std::str::from_utf8(body).map_err(|error| EnvelopeError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if text.starts_with('\u{feff}') {
        return Err(EnvelopeError::ByteOrderMark);
    }
    let mut fields = Fields::default();
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
    let data = fields.data;
    Ok((fields.into_envelope()?, data))
}

/// A value of the envelope, not yet judged.
#[derive(Debug, Default)]
enum Scalar<'a> {
    #[default]
    Absent,
    Null,
    Bool(bool),
    Integer(i64),
    Text(Cow<'a, str>),
    Other,
}

/// The envelope as it stands in the body. Judging comes after the last byte was read, so that a body that is no JSON is
/// always called that.
#[derive(Debug, Default)]
struct Fields<'a> {
    id: Scalar<'a>,
    object: Scalar<'a>,
    kind: Scalar<'a>,
    created: Scalar<'a>,
    account: Scalar<'a>,
    context: Scalar<'a>,
    livemode: Scalar<'a>,
    api_version: Scalar<'a>,
    data: Option<&'a RawValue>,
    duplicate: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn slot(&mut self, name: Name) -> Option<(&'static str, &mut Scalar<'a>)> {
        Some(match name {
            Name::Id => ("id", &mut self.id),
            Name::Object => ("object", &mut self.object),
            Name::Type => ("type", &mut self.kind),
            Name::Created => ("created", &mut self.created),
            Name::Account => ("account", &mut self.account),
            Name::Context => ("context", &mut self.context),
            Name::Livemode => ("livemode", &mut self.livemode),
            Name::ApiVersion => ("api_version", &mut self.api_version),
            Name::Data | Name::Unknown => return None,
        })
    }

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

/// The name of a member of the outermost object.
#[derive(Clone, Copy)]
enum Name {
    Id,
    Object,
    Type,
    Created,
    Account,
    Context,
    Livemode,
    ApiVersion,
    Data,
    Unknown,
}

impl<'de> de::Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "id" => Name::Id,
                    "object" => Name::Object,
                    "type" => Name::Type,
                    "created" => Name::Created,
                    "account" => Name::Account,
                    "context" => Name::Context,
                    "livemode" => Name::Livemode,
                    "api_version" => Name::ApiVersion,
                    "data" => Name::Data,
                    _ => Name::Unknown,
                })
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Fields<'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Fields<'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Name>()? {
            if matches!(name, Name::Data) {
                if self.data.replace(members.next_value()?).is_some() {
                    self.duplicate = Some("data");
                }
                continue;
            }
            let Some((field, slot)) = self.slot(name) else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            let repeated = !matches!(slot, Scalar::Absent);
            *slot = members.next_value_seed(ScalarVisitor)?;
            if repeated {
                self.duplicate = Some(field);
            }
        }
        Ok(())
    }
}

struct ScalarVisitor;

impl<'de> DeserializeSeed<'de> for ScalarVisitor {
    type Value = Scalar<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Scalar::Other, Scalar::Integer))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
