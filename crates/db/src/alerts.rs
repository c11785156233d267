//! Alerts: one unresolved row per key, with a count (ALT-1).
//!
//! Raising is one `INSERT .. ON CONFLICT` on the partial unique index over unresolved keys, so that any number of processes may
//! raise one key at once and neither lose a count nor open a second row. Resolving is one conditional UPDATE; a cause that comes
//! back afterwards opens a new row, because the index no longer holds the old one.

use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use domain::alert::Severity;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::{DbError, During as _};

/// One or more raises of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRow {
    /// `<kind>:<subject>`; at most 600 characters.
    pub alert_key: String,
    /// The cause.
    pub kind: String,
    /// How soon a person should look.
    pub severity: Severity,
    /// What it is about.
    pub subject: String,
    /// One sentence for a person.
    pub summary: String,
    /// What was expected and found: a JSON object.
    pub details: Value,
    /// How many raises this is.
    pub occurrences: i64,
    /// The first of them.
    pub first_seen_at: DateTime<Utc>,
    /// The last of them.
    pub last_seen_at: DateTime<Utc>,
}

/// Whether an alert was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertRaised {
    /// No unresolved alert had this key.
    New,
    /// Added to the unresolved one.
    Repeated,
}

/// An alert as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAlert {
    /// What [`resolve_alert`] takes.
    pub id: Uuid,
    /// Its content, with all raises so far.
    pub alert: AlertRow,
    /// When and by whom it was resolved.
    pub resolved: Option<Resolution>,
}

/// Who ended an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// When.
    pub at: DateTime<Utc>,
    /// The user's or service's id.
    pub by: String,
}

/// Which alerts are listed.
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    /// Only these of one severity.
    pub severity: Option<Severity>,
    /// Only resolved or only unresolved ones.
    pub resolved: Option<bool>,
}

/// What became of a wish to resolve.
#[derive(Debug, Clone, PartialEq)]
pub enum ResolveOutcome {
    /// Resolved now.
    Resolved(StoredAlert),
    /// Somebody was first; the alert says who.
    AlreadyResolved(StoredAlert),
    /// No alert has this id.
    NotFound,
}

const COLUMNS: &str =
    "id, alert_key, kind, severity, subject, summary, details, occurrences, first_seen_at, last_seen_at,
    resolved, resolved_at, resolved_by";

/// Opens an alert or adds to the unresolved one of the same key: the count grows, the time it was seen widens, the newest text
/// stays, the severity only rises.
///
/// # Errors
/// When the row breaks a constraint (count below one, no key) or the statement fails.
pub async fn raise_alert(conn: &impl GenericClient, alert: &AlertRow) -> Result<AlertRaised, DbError> {
    const OPERATION: &str = "raise_alert";
    let statement = conn
        .prepare_cached(
            "INSERT INTO billing_alerts AS known (id, alert_key, kind, severity, subject, summary, details, occurrences,
                                                  first_seen_at, last_seen_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (alert_key) WHERE NOT resolved DO UPDATE SET
                 occurrences = known.occurrences + excluded.occurrences,
                 severity = (ARRAY['info', 'warning', 'critical'])[greatest(
                     array_position(ARRAY['info', 'warning', 'critical'], known.severity),
                     array_position(ARRAY['info', 'warning', 'critical'], excluded.severity))],
                 summary = CASE WHEN excluded.last_seen_at >= known.last_seen_at
                                THEN excluded.summary ELSE known.summary END,
                 details = CASE WHEN excluded.last_seen_at >= known.last_seen_at
                                THEN excluded.details ELSE known.details END,
                 first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
                 last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
             RETURNING id",
        )
        .await
        .during(OPERATION)?;
    let id = Uuid::now_v7();
    let row = conn
        .query_one(
            &statement,
            &[
                &id,
                &alert.alert_key,
                &alert.kind,
                &alert.severity.as_str(),
                &alert.subject,
                &alert.summary,
                &alert.details,
                &alert.occurrences,
                &alert.first_seen_at,
                &alert.last_seen_at,
            ],
        )
        .await
        .during(OPERATION)?;
    Ok(if row.get::<_, Uuid>(0) == id {
        AlertRaised::New
    } else {
        AlertRaised::Repeated
    })
}

/// Alerts, the last seen first.
///
/// # Errors
/// When the statement fails or a row cannot be read.
pub async fn list_alerts(
    conn: &impl GenericClient,
    filter: &AlertFilter,
    limit: i64,
    offset: i64,
) -> Result<Vec<StoredAlert>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM billing_alerts
         WHERE ($1::text IS NULL OR severity = $1) AND ($2::boolean IS NULL OR resolved = $2)
         ORDER BY last_seen_at DESC, id DESC LIMIT $3 OFFSET $4"
    );
    let severity = filter.severity.map(Severity::as_str);
    query_alerts(
        conn,
        "list_alerts",
        &sql,
        &[&severity, &filter.resolved, &limit, &offset],
    )
    .await
}

/// Ends an alert, once.
///
/// # Errors
/// When a statement fails or a row cannot be read.
pub async fn resolve_alert(
    conn: &impl GenericClient,
    id: Uuid,
    by: &str,
    now: DateTime<Utc>,
) -> Result<ResolveOutcome, DbError> {
    const OPERATION: &str = "resolve_alert";
    let update = format!(
        "UPDATE billing_alerts SET resolved = true, resolved_at = $2, resolved_by = $3
         WHERE id = $1 AND NOT resolved RETURNING {COLUMNS}"
    );
    if let Some(alert) = query_alerts(conn, OPERATION, &update, &[&id, &now, &by]).await?.pop() {
        return Ok(ResolveOutcome::Resolved(alert));
    }
    let select = format!("SELECT {COLUMNS} FROM billing_alerts WHERE id = $1");
    let known = query_alerts(conn, OPERATION, &select, &[&id]).await?.pop();
    Ok(known.map_or(ResolveOutcome::NotFound, ResolveOutcome::AlreadyResolved))
}

/// How many alerts are unresolved, for each severity (also when there is none).
///
/// # Errors
/// When the statement fails.
pub async fn count_unresolved_by_severity(conn: &impl GenericClient) -> Result<[(Severity, i64); 3], DbError> {
    const OPERATION: &str = "count_unresolved_by_severity";
    let statement = conn
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE severity = 'info'), count(*) FILTER (WHERE severity = 'warning'),
                    count(*) FILTER (WHERE severity = 'critical')
             FROM billing_alerts WHERE NOT resolved",
        )
        .await
        .during(OPERATION)?;
    let row = conn.query_one(&statement, &[]).await.during(OPERATION)?;
    Ok([
        (Severity::Info, row.get(0)),
        (Severity::Warning, row.get(1)),
        (Severity::Critical, row.get(2)),
    ])
}

async fn query_alerts(
    conn: &impl GenericClient,
    operation: &'static str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<StoredAlert>, DbError> {
    let statement = conn.prepare_cached(sql).await.during(operation)?;
    let rows = conn.query(&statement, params).await.during(operation)?;
    rows.iter().map(|row| read_alert(row, operation)).collect()
}

fn read_alert(row: &Row, operation: &'static str) -> Result<StoredAlert, DbError> {
    let severity: &str = row.get("severity");
    let severity = Severity::parse(severity).ok_or_else(|| DbError::Value {
        operation,
        detail: format!("severity {severity}"),
    })?;
    let resolved_at: Option<DateTime<Utc>> = row.get("resolved_at");
    let resolved_by: Option<String> = row.get("resolved_by");
    Ok(StoredAlert {
        id: row.get("id"),
        alert: AlertRow {
            alert_key: row.get("alert_key"),
            kind: row.get("kind"),
            severity,
            subject: row.get("subject"),
            summary: row.get("summary"),
            details: row.get("details"),
            occurrences: row.get("occurrences"),
            first_seen_at: row.get("first_seen_at"),
            last_seen_at: row.get("last_seen_at"),
        },
        resolved: resolved_at.map(|at| Resolution {
            at,
            by: resolved_by.unwrap_or_default(),
        }),
    })
}
