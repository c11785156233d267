//! `holdfast run`: some services, one HTTP server, one stop.
//!
//! Start: the configuration as a whole, then the ports, then the services, which connect in the background: a broker or a
//! database that is away makes the process not ready, never dead. Stop, at SIGTERM or SIGINT: the server takes nothing new
//! and answers what it has, consumers finish the batch in hand, all under one deadline; then connections are closed, those
//! that others raise their alerts through last, and what is left of traces is sent. What did not finish is named, and the process
//! leaves with a failure.

use std::process::ExitCode;
use std::time::Duration;

use admin::Admin;
use anyhow::Context as _;
use billing::Billing;
use bus::BrokerConfig;
use bus::topology::TopologyError;
use escrow::{Escrow, Tuning};
use retry::Retry;
use secrecy::ExposeSecret as _;
use service_kit::clock::Clock;
use service_kit::config::{self, ProcessEnv};
use service_kit::drain::{DEADLINE, Parts, Signals, Stopped};
use service_kit::health::Readiness;
use service_kit::http::Server;
use service_kit::telemetry::{self, Metrics};
use tokio_util::sync::CancellationToken;
use webhook_ingest::WebhookIngest;

use crate::cli::ServiceArgs;
use crate::services::{Service, Settings};

/// For declaring every exchange and queue at the start.
const TOPOLOGY_LIMIT: Duration = Duration::from_secs(20);
/// For the alerts and messages that are left when everything else has ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: &ServiceArgs) -> anyhow::Result<ExitCode> {
    let chosen = Service::chosen(&args.services);
    let settings = config::load(&ProcessEnv, |r| Settings::read(r, &chosen))?;
    let traces = telemetry::init("holdfast", &settings.logs, settings.traces.as_ref())?;
    // Before anything starts, so that a signal during the start is a clean stop too.
    let signals = Signals::watch().context("watching for signals")?;
    let metrics = Metrics::install()?;
    let stop = CancellationToken::new();
    let readiness = Readiness::new(stop.clone());
    let mut parts = Parts::new(stop.clone());
    let server = Server::new(settings.http.clone(), readiness.clone(), metrics);
    check_topology(&settings).await?;
    let (server, services) = Running::start(settings, server, &readiness, &mut parts)?;
    let bound = server.bind()?;
    let names = chosen
        .iter()
        .map(|service| service.name())
        .collect::<Vec<_>>()
        .join(",");
    tracing::info!(services = names, address = %bound.address(), "listening");
    parts.spawn("http", async move {
        if let Err(error) = bound.run(stop).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the server failed");
        }
    });
    let stopped = parts.run(signals, DEADLINE).await;
    services.close().await;
    let code = end(&stopped);
    if let Some(traces) = traces {
        traces.close().await;
    }
    Ok(code)
}

/// Declares exchanges and queues once before a port opens, so that a queue which exists with other arguments is told as what it is.
/// A broker that is away is waited for later, by whoever needs it.
async fn check_topology(settings: &Settings) -> anyhow::Result<()> {
    let Some(url) = settings.amqp_url() else {
        return Ok(());
    };
    let broker = BrokerConfig::new(url.expose_secret(), "start");
    match tokio::time::timeout(TOPOLOGY_LIMIT, settings.topology().declare(&broker)).await {
        Ok(Err(conflicts @ TopologyError::Conflicts(_))) => {
            Err(conflicts).context("the broker has exchanges or queues of these names with other arguments")
        }
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the broker is not there yet, its queues are checked when it is");
            Ok(())
        }
        Err(_) => {
            tracing::warn!("the broker does not answer yet, its queues are checked when it does");
            Ok(())
        }
        Ok(Ok(())) => Ok(()),
    }
}

fn end(stopped: &Stopped) -> ExitCode {
    let Stopped { cause, unfinished, .. } = stopped;
    if stopped.is_clean() {
        tracing::info!(cause, "stopped");
        return ExitCode::SUCCESS;
    }
    tracing::error!(cause, ?unfinished, "stopped, and not as it should");
    ExitCode::FAILURE
}

/// What has connections that are closed at the end.
struct Running {
    ingest: Option<WebhookIngest>,
    billing: Option<Billing>,
    escrow: Option<Escrow>,
    retry: Option<Retry>,
    admin: Option<Admin>,
}

impl Running {
    /// Starts the services that have settings: their work as parts of the process, their routes on the server.
    fn start(
        settings: Settings,
        mut server: Server,
        readiness: &Readiness,
        parts: &mut Parts,
    ) -> anyhow::Result<(Server, Self)> {
        let clock = Clock::default();
        let stop = parts.stop_token();
        let topology = settings.topology();
        let billing = settings
            .billing
            .map(|config| Billing::start(&config, clock.clone(), stop.clone()))
            .transpose()?;
        if let Some(billing) = billing.clone() {
            billing.register_checks(readiness);
            let work = billing.clone();
            parts.spawn(billing::NAME, async move { work.wait().await });
            server = server.routes(move |config| billing.routes(config));
        }
        let escrow = settings
            .escrow
            .map(|config| Escrow::start(&config, clock.clone(), Tuning::default(), stop.clone()))
            .transpose()?;
        if let Some(escrow) = escrow.clone() {
            escrow.register_checks(readiness);
            let work = escrow.clone();
            parts.spawn(escrow::NAME, async move { work.wait().await });
            server = server.routes(move |config| escrow.routes(config));
        }
        let retry = settings
            .retry
            .map(|config| Retry::start(&config, clock.clone(), stop.clone()))
            .transpose()?;
        if let Some(retry) = retry.clone() {
            retry.register_checks(readiness);
            let work = retry.clone();
            parts.spawn(retry::NAME, async move { work.wait().await });
            server = server.routes(move |config| retry.routes(config));
        }
        let admin = settings
            .admin
            .map(|config| Admin::start(config, clock.clone(), None, stop))
            .transpose()?;
        if let Some(admin) = admin.clone() {
            admin.register_checks(readiness);
            let work = admin.clone();
            parts.spawn(admin::NAME, async move { work.wait().await });
            server = server.routes(move |config| admin.routes(config));
        }
        // Beside a service that has a database, ingest's alerts need no broker.
        let alerts = admin.as_ref().map(Admin::alerts);
        let ingest = settings
            .ingest
            .map(|config| WebhookIngest::start(config, topology, clock, alerts));
        if let Some(ingest) = ingest.clone() {
            ingest.register_checks(readiness);
            server = server.routes(move |config| ingest.routes(config));
        }
        Ok((
            server,
            Self {
                ingest,
                billing,
                escrow,
                retry,
                admin,
            },
        ))
    }

    async fn close(self) {
        if let Some(ingest) = &self.ingest {
            ingest.close(CLOSE_LIMIT).await;
        }
        if let Some(billing) = &self.billing {
            billing.close(CLOSE_LIMIT).await;
        }
        if let Some(escrow) = &self.escrow {
            escrow.close(CLOSE_LIMIT).await;
        }
        if let Some(retry) = &self.retry {
            retry.close(CLOSE_LIMIT).await;
        }
        if let Some(admin) = &self.admin {
            admin.close(CLOSE_LIMIT).await;
        }
    }
}
