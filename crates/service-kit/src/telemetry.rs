//! Logs, metrics and traces of a process.
//!
//! Variables: `LOG_FORMAT` (`json` or `pretty`), `RUST_LOG` (a filter such as `info,bus=debug`; default `info,lapin=off`), and
//! those of traces, which have a room of their own.
//!
//! Logs go to stdout, one JSON object per line with `service`, the event's fields and those of its spans. Metrics go through
//! the `metrics` facade into a Prometheus recorder; [`Metrics::render`] is what `/metrics` answers. Samples of histograms are
//! kept until they are sorted into their buckets, so [`Metrics::run_upkeep`] must run for memory to stay bounded.

mod traces;

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Reader, shape};
use traces::SPANS;
pub use traces::{TraceSettings, Traces};

/// Buckets of every histogram whose name ends in `_seconds`, from half a millisecond to half a minute.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Buckets of the time from an event's creation at Stripe to its decision: up to the three days of Stripe's retries.
const LAG_SECONDS: &[f64] = &[
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 21_600.0, 86_400.0, 259_200.0,
];
/// How often samples are sorted into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people at a terminal.
    Pretty,
}

/// What to log and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Which events are logged, in the syntax of `RUST_LOG`.
    pub filter: String,
}

impl LogSettings {
    /// Reads `LOG_FORMAT` and `RUST_LOG`.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let format = r.or(
            "LOG_FORMAT",
            "json",
            shape::one_of(&[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)]),
        );
        let filter = shape::text()
            .expecting("a log filter such as info,bus=debug")
            .and_then(|text| {
                EnvFilter::try_new(&text)
                    .map(|_| text)
                    .map_err(|error| format!("is not a log filter: {error}"))
            });
        let filter = r.or("RUST_LOG", DEFAULT_FILTER, filter);
        Some(Self {
            format: format?,
            filter: filter?,
        })
    }
}

/// The recorder or the subscriber could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Another log subscriber is installed already.
    #[error("the log subscriber could not be installed")]
    InstallLogs(#[source] TryInitError),
    /// Spans could not be sent anywhere.
    #[error("the traces could not be started")]
    Traces(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The filter does not parse.
    #[error("the log filter is not valid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Another metrics recorder is installed already.
    #[error("the metrics recorder could not be installed")]
    InstallMetrics(#[source] metrics_exporter_prometheus::BuildError),
}

/// lapin reports every clean stop as an error; what matters of it is logged where it is handled.
const DEFAULT_FILTER: &str = "info,lapin=off";
/// lapin logs a returned message with its body, which is a customer's data. No filter switches that on.
const BODIES_OFF: &str = "lapin::returned_messages=off";

/// Spans of traces are not the log's.
const SPANS_OFF: &str = "holdfast::trace=off";

fn log_filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(text)?.add_directive(BODIES_OFF.parse()?);
    Ok(filter.add_directive(SPANS_OFF.parse()?))
}

/// Installs the log of this process, and its traces where they are wanted.
///
/// # Errors
/// When the filter does not parse, a subscriber is there already, or traces cannot be exported.
pub fn init(
    service: &'static str,
    logs: &LogSettings,
    traces: Option<&TraceSettings>,
) -> Result<Option<Traces>, TelemetryError> {
    let filter = log_filter(&logs.filter).map_err(TelemetryError::Filter)?;
    let Some(settings) = traces else {
        // One filter for everything: what the log leaves out, spans among it, costs next to nothing.
        let subscriber = tracing_subscriber::registry()
            .with(filter)
            .with(lines(service, logs.format));
        subscriber.try_init().map_err(TelemetryError::InstallLogs)?;
        return Ok(None);
    };
    let traces = Traces::start(settings)?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(SPANS, tracing::Level::INFO));
    tracing_subscriber::registry()
        .with(lines(service, logs.format).with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(TelemetryError::InstallLogs)?;
    Ok(Some(traces))
}

fn lines<S>(service: &'static str, format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    match format {
        LogFormat::Json => {
            let inner = Format::default()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false);
            let named = Named { service, inner };
            fmt::layer().fmt_fields(JsonFields::new()).event_format(named).boxed()
        }
        LogFormat::Pretty => fmt::layer().with_target(false).boxed(),
    }
}

/// Puts the service's name in front of each JSON line.
struct Named {
    service: &'static str,
    inner: Format<Json>,
}

impl<S> FormatEvent<S, JsonFields> for Named
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"service\":\"{}\",{rest}", self.service),
            None => writer.write_str(&line),
        }
    }
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder of this process, or gives the one that was installed here before.
    ///
    /// # Errors
    /// When another recorder was installed by somebody else.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _guard = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(metrics) = INSTALLED.get() {
            return Ok(metrics.clone());
        }
        let handle = builder()?.install_recorder().map_err(TelemetryError::InstallMetrics)?;
        describe();
        Ok(INSTALLED.get_or_init(|| Self(handle)).clone())
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Sorts samples into their buckets, for ever.
    pub async fn run_upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

fn builder() -> Result<PrometheusBuilder, TelemetryError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("holdfast_event_lag_seconds".to_owned()), LAG_SECONDS)
        })
        .map_err(TelemetryError::InstallMetrics)
}

/// Describes the metrics that several services share; a service describes its own.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("holdfast_webhooks_total", "Webhook requests by endpoint and outcome");
    describe_histogram!(
        "holdfast_webhook_duration_seconds",
        "Time from a webhook's first byte to its answer"
    );
    describe_histogram!(
        "holdfast_publish_confirm_seconds",
        "Time from a publish to the broker's confirm"
    );
    describe_counter!("holdfast_webhook_api_version_total", "Events by their API version");
    describe_counter!("holdfast_events_total", "Events consumed by service, type and outcome");
    describe_histogram!(
        "holdfast_event_lag_seconds",
        "Time from an event's creation at Stripe to its decision"
    );
    describe_counter!("holdfast_decisions_total", "Decisions by outcome and guard");
    describe_gauge!("holdfast_parked_messages", "Parked messages by queue");
    describe_counter!(
        "holdfast_stripe_requests_total",
        "Requests to Stripe (each attempt counts) by operation and outcome"
    );
    describe_counter!(
        "holdfast_stripe_calls_total",
        "Calls to Stripe (all attempts of one count once) by operation and outcome"
    );
    describe_histogram!(
        "holdfast_stripe_request_seconds",
        "Duration of requests to Stripe by operation"
    );
    describe_gauge!("holdfast_alerts_unresolved", "Unresolved alerts by severity");
    describe_gauge!("holdfast_outbox_pending", "Messages written but not yet published");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_switches_the_logging_of_bodies_on() {
        for text in ["trace", "lapin=trace", DEFAULT_FILTER, "lapin::returned_messages=trace"] {
            let filter = log_filter(text).unwrap().to_string();
            assert!(filter.contains(BODIES_OFF), "{filter}");
            assert!(!filter.contains("returned_messages=trace"), "{filter}");
        }
    }

    #[test]
    fn a_json_line_names_the_service_and_its_fields() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let inner = Format::default()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false);
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(Named {
                service: "billing",
                inner,
            })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("request", request_id = "r1").in_scope(|| tracing::warn!(event_id = "evt_1", "said"));
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["service"], "billing");
        assert_eq!(line["event_id"], "evt_1");
        assert_eq!(line["span"]["request_id"], "r1");
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn histograms_of_seconds_have_buckets() {
        let metrics = Metrics::install().unwrap();
        metrics::histogram!("holdfast_webhook_duration_seconds").record(0.002);
        metrics::histogram!("holdfast_event_lag_seconds").record(90_000.0);
        let text = Metrics::install().unwrap().render();
        assert!(
            text.contains("holdfast_webhook_duration_seconds_bucket{le=\"0.0025\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("holdfast_event_lag_seconds_bucket{le=\"259200\"} 1"),
            "{text}"
        );
        assert!(metrics.render().contains("# HELP holdfast_webhook_duration_seconds"));
    }

    #[test]
    fn settings_are_validated() {
        let source = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let good = crate::config::load(&source(&[]), LogSettings::read).unwrap();
        assert_eq!((good.format, good.filter.as_str()), (LogFormat::Json, DEFAULT_FILTER));
        let bad = crate::config::load(
            &source(&[("LOG_FORMAT", "xml"), ("RUST_LOG", "a=b=c")]),
            LogSettings::read,
        );
        assert_eq!(bad.unwrap_err().0.len(), 2);
    }
}
