//! What admin is told.
//!
//! Variables: `DATABASE_URL` (as `holdfast_service`), `AMQP_URL`, `AUTH_JWT_SECRET` or `AUTH_JWKS_URL` and `STRIPE_LIVEMODE`.

use db::{Database, DatabaseConfig};
use secrecy::SecretString;
use service_kit::config::{Reader, TokenKeys, shape};

use crate::NAME;

/// The configuration of admin.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// The database's URL, with a role that reads and writes rows.
    pub database_url: SecretString,
    /// The broker's URL.
    pub amqp_url: SecretString,
    /// Checks the tokens of people.
    pub token_keys: TokenKeys,
    /// Whether this installation handles real money; events of the other mode are archived under a rule of their own.
    pub livemode: bool,
}

impl AdminConfig {
    /// Reads the variables of this module.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let database = shape::url(&["postgres", "postgresql"]).and_then(openable);
        let database_url = r.required("DATABASE_URL", database);
        let amqp_url = r.required("AMQP_URL", shape::url(&["amqp", "amqps"]).and_then(bus::checked_url));
        let token_keys = TokenKeys::read(r);
        let livemode = r.required("STRIPE_LIVEMODE", shape::boolean());
        Some(Self {
            database_url: database_url?,
            amqp_url: amqp_url?,
            token_keys: token_keys?,
            livemode: livemode?,
        })
    }

    pub(crate) fn database(&self) -> DatabaseConfig {
        DatabaseConfig::new(self.database_url.clone(), NAME)
    }
}

/// A URL that the driver refuses is a wrong value, to be told with all others. Nothing is connected.
fn openable(url: String) -> Result<SecretString, String> {
    let url = SecretString::from(url);
    Database::open(&DatabaseConfig::new(url.clone(), NAME))
        .map(|_| url)
        .map_err(|error| format!("is refused: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn problems_come_together_and_show_no_secret() {
        let source: BTreeMap<String, String> = [
            ("DATABASE_URL", "postgres://u:hunter2@db/x?sslmode=perhaps"),
            ("AMQP_URL", "amqp//guest:hunter2@x"),
            ("AUTH_JWT_SECRET", "hunter2"),
            ("STRIPE_LIVEMODE", "maybe"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let problems = service_kit::config::load(&source, AdminConfig::read).unwrap_err();
        assert_eq!(problems.0.len(), 4, "{problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}
