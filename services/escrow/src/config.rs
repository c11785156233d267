//! What escrow is told: a database, a broker, Stripe, the mode, and how much may be refunded by itself.
//!
//! Variables: `DATABASE_URL`, `AMQP_URL`, `AUTH_JWT_SECRET` or `AUTH_JWKS_URL`, `RECONCILE_SECRET`, `STRIPE_LIVEMODE`,
//! `REFUND_BREAKER_MAX_COUNT` (50), `REFUND_BREAKER_MAX_AMOUNT` (`EUR:10000`), `STRIPE_SETTLEMENT_CURRENCIES` (optional), and those of
//! Stripe's API ([`service_kit::config::StripeApi`]), whose key must be there.

use std::collections::{BTreeMap, BTreeSet};

use db::{Database, DatabaseConfig};
use domain::escrow::breaker::Limits;
use domain::escrow::terms::Settlement;
use domain::money::Currency;
use secrecy::SecretString;
use service_kit::config::{Reader, StripeApi, TokenKeys, shape};
use service_kit::secret::SharedSecret;
use stripe_gateway::client::{ApiBase, ClientConfig};

/// The configuration of escrow.
#[derive(Debug, Clone)]
pub struct EscrowConfig {
    /// The database, as the role `holdfast_service`.
    pub database_url: SecretString,
    /// The broker.
    pub amqp_url: SecretString,
    /// Checks the tokens of callers.
    pub token_keys: TokenKeys,
    /// Lets a scheduler start the time-out run.
    pub reconcile_secret: SharedSecret,
    /// Whether this installation handles real money; events of the other mode are never applied.
    pub livemode: bool,
    /// How to call Stripe.
    pub stripe: ClientConfig,
    /// How much may be refunded by itself.
    pub limits: Limits,
    /// The currencies of the platform's balance.
    pub settlement: Settlement,
}

/// What the time-out run needs by itself.
#[derive(Debug, Clone)]
pub struct TimeoutConfig {
    /// The database, as the role `holdfast_service`.
    pub database_url: SecretString,
    /// How to ask Stripe when an authorisation ends.
    pub stripe: ClientConfig,
    /// How much may be refunded by itself.
    pub limits: Limits,
}

impl EscrowConfig {
    /// Reads the variables of this module.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let livemode = r.required("STRIPE_LIVEMODE", shape::boolean());
        let run = TimeoutConfig::read_for(r, livemode);
        let amqp = r.required("AMQP_URL", shape::url(&["amqp", "amqps"]).and_then(bus::checked_url));
        let token_keys = TokenKeys::read(r);
        let reconcile_secret = r.required("RECONCILE_SECRET", shape::bearer_secret());
        let settlement = r.optional("STRIPE_SETTLEMENT_CURRENCIES", currencies());
        let run = run?;
        Some(Self {
            database_url: run.database_url,
            amqp_url: amqp?,
            token_keys: token_keys?,
            reconcile_secret: SharedSecret::new(reconcile_secret?),
            livemode: livemode?,
            stripe: run.stripe,
            limits: run.limits,
            settlement: settlement?.map_or(Settlement::Unsaid, Settlement::In),
        })
    }
}

impl TimeoutConfig {
    /// Reads the variables of the run.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        Self::read_for(r, None)
    }

    fn read_for(r: &mut Reader<'_>, livemode: Option<bool>) -> Option<Self> {
        let database = r.required(
            "DATABASE_URL",
            shape::url(&["postgres", "postgresql"]).and_then(openable),
        );
        let stripe = StripeApi::read(r, |text| ApiBase::parse(text).map_err(|error| error.to_string()));
        let stripe = stripe.and_then(|api| api.of_mode(r, livemode));
        let count = r.or("REFUND_BREAKER_MAX_COUNT", "50", shape::integer(0..=1_000_000));
        let amounts = r.or("REFUND_BREAKER_MAX_AMOUNT", "EUR:10000", amounts());
        Some(Self {
            database_url: database?,
            stripe: stripe.map(|api| ClientConfig::new(api.base, api.secret_key, api.timeout, api.max_retries))?,
            limits: Limits {
                count: i64::try_from(count?).ok()?,
                amounts: amounts?,
            },
        })
    }
}

/// `EUR,USD`.
fn currencies() -> shape::Shape<BTreeSet<Currency>> {
    shape::Shape::new("currencies, such as EUR,USD", |text| {
        let read = |code: &str| Currency::parse(code.trim()).map_err(|_| "is not a list of currencies".to_owned());
        text.split(',').map(read).collect()
    })
}

/// `EUR:10000,JPY:15000`: minor units by currency.
fn amounts() -> shape::Shape<BTreeMap<Currency, i64>> {
    shape::Shape::new("amounts in minor units, such as EUR:10000,JPY:15000", |text| {
        let mut amounts = BTreeMap::new();
        for part in text.split(',') {
            let limit = part.trim().split_once(':').and_then(|(code, minor)| {
                let minor: i64 = minor.parse().ok()?;
                Some((Currency::parse(code).ok()?, minor)).filter(|_| minor >= 0)
            });
            let (currency, minor) = limit.ok_or_else(|| "is not a list of CURRENCY:AMOUNT".to_owned())?;
            if amounts.insert(currency, minor).is_some() {
                return Err("names a currency twice".to_owned());
            }
        }
        Ok(amounts)
    })
}

/// A URL that the driver refuses is a wrong value, to be told with all others. Nothing is connected.
fn openable(url: String) -> Result<SecretString, String> {
    let url = SecretString::from(url);
    Database::open(&DatabaseConfig::new(url.clone(), crate::NAME))
        .map(|_| url)
        .map_err(|error| format!("is refused: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_other_mode_stops_the_start() {
        let load = |key: &str| {
            let source: BTreeMap<String, String> = [
                ("DATABASE_URL", "postgres://h/d"),
                ("AMQP_URL", "amqp://h"),
                ("AUTH_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
                ("RECONCILE_SECRET", "fedcba9876543210fedcba9876543210"),
                ("STRIPE_LIVEMODE", "false"),
                ("STRIPE_SECRET_KEY", key),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
            service_kit::config::load(&source, EscrowConfig::read)
        };
        assert!(load("sk_test_0123456789abcdefghijkl").is_ok());
        let problems = load("sk_live_0123456789abcdefghijkl").unwrap_err().to_string();
        assert!(problems.contains("STRIPE_SECRET_KEY"), "{problems}");
        assert!(problems.contains("is of the other mode"), "{problems}");
    }

    #[test]
    fn limits_are_read_by_currency_and_nonsense_is_refused() {
        let read = |text: &str| {
            let source: BTreeMap<String, String> = [("X".to_owned(), text.to_owned())].into();
            service_kit::config::load(&source, |r| r.required("X", amounts()))
        };
        let currency = |code| Currency::parse(code).unwrap();
        let limits = read("EUR:10000, jpy:15000").unwrap();
        assert_eq!(limits.get(&Currency::EUR), Some(&10_000));
        assert_eq!(limits.get(&currency("jpy")), Some(&15_000));
        for wrong in ["EUR", "EUR:", "EUR:-1", "EUR:1,EUR:2", "EURO:1", "EUR:1.5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
