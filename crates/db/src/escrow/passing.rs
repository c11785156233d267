//! Alerts that say what is so for a while, and end by themselves when it is so no longer.
//!
//! An alert is in its table some time after the transaction that raised it: it takes the outbox and the broker. So it is not the
//! transaction that ends its cause which resolves it, and might come first, but a sweep that asks whether the cause is still there. It takes
//! no input, finds what was raised by an earlier version as well, and any number of replicas may run it.
//!
//! An alert that was seen within the last minute is left alone: what raised it may be newer than what this sees. One that is just being
//! raised again is passed over.

use chrono::{DateTime, TimeDelta, Utc};
use deadpool_postgres::GenericClient;
use domain::alert::AlertKind;

use crate::DbError;
use crate::error::During as _;

/// Who has resolved what ended by itself.
pub const BY_ITSELF: &str = "holdfast";
/// Longer than any transaction that raises an alert, and than clocks differ.
const SETTLED: TimeDelta = TimeDelta::minutes(1);

/// Which alerts end by themselves.
struct Passing {
    kind: AlertKind,
    /// Of this kind only the one with this subject; `None` where each may end.
    subject: Option<&'static str>,
    /// What is there as long as alert `a` is true.
    cause: &'static str,
    /// What is kept with the alert once it is not.
    resolution: &'static str,
}

const PASSING: [Passing; 2] = [
    Passing {
        kind: AlertKind::RecipientNotReady,
        subject: None,
        // As in `mark_account_news`: a recipient or an escrow that is at its end waits for nothing.
        cause: "SELECT FROM escrow_recipients AS r JOIN escrow_transactions AS e ON e.id = r.escrow_id \
                WHERE r.account = a.subject AND r.readiness = 'not_ready' AND r.status NOT IN ('paid', 'reversed', 'returned') \
                    AND e.status NOT IN ('refunded', 'canceled', 'distributed')",
        resolution: "No share waits for this account any more.",
    },
    Passing {
        kind: AlertKind::StripeApiFailure,
        subject: Some("escrow/charge"),
        cause: "SELECT FROM stripe_operations AS o JOIN escrow_transactions AS e ON e.id = o.escrow_id \
                WHERE o.kind = 'transfer' AND o.due_at IS NOT NULL AND e.charge_id IS NULL",
        resolution: "No transfer waits for its payment's charge any more.",
    },
];

/// Resolves alerts whose cause is gone; answers their keys.
///
/// # Errors
/// When the database does not answer.
pub async fn resolve_what_is_over(conn: &impl GenericClient, now: DateTime<Utc>) -> Result<Vec<String>, DbError> {
    const OPERATION: &str = "resolve_what_is_over";
    let mut resolved = Vec::new();
    for passing in &PASSING {
        let sql = format!(
            "WITH ended AS (SELECT id FROM billing_alerts AS a \
                 WHERE NOT resolved AND kind = $1 AND subject = coalesce($2, subject) AND last_seen_at < $3 AND NOT EXISTS ({}) \
                 FOR UPDATE SKIP LOCKED) \
             UPDATE billing_alerts AS b SET resolved = true, resolved_at = $4, resolved_by = $5, \
                 details = b.details || jsonb_build_object('resolution', $6::text) \
             FROM ended WHERE b.id = ended.id RETURNING b.alert_key",
            passing.cause
        );
        let statement = conn.prepare_cached(&sql).await.during(OPERATION)?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
            &passing.kind.as_str(),
            &passing.subject,
            &(now - SETTLED),
            &now,
            &BY_ITSELF,
            &passing.resolution,
        ];
        let rows = conn.query(&statement, &params).await.during(OPERATION)?;
        resolved.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok(resolved)
}
