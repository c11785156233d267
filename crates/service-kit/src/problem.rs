//! Errors over HTTP: RFC 9457 `application/problem+json` with a stable `code` and the `request_id`.
//!
//! A service maps its closed error enum to [`Problem`]s in one file. `detail` is for people and holds nothing inner: causes
//! are logged at the boundary, under the same request id. The codes are part of the interface and never change.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::request_id::RequestId;

/// The media type.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An answer that says what went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable, machine-readable name of the problem.
    pub code: &'static str,
    /// The same for people, the same text for every occurrence.
    pub title: &'static str,
    /// What is special about this occurrence.
    pub detail: Cow<'static, str>,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// Further members, such as `errors` or `details`.
    pub extensions: Vec<(String, Value)>,
}

impl Problem {
    /// A problem without further members.
    #[must_use]
    pub fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            retry_after: None,
            extensions: Vec::new(),
        }
    }

    /// Adds `Retry-After`, in whole seconds and at least one.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.push((name.to_owned(), value.into()));
        self
    }

    /// 400 with a code of the service's own.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, code, "The request is not valid", detail)
    }

    /// 401: no credential, or one that does not hold.
    #[must_use]
    pub fn unauthorized(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(401, code, "A valid credential is needed", detail)
    }

    /// 403: a credential that does not allow this.
    #[must_use]
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(403, "forbidden", "The credential does not allow this", detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, "not_found", "There is no such thing", detail)
    }

    /// 409 with a code of the service's own.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(409, code, "The request conflicts with the present state", detail)
    }

    /// 413.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "body_too_large",
            "The body is too large",
            format!("At most {limit} bytes are taken."),
        )
    }

    /// 429.
    #[must_use]
    pub fn too_many_requests(code: &'static str, detail: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        Self::new(429, code, "Too many requests", detail).retry_after(wait)
    }

    /// 500 without inner details. Log the cause before.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            500,
            "internal_error",
            "Something failed on our side",
            "The log has the cause under this request id.",
        )
    }

    /// 503 with a code of the service's own.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        Self::new(503, code, "The service cannot take this now", detail).retry_after(wait)
    }

    /// The problem of an answer that was made by the HTTP library and only has a status.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        let (code, title) = match status {
            404 => ("not_found", "There is no such thing"),
            405 => ("method_not_allowed", "The method is not allowed here"),
            406 => ("not_acceptable", "No acceptable form"),
            408 => ("request_timeout", "The request took too long"),
            413 => ("body_too_large", "The body is too large"),
            415 => ("unsupported_media_type", "The media type is not supported"),
            431 => ("headers_too_large", "The headers are too large"),
            400..=499 => ("bad_request", "The request is not valid"),
            503 => ("unavailable", "The service cannot take this now"),
            _ => return Self::internal(),
        };
        Self::new(status, code, title, title)
    }

    /// The body, with the id of the request in work.
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("urn:holdfast:problem:{}", self.code)));
        body.insert("title".to_owned(), json!(self.title));
        body.insert("status".to_owned(), json!(self.status));
        body.insert("code".to_owned(), json!(self.code));
        body.insert("detail".to_owned(), json!(self.detail));
        if let Some(id) = RequestId::current() {
            body.insert("request_id".to_owned(), json!(id.as_str()));
        }
        for (name, value) in &self.extensions {
            body.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(body).to_string()
    }

    /// The value of `Retry-After`.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_body_has_the_members_of_rfc_9457_and_ours() {
        let problem = Problem::bad_request("signature_missing", "No header.").with("errors", json!({"a": "b"}));
        let id = RequestId::accept(Some(b"req-1"));
        let body: Value = id.scope(async { serde_json::from_str(&problem.body()).unwrap() }).await;
        assert_eq!(
            body,
            json!({
                "type": "urn:holdfast:problem:signature_missing",
                "title": "The request is not valid",
                "status": 400,
                "code": "signature_missing",
                "detail": "No header.",
                "request_id": "req-1",
                "errors": {"a": "b"},
            })
        );
    }

    #[test]
    fn a_member_never_replaces_a_fixed_one() {
        let body: Value = serde_json::from_str(&Problem::internal().with("code", "x").body()).unwrap();
        assert_eq!(body["code"], "internal_error");
    }

    #[test]
    fn retry_after_is_whole_seconds_and_at_least_one() {
        for (millis, expect) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            let problem = Problem::unavailable("x", "y", Duration::from_millis(millis));
            assert_eq!(problem.retry_after_seconds(), Some(expect));
        }
    }

    #[test]
    fn every_status_has_a_problem() {
        for status in 400..600 {
            let problem = Problem::of_status(status);
            assert!(problem.status == status || problem.status == 500);
        }
    }
}
