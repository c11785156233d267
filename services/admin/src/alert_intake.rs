//! Alerts on their way from the broker into their table: one transaction per batch, one unresolved row per key (ALT-1).
//!
//! Rows are written in the order of their keys, so that two replicas that write the same keys wait for each other instead of
//! deadlocking. A batch that is delivered again after a lost ack raises counts that were raised already: a count can be too
//! high, the number of rows never.

use bus::{AlertMessage, BatchError, BatchHandler, Incoming, Verdict, alert_row};
use db::Database;
use db::alerts::{AlertRow, raise_alert};

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
            .map_err(|error| BatchError::of_database(&error))?;
        Ok(verdicts)
    }
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
    alert_row(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
