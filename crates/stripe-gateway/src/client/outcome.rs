//! What became of a call, in the four ways that money can be left in.
//!
//! | outcome | what is known | what a money call does next |
//! | --- | --- | --- |
//! | [`Answered`](Outcome::Answered) | it was carried out | book it |
//! | [`Refused`](Outcome::Refused) | Stripe itself said no, nothing moved | by the code: give up, or later under a **new** key |
//! | [`Unknown`](Outcome::Unknown) | nothing: it may have moved | the **same** key again, or look at Stripe first |
//! | [`NotSent`](Outcome::NotSent) | it did not begin | the same key again |
//!
//! How an answer is put in one of them is in `classify.rs`. Whoever is in doubt is in `Unknown`.

use std::fmt;

use bytes::Bytes;
use domain::time::UnixSeconds;

use crate::views::ViewError;

/// What became of a call. `T` is what a view read of the body; nothing yet as [`super::Client::send`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T = ()> {
    /// Stripe answered 2xx with a body that can be read.
    Answered(Answer<T>),
    /// Stripe's own definite refusal: its error object, in a status that says that nothing was done.
    Refused(Refusal),
    /// The call may have been carried out.
    Unknown(Unknown),
    /// The call was not carried out and can be made again as it is.
    NotSent(NotSent),
}

impl Outcome {
    /// Reads the body of an answer. One that the view cannot read is [`Outcome::Unknown`]: the call was carried out, but what it
    /// did has to be looked up.
    pub fn read<T>(self, view: impl FnOnce(&[u8]) -> Result<T, ViewError>) -> Outcome<T> {
        match self {
            Self::Answered(answer) => match view(answer.body.as_bytes()) {
                Ok(content) => Outcome::Answered(answer.with(content)),
                Err(problem) => Outcome::Unknown(Unknown {
                    cause: UnknownCause::Unreadable(problem),
                    receipt: Some(answer.receipt),
                    body: Some(answer.body),
                }),
            },
            Self::Refused(refusal) => Outcome::Refused(refusal),
            Self::Unknown(unknown) => Outcome::Unknown(unknown),
            Self::NotSent(not_sent) => Outcome::NotSent(not_sent),
        }
    }
}

impl<T> Outcome<T> {
    /// Which of the four it is, in a word for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
            Self::NotSent(_) => "not_sent",
        }
    }

    /// As [`Outcome::code`], and where the outcome is in doubt the reason: one of a fixed list of words.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::Answered(_) | Self::Refused(_) => self.code(),
            Self::Unknown(unknown) => unknown.cause.code(),
            Self::NotSent(not_sent) => not_sent.code(),
        }
    }
}

/// A 2xx answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T = ()> {
    /// What a view read of the body.
    pub content: T,
    /// The body as Stripe sent it.
    pub body: Body,
    /// What the head of the answer said.
    pub receipt: Receipt,
}

impl<T> Answer<T> {
    pub(super) fn map<U>(self, content: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            content: content(self.content),
            body: self.body,
            receipt: self.receipt,
        }
    }
}

impl Answer {
    pub(super) fn with<T>(self, content: T) -> Answer<T> {
        Answer {
            content,
            body: self.body,
            receipt: self.receipt,
        }
    }
}

/// The bytes of a body. They can hold client secrets and personal data, so they never print.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, as they were sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The bytes of a part, which must lie inside this body; no copy.
    pub(super) fn part(&self, part: &[u8]) -> Self {
        Self(self.0.slice_ref(part))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// What the head of an HTTP answer said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The HTTP status.
    pub status: u16,
    /// `Request-Id`: by it Stripe's support and the log in its dashboard find the call.
    pub request_id: Option<String>,
    /// `Idempotent-Replayed: true`: the first result under this key, told again.
    pub replayed: bool,
    /// `Stripe-Rate-Limited-Reason`: which limiter refused, before the call began.
    pub rate_limited: Option<String>,
    /// `Date`: when it was answered by Stripe's own clock, so that it can be compared with the `created` of events.
    pub answered_at: Option<UnixSeconds>,
}

/// Stripe's refusal. Without its body: an error object can carry a payment intent with its client secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `error.type`, such as `card_error` or `invalid_request_error`.
    pub kind: String,
    /// `error.code`, such as `balance_insufficient`: what to decide by.
    pub code: Option<String>,
    /// `error.decline_code`: why the issuer of a card said no.
    pub decline_code: Option<String>,
    /// `error.param`: which parameter it is about.
    pub param: Option<String>,
    /// `error.message` for a person, at most 500 characters, with keys and client secrets taken out. May name persons: for
    /// records, not for logs.
    pub message: Option<String>,
    /// What the head of the answer said.
    pub receipt: Receipt,
}

impl Refusal {
    /// Whether it says that the object does not exist. A path that does not exist is also 404, but has no such code.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.receipt.status == 404 && self.code.as_deref() == Some("resource_missing")
    }

    /// Whether it is about our key (revoked, restricted, of another account) and not about the call. That is decided before
    /// idempotency keys are looked at.
    #[must_use]
    pub const fn is_about_the_key(&self) -> bool {
        matches!(self.receipt.status, 401 | 403)
    }
}

/// A call that may have been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Why it is not known.
    pub cause: UnknownCause,
    /// What the head of the answer said, when there was one.
    pub receipt: Option<Receipt>,
    /// The body of a 2xx that could not be read, for a person to look at.
    pub body: Option<Body>,
}

/// Why it is not known what became of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCause {
    /// No answer in time.
    #[error("Stripe did not answer in time")]
    TimedOut,
    /// The connection ended after the request may have been written, or within the answer.
    #[error("the connection was lost")]
    ConnectionLost,
    /// 5xx, or 424: whether the call had an effect is not said. A 500 is kept under its key.
    #[error("Stripe failed")]
    ServerError,
    /// 409: a call under the same key is still running.
    #[error("another call under the same key is running")]
    KeyInUse,
    /// 429 by something other than the rate limiter, mostly `lock_timeout`: another call holds the object.
    #[error("the object is locked by another call")]
    Locked,
    /// `idempotency_error`: the key was used before with other parameters, so *something* was done under it.
    #[error("the key was used before with other parameters")]
    KeyReused,
    /// An answer that is not Stripe's own: a redirect, a page of a proxy, an error without Stripe's error object.
    #[error("the answer is not Stripe's own")]
    NotStripes,
    /// More than the client takes in.
    #[error("the answer is too large")]
    TooLarge,
    /// A 2xx whose body cannot be read: the call was carried out, with what result is not known.
    #[error("the answer cannot be read")]
    Unreadable(#[source] ViewError),
}

impl UnknownCause {
    /// A word for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
            Self::ServerError => "server_error",
            Self::KeyInUse => "key_in_use",
            Self::Locked => "locked",
            Self::KeyReused => "key_reused",
            Self::NotStripes => "not_stripes",
            Self::TooLarge => "too_large",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// Whether the same call may get another answer soon.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::TimedOut | Self::ConnectionLost | Self::ServerError | Self::KeyInUse | Self::Locked => true,
            Self::KeyReused | Self::NotStripes | Self::TooLarge | Self::Unreadable(_) => false,
        }
    }
}

/// Why a call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// No connection, or no TLS on it: not a byte of the request left.
    #[error("Stripe cannot be reached")]
    NoConnection,
    /// 429 by the rate limiter, which runs before everything else.
    #[error("Stripe's rate limit was reached")]
    RateLimited(Receipt),
    /// An id that cannot stand in a path: such a call will never be sent.
    #[error("the request has an id that cannot be asked for")]
    BadRequest,
}

impl NotSent {
    /// A word for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::RateLimited(_) => "rate_limited",
            Self::BadRequest => "bad_request",
        }
    }

    /// Whether the same call may be sent another time.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection | Self::RateLimited(_) => true,
            Self::BadRequest => false,
        }
    }
}
