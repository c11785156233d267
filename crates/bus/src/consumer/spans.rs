//! The spans of messages in work, by <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>: one for each delivery, in
//! the trace of whoever published it; messages of no trace begin none. What a batch does together, its transaction above all, is in the
//! trace of one of its messages, to which the spans of the others are linked. A handler that takes its messages one by one works
//! in the span of each ([`Incoming::span`]).

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::incoming::Incoming;
use crate::propagation::told_by;
use crate::verdict::Verdict;

/// Gives each message of a batch its span. There are none where nobody collects them.
pub(super) fn begin(queue: &str, batch: &mut [Incoming]) {
    if !tracing::enabled!(target: "holdfast::trace", tracing::Level::INFO) {
        return;
    }
    if !batch.iter().any(|message| has_place(&told_by(&message.headers))) {
        return;
    }
    // Beside one that is traced all are: work within no span would count as the work of whichever span is around it.
    let size = batch.len();
    for message in batch.iter_mut() {
        message.span = span(queue, message, size);
    }
    let leading = leading(batch);
    let place = place(&leading);
    for message in batch.iter() {
        if !message.span.is_disabled() && message.span != leading {
            message.span.add_link(place.clone());
        }
    }
}

/// The span that the common work of a batch belongs to: of a trace that is kept, if there is one.
pub(super) fn leading(batch: &[Incoming]) -> Span {
    let traced = || {
        batch
            .iter()
            .map(|message| &message.span)
            .filter(|span| !span.is_disabled())
    };
    let kept = traced().find(|span| place(span).is_sampled());
    kept.or_else(|| traced().next()).cloned().unwrap_or_else(Span::none)
}

/// Tells the spans what was said of their messages.
pub(super) fn tell(batch: &[Incoming], verdicts: &[Option<Verdict>]) {
    for (message, verdict) in batch.iter().zip(verdicts) {
        let (word, is_failure) = match verdict {
            Some(Verdict::Done) => ("done", false),
            Some(Verdict::Retry { .. }) => ("retry", true),
            Some(Verdict::Later { .. }) => ("later", false),
            Some(Verdict::Park { .. }) => ("park", true),
            None => ("none", true),
        };
        message.span.record("verdict", word);
        if is_failure {
            message.span.record("otel.status_code", "ERROR");
        }
    }
}

fn place(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

fn span(queue: &str, message: &Incoming, size: usize) -> Span {
    let span = tracing::info_span!(
        target: "holdfast::trace",
        parent: None,
        "process",
        otel.name = format!("process {queue}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.type = "process",
        messaging.destination.name = queue,
        messaging.message.id = message.message_id,
        messaging.batch.message_count = size,
        message_type = message.kind,
        failed_attempts = message.failed_attempts(),
        verdict = Empty,
    );
    let parent = told_by(&message.headers);
    if has_place(&parent) {
        // An error means that nobody collects spans.
        drop(span.set_parent(parent));
    }
    span
}

fn has_place(context: &Context) -> bool {
    context.span().span_context().is_valid()
}
