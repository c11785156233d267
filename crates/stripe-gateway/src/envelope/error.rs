//! What is said of a body that is not an event. No text carries anything of the body.

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
