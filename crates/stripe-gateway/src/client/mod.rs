//! The client: calls to Stripe whose outcome is never guessed.
//!
//! Protocol. async-stripe's request structs encode a call; [`Client::send`] makes it over pooled connections and gives an
//! [`Outcome`], which says whether the call was carried out, refused, not sent, or may have been carried out. Within one call an
//! attempt is repeated at most [`ClientConfig::max_retries`] times and never past the deadline: after lost connections, 409, 429
//! and 5xx, with full jitter, unless `Stripe-Should-Retry` says otherwise. Every attempt of a POST goes under the key that its
//! caller wrote down before, so that a repeated one is answered from Stripe's memory and not carried out twice.
//!
//! Why it is safe: a POST without a key cannot be built ([`Call::post`]); an attempt that may have had an effect is remembered over the
//! later ones; only Stripe's own error object counts as a refusal; redirects are not followed and no proxy is taken from the
//! environment, so that the key goes to one host only. Dropping the future of `send` leaves the call unknown.
//!
//! On top lie the reads ([`read`]), which answer in the words of [`crate::views`].
//!
//! Nothing here logs or prints the secret key, a body, or the text of Stripe's errors.
//! Metrics: `holdfast_stripe_requests_total{op,outcome}` and `holdfast_stripe_request_seconds{op}` count attempts,
//! `holdfast_stripe_calls_total{op,outcome}` what became of calls.

mod attempt;
mod call;
mod classify;
mod config;
mod error_object;
mod operation;
mod outcome;
pub mod read;
mod record;
mod retry;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method as HttpMethod, Request};
use tokio::time::Instant;
use tracing::Instrument as _;

pub use call::{Call, ConnectedAccount, IdempotencyKey};
pub use config::{ApiBase, ClientConfig, ConfigError, InvalidBase, STRIPE};
pub use operation::{Get, Post};
pub use outcome::{Answer, Body, NotSent, Outcome, Receipt, Refusal, Unknown, UnknownCause};
pub use retry::Backoff;

/// The request structs of async-stripe, for callers that build money calls. No other room names these crates.
pub mod requests {
    pub use stripe_billing as billing;
    pub use stripe_checkout as checkout;
    pub use stripe_connect as connect;
    pub use stripe_core as core;
    pub use stripe_shared::PaymentIntentCaptureMethod;
    pub use stripe_types::Currency;
}

/// An attempt with less time than this left is not begun: it would only make the outcome unknown.
const LEAST_ATTEMPT: Duration = Duration::from_secs(1);

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// The API version that every call asks for: the one that async-stripe's request structs were generated from.
#[must_use]
pub fn api_version() -> &'static str {
    stripe_shared::version::VERSION.as_str()
}

/// A client for one account and its connected accounts. Clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    account: Option<ConnectedAccount>,
}

struct Shared {
    http: reqwest::Client,
    config: ClientConfig,
    authorization: HeaderValue,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.shared.config.base)
    }
}

impl Client {
    /// Makes a client; nothing is connected yet.
    ///
    /// # Errors
    /// When the key cannot be sent or the HTTP client cannot be set up.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            shared: Arc::new(Shared {
                http: config.http()?,
                authorization: config.authorization()?,
                config,
            }),
            account: None,
        })
    }

    /// The same client, whose calls are about a connected account (`Stripe-Account`). Keys of idempotency are per account.
    #[must_use]
    pub fn on_account(&self, account: &ConnectedAccount) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            account: Some(account.clone()),
        }
    }

    /// Makes a call and says what became of it.
    pub async fn send(&self, call: Call) -> Outcome {
        let outcome = self.attempts(&call).await;
        record::called(call.op, &outcome);
        outcome
    }

    async fn attempts(&self, call: &Call) -> Outcome {
        let config = &self.shared.config;
        let deadline = Instant::now()
            + call
                .deadline
                .map_or(config.deadline, |within| within.min(config.deadline));
        let mut earlier = None;
        let mut retries = 0;
        loop {
            let Some(request) = self.request(call) else {
                return Outcome::NotSent(NotSent::BadRequest);
            };
            let begun = Instant::now();
            let timeout = config.timeout.min(deadline.saturating_duration_since(begun));
            let span = record::span(call.op, retries);
            let made = attempt::attempt(&self.shared.http, request, timeout)
                .instrument(span.clone())
                .await;
            record::attempted(call.op, retries, &made, begun.elapsed(), &span);
            drop(span);
            let again = retries < config.max_retries && retry::is_worthwhile(&made.outcome, made.stripe_says_retry);
            let outcome = classify::together(&call.method, earlier, made.outcome);
            let wait = config.backoff.wait(retries, rand::rng().random());
            if !again || Instant::now() + wait + config.timeout.min(LEAST_ATTEMPT) > deadline {
                return outcome;
            }
            earlier = match outcome {
                Outcome::Unknown(unknown) => Some(unknown),
                Outcome::Answered(_) | Outcome::Refused(_) | Outcome::NotSent(_) => None,
            };
            retries += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// The HTTP request of one attempt; each one is the same.
    fn request(&self, call: &Call) -> Option<Request> {
        if !call.has_plain_path() {
            return None;
        }
        let method = match call.method {
            call::Method::Get => HttpMethod::GET,
            call::Method::Post(_) => HttpMethod::POST,
        };
        let url = self.shared.config.base.join(&call.path, call.query.as_deref());
        let mut request = Request::new(method, url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.shared.authorization.clone());
        headers.insert(STRIPE_VERSION, HeaderValue::from_static(api_version()));
        if let Some(account) = &self.account {
            headers.insert(STRIPE_ACCOUNT, account.header()?);
        }
        if let call::Method::Post(key) = &call.method {
            headers.insert(IDEMPOTENCY_KEY, key.header()?);
            headers.insert(CONTENT_TYPE, FORM);
            *request.body_mut() = Some(call.body.clone().unwrap_or_default().into());
        }
        Some(request)
    }
}
