//! What ingest is told, and nothing else: webhook secrets and a broker (ING-4).
//!
//! Variables: `AMQP_URL`, `STRIPE_LIVEMODE`, `STRIPE_WEBHOOK_SECRET`, `STRIPE_CONNECT_WEBHOOK_SECRET` (without it the connect
//! endpoint does not exist), `STRIPE_WEBHOOK_TOLERANCE_SECONDS` (300), `WEBHOOK_MAX_BODY_BYTES` (1048576) and
//! `WEBHOOK_CONFIRM_TIMEOUT_MS` (600). Secrets are lists separated by commas, so that a rotation drops nothing.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use service_kit::config::{Reader, shape};
use stripe_gateway::signature::Secrets;

/// The configuration of ingest.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// The broker's URL.
    pub amqp_url: SecretString,
    /// Whether this installation handles real money; events of the other mode are kept, alerted on and never applied.
    pub livemode: bool,
    /// The signing secrets of the platform's endpoint.
    pub platform_secrets: Secrets,
    /// The signing secrets of the endpoint for connected accounts, where there is one.
    pub connect_secrets: Option<Secrets>,
    /// How old or how far ahead a signature may be.
    pub tolerance_seconds: u64,
    /// The largest body that is read.
    pub max_body_bytes: usize,
    /// How long a delivery waits for the broker's confirm before it is answered 503, so that Stripe sends it again.
    pub confirm_timeout: Duration,
}

impl IngestConfig {
    /// Reads the variables of this module.
    pub fn read(r: &mut Reader<'_>) -> Option<Self> {
        let amqp_url = r.required("AMQP_URL", shape::url(&["amqp", "amqps"]).and_then(bus::checked_url));
        let livemode = r.required("STRIPE_LIVEMODE", shape::boolean());
        let platform = r.required("STRIPE_WEBHOOK_SECRET", shape::webhook_secrets().and_then(prepare));
        let connect = r.optional(
            "STRIPE_CONNECT_WEBHOOK_SECRET",
            shape::webhook_secrets().and_then(prepare),
        );
        let tolerance = r.or("STRIPE_WEBHOOK_TOLERANCE_SECONDS", "300", shape::integer(1..=86_400));
        let max_body = r.or("WEBHOOK_MAX_BODY_BYTES", "1048576", shape::integer(1_024..=16_777_216));
        // By default it stays, with the wait for a place, well below the second within which a delivery gets its answer (ING-11). Stripe itself
        // waits for some ten seconds.
        let confirm_timeout = r.or("WEBHOOK_CONFIRM_TIMEOUT_MS", "600", shape::integer(50..=8_000));
        Some(Self {
            amqp_url: amqp_url?,
            livemode: livemode?,
            platform_secrets: platform?,
            connect_secrets: connect?,
            tolerance_seconds: tolerance?,
            max_body_bytes: usize::try_from(max_body?).ok()?,
            confirm_timeout: Duration::from_millis(confirm_timeout?),
        })
    }
}

fn prepare(secrets: Vec<SecretString>) -> Result<Secrets, String> {
    Secrets::new(secrets.iter().map(ExposeSecret::expose_secret)).map_err(|error| format!("is refused: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn load(pairs: &[(&str, &str)]) -> Result<IngestConfig, service_kit::config::Problems> {
        let source: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        service_kit::config::load(&source, IngestConfig::read)
    }

    const GOOD: [(&str, &str); 3] = [
        ("AMQP_URL", "amqp://guest:guest@localhost"),
        ("STRIPE_LIVEMODE", "false"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef,whsec_fedcba9876543210"),
    ];

    #[test]
    fn the_least_configuration_has_defaults_for_the_rest() {
        let config = load(&GOOD).unwrap();
        assert_eq!(config.platform_secrets.count(), 2);
        assert!(config.connect_secrets.is_none());
        assert_eq!((config.tolerance_seconds, config.max_body_bytes), (300, 1_048_576));
        let longest = config.confirm_timeout + crate::ADMISSION_WAIT;
        assert!(
            longest < Duration::from_millis(900),
            "ING-11: an answer within a second"
        );
    }

    #[test]
    fn problems_come_together_and_show_no_secret() {
        let secret = "whsec_with space 0123456789";
        let problems = load(&[
            ("AMQP_URL", "http://u:hunter2@x"),
            ("STRIPE_WEBHOOK_SECRET", secret),
            ("STRIPE_CONNECT_WEBHOOK_SECRET", "sk_test_0123456789"),
            ("STRIPE_WEBHOOK_TOLERANCE_SECONDS", "0"),
            ("WEBHOOK_MAX_BODY_BYTES", "1"),
        ])
        .unwrap_err();
        let text = problems.to_string();
        assert_eq!(problems.0.len(), 6, "{text}");
        assert!(
            !text.contains("hunter2") && !text.contains("with space") && !text.contains("sk_test_0123"),
            "{text}"
        );
    }
}
