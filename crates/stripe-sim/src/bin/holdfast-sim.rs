//! `holdfast-sim`: the Stripe simulator by itself. Every flag can come from the environment.

use std::net::IpAddr;

use clap::Parser;
use stripe_sim::{ApiVersion, EndpointConfig, NEWEST, SimConfig};

/// A small honest Stripe over HTTP, for development and tests.
#[derive(Debug, Parser)]
#[command(name = "holdfast-sim", version)]
struct Args {
    /// Address to listen on.
    #[arg(long, env = "HOLDFAST_SIM_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "HOLDFAST_SIM_PORT", default_value_t = 12111)]
    port: u16,
    /// Decides every id and every chance.
    #[arg(long, env = "HOLDFAST_SIM_SEED", default_value_t = 1)]
    seed: u64,
    /// Unix seconds at which the clock stands; without it the clock runs with the machine's.
    #[arg(long, env = "HOLDFAST_SIM_START_AT")]
    start_at: Option<i64>,
    /// Where to post the platform's events; may be given several times (comma separated in the environment). `url@version` sets a version.
    #[arg(long, env = "HOLDFAST_SIM_WEBHOOK_URL", value_delimiter = ',')]
    webhook_url: Vec<String>,
    /// Where to post the events of connected accounts.
    #[arg(long, env = "HOLDFAST_SIM_CONNECT_WEBHOOK_URL", value_delimiter = ',')]
    connect_webhook_url: Vec<String>,
    /// Where to post thin events about the platform's own objects; signed as what goes to the webhook URLs.
    #[arg(long, env = "HOLDFAST_SIM_THIN_WEBHOOK_URL", value_delimiter = ',')]
    thin_webhook_url: Vec<String>,
    /// Signs what goes to the webhook URLs; made from the seed and printed when absent.
    #[arg(long, env = "HOLDFAST_SIM_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,
    /// Signs what goes to the connect webhook URLs.
    #[arg(long, env = "HOLDFAST_SIM_CONNECT_WEBHOOK_SECRET", hide_env_values = true)]
    connect_webhook_secret: Option<String>,
    /// The only API key that is accepted; without it every `sk_test_..` is.
    #[arg(long, env = "HOLDFAST_SIM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// The account's API version: of events, and of answers to calls that name none.
    #[arg(long, env = "HOLDFAST_SIM_API_VERSION", default_value = NEWEST, value_parser = version)]
    api_version: ApiVersion,
    /// Deliveries under way at once to one endpoint; more than one gives the order away.
    #[arg(long, env = "HOLDFAST_SIM_DELIVERY_CONCURRENCY", default_value_t = 1)]
    delivery_concurrency: usize,
    /// Events, and finished deliveries, that are remembered; about 5 kB each.
    #[arg(long, env = "HOLDFAST_SIM_REMEMBERED", default_value_t = 50_000)]
    remembered: usize,
}

fn version(text: &str) -> Result<ApiVersion, String> {
    ApiVersion::parse(text).ok_or_else(|| format!("{text} is no API version, such as {NEWEST}"))
}

fn endpoints(urls: &[String], thin: &[String]) -> anyhow::Result<Vec<EndpointConfig>> {
    let endpoint = |text: &String| match text
        .rsplit_once('@')
        .map(|(url, version)| (url, ApiVersion::parse(version)))
    {
        Some((url, Some(version))) => EndpointConfig {
            api_version: Some(version),
            ..EndpointConfig::new(url)
        },
        _ => EndpointConfig::new(text),
    };
    let thin = thin.iter().map(EndpointConfig::thin);
    let endpoints: Vec<EndpointConfig> = urls.iter().map(endpoint).chain(thin).collect();
    match endpoints
        .iter()
        .find(|one| !one.url.starts_with("http://") && !one.url.starts_with("https://"))
    {
        Some(bad) => anyhow::bail!("{} is no http(s) URL", bad.url),
        None => Ok(endpoints),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let args = Args::parse();
    let config = SimConfig {
        host: args.host,
        port: args.port,
        seed: args.seed,
        start_at: args.start_at,
        endpoints: endpoints(&args.webhook_url, &args.thin_webhook_url)?,
        connect_endpoints: endpoints(&args.connect_webhook_url, &[])?,
        webhook_secret: args.webhook_secret.clone(),
        connect_webhook_secret: args.connect_webhook_secret.clone(),
        api_key: args.api_key,
        api_version: args.api_version,
        delivery_concurrency: args.delivery_concurrency,
        remembered: args.remembered,
        ..SimConfig::default()
    };
    let sim = stripe_sim::start(config).await?;
    print_secrets(
        &sim,
        args.webhook_secret.is_none(),
        args.connect_webhook_secret.is_none(),
    );
    tracing::info!(base_url = %sim.base_url, seed = args.seed, "holdfast-sim is up");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    sim.stop().await;
    Ok(())
}

/// Secrets that were made here have to be told to somebody.
fn print_secrets(sim: &stripe_sim::SimHandle, platform: bool, connect: bool) {
    let made = [
        ("webhook secret", platform, &sim.webhook_secret),
        ("connect webhook secret", connect, &sim.connect_webhook_secret),
    ];
    for (name, made_here, secret) in made {
        if made_here && !secret.is_empty() {
            eprintln!("{name}: {secret}");
        }
    }
}
