//! What every consumer with a database has in common: what its failures mean for a batch, who is told, and where alerts go while
//! the broker is away.

use std::sync::Arc;
use std::time::Duration;

use db::alerts::{AlertRow, raise_alert};
use db::{Database, DbError};
use domain::alert::{Alert, AlertKind, Severity};
use serde_json::{Map, Value};

use crate::alerts::{AlertFallback, AlertMessage, AlertRaiser};
use crate::consumer::BatchHandler;
use crate::incoming::Incoming;
use crate::verdict::{BatchError, Verdict};

/// The longest key that the table of alerts takes.
const MAX_KEY_CHARS: usize = 600;
/// How long a handler may take before the database is asked whether it is there at all; shorter than the consumer's own limit,
/// which would count as the messages' failure.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the database may take to answer that.
const PING: Duration = Duration::from_secs(3);
/// SQLSTATE classes that no message can be the cause of: no access, no such database, no such table, column or right. They mean
/// a wrong password, a missing migration or a missing grant, and pass when a person has acted.
const EVERY_MESSAGE: [&str; 3] = ["28", "3D", "42"];

impl BatchError {
    /// Whether the batch waits for the database or is taken apart. A message must not be parked for a schema that is not there
    /// yet.
    #[must_use]
    pub fn of_database(error: &DbError) -> Self {
        let class = error.code().and_then(|code| code.code().get(..2));
        let reason = db::error::chain(error);
        if error.is_unavailable() || class.is_some_and(|class| EVERY_MESSAGE.contains(&class)) {
            Self::unavailable(reason)
        } else if error.met_a_lock() {
            Self::held(reason)
        } else if error.ran_out_of_time() {
            Self::slow(reason)
        } else {
            Self::failed(reason)
        }
    }
}

/// A handler that knows its database: a failure while the database does not answer, or is too slow or locked for everybody, is nobody's
/// fault, and a person is told. The alert waits in the broker until the database is back.
#[derive(Clone, Debug)]
pub struct DatabaseWatch<H> {
    /// The service.
    pub name: &'static str,
    /// Does the work.
    pub handler: H,
    /// Asked whether it answers when the handler fails or hangs.
    pub database: Database,
    /// Told.
    pub alerts: AlertRaiser,
}

impl<H: BatchHandler> BatchHandler for DatabaseWatch<H> {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let judged = match tokio::time::timeout(PATIENCE, self.handler.handle(batch)).await {
            Ok(Err(BatchError::Failed { reason })) if !self.answers().await => Err(BatchError::unavailable(reason)),
            Ok(Err(BatchError::Slow { reason } | BatchError::Held { reason })) if !self.takes_writes().await => {
                Err(BatchError::unavailable(reason))
            }
            Ok(judged) => judged,
            Err(_) if self.takes_writes().await => Err(BatchError::slow("the handler did not end in time")),
            Err(_) => Err(BatchError::unavailable("the database does not answer in time")),
        };
        if let Err(BatchError::Unavailable { reason }) = &judged {
            let summary = format!(
                "The database does not take what {} writes; its messages wait in their queues.",
                self.name
            );
            let alert = Alert::new(AlertKind::DatabaseUnavailable, self.name, summary);
            self.alerts.raise(alert.with("reason", reason));
        }
        judged
    }

    async fn gave_up(&self, message: &Incoming, reason: &str) -> Result<(), BatchError> {
        self.handler.gave_up(message, reason).await
    }
}

impl<H> DatabaseWatch<H> {
    async fn answers(&self) -> bool {
        matches!(tokio::time::timeout(PING, self.database.ping()).await, Ok(Ok(())))
    }

    /// Whether what took too long did so by itself: the database takes everybody else's writes.
    async fn takes_writes(&self) -> bool {
        matches!(
            tokio::time::timeout(PING, self.database.takes_writes()).await,
            Ok(Ok(true))
        )
    }
}

/// Why one alert was not stored.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error("the alert cannot be stored: {0}")]
    Unreadable(String),
    #[error("the alert was not stored")]
    Store(#[from] DbError),
}

/// Stores alerts in the database, for a process that has one while the broker is away.
#[must_use]
pub fn alerts_into(database: Database) -> AlertFallback {
    Arc::new(move |message| {
        let database = database.clone();
        Box::pin(async move { Ok(store(&database, message).await?) })
    })
}

async fn store(database: &Database, message: AlertMessage) -> Result<(), StoreError> {
    let row = alert_row(message).map_err(StoreError::Unreadable)?;
    let conn = database.conn().await?;
    raise_alert(&conn, &row).await?;
    Ok(())
}

/// The row of a message, in the form that the table's constraints ask for.
///
/// # Errors
/// Why the table would refuse it.
pub fn alert_row(message: AlertMessage) -> Result<AlertRow, String> {
    let severity =
        Severity::parse(&message.severity).ok_or_else(|| "the alert's severity is none of ours".to_owned())?;
    if message.key.is_empty() || message.key.chars().count() > MAX_KEY_CHARS {
        return Err(format!(
            "the alert's key is empty or longer than {MAX_KEY_CHARS} characters"
        ));
    }
    let occurrences = i64::try_from(message.occurrences).unwrap_or(i64::MAX);
    if occurrences < 1 {
        return Err("the alert stands for no occurrence".to_owned());
    }
    let (first, last) = (message.first_seen_at, message.last_seen_at);
    Ok(AlertRow {
        alert_key: storable(message.key),
        kind: storable(message.kind),
        severity,
        subject: storable(message.subject),
        summary: storable(message.summary),
        details: Value::Object(details(message.details)),
        occurrences,
        first_seen_at: first.min(last),
        last_seen_at: last.max(first),
    })
}

/// Postgres stores every character but NUL.
fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

fn details(given: Map<String, Value>) -> Map<String, Value> {
    let clean = |value| match value {
        Value::String(text) => Value::String(storable(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        // Details are pairs of texts; whatever else comes is kept as its text.
        Value::Array(_) | Value::Object(_) => Value::String(storable(value.to_string())),
    };
    given
        .into_iter()
        .map(|(name, value)| (storable(name), clean(value)))
        .collect()
}
