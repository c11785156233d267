//! The place in a trace that a message carries from its publisher to its consumer, as W3C's `traceparent`.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::headers::{Headers, TRACEPARENT};

/// Where a message was published, as its headers say.
pub(crate) fn told_by(headers: &Headers) -> Context {
    opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(headers))
}

/// Tells whoever takes the message that it belongs to the span, unless its headers name a place already: a message that is
/// published again stays in its trace.
pub(crate) fn tell(headers: &mut Headers, span: &Span) {
    if span.is_disabled() || headers.get_str(TRACEPARENT).is_some() {
        return;
    }
    let context = span.context();
    if context.span().span_context().is_valid() {
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.inject_context(&context, headers));
    }
}

/// The headers of a message that the work at hand leaves in the outbox: its place in its trace, if it has one.
#[must_use]
pub fn headers_of_this_work() -> serde_json::Value {
    let mut headers = Headers::new();
    tell(&mut headers, &Span::current());
    serde_json::Value::Object(headers.to_json())
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.get_str(key)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        // The propagator has a second header for what vendors add, which nobody here fills.
        if key == TRACEPARENT {
            self.set_str(TRACEPARENT, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn what_is_published_within_a_span_names_it_unless_it_has_a_place_already() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(spans), || {
            assert_eq!(headers_of_this_work(), serde_json::json!({}), "outside of all spans");
            tracing::info_span!("work").in_scope(|| {
                let told = headers_of_this_work();
                let place = Span::current().context().span().span_context().clone();
                assert_eq!(
                    told[TRACEPARENT],
                    format!("00-{}-{}-01", place.trace_id(), place.span_id())
                );
                assert_eq!(told.as_object().unwrap().len(), 1);
                assert_eq!(
                    told_by(&Headers::from_json(&told)).span().span_context().trace_id(),
                    place.trace_id()
                );

                let mut elsewhere = Headers::new().with_str(TRACEPARENT, "of another");
                tell(&mut elsewhere, &Span::current());
                assert_eq!(elsewhere.get_str(TRACEPARENT), Some("of another"));
            });
        });
    }
}
