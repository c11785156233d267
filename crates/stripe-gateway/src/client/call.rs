//! One call: what async-stripe's request struct encodes, and what a POST must bring with it.

use std::fmt;
use std::time::Duration;

use domain::ids::{self, InvalidId};
use reqwest::header::HeaderValue;
use stripe_client_core::StripeRequest;

use super::operation::{Get, Post};

/// The `Idempotency-Key` of a POST: 1 to 255 visible ASCII characters, made from our own ids and written down before the call.
///
/// Stripe keeps the first result under the key for at least 24 hours and answers the same to whoever asks again with it; after
/// that the key is new to it (docs.stripe.com/api/idempotent_requests). Whoever repeats a call must therefore know how old the
/// key is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Takes a key.
    ///
    /// # Errors
    /// When it is empty, longer than 255 bytes, or holds anything but visible ASCII.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        ids::check(&text)?;
        Ok(Self(text))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Visible ASCII always fits.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({})", self.0)
    }
}

/// A connected account (`acct_…`) on whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectedAccount(String);

impl ConnectedAccount {
    /// Takes an id.
    ///
    /// # Errors
    /// When it is empty, longer than 255 bytes, or holds anything but visible ASCII.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        ids::check(&text)?;
        Ok(Self(text))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Visible ASCII always fits.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

/// How a call is made. There is no POST without a key, and no key on anything else.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post(IdempotencyKey),
}

/// A call that has not been made.
#[derive(Clone)]
pub struct Call {
    pub(super) op: &'static str,
    /// The shape that `path` must have.
    shape: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) body: Option<String>,
    pub(super) deadline: Option<Duration>,
}

impl Call {
    /// A call that changes nothing.
    #[must_use]
    pub fn get<R: Get>(request: &R) -> Self {
        Self::of(R::OP, R::PATH, Method::Get, request)
    }

    /// A call that changes something. All its attempts go under one key.
    #[must_use]
    pub fn post<R: Post>(request: &R, key: IdempotencyKey) -> Self {
        Self::of(R::OP, R::PATH, Method::Post(key), request)
    }

    /// The same call with another deadline over all its attempts, for example what is left of a lease.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    fn of(op: &'static str, shape: &'static str, method: Method, request: &impl StripeRequest) -> Self {
        let built = request.build();
        Self {
            op,
            shape,
            method,
            path: built.path,
            query: built.query,
            body: built.body,
            deadline: None,
        }
    }

    /// Whether the path is the operation's own with plain ids in it. An id that came from outside could otherwise lead the call to
    /// another endpoint (`../refunds`, `pi_1/cancel`), or take parameters with it (`?expand[]=…`).
    pub(super) fn has_plain_path(&self) -> bool {
        let (mut found, mut shape) = (self.path.split('/'), self.shape.split('/'));
        loop {
            match (found.next(), shape.next()) {
                (None, None) => return true,
                (Some(id), Some("*")) if is_plain(id) => {}
                (Some(word), Some(expected)) if word == expected && expected != "*" => {}
                (Some(_), Some(_) | None) | (None, Some(_)) => return false,
            }
        }
    }
}

/// Whether a text can stand as one segment of a path.
pub(super) fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment.len() <= ids::MAX_ID_LENGTH
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Debug for Call {
    /// Only the operation: parameters can be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_and_visible() {
        assert!(IdempotencyKey::parse("transfer:escrow_1:1").is_ok());
        for wrong in ["", "a b", "a\n", "é", &"x".repeat(256)] {
            assert!(IdempotencyKey::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_cannot_lead_to_another_path() {
        for (id, expect) in [
            ("sub_1", true),
            ("", false),
            ("..", false),
            ("../refunds", false),
            ("sub_1/discount", false),
            ("*", false),
            ("sub_1?expand[]=customer", false),
            ("sub_1#", false),
            ("sub%2f1", false),
            ("sub 1", false),
            ("süb", false),
        ] {
            let call = Call::get(&stripe_billing::subscription::RetrieveSubscription::new(id));
            assert_eq!(call.has_plain_path(), expect, "{id}");
        }
    }
}
