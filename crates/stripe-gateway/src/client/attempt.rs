//! One HTTP request and what came back, whole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::time::UnixSeconds;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Request, Response};

use super::classify::classify;
use super::outcome::{NotSent, Outcome, Receipt, Unknown, UnknownCause};

/// The largest body that is taken in; a page of 100 events is some hundreds of kilobytes.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// The longest text that is kept of a header.
const MAX_HEADER: usize = 255;

/// What one attempt gave.
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    /// `Stripe-Should-Retry`.
    pub(super) stripe_says_retry: Option<bool>,
    /// What the network said, for the log.
    pub(super) trouble: Option<String>,
}

/// Makes one request. `timeout` spans from the connection to the last byte of the body.
pub(super) async fn attempt(http: &reqwest::Client, mut request: Request, timeout: Duration) -> Attempt {
    *request.timeout_mut() = Some(timeout);
    let response = match http.execute(request).await {
        Ok(response) => response,
        Err(error) => return failed(error, None),
    };
    let receipt = receipt(&response);
    let stripe_says_retry = flag(response.headers(), "stripe-should-retry");
    match read(response).await {
        Ok(Some(body)) => Attempt {
            outcome: classify(receipt, body),
            stripe_says_retry,
            trouble: None,
        },
        Ok(None) => Attempt {
            outcome: Outcome::Unknown(Unknown {
                cause: UnknownCause::TooLarge,
                receipt: Some(receipt),
                body: None,
            }),
            stripe_says_retry,
            trouble: None,
        },
        Err(error) => failed(error, Some(receipt)),
    }
}

/// The whole body, or `None` when it is larger than we take in.
async fn read(mut response: Response) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > MAX_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// A request that got no whole answer. Only a failure to connect proves that nothing was sent.
fn failed(error: reqwest::Error, receipt: Option<Receipt>) -> Attempt {
    let outcome = if error.is_builder() {
        Outcome::NotSent(NotSent::BadRequest)
    } else if error.is_connect() {
        Outcome::NotSent(NotSent::NoConnection)
    } else {
        let cause = if error.is_timeout() {
            UnknownCause::TimedOut
        } else {
            UnknownCause::ConnectionLost
        };
        Outcome::Unknown(Unknown {
            cause,
            receipt,
            body: None,
        })
    };
    Attempt {
        outcome,
        stripe_says_retry: None,
        trouble: Some(chain(&error.without_url())),
    }
}

/// An error with all its causes. The network's errors hold addresses and codes, nothing of the request.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn receipt(response: &Response) -> Receipt {
    let headers = response.headers();
    Receipt {
        status: response.status().as_u16(),
        request_id: text(headers, "request-id").map(str::to_owned),
        replayed: flag(headers, "idempotent-replayed") == Some(true),
        rate_limited: text(headers, "stripe-rate-limited-reason").map(str::to_owned),
        answered_at: text(headers, DATE.as_str()).and_then(http_date),
    }
}

/// A header of visible ASCII, cut at a length that fits a column and a log line.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let text = text.get(..MAX_HEADER).unwrap_or(text);
    (!text.is_empty()).then_some(text)
}

fn flag(headers: &HeaderMap, name: &str) -> Option<bool> {
    match text(headers, name)? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7, the one form that may be sent).
fn http_date(text: &str) -> Option<UnixSeconds> {
    let date = chrono::NaiveDateTime::parse_from_str(text, "%a, %d %b %Y %H:%M:%S GMT").ok()?;
    Some(UnixSeconds(date.and_utc().timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_a_time_or_nothing() {
        for (text, expect) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Oct 2026 12:00:00 GMT", Some(1_790_856_000)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 +0200", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("1790856000", None),
            ("", None),
        ] {
            assert_eq!(http_date(text), expect.map(UnixSeconds), "{text}");
        }
    }
}
