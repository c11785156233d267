//! A small honest Stripe over HTTP, for development and tests: state, idempotency keys, signed webhooks and faults on demand. Its README says
//! what it does and what it does not.
//!
//! One lock guards everything that is known ([`state`]). A call is read, checked against faults and idempotency keys, executed under the lock
//! and its events handed to the courier in the same step, so that what an answer tells is what the events tell. Deliveries run beside it.
//! All that is random comes from the seed; the same seed and the same calls give the same ids and the same order of delivery.

#![recursion_limit = "512"]
#![allow(
    clippy::disallowed_methods,
    reason = "the simulator has its own clock, which starts from the machine's"
)]

mod config;
mod control;
mod deliver;
mod error;
mod execute;
mod faults;
mod form;
mod idempotency;
mod ids;
mod render;
mod routes;
mod serve;
mod state;
mod time;
mod version;

pub use config::{EndpointConfig, SimConfig};
pub use deliver::Payload;
pub use version::{ApiVersion, NEWEST, Train};

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::task::JoinHandle;

use deliver::Sources;
use routes::NewEndpoint;
use state::World;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or may not be listened on.
    #[error("listening on port {port} failed")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The client for deliveries could not be made.
    #[error("setting up the HTTP client for deliveries failed")]
    Client(#[source] reqwest::Error),
}

/// A running simulator. It stops when it is dropped.
#[derive(Debug)]
pub struct SimHandle {
    /// For example `http://127.0.0.1:40123`, without a slash at the end.
    pub base_url: String,
    /// The secret with which deliveries to the first platform endpoint are signed.
    pub webhook_secret: String,
    /// As `webhook_secret`, for the first endpoint for connected accounts.
    pub connect_webhook_secret: String,
    server: ServerHandle,
    tasks: Vec<JoinHandle<()>>,
}

impl SimHandle {
    /// Stops listening and delivering.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.server.stop(false).await;
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // The command is sent when the future is made; awaiting it would only wait for the end.
        drop(self.server.stop(false));
    }
}

/// The lock on everything. A panic while it was held is no reason for a second one.
fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a simulator inside the current Tokio runtime.
///
/// # Errors
/// When the port cannot be listened on, or the HTTP client cannot be set up.
pub async fn start(config: SimConfig) -> Result<SimHandle, StartError> {
    let _: Result<(), _> = rustls::crypto::ring::default_provider().install_default();
    let listen = |source| StartError::Listen {
        port: config.port,
        source,
    };
    let listener = TcpListener::bind((config.host, config.port)).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(StartError::Client)?;

    let mut world = World::new(&config);
    let webhook_secret = register(
        &mut world,
        &config.endpoints,
        config.webhook_secret.clone(),
        Sources::Platform,
    );
    let connect_webhook_secret = register(
        &mut world,
        &config.connect_endpoints,
        config.connect_webhook_secret.clone(),
        Sources::Accounts,
    );
    let world = Arc::new(Mutex::new(world));
    let server = serve::listen(listener, Arc::clone(&world), config.api_key.clone()).map_err(listen)?;
    let handle = server.handle();
    let tasks = vec![
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the simulator's server ended");
            }
        }),
        tokio::spawn(deliver::run(Arc::clone(&world), client)),
        tokio::spawn(tick(world)),
    ];
    Ok(SimHandle {
        base_url: format!("http://{address}"),
        webhook_secret,
        connect_webhook_secret,
        server: handle,
        tasks,
    })
}

/// Makes the endpoints of one kind and returns the secret that they share.
fn register(world: &mut World, given: &[EndpointConfig], secret: Option<String>, sources: Sources) -> String {
    let mut secret = secret;
    for endpoint in given {
        let made = world.add_endpoint(NewEndpoint {
            url: endpoint.url.clone(),
            secret: endpoint.secret.clone().or_else(|| secret.clone()),
            sources,
            payload: endpoint.payload,
            version: endpoint.api_version.clone(),
        });
        secret.get_or_insert(made.secret);
    }
    secret.unwrap_or_default()
}

/// Does what becomes due as the simulator's clock runs.
async fn tick(world: Arc<Mutex<World>>) {
    let mut every = tokio::time::interval(Duration::from_millis(250));
    loop {
        every.tick().await;
        let mut world = lock(&world);
        world.run_due(None);
        world.prune_keys();
        world.commit();
    }
}
