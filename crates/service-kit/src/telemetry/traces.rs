//! Where spans go: to an OpenTelemetry collector, over HTTP with protobuf bodies, or nowhere.
//!
//! Variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, the collector's base address, as <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
//! says; spans are posted to `/v1/traces` below it. `OTEL_SERVICE_NAME`, by default `holdfast`. `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*` and `OTEL_EXPORTER_OTLP_HEADERS` are read by OpenTelemetry itself. Without an endpoint no span is
//! made at all.
//!
//! Spans of a trace have the target [`SPANS`], in whatever crate they are made; lines of the log are not part of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::web::Bytes;
use opentelemetry::Key;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use reqwest::Url;
use tokio::runtime::Handle;

use super::TelemetryError;
use crate::config::{Reader, shape};

/// The target of every span that belongs to a trace.
pub(super) const SPANS: &str = "holdfast::trace";
/// For the spans that are left when the process ends.
const LAST_FLUSH: Duration = Duration::from_secs(3);
/// For one post to the collector.
const POST_LIMIT: Duration = Duration::from_secs(10);

/// Where spans go.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// The collector's address for spans.
    endpoint: String,
    /// What this process is called there, when that is said.
    service: Option<String>,
}

impl TraceSettings {
    /// Reads `OTEL_EXPORTER_OTLP_ENDPOINT`. The outer `None` is a problem, the inner one says that no traces are wanted.
    pub fn read(r: &mut Reader<'_>) -> Option<Option<Self>> {
        let endpoint = shape::url(&["http", "https"]).and_then(|base| endpoint(&base).map_err(str::to_owned));
        let endpoint = r.optional("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let service = r.optional("OTEL_SERVICE_NAME", shape::text());
        let (endpoint, service) = (endpoint?, service?);
        Some(endpoint.map(|endpoint| Self { endpoint, service }))
    }
}

/// The traces of this process; they are sent in the background.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Needs a tokio runtime, which carries the posts to the collector.
    ///
    /// # Errors
    /// When the exporter cannot be built. A collector that is away is no error: its spans are lost, and the log says so.
    pub(super) fn start(settings: &TraceSettings) -> Result<Self, TelemetryError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(settings.endpoint.as_str())
            .with_timeout(POST_LIMIT)
            .with_http_client(Collector::new().map_err(|error| TelemetryError::Traces(error.into()))?)
            .build()
            .map_err(|error| TelemetryError::Traces(error.into()))?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(settings))
            .with_batch_exporter(exporter)
            .build();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self(provider))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("holdfast")
    }

    /// Sends what is left, for a bounded time.
    pub async fn close(self) {
        let closing = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_FLUSH));
        match closing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans of the traces were not sent"),
            Err(error) => tracing::warn!(%error, "the traces did not end"),
        }
    }
}

/// The address for spans below a collector's base.
fn endpoint(base: &str) -> Result<String, &'static str> {
    let base = Url::parse(base).map_err(|_| "is not a URL")?;
    if !base.username().is_empty() || base.password().is_some() {
        return Err("holds a credential, which belongs in OTEL_EXPORTER_OTLP_HEADERS");
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    Ok(format!("{}/v1/traces", base.as_str().trim_end_matches('/')))
}

/// What all spans are marked with.
fn resource(settings: &TraceSettings) -> Resource {
    let named = |name: String| Resource::builder().with_service_name(name).build();
    if let Some(service) = &settings.service {
        return named(service.clone());
    }
    // OTEL_RESOURCE_ATTRIBUTES may name the service as well.
    let found = Resource::builder().build();
    let name = found.get(&Key::from_static_str("service.name"));
    if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        return named("holdfast".to_owned());
    }
    found
}

/// Posts to the collector. OpenTelemetry's thread for exports is not one of tokio's, so that the post runs on the process's own runtime.
#[derive(Clone)]
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
}

impl Collector {
    fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(POST_LIMIT)
            .build()?;
        Ok(Self {
            http,
            runtime: Handle::current(),
        })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'post>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'post>>
    where
        'a: 'post,
        Self: 'post,
    {
        let http = self.http.clone();
        let posted = self.runtime.spawn(async move {
            let answer = http.execute(request.try_into()?).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::new(answer.bytes().await?);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok::<_, reqwest::Error>(response)
        });
        Box::pin(async move {
            let posted = posted.await?.map_err(reqwest::Error::without_url);
            posted.map_err(|error| {
                let reason: &dyn std::error::Error = &error;
                tracing::warn!(error = reason, "spans could not be sent to the collector");
                error.into()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_address_without_a_credential() {
        assert_eq!(
            endpoint("http://collector:4318").unwrap(),
            "http://collector:4318/v1/traces"
        );
        assert_eq!(
            endpoint("https://x.example/otlp/").unwrap(),
            "https://x.example/otlp/v1/traces"
        );
        for bad in [
            "http://[x",
            "http:///",
            "http://user:secret@x",
            "http://x?y",
            "http://x#y",
        ] {
            let problem = endpoint(bad);
            assert!(
                problem.as_ref().is_err_and(|problem| !problem.contains("secret")),
                "{bad}: {problem:?}"
            );
        }
    }
}
