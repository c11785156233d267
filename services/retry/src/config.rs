//! What retry is told: a database and a broker.
//!
//! Variables: `DATABASE_URL`, `AMQP_URL`, `AUTH_JWT_SECRET` or `AUTH_JWKS_URL` and `RECONCILE_SECRET`.

use db::{Database, DatabaseConfig};
use secrecy::SecretString;
use service_kit::config::{Reader, TokenKeys, shape};
use service_kit::secret::SharedSecret;

/// The configuration of retry.
#[derive(Debug, Clone)]
pub struct RetryConfig {
    /// Where the job finds its work.
    pub run: RunConfig,
    /// Checks the tokens of callers.
    pub token_keys: TokenKeys,
    /// Lets a scheduler start a run.
    pub reconcile_secret: SharedSecret,
}

/// What a run needs by itself.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The database, as the role `holdfast_service`.
    pub database_url: SecretString,
    /// The broker.
    pub amqp_url: SecretString,
}

impl RetryConfig {
    /// Reads the variables of this module.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let run = RunConfig::read(r);
        let token_keys = TokenKeys::read(r);
        let reconcile_secret = r.required("RECONCILE_SECRET", shape::bearer_secret());
        Some(Self {
            run: run?,
            token_keys: token_keys?,
            reconcile_secret: SharedSecret::new(reconcile_secret?),
        })
    }
}

impl RunConfig {
    /// Reads the variables of a run.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let database = r.required(
            "DATABASE_URL",
            shape::url(&["postgres", "postgresql"]).and_then(openable),
        );
        let amqp = r.required("AMQP_URL", shape::url(&["amqp", "amqps"]).and_then(bus::checked_url));
        Some(Self {
            database_url: database?,
            amqp_url: amqp?,
        })
    }
}

/// A URL that the driver refuses is a wrong value, to be told with all others. Nothing is connected.
fn openable(url: String) -> Result<SecretString, String> {
    let url = SecretString::from(url);
    Database::open(&DatabaseConfig::new(url.clone(), crate::NAME))
        .map(|_| url)
        .map_err(|error| format!("is refused: {error}"))
}
