//! The HTTP edge of ingest: reads a body within its limits, hands it over, answers.
//!
//! Memory is bounded twice: one body by `WEBHOOK_MAX_BODY_BYTES`, which also holds for chunked bodies of unknown length, and
//! all bodies in work together by [`Bodies`]. What does not fit waits a moment and is then answered 503.

use std::sync::Arc;
use std::time::Instant;

use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use service_kit::http::{CallerAddress, Flow, Place, Routes, is_timeout};
use service_kit::problem::Problem;
use service_kit::request_id::RequestId;
use service_kit::trace;
use stripe_gateway::signature::{self, Secrets};

use crate::api;
use crate::bodies::{Bodies, SMALL, Share};
use crate::endpoint::Endpoint;
use crate::meters::{ACCEPTED, Meters};
use crate::receive::{Delivery, Receiver};
use crate::refusal::Refusal;

static STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
static TRACEPARENT: HeaderName = HeaderName::from_static(trace::HEADER);

/// What both endpoints share on one worker.
pub(crate) struct Shared {
    pub(crate) receiver: Receiver,
    pub(crate) max_body_bytes: usize,
    bodies: Arc<Bodies>,
}

impl Shared {
    pub(crate) fn new(receiver: Receiver, max_body_bytes: usize, bodies: Arc<Bodies>) -> Arc<Self> {
        Arc::new(Self {
            receiver,
            max_body_bytes,
            bodies,
        })
    }
}

/// One endpoint: what it shares with the other, its secrets and its meters.
pub(crate) struct Door {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    secrets: Secrets,
    meters: Meters,
}

impl Door {
    pub(crate) fn new(shared: Arc<Shared>, endpoint: Endpoint, secrets: Secrets) -> Arc<Self> {
        Arc::new(Self {
            shared,
            endpoint,
            secrets,
            meters: Meters::new(endpoint),
        })
    }

    /// Adds the endpoint's route.
    pub(crate) fn configure(self: Arc<Self>, routes: &mut Routes<'_>) {
        let endpoint = self.endpoint;
        let handler = move |request: HttpRequest, id: RequestId, payload: Payload| {
            let door = Arc::clone(&self);
            async move { door.answer(&request, &id, payload).await }
        };
        routes.add(Place::at(endpoint.path()).on(api::receive(endpoint), handler));
    }

    async fn answer(&self, request: &HttpRequest, id: &RequestId, payload: Payload) -> Result<HttpResponse, Problem> {
        let started = Instant::now();
        let outcome = match self.take(request, payload).await {
            Ok(event_id) => {
                tracing::debug!(request_id = %id, event_id, endpoint = %self.endpoint, "accepted a delivery");
                Ok(accepted(&event_id))
            }
            Err(refusal) => {
                let address = CallerAddress::of(request).0;
                Err(self.shared.receiver.refuse(self.endpoint, address, id, refusal))
            }
        };
        let word = outcome.as_ref().map_or_else(Refusal::code, |_| ACCEPTED);
        self.meters.count(word, started.elapsed().as_secs_f64());
        outcome.map_err(|refusal| refusal.problem())
    }

    async fn take(&self, request: &HttpRequest, payload: Payload) -> Result<String, Refusal> {
        let received_at = self.shared.receiver.clock.now();
        let mut signatures = request.headers().get_all(&STRIPE_SIGNATURE).map(HeaderValue::as_bytes);
        let (first, second) = (signatures.next(), signatures.next());
        // Several headers are one list by RFC 9110; joined, they are refused for their second `t`.
        let joined = second.map(|second| [first.unwrap_or_default(), second].join(&b','));
        let signature = joined.as_deref().or(first);
        // A stranger's body is not worth the memory: what declares too much, or is not signed at all, is refused unread.
        self.shared.check_length(request)?;
        signature::check_form(signature).map_err(Refusal::Signature)?;
        let (body, _share) = self.shared.read_body(request, payload).await?;
        let traceparent = request.headers().get(&TRACEPARENT).map(HeaderValue::as_bytes);
        let (endpoint, secrets) = (self.endpoint, &self.secrets);
        let delivery = Delivery {
            endpoint,
            secrets,
            signature,
            traceparent,
            body,
            received_at,
        };
        self.shared.receiver.receive(delivery).await
    }
}

impl Shared {
    fn check_length(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let limit = self.max_body_bytes;
        match declared_length(request) {
            Some(length) if length > limit => Err(Refusal::TooLarge { limit }),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads a body, with its share of the memory for bodies. While it waits for memory, nothing more of it is read from its connection.
    async fn read_body(&self, request: &HttpRequest, mut payload: Payload) -> Result<(Bytes, Share<'_>), Refusal> {
        let limit = self.max_body_bytes;
        let declared = declared_length(request);
        let flow = Flow::of(request);
        let mut share = self.bodies.share();
        let mut first = Bytes::new();
        let mut whole: Option<BytesMut> = None;
        loop {
            let chunk = tokio::select! {
                chunk = payload.next() => chunk,
                () = share.given_up() => return Err(Refusal::TimedOut),
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|error| unreadable(&error, limit))?;
            let length = whole
                .as_ref()
                .map_or(first.len(), BytesMut::len)
                .saturating_add(chunk.len());
            if length > limit {
                return Err(Refusal::TooLarge { limit });
            }
            let paused = (!share.covers(length)).then(|| flow.pause());
            share.cover(length, declared).await?;
            drop(paused);
            match &mut whole {
                Some(whole) => whole.extend_from_slice(&chunk),
                None if first.is_empty() => first = chunk,
                None => {
                    // The share of a body that outgrew the small ones covers all that it declares.
                    let capacity = declared.filter(|_| length > SMALL).unwrap_or(SMALL).max(length);
                    let mut joined = BytesMut::with_capacity(capacity);
                    joined.extend_from_slice(&first);
                    joined.extend_from_slice(&chunk);
                    first = Bytes::new();
                    whole = Some(joined);
                }
            }
        }
        share.settle();
        Ok((whole.map_or(first, BytesMut::freeze), share))
    }
}

fn declared_length(request: &HttpRequest) -> Option<usize> {
    request
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn unreadable(error: &PayloadError, limit: usize) -> Refusal {
    match error {
        PayloadError::Overflow => Refusal::TooLarge { limit },
        error if is_timeout(error) => Refusal::TimedOut,
        _ => Refusal::Incomplete,
    }
}

/// The answer to an event that the broker holds. An event's id has no character that JSON escapes.
fn accepted(event_id: &str) -> HttpResponse {
    let body = ["{\"received\":true,\"event_id\":\"", event_id, "\"}"].concat();
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .body(body)
}
