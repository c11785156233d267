//! Everything that ingest refuses, and the answer for each (ING-6). The codes are part of the interface.

use std::time::Duration;

use bus::PublishError;
use domain::alert::{Alert, AlertKind};
use service_kit::problem::Problem;
use stripe_gateway::envelope::EnvelopeError;
use stripe_gateway::signature::SignatureError;

use crate::endpoint::Endpoint;

/// Stripe resends by its own schedule; this is for other callers.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a delivery got no 200.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The signature is missing, malformed, wrong or too old.
    #[error("the signature is refused")]
    Signature(#[source] SignatureError),
    /// The signature is good but the body is not an event.
    #[error("the body is not an event")]
    Payload(#[source] EnvelopeError),
    /// The body is larger than the limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// The connection ended before the body did, or its chunks are malformed.
    #[error("the body is not complete")]
    Incomplete,
    /// Too many bad attempts came from this address.
    #[error("too many bad attempts from this address")]
    Throttled {
        /// When the next bad attempt gets its own answer again.
        wait: Duration,
    },
    /// The broker did not confirm. Nothing may be acknowledged to Stripe that could be lost.
    #[error("the broker did not confirm")]
    Broker(#[source] PublishError),
    /// More bodies are in work than memory is set aside for.
    #[error("too many bodies are in work")]
    Saturated,
}

impl Refusal {
    /// The stable code of the answer, also the `outcome` in the metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Signature(error) => error.code(),
            Self::Payload(error) => error.code(),
            Self::TooLarge { .. } => "body_too_large",
            Self::TimedOut => "request_timeout",
            Self::Incomplete => "body_incomplete",
            Self::Throttled { .. } => "too_many_bad_attempts",
            Self::Broker(_) | Self::Saturated => "broker_unavailable",
        }
    }

    /// Whether the sender is to blame, so that it counts against the sender's address.
    #[must_use]
    pub const fn is_bad_attempt(&self) -> bool {
        match self {
            Self::Signature(_) | Self::Payload(_) | Self::TooLarge { .. } | Self::TimedOut | Self::Incomplete => true,
            Self::Throttled { .. } | Self::Broker(_) | Self::Saturated => false,
        }
    }

    /// What is special about this case, without anything that the sender sent.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Signature(error) => error.to_string(),
            Self::Payload(error) => error.to_string(),
            Self::Broker(error) => error.to_string(),
            Self::TooLarge { .. } | Self::TimedOut | Self::Incomplete | Self::Throttled { .. } | Self::Saturated => {
                self.to_string()
            }
        }
    }

    /// The answer.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let code = self.code();
        match self {
            Self::Signature(_) => Problem::new(400, code, "The signature is refused", sentence(&self.reason())),
            Self::Payload(_) => Problem::new(400, code, "The body is not a Stripe event", sentence(&self.reason())),
            Self::Incomplete => Problem::bad_request(code, "The body is not complete."),
            Self::TooLarge { limit } => Problem::too_large(*limit),
            Self::TimedOut => Problem::of_status(408),
            Self::Throttled { wait } => {
                Problem::too_many_requests(code, "Too many bad attempts came from this address.", *wait)
            }
            Self::Broker(_) | Self::Saturated => {
                Problem::unavailable(code, "The event was not taken; send it again.", RETRY_AFTER)
            }
        }
    }

    /// The alert, keyed by endpoint and cause and never by event, so that a thousand forgeries are one alert with a count.
    /// A sender that is throttled raises none: the causes before it have.
    #[must_use]
    pub fn alert(&self, endpoint: Endpoint) -> Option<Alert> {
        let code = self.code();
        let subject = format!("{endpoint}/{code}");
        let alert = match self {
            Self::Signature(_) => {
                let summary = format!("Deliveries to the {endpoint} endpoint are refused: {code}");
                Alert::new(AlertKind::WebhookSignature, subject, summary)
            }
            Self::Payload(_) | Self::TooLarge { .. } | Self::TimedOut | Self::Incomplete => {
                let summary = format!("Deliveries to the {endpoint} endpoint cannot be read: {code}");
                Alert::new(AlertKind::WebhookMalformed, subject, summary)
            }
            Self::Saturated => {
                let summary = "Webhooks are answered 503 because too many bodies are being received at once; Stripe sends them again";
                Alert::new(AlertKind::BrokerUnavailable, "webhook-ingest/saturated", summary)
            }
            Self::Broker(_) => {
                let summary = "Webhooks are answered 503 because the broker does not confirm; Stripe sends them again";
                Alert::new(AlertKind::BrokerUnavailable, "webhook-ingest", summary)
            }
            Self::Throttled { .. } => return None,
        };
        Some(alert.with("reason", self.reason()))
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status_and_code() {
        let cases = [
            (
                Refusal::Signature(SignatureError::Missing),
                400,
                "signature_missing",
                true,
            ),
            (
                Refusal::Signature(SignatureError::Mismatch),
                400,
                "signature_mismatch",
                true,
            ),
            (
                Refusal::Signature(SignatureError::Stale {
                    age_seconds: 301,
                    tolerance_seconds: 300,
                }),
                400,
                "timestamp_out_of_tolerance",
                true,
            ),
            (
                Refusal::Payload(EnvelopeError::NotAnObject),
                400,
                "payload_malformed",
                true,
            ),
            (Refusal::TooLarge { limit: 10 }, 413, "body_too_large", true),
            (Refusal::TimedOut, 408, "request_timeout", true),
            (Refusal::Incomplete, 400, "body_incomplete", true),
            (
                Refusal::Throttled {
                    wait: Duration::from_secs(1),
                },
                429,
                "too_many_bad_attempts",
                false,
            ),
            (Refusal::Broker(PublishError::Blocked), 503, "broker_unavailable", false),
            (Refusal::Saturated, 503, "broker_unavailable", false),
        ];
        for (refusal, status, code, bad) in cases {
            let problem = refusal.problem();
            assert_eq!(
                (problem.status, problem.code, refusal.is_bad_attempt()),
                (status, code, bad),
                "{refusal:?}"
            );
            assert_eq!(refusal.code(), code);
        }
    }

    #[test]
    fn alerts_are_keyed_by_endpoint_and_cause() {
        let key = |refusal: Refusal| refusal.alert(Endpoint::Connect).map(|alert| alert.key());
        let mismatch = key(Refusal::Signature(SignatureError::Mismatch));
        assert_eq!(
            mismatch.as_deref(),
            Some("webhook_signature:connect/signature_mismatch")
        );
        let lost = key(Refusal::Broker(PublishError::TimedOut));
        assert_eq!(lost.as_deref(), Some("broker_unavailable:webhook-ingest"));
        let cut_off = key(Refusal::Incomplete);
        assert_eq!(cut_off.as_deref(), Some("webhook_malformed:connect/body_incomplete"));
        assert_eq!(key(Refusal::Throttled { wait: Duration::ZERO }), None);
    }
}
