//! The server: bound first, so that a port in use is found before anything else starts, then run until it is told to stop.
//!
//! A stop takes nothing new, closes idle connections, and lets requests in work finish within the deadline.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Query, ServiceConfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::BodyTimeout;
use super::extract::extractor_config;
use super::listen;
use super::routes::{Place, Routes};
use crate::config::{Reader, Shape, shape};
use crate::health::Readiness;
use crate::openapi::{self, Field, Operation, Schema, Verb};
use crate::problem::Problem;
use crate::rate_limit::TrustedProxies;
use crate::telemetry::Metrics;

/// How long requests in work may take after a stop. Below the drain's deadline.
const STOP_SECONDS: u64 = 20;
/// The same for a scrape of metrics.
const SCRAPE_STOP_SECONDS: u64 = 1;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Where `/metrics` is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsListener {
    /// On a listener of its own.
    Own(SocketAddr),
    /// Beside everything else, open to everybody: for development.
    Shared,
}

/// How to listen.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where `/metrics` is answered.
    pub metrics: MetricsListener,
    /// Threads that serve requests; `None` is one per core.
    pub workers: Option<usize>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// How long a client may take to send a body, counted from the first time that the server has to wait for it.
    pub body_timeout: Duration,
}

impl HttpSettings {
    /// Reads the variables of this module.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let listen = r.or("HOLDFAST_LISTEN", "0.0.0.0:8080", shape::socket_addr());
        let own = Shape::new("an address and port, or the word shared", |text| match text.trim() {
            "shared" => Ok(MetricsListener::Shared),
            text => text
                .parse()
                .map(MetricsListener::Own)
                .map_err(|_| format!("is {text:?}")),
        });
        let metrics = r.or("HOLDFAST_METRICS_LISTEN", "127.0.0.1:9464", own);
        let workers = r.optional("HOLDFAST_HTTP_WORKERS", shape::integer(1..=256));
        let proxies = r.optional("HOLDFAST_TRUSTED_PROXIES", shape::trusted_proxies());
        Some(Self {
            listen: listen?,
            metrics: metrics?,
            workers: workers?.and_then(|number| usize::try_from(number).ok()),
            trusted_proxies: proxies?.unwrap_or_default(),
            body_timeout: BODY_TIMEOUT,
        })
    }

    /// A free port on loopback, `/metrics` beside everything else: for tests.
    #[must_use]
    pub fn for_tests() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics: MetricsListener::Shared,
            workers: Some(1),
            trusted_proxies: TrustedProxies::default(),
            body_timeout: Duration::from_secs(1),
        }
    }
}

/// The server could not be bound or failed while it ran.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server failed.
    #[error("the HTTP server failed")]
    Run(#[source] io::Error),
}

type Configure = Arc<dyn Fn(&mut Routes<'_>) + Send + Sync>;

/// A server in the making: settings, and the routes of each service that runs in this process.
#[derive(Clone)]
pub struct Server {
    settings: HttpSettings,
    readiness: Readiness,
    metrics: Metrics,
    routes: Vec<Configure>,
}

impl Server {
    /// A server with `/healthz`, `/readyz`, `/openapi.json` and, where shared, `/metrics`.
    #[must_use]
    pub fn new(settings: HttpSettings, readiness: Readiness, metrics: Metrics) -> Self {
        Self {
            settings,
            readiness,
            metrics,
            routes: Vec::new(),
        }
    }

    /// Adds a service's routes. The function runs once per worker.
    #[must_use]
    pub fn routes(mut self, configure: impl Fn(&mut Routes<'_>) + Send + Sync + 'static) -> Self {
        self.routes.push(Arc::new(configure));
        self
    }

    /// Opens the ports. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Bind`] names the address that could not be opened.
    pub fn bind(self) -> Result<Bound, ServeError> {
        let (listener, address) = open(self.settings.listen)?;
        let metrics = match self.settings.metrics {
            MetricsListener::Own(address) => Some(open(address)?.0),
            MetricsListener::Shared => None,
        };
        Ok(Bound {
            server: self,
            listener,
            address,
            metrics,
        })
    }

    fn configure(&self, config: &mut ServiceConfig) {
        extractor_config(config);
        config.app_data(web::Data::new(self.settings.trusted_proxies.clone()));
        config.app_data(BodyTimeout(self.settings.body_timeout));
        config.default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::of_status(404)) }));
        let mut routes = Routes::new(config);
        health_routes(&mut routes, &self.readiness);
        if self.settings.metrics == MetricsListener::Shared {
            routes.add(metrics_route(&self.metrics));
        }
        for configure in &self.routes {
            configure(&mut routes);
        }
        document_route(&mut routes);
    }
}

/// A server with its ports open.
pub struct Bound {
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
    metrics: Option<TcpListener>,
}

impl Bound {
    /// The address, with the port that was chosen where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the token is cancelled and requests in work are done.
    ///
    /// # Errors
    /// [`ServeError::Run`] when the listener fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServeError> {
        let Self {
            server,
            listener,
            metrics,
            ..
        } = self;
        let scrape = metrics.map(|listener| {
            let metrics = server.metrics.clone();
            let configure = move |config: &mut ServiceConfig| Routes::new(config).add(metrics_route(&metrics));
            listen::serve(listener, Some(1), SCRAPE_STOP_SECONDS, &stop, configure)
        });
        let scrape = scrape.transpose().map_err(ServeError::Run)?.map(tokio::spawn);
        let upkeep = tokio::spawn(server.metrics.clone().run_upkeep());
        let workers = server.settings.workers;
        let configure = move |config: &mut ServiceConfig| server.configure(config);
        let served = match listen::serve(listener, workers, STOP_SECONDS, &stop, configure) {
            Ok(running) => running.await.map_err(ServeError::Run),
            Err(error) => Err(ServeError::Run(error)),
        };
        upkeep.abort();
        if let Some(scrape) = scrape {
            scrape.abort();
        }
        served
    }
}

fn open(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    listen::open(address).map_err(|source| ServeError::Bind { address, source })
}

/// Whose readiness is asked for.
#[derive(serde::Deserialize)]
struct Asked {
    service: Option<String>,
}

/// `/healthz` and `/readyz`.
fn health_routes(routes: &mut Routes<'_>, readiness: &Readiness) {
    let readiness = readiness.clone();
    let healthz = || async { HttpResponse::Ok().json(json!({"status": "ok"})) };
    let readyz = move |asked: Query<Asked>| {
        let readiness = readiness.clone();
        async move {
            let report = match &asked.service {
                Some(service) => readiness
                    .report_of(service)
                    .await
                    .ok_or_else(|| Problem::not_found("This process runs no such service."))?,
                None => readiness.report().await,
            };
            if report.is_ready() {
                return Ok(HttpResponse::Ok().json(report));
            }
            let detail = format!("Missing: {}.", report.missing.join(", "));
            Err(Problem::unavailable("not_ready", detail, Duration::from_secs(1))
                .with("missing", report.missing)
                .with("checks", serde_json::to_value(report.checks).unwrap_or_default()))
        }
    };
    let alive = Schema::object([("status", Field::Always, Schema::one_of(&["ok"]))]);
    let check = Schema::object([
        ("name", Field::Always, Schema::text()),
        ("ok", Field::Always, Schema::boolean()),
        ("problem", Field::Maybe, Schema::text()),
    ]);
    let ready = Schema::object([
        ("status", Field::Always, Schema::one_of(&["ready"])),
        ("missing", Field::Always, Schema::list(Schema::text())),
        ("checks", Field::Always, Schema::list(check)),
    ]);
    let operation = Operation::open(Verb::Get, "isAlive", "Says that the process answers.");
    routes.add(Place::at("/healthz").on(operation.answer(200, "It does.", alive), healthz));
    let operation = Operation::open(Verb::Get, "isReady", "Says whether everything that is needed is there.")
        .query("service", Schema::text())
        .answer(200, "It is.", ready)
        .problem(400, &["query_malformed"])
        .problem(404, &["not_found"])
        .problem(503, &["not_ready"]);
    routes.add(Place::at("/readyz").on(operation, readyz));
}

/// `/openapi.json`: what was registered before, and itself.
fn document_route(routes: &mut Routes<'_>) {
    let operation = Operation::open(Verb::Get, "getOpenApi", "This document.").answer(
        200,
        "An OpenAPI 3.1 document.",
        Schema::any_object(),
    );
    let mut operations = routes.operations().to_vec();
    operations.push(("/openapi.json".to_owned(), operation.clone()));
    let text = Bytes::from(openapi::document(&operations).to_string());
    let answer = move || {
        let text = text.clone();
        async move { HttpResponse::Ok().content_type("application/json").body(text) }
    };
    routes.add(Place::at("/openapi.json").on(operation, answer));
}

/// `/metrics`.
fn metrics_route(metrics: &Metrics) -> Place {
    const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let metrics = metrics.clone();
    let scrape = move || {
        let text = metrics.render();
        async move { HttpResponse::Ok().content_type(FORMAT).body(text) }
    };
    let operation = Operation::open(Verb::Get, "getMetrics", "Metrics for Prometheus.");
    Place::at("/metrics").on(operation.answer_as(200, "They.", "text/plain", Schema::text()), scrape)
}
