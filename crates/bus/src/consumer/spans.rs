//! The spans of messages in work, by <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>: one for each message
//! and attempt, in the trace of whoever published it. What a batch has done together, its transaction above all, is in the trace of its
//! first message; the spans of the others are linked to that one.

use opentelemetry::propagation::Extractor;
use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::headers::{Headers, TRACEPARENT};
use crate::incoming::Incoming;
use crate::verdict::{BatchError, Verdict};

/// The spans of a batch, in its order. There are none where nobody collects them.
pub(super) struct Spans(Vec<Span>);

impl Spans {
    pub(super) fn of(queue: &str, batch: &[Incoming]) -> Self {
        let mut messages = batch.iter();
        let Some(first) = messages.next() else {
            return Self(Vec::new());
        };
        let leading = span(queue, first, batch.len());
        if leading.is_disabled() {
            return Self(Vec::new());
        }
        let place = leading.context().span().span_context().clone();
        let others = messages.map(|message| {
            let span = span(queue, message, batch.len());
            span.add_link(place.clone());
            span
        });
        let others: Vec<Span> = others.collect();
        Self(std::iter::once(leading).chain(others).collect())
    }

    /// The span that the batch's common work belongs to.
    pub(super) fn leading(&self) -> Span {
        self.0.first().cloned().unwrap_or_else(Span::none)
    }

    /// Ends them with what was said of each message.
    pub(super) fn end(self, outcome: &Result<Vec<Verdict>, BatchError>) {
        for (place, span) in self.0.iter().enumerate() {
            let (verdict, trouble) = match outcome {
                Ok(verdicts) => match verdicts.get(place) {
                    Some(Verdict::Done) => ("done", None),
                    Some(Verdict::Retry { reason }) => ("retry", Some(reason)),
                    Some(Verdict::Later { reason, .. }) => ("later", Some(reason)),
                    Some(Verdict::Park { reason }) => ("park", Some(reason)),
                    None => ("none", None),
                },
                Err(error) => ("failed", Some(error.reason())),
            };
            span.record("verdict", verdict);
            if let Some(reason) = trouble {
                span.record("otel.status_code", "ERROR");
                span.record("otel.status_description", reason.as_str());
            }
        }
    }
}

fn span(queue: &str, message: &Incoming, of: usize) -> Span {
    let span = tracing::info_span!(
        target: "holdfast::trace",
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.type = "process",
        messaging.destination.name = queue,
        messaging.message.id = message.message_id,
        messaging.batch.message_count = of,
        message_type = message.kind,
        failed_attempts = message.failed_attempts(),
        verdict = Empty,
    );
    if !span.is_disabled() {
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&message.headers));
        // An error means that nobody collects spans.
        drop(span.set_parent(parent));
    }
    span
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.get_str(key)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
