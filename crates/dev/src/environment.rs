//! The configuration that `cargo dev` gives to the processes it starts: the variables of the contract, with everything on
//! loopback and every secret made up. What is not set here may be set by the user's own environment.

use anyhow::bail;

use crate::secrets::Secrets;

/// How the services reach Stripe, and what its events are signed with.
#[derive(Debug, Clone)]
pub(crate) struct Stripe {
    pub(crate) api_base: String,
    pub(crate) secret_key: String,
    pub(crate) webhook_secret: String,
    pub(crate) connect_webhook_secret: String,
}

impl Stripe {
    /// The simulator on this port.
    pub(crate) fn simulated(secrets: &Secrets, port: u16) -> Self {
        Self {
            api_base: format!("http://127.0.0.1:{port}"),
            secret_key: secrets.stripe_secret_key.clone(),
            webhook_secret: secrets.webhook_secret.clone(),
            connect_webhook_secret: secrets.connect_webhook_secret.clone(),
        }
    }

    /// The account that the user's environment names; never a live one.
    pub(crate) fn of_environment() -> anyhow::Result<Self> {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let names = [
            "STRIPE_SECRET_KEY",
            "STRIPE_WEBHOOK_SECRET",
            "STRIPE_CONNECT_WEBHOOK_SECRET",
        ];
        let [Some(secret_key), Some(webhook_secret), Some(connect_webhook_secret)] = names.map(given) else {
            let missing: Vec<&str> = names.into_iter().filter(|name| given(name).is_none()).collect();
            bail!(
                "without the simulator these variables have to be set: {}",
                missing.join(", ")
            );
        };
        if secret_key.contains("_live_") {
            bail!("STRIPE_SECRET_KEY is a live key: `cargo dev` only works with test keys");
        }
        let api_base = given("STRIPE_API_BASE").unwrap_or_else(|| "https://api.stripe.com".to_owned());
        Ok(Self {
            api_base,
            secret_key,
            webhook_secret,
            connect_webhook_secret,
        })
    }
}

/// What every service gets.
pub(crate) fn environment(
    secrets: &Secrets,
    stripe: &Stripe,
    database_url: &str,
    amqp_url: &str,
    base_url: &str,
) -> Vec<(String, String)> {
    [
        ("DATABASE_URL", database_url),
        ("AMQP_URL", amqp_url),
        ("STRIPE_API_BASE", &stripe.api_base),
        ("STRIPE_SECRET_KEY", &stripe.secret_key),
        ("STRIPE_LIVEMODE", "false"),
        ("STRIPE_WEBHOOK_SECRET", &stripe.webhook_secret),
        ("STRIPE_CONNECT_WEBHOOK_SECRET", &stripe.connect_webhook_secret),
        ("AUTH_JWT_SECRET", &secrets.auth_jwt_secret),
        ("RECONCILE_SECRET", &secrets.reconcile_secret),
        ("MONITOR_SECRET", &secrets.monitor_secret),
        ("CHECKOUT_ALLOWED_ORIGINS", base_url),
        ("HOLDFAST_METRICS_LISTEN", "shared"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The same for a process that listens on this port.
pub(crate) fn listening(shared: &[(String, String)], port: u16) -> Vec<(String, String)> {
    let mut env = shared.to_vec();
    env.push(("HOLDFAST_LISTEN".to_owned(), format!("127.0.0.1:{port}")));
    env
}

/// What the simulator gets. Its seed decides every id it makes, so a new run on kept data needs a new one.
pub(crate) fn of_simulator(secrets: &Secrets, base_url: &str, port: u16, seed: u64) -> Vec<(String, String)> {
    [
        ("HOLDFAST_SIM_PORT", port.to_string()),
        ("HOLDFAST_SIM_SEED", seed.to_string()),
        ("HOLDFAST_SIM_WEBHOOK_URL", format!("{base_url}/webhooks/stripe")),
        ("HOLDFAST_SIM_WEBHOOK_SECRET", secrets.webhook_secret.clone()),
        (
            "HOLDFAST_SIM_CONNECT_WEBHOOK_URL",
            format!("{base_url}/webhooks/stripe/connect"),
        ),
        (
            "HOLDFAST_SIM_CONNECT_WEBHOOK_SECRET",
            secrets.connect_webhook_secret.clone(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
