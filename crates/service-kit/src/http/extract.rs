//! Extractors: the caller, the caller's address, the request's id, and JSON, path, query and form with problems for errors.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};

use actix_web::dev::Payload;
use actix_web::error::{JsonPayloadError, PayloadError};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};

use super::context::is_timeout;
use crate::auth::{self, Authenticator, Principal};
use crate::problem::Problem;
use crate::rate_limit::TrustedProxies;
use crate::request_id::RequestId;

/// Larger JSON bodies are refused with 413.
const JSON_LIMIT: usize = 256 * 1024;

/// Sets the extractors' limits and errors. [`super::Server`] applies it.
pub fn extractor_config(config: &mut web::ServiceConfig) {
    config
        .app_data(
            web::JsonConfig::default()
                .limit(JSON_LIMIT)
                .error_handler(|error, _| json_problem(&error).into()),
        )
        .app_data(web::PathConfig::default().error_handler(|error, _| {
            Problem::bad_request("path_malformed", format!("The path does not parse: {error}.")).into()
        }))
        .app_data(web::QueryConfig::default().error_handler(|error, _| {
            Problem::bad_request("query_malformed", format!("The query does not parse: {error}.")).into()
        }))
        .app_data(web::FormConfig::default().limit(JSON_LIMIT).error_handler(|error, _| {
            Problem::bad_request("body_malformed", format!("The form does not parse: {error}.")).into()
        }));
}

fn json_problem(error: &JsonPayloadError) -> Problem {
    match error {
        JsonPayloadError::OverflowKnownLength { limit, .. } | JsonPayloadError::Overflow { limit } => {
            Problem::too_large(*limit)
        }
        JsonPayloadError::ContentType => Problem {
            detail: "Content-Type has to be application/json.".into(),
            ..Problem::of_status(415)
        },
        JsonPayloadError::Payload(PayloadError::Overflow) => Problem::too_large(JSON_LIMIT),
        JsonPayloadError::Payload(error) if is_timeout(error) => Problem::of_status(408),
        JsonPayloadError::Deserialize(error) => {
            Problem::bad_request("body_malformed", format!("The body does not parse: {error}."))
        }
        _ => Problem::bad_request("body_malformed", "The body could not be read."),
    }
}

/// The caller, by `Authorization: Bearer <JWT>`. Needs `web::Data<Authenticator>`.
impl FromRequest for Principal {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(authenticator) = request.app_data::<web::Data<Authenticator>>() else {
            tracing::error!("a route asks for the caller but the server has no authenticator");
            return ready(Err(Problem::internal()));
        };
        let headers = request
            .headers()
            .get_all(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        let principal = auth::bearer(headers).and_then(|token| authenticator.verify(token));
        ready(principal.map_err(|error| error.problem()))
    }
}

/// The id of this request.
impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request
            .extensions()
            .get::<Self>()
            .cloned()
            .unwrap_or_else(Self::generate)))
    }
}

/// The caller's address, behind trusted proxies the one that they tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerAddress(pub IpAddr);

impl CallerAddress {
    /// The address of this request's caller. A socket without an address counts as `0.0.0.0`.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let peer = request
            .peer_addr()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let Some(proxies) = request.app_data::<web::Data<TrustedProxies>>() else {
            return Self(peer);
        };
        let headers = request
            .headers()
            .get_all(header::HeaderName::from_static("x-forwarded-for"));
        Self(proxies.client_address(peer, headers.map(HeaderValue::as_bytes)))
    }
}

impl FromRequest for CallerAddress {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}
