//! Alerts on their way from the broker into their table: one transaction per batch, one unresolved row per key (ALT-1).
//!
//! Rows are written in the order of their keys, so that two replicas that write the same keys wait for each other instead of
//! deadlocking. A batch that is delivered again after a lost ack raises counts that were raised already: a count can be too
//! high, the number of rows never.

use bus::{AlertMessage, BatchError, BatchHandler, Incoming, Verdict};
use db::Database;
use db::alerts::{AlertRow, raise_alert};
use domain::alert::Severity;
use serde_json::{Map, Value};

use crate::failure;

/// The longest key that the table takes.
const MAX_KEY_CHARS: usize = 600;

/// Stores alerts.
#[derive(Debug, Clone)]
pub(crate) struct AlertIntake {
    pub(crate) database: Database,
}

impl BatchHandler for AlertIntake {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let mut rows = Vec::with_capacity(batch.len());
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            verdicts.push(match read(&message.body) {
                Ok(row) => {
                    rows.push(row);
                    Verdict::Done
                }
                Err(reason) => Verdict::Park { reason },
            });
        }
        rows.sort_by(|a, b| a.alert_key.cmp(&b.alert_key));
        store(&self.database, &rows)
            .await
            .map_err(|error| failure::of_batch(&error))?;
        Ok(verdicts)
    }
}

/// Stores one alert: for a process that has the database while the broker is away.
pub(crate) async fn store_one(database: &Database, message: AlertMessage) -> Result<(), StoreError> {
    let row = row_of(message).map_err(StoreError::Unreadable)?;
    store(database, std::slice::from_ref(&row))
        .await
        .map_err(StoreError::Store)
}

/// Why one alert was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the alert cannot be stored: {0}")]
    Unreadable(String),
    #[error("the alert was not stored")]
    Store(#[source] db::DbError),
}

async fn store(database: &Database, rows: &[AlertRow]) -> Result<(), db::DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    database
        .transact(|txn| {
            db::in_txn(async move {
                for row in rows {
                    raise_alert(txn, row).await?;
                }
                Ok(())
            })
        })
        .await
}

fn read(body: &[u8]) -> Result<AlertRow, String> {
    let message: AlertMessage =
        serde_json::from_slice(body).map_err(|error| format!("the body is not an alert: {error}"))?;
    row_of(message)
}

/// The row of a message, in the form that the table's constraints ask for.
fn row_of(message: AlertMessage) -> Result<AlertRow, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message() -> Value {
        json!({
            "key": "test:me", "kind": "test", "severity": "info", "subject": "me", "summary": "hello",
            "details": {"who": "me"}, "occurrences": 3,
            "first_seen_at": "2026-11-21T12:00:00Z", "last_seen_at": "2026-11-21T12:00:05Z",
        })
    }

    fn with(name: &str, value: Value) -> Result<AlertRow, String> {
        let mut message = message();
        message[name] = value;
        read(message.to_string().as_bytes())
    }

    #[test]
    fn an_alert_is_read_with_its_count() {
        let row = read(message().to_string().as_bytes()).unwrap();
        assert_eq!((row.alert_key.as_str(), row.occurrences), ("test:me", 3));
        assert_eq!(row.details, json!({"who": "me"}));
    }

    #[test]
    fn what_the_table_would_refuse_is_refused_here_and_never_fails_a_batch() {
        for (name, value) in [
            ("severity", json!("terrible")),
            ("key", json!("")),
            ("key", json!("x".repeat(601))),
            ("occurrences", json!(0)),
            ("occurrences", json!(-1)),
            ("first_seen_at", json!("yesterday")),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name} {value}");
        }
        assert!(read(b"\xff").is_err());
    }

    #[test]
    fn characters_and_times_that_the_table_refuses_are_mended() {
        let row = with("summary", json!("a\u{0}b")).unwrap();
        assert_eq!(row.summary, "a\u{fffd}b");
        let row = with("details", json!({"a\u{0}": "\u{0}", "list": ["\u{0}"], "n": 1})).unwrap();
        assert_eq!(
            row.details,
            json!({"a\u{fffd}": "\u{fffd}", "list": "[\"\\u0000\"]", "n": 1})
        );
        let row = with("first_seen_at", json!("2026-11-21T13:00:00Z")).unwrap();
        assert!(row.first_seen_at < row.last_seen_at);
    }
}
