//! Tells a person of events that wait for their object at Stripe: at once where there is no key to read it with, and after a while where
//! it cannot be read.
//!
//! The alert says how many wait. It is raised again when that number changes and, as long as something waits, every ten minutes; a person
//! resolves it, as every alert.

use std::sync::Arc;
use std::time::Duration;

use bus::AlertRaiser;
use chrono::TimeDelta;
use db::billing::waiting::{WaitsForStripe, measure_waits_for_stripe};
use db::{Database, DbError};
use domain::alert::{Alert, AlertKind};
use service_kit::clock::Clock;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(30);
/// Events that come together are counted together.
const SETTLING: Duration = Duration::from_secs(1);
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// An event that waits for longer than this is not waiting out a short outage.
const LONG: TimeDelta = TimeDelta::hours(1);

/// Why events wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There is no key.
    NoKey,
    /// Stripe does not give the object.
    NotGiven,
}

/// Looks at what waits, and tells.
pub(crate) struct WaitsWatch {
    pub(crate) cause: Cause,
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) alerts: AlertRaiser,
    /// Events began to wait for want of a key.
    pub(crate) no_key: Arc<Notify>,
}

/// What was told last, and when.
struct Told {
    count: i64,
    at: Instant,
}

impl WaitsWatch {
    /// Looks until the stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut told: Option<Told> = None;
        loop {
            match self.look().await {
                Ok(Some(waits)) => {
                    let is_news = told
                        .as_ref()
                        .is_none_or(|told| told.count != waits.count || told.at.elapsed() > TOLD_AGAIN_AFTER);
                    if is_news {
                        self.tell(&waits);
                        told = Some(Told {
                            count: waits.count,
                            at: Instant::now(),
                        });
                    }
                }
                Ok(None) => told = None,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the events that wait for Stripe could not be counted");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.no_key.notified() => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(SETTLING) => {}
                    }
                }
            }
        }
    }

    /// What a person should know of.
    async fn look(&self) -> Result<Option<WaitsForStripe>, DbError> {
        let conn = self.database.conn().await?;
        let waits = measure_waits_for_stripe(&conn).await?;
        Ok(waits.filter(|waits| match self.cause {
            Cause::NoKey => true,
            Cause::NotGiven => self.clock.now().signed_duration_since(waits.longest.1) > LONG,
        }))
    }

    fn tell(&self, waits: &WaitsForStripe) {
        let WaitsForStripe {
            count,
            longest: (event, since),
        } = waits;
        let (subject, summary) = match self.cause {
            Cause::NoKey => (
                "no_key",
                format!(
                    "{count} events wait for objects that are to be read from Stripe, and STRIPE_SECRET_KEY is not set."
                ),
            ),
            Cause::NotGiven => (
                "long_wait",
                format!("{count} events wait for objects that cannot be read from Stripe, one for more than an hour."),
            ),
        };
        tracing::warn!(count, event, "{summary}");
        let alert = Alert::new(
            AlertKind::StripeApiFailure,
            format!("{}/{subject}", crate::NAME),
            summary,
        )
        .with("waiting", count)
        .with("longest", event)
        .with("since", since.to_rfc3339());
        self.alerts.raise(alert);
    }
}
