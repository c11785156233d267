//! `holdfast run`: some services, one HTTP server, one stop.
//!
//! Start: the configuration as a whole, then the ports, then the services, which connect in the background: a broker or a
//! database that is away makes the process not ready, never dead. Stop, at SIGTERM or SIGINT: the server takes nothing new
//! and answers what it has, consumers finish the batch in hand, all under one deadline; then connections are closed in an
//! order in which nobody loses what it still needs. What did not finish is named, and the process leaves with a failure.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use service_kit::clock::Clock;
use service_kit::config::{self, ProcessEnv};
use service_kit::drain::{DEADLINE, Parts, Signals};
use service_kit::health::Readiness;
use service_kit::http::Server;
use service_kit::telemetry::{self, Metrics};
use tokio_util::sync::CancellationToken;
use webhook_ingest::WebhookIngest;

use crate::cli::ServiceArgs;
use crate::services::{Service, Settings};

/// For the alerts and messages that are left when everything else has ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: &ServiceArgs) -> anyhow::Result<ExitCode> {
    let chosen = Service::chosen(&args.services);
    let settings = config::load(&ProcessEnv, |r| Settings::read(r, &chosen))?;
    telemetry::init_logs("holdfast", &settings.logs)?;
    // Before anything else, so that a signal during the start is a clean stop too.
    let signals = Signals::watch().context("watching for signals")?;
    let metrics = Metrics::install()?;
    let stop = CancellationToken::new();
    let readiness = Readiness::new(stop.clone());
    let clock = Clock::default();

    let mut server = Server::new(settings.http, readiness.clone(), metrics);
    let ingest = settings.ingest.map(|config| WebhookIngest::start(config, clock, None));
    if let Some(ingest) = ingest.clone() {
        ingest.register_checks(&readiness);
        server = server.routes(move |config| ingest.routes(config));
    }
    let bound = server.bind()?;
    let names = chosen
        .iter()
        .map(|service| service.name())
        .collect::<Vec<_>>()
        .join(",");
    tracing::info!(services = names, address = %bound.address(), "listening");

    let mut parts = Parts::new(stop.clone());
    parts.spawn("http", async move {
        if let Err(error) = bound.run(stop).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the server failed");
        }
    });
    let stopped = parts.run(signals, DEADLINE).await;
    if let Some(ingest) = &ingest {
        ingest.close(CLOSE_LIMIT).await;
    }
    if stopped.is_clean() {
        tracing::info!(cause = stopped.cause, "stopped");
        return Ok(ExitCode::SUCCESS);
    }
    tracing::error!(cause = stopped.cause, unfinished = ?stopped.unfinished, "stopped, and not everything finished");
    Ok(ExitCode::FAILURE)
}
