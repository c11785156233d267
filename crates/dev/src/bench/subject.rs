//! Ingest as it would run alone: one process of the one binary, with a broker of its own.

use std::net::SocketAddr;
use std::time::Duration;

use provision::{Broker, BrokerOptions, Process, Say, Signal, Spec, free_ports};

use super::ingest::{self, Plan, Report, Subject};
use crate::paths::Paths;

const SECRET: &str = "whsec_benchmark_0123456789";
const GRACE: Duration = Duration::from_secs(35);

/// Starts what is measured, measures it, and ends it.
pub(super) async fn measure_ingest(plan: Plan, say: Say<'_>) -> anyhow::Result<Report> {
    let paths = Paths::here()?;
    let folder = paths.home().join("bench");
    let log = folder.join("rabbitmq.log");
    let options = BrokerOptions {
        folder: folder.clone(),
        given: None,
        management: false,
        clean: true,
        log,
    };
    let mut broker = Broker::start(options, say).await?;
    let [port] = free_ports()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut process = Process::spawn(spec(&paths, broker.amqp_url(), address))?;
    let measured = async {
        say("waiting for ingest");
        ingest::wait_ready(address).await?;
        let subject = Subject {
            address,
            pid: process.pid(),
            secret: SECRET.to_owned(),
            amqp_url: broker.amqp_url().to_owned(),
            broker_pid: broker.pid(),
        };
        ingest::measure(&subject, &mut broker, plan, say).await
    };
    let measured = measured.await;
    process.stop(Signal::SIGTERM, GRACE).await;
    broker.end().await;
    measured
}

fn spec(paths: &Paths, amqp_url: &str, address: SocketAddr) -> Spec {
    let folder = paths.home().join("bench");
    let env = [
        ("AMQP_URL", amqp_url.to_owned()),
        ("STRIPE_LIVEMODE", "false".to_owned()),
        ("STRIPE_WEBHOOK_SECRET", SECRET.to_owned()),
        ("HOLDFAST_LISTEN", address.to_string()),
        ("HOLDFAST_METRICS_LISTEN", "shared".to_owned()),
    ];
    Spec {
        name: "webhook-ingest".to_owned(),
        program: paths.programs(true).join("holdfast"),
        args: ["run", "webhook-ingest"].map(Into::into).into(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        inherit_env: false,
        wrapper: Vec::new(),
        folder: Paths::workspace(),
        log: folder.join("webhook-ingest.log"),
        pid_folder: folder,
        death_signal: Signal::SIGTERM,
    }
}
