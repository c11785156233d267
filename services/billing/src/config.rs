//! What billing is told: a database, a broker, the mode, and whether metadata may bind a customer.
//!
//! Variables: `DATABASE_URL`, `AMQP_URL`, `AUTH_JWT_SECRET` or `AUTH_JWKS_URL`, `STRIPE_LIVEMODE`, `BILLING_REQUIRE_REGISTERED_CUSTOMER` (false),
//! and those of Stripe's API ([`service_kit::config::StripeApi`]). Without `STRIPE_SECRET_KEY` thin events wait, and subscriptions whose
//! events leave their last state open stay read in the client's favour.

use db::{Database, DatabaseConfig};
use domain::billing::authority::Binding;
use secrecy::SecretString;
use service_kit::config::{Reader, StripeApi, TokenKeys, shape};
use stripe_gateway::client::{ApiBase, ClientConfig};

/// The configuration of billing.
#[derive(Debug, Clone)]
pub struct BillingConfig {
    /// The database, as the role `holdfast_service`.
    pub database_url: SecretString,
    /// The broker.
    pub amqp_url: SecretString,
    /// Signs and checks the tokens of callers.
    pub token_keys: TokenKeys,
    /// Whether this installation handles real money; events of the other mode are never applied.
    pub livemode: bool,
    /// Whether metadata may bind a client's first customer.
    pub binding: Binding,
    /// How to read from Stripe what events leave open.
    pub stripe: Option<ClientConfig>,
}

impl BillingConfig {
    /// Reads the variables of this module.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let database = r.required(
            "DATABASE_URL",
            shape::url(&["postgres", "postgresql"]).and_then(openable),
        );
        let amqp = r.required("AMQP_URL", shape::url(&["amqp", "amqps"]).and_then(bus::checked_url));
        let token_keys = TokenKeys::read(r);
        let livemode = r.required("STRIPE_LIVEMODE", shape::boolean());
        let registered_only = r.or("BILLING_REQUIRE_REGISTERED_CUSTOMER", "false", shape::boolean());
        let stripe = StripeApi::read_optional(r, |text| ApiBase::parse(text).map_err(|error| error.to_string()));
        let stripe = match stripe {
            Some(Some(api)) => api.of_mode(r, livemode).map(Some),
            stripe => stripe,
        };
        Some(Self {
            database_url: database?,
            amqp_url: amqp?,
            token_keys: token_keys?,
            livemode: livemode?,
            binding: if registered_only? {
                Binding::RegisteredOnly
            } else {
                Binding::FirstUse
            },
            stripe: stripe?.map(|api| ClientConfig::new(api.base, api.secret_key, api.timeout, api.max_retries)),
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
