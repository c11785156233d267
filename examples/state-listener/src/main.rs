//! `AMQP_URL=amqp://... cargo run -p state-listener`: prints each change of a client's state.

use anyhow::Context;

#[tokio::main]
#[allow(
    clippy::disallowed_methods,
    reason = "an example reads its one variable where it needs it"
)]
async fn main() -> anyhow::Result<()> {
    // The broker's library takes the process's TLS provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    let url = std::env::var("AMQP_URL").context("AMQP_URL names the broker")?;
    state_listener::listen(&url, "example.client-states", |change, is_new| {
        let note = if is_new { "" } else { " (known)" };
        println!(
            "{} {} -> {} v{} by {}{note}",
            change.client_id, change.from, change.to, change.version, change.cause.r#type
        );
    })
    .await
}
