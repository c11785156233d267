//! Billing's outbox relay, and its alerts while the broker is away.

use std::sync::Arc;
use std::time::Duration;

use bus::relay::RelaySpec;
use bus::{AlertFallback, AlertMessage, AlertRaiser, Publisher};
use db::Database;
use db::alerts::{AlertRow, raise_alert};
use domain::alert::Severity;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A round at least this often, should a nudge be lost.
const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Relay {
    pub(crate) database: Database,
    pub(crate) publisher: Publisher,
    pub(crate) alerts: AlertRaiser,
    pub(crate) nudge: Arc<Notify>,
    pub(crate) stop: CancellationToken,
}

/// Relays until stopped.
pub(crate) async fn run(relay: Relay) {
    let Relay {
        database,
        publisher,
        alerts,
        nudge,
        stop,
    } = relay;
    let spec = RelaySpec {
        name: crate::NAME.to_owned(),
        publisher,
        alerts,
        nudge,
        interval: INTERVAL,
    };
    bus::relay_outbox(spec, database, stop).await;
}

/// Writes alerts straight into the database while the broker is away.
pub(crate) fn alert_fallback(database: Database) -> AlertFallback {
    Arc::new(move |message| {
        let database = database.clone();
        Box::pin(async move {
            let conn = database.conn().await?;
            raise_alert(&conn, &alert_row(message)).await?;
            Ok(())
        })
    })
}

fn alert_row(message: AlertMessage) -> AlertRow {
    AlertRow {
        alert_key: message.key,
        kind: message.kind,
        severity: Severity::parse(&message.severity).unwrap_or(Severity::Warning),
        subject: message.subject,
        summary: message.summary,
        details: Value::Object(message.details),
        occurrences: i64::try_from(message.occurrences).unwrap_or(i64::MAX),
        first_seen_at: message.first_seen_at,
        last_seen_at: message.last_seen_at,
    }
}
