//! W3C trace context: one trace from the webhook's request through the broker to the consumer.
//!
//! `traceparent` is parsed strictly by <https://www.w3.org/TR/trace-context/>; a header that does not parse starts a new
//! trace instead of being passed on. Every hop is a child: the same trace id with a span id of its own.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The name of the HTTP and AMQP header.
pub const HEADER: &str = "traceparent";

/// The length of a version 00 header.
const LENGTH: usize = 55;

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// Where the work at hand stands in its trace, when this process sends traces.
    #[must_use]
    pub fn current() -> Option<Self> {
        let context = tracing::Span::current().context();
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Self {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            sampled: span.is_sampled(),
        })
    }

    /// [`Self::current`] as a `traceparent` header.
    #[must_use]
    pub fn current_header() -> Option<String> {
        Self::current().map(|place| place.to_string())
    }

    /// The start of a new, sampled trace.
    #[must_use]
    pub fn new_root() -> Self {
        Self {
            trace_id: rand::random::<u128>().max(1),
            span_id: new_span_id(),
            sampled: true,
        }
    }

    /// The context that a `traceparent` header names. Versions above 00 are read by their first four fields, as the
    /// standard asks.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let head = header.get(..LENGTH)?;
        let text = std::str::from_utf8(head).ok()?;
        let mut fields = text.split('-');
        let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')) {
            return None;
        }
        if (version.len(), trace.len(), span.len(), flags.len()) != (2, 32, 16, 2) || version == "ff" {
            return None;
        }
        match (version, header.get(LENGTH)) {
            (_, None) => {}
            ("00", Some(_)) => return None,
            (_, Some(next)) if *next != b'-' => return None,
            _ => {}
        }
        let trace_id = u128::from_str_radix(trace, 16).ok()?;
        let span_id = u64::from_str_radix(span, 16).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// Makes a span that was not entered yet a part of the trace.
    pub fn adopt(&self, span: &tracing::Span) {
        let (trace, parent) = (TraceId::from(self.trace_id), SpanId::from(self.span_id));
        let flags = TraceFlags::default().with_sampled(self.sampled);
        let context = SpanContext::new(trace, parent, flags, true, TraceState::default());
        // An error means that nobody collects spans.
        drop(span.set_parent(opentelemetry::Context::new().with_remote_span_context(context)));
    }

    /// The child of the trace that a header names, or a new trace.
    #[must_use]
    pub fn continue_or_start(header: Option<&[u8]>) -> Self {
        header
            .and_then(Self::parse)
            .map_or_else(Self::new_root, |parent| parent.child())
    }

    /// A new span in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: new_span_id(),
            ..*self
        }
    }

    /// The trace id in hexadecimal, for logs.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id,
            self.span_id,
            u8::from(self.sampled)
        )
    }
}

fn new_span_id() -> u64 {
    rand::random::<u64>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_header_round_trips() {
        assert_eq!(TraceContext::parse(GOOD.as_bytes()).unwrap().to_string(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert_eq!(
            TraceContext::parse(unsampled.as_bytes()).unwrap().to_string(),
            unsampled
        );
    }

    #[test]
    fn later_versions_are_read_by_their_first_fields() {
        let later = format!("{}-more", GOOD.replacen("00", "01", 1));
        assert_eq!(
            TraceContext::parse(later.as_bytes()).unwrap().trace_id(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
    }

    #[test]
    fn bad_headers_are_refused() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let upper = GOOD.to_uppercase();
        let longer = format!("{GOOD}-more");
        let ff = GOOD.replacen("00", "ff", 1);
        let plus = GOOD.replace("4bf9", "+bf9");
        for bad in ["", "00", &zero_trace, &zero_span, &upper, &longer, &ff, &plus] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TraceContext::parse(&[0xff; 55]), None);
    }

    #[test]
    fn a_child_keeps_the_trace_and_changes_the_span() {
        let parent = TraceContext::parse(GOOD.as_bytes()).unwrap();
        let child = TraceContext::continue_or_start(Some(GOOD.as_bytes()));
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.span_id, parent.span_id);
        assert_ne!(TraceContext::continue_or_start(None).trace_id(), parent.trace_id());
    }
}
