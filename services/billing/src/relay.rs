//! Billing's half of the outbox relay: a round claims, publishes, deletes, commits.

use std::sync::Arc;
use std::time::Duration;

use bus::relay::{RelaySpec, Round, publish_all};
use bus::{AlertFallback, AlertMessage, AlertRaiser, Headers, Outgoing, Publisher};
use bytes::Bytes;
use db::alerts::{AlertRow, raise_alert};
use db::outbox::{OutboxRow, claim_outbox_batch_in_txn, count_outbox, delete_outbox_in_txn};
use db::{Database, DbError, in_txn};
use domain::alert::Severity;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Messages that one round publishes at most.
const ROUND: i64 = 256;
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
    let rounds = spec.clone();
    let round = move || {
        let (database, spec) = (database.clone(), rounds.clone());
        async move { round(&database, &spec).await }
    };
    bus::relay::run(spec, round, stop).await;
}

async fn round(database: &Database, spec: &RelaySpec) -> Result<Round, DbError> {
    database
        .transact(|txn| {
            in_txn(async move {
                let Some(rows) = claim_outbox_batch_in_txn(txn, ROUND).await? else {
                    return Ok(Round {
                        published: 0,
                        pending: 0,
                    });
                };
                if rows.is_empty() {
                    return Ok(Round {
                        published: 0,
                        pending: 0,
                    });
                }
                let messages = rows.into_iter().map(|row| (row.id, outgoing(row))).collect();
                let published = publish_all(spec, messages).await;
                delete_outbox_in_txn(txn, &published.ids).await?;
                let pending = u64::try_from(count_outbox(txn).await?).unwrap_or(0);
                Ok(Round {
                    published: u64::try_from(published.ids.len()).unwrap_or(0),
                    pending,
                })
            })
        })
        .await
}

fn outgoing(row: OutboxRow) -> Outgoing {
    let message = row.message;
    Outgoing {
        exchange: message.exchange.into(),
        routing_key: message.routing_key,
        message_id: message.message_id,
        kind: message.kind,
        timestamp: u64::try_from(row.created_unix).unwrap_or(0),
        headers: Headers::from_json(&message.headers),
        body: Bytes::from(message.payload),
    }
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
