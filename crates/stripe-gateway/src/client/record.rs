//! What metrics and the log say about calls. Bounded words and ids only: never a key, a parameter, a body or Stripe's message.

use std::time::Duration;

use tracing::Span;
use tracing::field::Empty;

use super::attempt::Attempt;
use super::outcome::{NotSent, Outcome, Receipt};

/// The span of one attempt, in the trace of whatever it is made for.
pub(super) fn span(op: &'static str, retry: u32) -> Span {
    tracing::info_span!(
        target: "holdfast::trace",
        "stripe",
        otel.name = format!("stripe {op}"),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.resend_count = retry,
        http.response.status_code = Empty,
        stripe.outcome = Empty,
        stripe.request_id = Empty,
    )
}

/// Counts and logs one attempt, and tells its span.
pub(super) fn attempted(op: &'static str, retry: u32, attempt: &Attempt, took: Duration, span: &Span) {
    let outcome = attempt.outcome.detail();
    metrics::counter!("holdfast_stripe_requests_total", "op" => op, "outcome" => outcome).increment(1);
    metrics::histogram!("holdfast_stripe_request_seconds", "op" => op).record(took);
    let nothing = Receipt::default();
    let receipt = receipt(&attempt.outcome).unwrap_or(&nothing);
    let status = (receipt.status != 0).then_some(receipt.status);
    let request_id = receipt.request_id.as_deref();
    span.record("stripe.outcome", outcome);
    span.record("http.response.status_code", status);
    span.record("stripe.request_id", request_id);
    if !matches!(attempt.outcome, Outcome::Answered(_)) {
        span.record("otel.status_code", "ERROR");
    }
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match &attempt.outcome {
        Outcome::Answered(_) => {
            let replayed = receipt.replayed;
            tracing::debug!(op, retry, status, request_id, replayed, took_ms, "Stripe answered");
        }
        Outcome::Refused(refusal) => {
            let (code, decline_code) = (refusal.code.as_deref(), refusal.decline_code.as_deref());
            let (kind, replayed) = (refusal.kind.as_str(), receipt.replayed);
            tracing::info!(
                op,
                retry,
                status,
                request_id,
                kind,
                code,
                decline_code,
                replayed,
                took_ms,
                "Stripe refused"
            );
        }
        Outcome::Unknown(_) | Outcome::NotSent(_) => {
            let (reason, trouble) = (receipt.rate_limited.as_deref(), attempt.trouble.as_deref());
            let should_retry = attempt.stripe_says_retry;
            tracing::warn!(
                op,
                retry,
                outcome,
                status,
                request_id,
                reason,
                should_retry,
                trouble,
                took_ms,
                "a request to Stripe failed"
            );
        }
    }
}

/// Counts what became of a call with all its attempts.
pub(super) fn called<T>(op: &'static str, outcome: &Outcome<T>) {
    metrics::counter!("holdfast_stripe_calls_total", "op" => op, "outcome" => outcome.code()).increment(1);
}

fn receipt(outcome: &Outcome) -> Option<&Receipt> {
    match outcome {
        Outcome::Answered(answer) => Some(&answer.receipt),
        Outcome::Refused(refusal) => Some(&refusal.receipt),
        Outcome::Unknown(unknown) => unknown.receipt.as_ref(),
        Outcome::NotSent(NotSent::RateLimited(receipt)) => Some(receipt),
        Outcome::NotSent(NotSent::NoConnection | NotSent::BadRequest) => None,
    }
}
