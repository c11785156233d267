//! The span of a request, by <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use tracing::Span;
use tracing::field::Empty;

use crate::request_id::RequestId;
use crate::trace::{self, TraceContext};

/// What asks every few seconds and tells nothing.
const UNTRACED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A span for the request, in the trace that it names.
pub(super) fn of(request: &ServiceRequest, id: &RequestId) -> Span {
    let is_traced = tracing::enabled!(target: "holdfast::trace", tracing::Level::INFO);
    if !is_traced || UNTRACED.contains(&request.path()) {
        return Span::none();
    }
    // A caller may send any word; the names of spans are a bounded set.
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    };
    // A span's name is final once something hangs on it, so that it cannot wait for the answer.
    let route = request.match_pattern();
    let span = tracing::info_span!(
        target: "holdfast::trace",
        "request",
        otel.name = route.as_ref().map(|route| format!("{method} {route}")),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request_id = %id,
    );
    if let Some(header) = request.headers().get(trace::HEADER)
        && let Some(parent) = TraceContext::parse(header.as_bytes())
    {
        parent.adopt(&span);
    }
    span
}

/// Tells the current span what the request came to.
pub(super) fn answered(response: &ServiceResponse<impl MessageBody>) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
