//! The services by name, and the configuration of those that run together.
//!
//! [`Settings::read`] asks for the variables of the chosen services only, and goes on after a problem, so that a start
//! that is refused is refused once.

use std::collections::BTreeSet;

use admin::AdminConfig;
use billing::BillingConfig;
use bus::Topology;
use clap::ValueEnum;
use escrow::EscrowConfig;
use retry::RetryConfig;
use secrecy::SecretString;
use service_kit::config::{Reader, Shape, shape};
use service_kit::http::HttpSettings;
use service_kit::telemetry::{LogSettings, TraceSettings};
use webhook_ingest::IngestConfig;

/// A service, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Service {
    /// Takes Stripe's webhooks in. Has no database.
    WebhookIngest,
    /// Decides what events change for clients.
    Billing,
    /// Holds money for recipients and pays it out.
    Escrow,
    /// Makes refused calls again.
    Retry,
    /// Keeps alerts and the archive, and answers admins.
    Admin,
    /// Every service in one process.
    All,
}

impl Service {
    /// All of them, one by one.
    pub(crate) const EACH: [Self; 5] = [
        Self::WebhookIngest,
        Self::Billing,
        Self::Escrow,
        Self::Retry,
        Self::Admin,
    ];

    /// The services meant by names on the command line, each once.
    pub(crate) fn chosen(named: &[Self]) -> BTreeSet<Self> {
        if named.contains(&Self::All) {
            return Self::EACH.into();
        }
        named.iter().copied().collect()
    }

    /// The name on the command line and in logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WebhookIngest => webhook_ingest::NAME,
            Self::Billing => billing::NAME,
            Self::Escrow => escrow::NAME,
            Self::Retry => retry::NAME,
            Self::Admin => admin::NAME,
            Self::All => "all",
        }
    }
}

/// What a process needs to know to run some services.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) logs: LogSettings,
    pub(crate) traces: Option<TraceSettings>,
    pub(crate) http: HttpSettings,
    pub(crate) ingest: Option<IngestConfig>,
    pub(crate) billing: Option<BillingConfig>,
    pub(crate) escrow: Option<EscrowConfig>,
    pub(crate) retry: Option<RetryConfig>,
    pub(crate) admin: Option<AdminConfig>,
}

impl Settings {
    /// Reads what the chosen services need.
    pub(crate) fn read(r: &mut Reader<'_>, chosen: &BTreeSet<Service>) -> Option<Self> {
        let logs = LogSettings::read(r);
        let traces = TraceSettings::read(r);
        let http = HttpSettings::read(r);
        let works_in_earnest = r.or("HOLDFAST_SHADOW", "false", no_shadow());
        let ingest = read_if(chosen, Service::WebhookIngest, r, IngestConfig::read);
        let billing = read_if(chosen, Service::Billing, r, BillingConfig::read);
        let escrow = read_if(chosen, Service::Escrow, r, EscrowConfig::read);
        let retry = read_if(chosen, Service::Retry, r, RetryConfig::read);
        let admin = read_if(chosen, Service::Admin, r, AdminConfig::read);
        works_in_earnest?;
        Some(Self {
            logs: logs?,
            traces: traces?,
            http: http?,
            ingest: ingest?,
            billing: billing?,
            escrow: escrow?,
            retry: retry?,
            admin: admin?,
        })
    }

    /// The broker, from whichever service has it.
    pub(crate) fn amqp_url(&self) -> Option<&SecretString> {
        let ingest = self.ingest.as_ref().map(|config| &config.amqp_url);
        let billing = self.billing.as_ref().map(|config| &config.amqp_url);
        let escrow = self.escrow.as_ref().map(|config| &config.amqp_url);
        let retry = self.retry.as_ref().map(|config| &config.run.amqp_url);
        let admin = self.admin.as_ref().map(|config| &config.amqp_url);
        ingest.or(billing).or(escrow).or(retry).or(admin)
    }

    /// What this process declares: escrow's bindings only where escrow runs, since its events would wait for nobody.
    pub(crate) fn topology(&self) -> Topology {
        match self.escrow {
            Some(_) => Topology::with_escrow(),
            None => Topology::holdfast(),
        }
    }
}

/// Who asks for a mode that calls nothing at Stripe must not get one that does.
fn no_shadow() -> Shape<()> {
    let in_earnest = |is_shadow: bool| {
        let wrong = "asks for a mode that does not exist yet; everything would be carried out";
        if is_shadow { Err(wrong.to_owned()) } else { Ok(()) }
    };
    shape::boolean().and_then(in_earnest).expecting("false, or nothing")
}

/// The outer `None` is a problem, the inner one a service that does not run.
fn read_if<T>(
    chosen: &BTreeSet<Service>,
    service: Service,
    r: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Option<Option<T>> {
    if chosen.contains(&service) {
        read(r).map(Some)
    } else {
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bus::topology::ESCROW_EVENTS;
    use service_kit::config;

    use super::*;

    #[test]
    fn a_process_binds_escrows_queue_only_where_escrow_runs_in_it() {
        let secret = "0123456789abcdef-0123456789abcdef";
        let source: BTreeMap<String, String> = [
            ("DATABASE_URL", "postgres://u@127.0.0.1:1/x"),
            ("AMQP_URL", "amqp://127.0.0.1:1/x"),
            ("STRIPE_LIVEMODE", "false"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_platform_0123456789"),
            ("STRIPE_SECRET_KEY", "sk_test_0123456789abcdef"),
            ("AUTH_JWT_SECRET", secret),
            ("RECONCILE_SECRET", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let binds = |services: &[Service]| {
            let chosen = Service::chosen(services);
            let settings = config::load(&source, |r| Settings::read(r, &chosen)).unwrap();
            let mut bindings = settings.topology().bindings.into_iter();
            bindings.any(|binding| binding.queue == ESCROW_EVENTS)
        };
        assert!(binds(&[Service::All]));
        assert!(binds(&[Service::Escrow]));
        assert!(binds(&[Service::WebhookIngest, Service::Escrow]));
        let without_escrow = Service::EACH.into_iter().filter(|service| *service != Service::Escrow);
        assert!(!binds(&without_escrow.collect::<Vec<_>>()));
    }
}
