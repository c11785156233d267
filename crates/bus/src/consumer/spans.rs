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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opentelemetry::trace::{TraceId, TracerProvider as _};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::headers::{Headers, TRACEPARENT};

    fn message(traceparent: Option<&str>) -> Incoming {
        let headers = traceparent.map_or_else(Headers::new, |place| Headers::new().with_str(TRACEPARENT, place));
        Incoming {
            exchange: "stripe.events".to_owned(),
            routing_key: "platform.invoice.paid".to_owned(),
            message_id: "evt_1".to_owned(),
            kind: "invoice.paid".to_owned(),
            timestamp: None,
            headers,
            body: Bytes::new(),
            redelivered: false,
            span: Span::none(),
        }
    }

    /// What a batch of messages of these traces works in, and whether each has a span.
    fn begun(traceparents: &[Option<&str>]) -> (Span, Vec<bool>) {
        let mut batch: Vec<Incoming> = traceparents.iter().copied().map(message).collect();
        begin("billing.events", &mut batch);
        let spans = batch.iter().map(|message| !message.span.is_disabled()).collect();
        (leading(&batch), spans)
    }

    #[test]
    fn a_trace_that_is_kept_leads_a_batch_wherever_it_stands_and_no_trace_begins_none() {
        const KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        const NOT_KEPT: &str = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00";
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(spans), || {
            for batch in [
                [Some(NOT_KEPT), None, Some(KEPT)],
                [Some(KEPT), Some(NOT_KEPT), None],
                [None, Some(KEPT), Some(NOT_KEPT)],
            ] {
                let (leading, spans) = begun(&batch);
                let trace = place(&leading).trace_id();
                // A message of no trace begins one of its own beside one that is traced, and may lead: never one that is not kept.
                assert!(place(&leading).is_sampled(), "{batch:?}");
                assert_ne!(
                    trace,
                    TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319d_u128),
                    "{batch:?}"
                );
                assert_eq!(spans, [true; 3], "{batch:?}");
            }
            let (leading, spans) = begun(&[None, None]);
            assert!(leading.is_disabled());
            assert_eq!(spans, [false, false]);
        });
    }
}
