//! From an HTTP answer to an [`Outcome`], and from several attempts to one.
//!
//! Sources: docs.stripe.com/api/errors, /error-low-level, /api/idempotent_requests, /rate-limits. A result is kept under its key once
//! the endpoint began to execute, errors and 500s included; validation failures and rate limits are not.

use bytes::Bytes;

use super::call::Method;
use super::error_object::ErrorObject;
use super::outcome::{Answer, Body, NotSent, Outcome, Receipt, Refusal, Unknown, UnknownCause};
use crate::views::ObjectView;

/// What a complete answer means.
pub(super) fn classify(receipt: Receipt, body: Bytes) -> Outcome {
    match receipt.status {
        200..=299 => answered(receipt, body),
        409 => unknown(UnknownCause::KeyInUse, receipt),
        429 if receipt.rate_limited.is_some() => Outcome::NotSent(NotSent::RateLimited(receipt)),
        429 => unknown(UnknownCause::Locked, receipt),
        // The failure of somebody whom Stripe asked: not said to be without effect.
        424 | 500..=599 => unknown(UnknownCause::ServerError, receipt),
        400..=499 => refused(receipt, &body),
        _ => unknown(UnknownCause::NotStripes, receipt),
    }
}

fn answered(receipt: Receipt, bytes: Bytes) -> Outcome {
    let body = Body::new(bytes);
    match ObjectView::parse(body.as_bytes()) {
        Ok(_) => Outcome::Answered(Answer {
            content: (),
            body,
            receipt,
        }),
        Err(problem) => Outcome::Unknown(Unknown {
            cause: UnknownCause::Unreadable(problem),
            receipt: Some(receipt),
            body: Some(body),
        }),
    }
}

fn refused(receipt: Receipt, body: &[u8]) -> Outcome {
    let Some(error) = ErrorObject::read(body) else {
        return unknown(UnknownCause::NotStripes, receipt);
    };
    if error.kind == "idempotency_error" {
        return unknown(UnknownCause::KeyReused, receipt);
    }
    Outcome::Refused(Refusal {
        kind: error.kind,
        code: error.code,
        decline_code: error.decline_code,
        param: error.param,
        message: error.message,
        receipt,
    })
}

fn unknown(cause: UnknownCause, receipt: Receipt) -> Outcome {
    Outcome::Unknown(Unknown {
        cause,
        receipt: Some(receipt),
        body: None,
    })
}

/// What the attempts of one call mean together, when `earlier` is what the ones before `last` left unknown.
///
/// An attempt of a POST that may have had an effect is not undone by one that never began, nor by a refusal: what is refused before it is
/// executed is refused whatever was done under its key. Only a refusal that Stripe gives from its memory (`Idempotent-Replayed`) is what
/// the key came to. What a GET is told last is true.
pub(super) fn together(method: &Method, earlier: Option<Unknown>, last: Outcome) -> Outcome {
    let Some(earlier) = earlier else { return last };
    match (last, method) {
        (Outcome::NotSent(_), Method::Get | Method::Post(_)) => Outcome::Unknown(earlier),
        (Outcome::Refused(refusal), Method::Get | Method::Post(_)) if refusal.is_about_the_key() => {
            Outcome::Unknown(earlier)
        }
        (Outcome::Refused(refusal), Method::Post(_)) if !refusal.receipt.replayed => Outcome::Unknown(earlier),
        (last @ (Outcome::Answered(_) | Outcome::Refused(_) | Outcome::Unknown(_)), Method::Get | Method::Post(_)) => {
            last
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::call::IdempotencyKey;

    fn receipt(status: u16) -> Receipt {
        Receipt {
            status,
            ..Receipt::default()
        }
    }

    const ERROR: &str = r#"{"error":{"type":"invalid_request_error","code":"c","message":"m"}}"#;
    const KEY: &str = r#"{"error":{"type":"idempotency_error","message":"m"}}"#;

    #[test]
    fn every_status_has_a_meaning() {
        for (status, body, expect) in [
            (200, "{}", "answered"),
            (201, r#"{"id":"tr_1"}"#, "answered"),
            (200, "", "unreadable"),
            (200, "[]", "unreadable"),
            (200, "{", "unreadable"),
            (200, "<html>", "unreadable"),
            (204, "", "unreadable"),
            (100, ERROR, "not_stripes"),
            (302, "", "not_stripes"),
            (400, ERROR, "refused"),
            (400, KEY, "key_reused"),
            (400, "<html>", "not_stripes"),
            (400, r#"{"error":"no"}"#, "not_stripes"),
            (401, ERROR, "refused"),
            (402, ERROR, "refused"),
            (403, ERROR, "refused"),
            (403, "<html>", "not_stripes"),
            (404, ERROR, "refused"),
            (407, "", "not_stripes"),
            (408, "", "not_stripes"),
            (409, ERROR, "key_in_use"),
            (409, "", "key_in_use"),
            (424, ERROR, "server_error"),
            (429, ERROR, "locked"),
            (499, ERROR, "refused"),
            (500, ERROR, "server_error"),
            (502, "<html>", "server_error"),
            (599, "", "server_error"),
            (600, ERROR, "not_stripes"),
        ] {
            let outcome = classify(receipt(status), Bytes::from(body));
            assert_eq!(outcome.detail(), expect, "{status} {body}");
        }
        let limited = Receipt {
            rate_limited: Some("global-rate".to_owned()),
            ..receipt(429)
        };
        assert_eq!(classify(limited, Bytes::from(ERROR)).detail(), "rate_limited");
    }

    #[test]
    fn an_attempt_that_may_have_had_an_effect_is_forgotten_only_for_a_result_under_its_key() {
        let unknown = |cause| Unknown {
            cause,
            receipt: None,
            body: None,
        };
        let lost = || Some(unknown(UnknownCause::ConnectionLost));
        let last = |status, body: &'static str| classify(receipt(status), Bytes::from(body));
        let stored = |status, body: &'static str| {
            let replayed = true;
            classify(
                Receipt {
                    replayed,
                    ..receipt(status)
                },
                Bytes::from(body),
            )
        };
        let post = Method::Post(IdempotencyKey::parse("key").unwrap());
        for (earlier, last, expect) in [
            (None, Outcome::NotSent(NotSent::NoConnection), "no_connection"),
            (lost(), Outcome::NotSent(NotSent::NoConnection), "connection_lost"),
            (
                lost(),
                Outcome::NotSent(NotSent::RateLimited(receipt(429))),
                "connection_lost",
            ),
            (None, last(401, ERROR), "refused"),
            (lost(), last(401, ERROR), "connection_lost"),
            (lost(), last(403, ERROR), "connection_lost"),
            (lost(), stored(401, ERROR), "connection_lost"),
            (lost(), last(402, ERROR), "connection_lost"),
            (lost(), last(400, ERROR), "connection_lost"),
            (lost(), stored(402, ERROR), "refused"),
            (lost(), stored(400, ERROR), "refused"),
            (lost(), last(200, "{}"), "answered"),
            (lost(), last(500, ""), "server_error"),
        ] {
            let outcome = together(&post, earlier, last.clone());
            assert_eq!(outcome.detail(), expect, "{last:?}");
        }
        let read = together(&Method::Get, lost(), last(404, ERROR));
        assert_eq!(read.detail(), "refused", "a GET has no effect that could be forgotten");
    }
}
