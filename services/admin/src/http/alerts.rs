//! `GET /api/admin/billing-alerts` and `POST /api/admin/billing-alerts/{id}/resolve` (ALT-4).

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use db::alerts::{AlertFilter, ResolveOutcome, StoredAlert, list_alerts, resolve_alert};
use domain::alert::Severity;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::auth::Principal;
use uuid::Uuid;

use super::refusal::Refusal;
use super::{Desk, given, next_page, page_limit};

const PATH: &str = "/api/admin/billing-alerts";

/// What may stand after the question mark.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    #[serde(default, deserialize_with = "given")]
    severity: Option<String>,
    #[serde(default, deserialize_with = "given")]
    resolved: Option<String>,
    #[serde(default, deserialize_with = "given")]
    limit: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    offset: Option<i64>,
}

/// An alert as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: Uuid,
    alert_key: String,
    kind: String,
    severity: &'static str,
    subject: String,
    summary: String,
    details: Value,
    occurrences: i64,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    resolved: bool,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<String>,
}

impl From<StoredAlert> for Shown {
    fn from(stored: StoredAlert) -> Self {
        let StoredAlert { id, alert, resolved } = stored;
        let (resolved_at, resolved_by) = resolved.map(|by| (by.at, by.by)).unzip();
        Self {
            id,
            alert_key: alert.alert_key,
            kind: alert.kind,
            severity: alert.severity.as_str(),
            subject: alert.subject,
            summary: alert.summary,
            details: alert.details,
            occurrences: alert.occurrences,
            first_seen_at: alert.first_seen_at,
            last_seen_at: alert.last_seen_at,
            resolved: resolved_at.is_some(),
            resolved_at,
            resolved_by,
        }
    }
}

impl Query {
    fn filter(&self) -> Result<AlertFilter, Refusal> {
        let severity = self.severity.as_deref().map(|word| {
            Severity::parse(word).ok_or(Refusal::Parameter {
                name: "severity",
                expected: "info, warning or critical",
            })
        });
        let resolved = self.resolved.as_deref().map(|word| match word {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Refusal::Parameter {
                name: "resolved",
                expected: "true or false",
            }),
        });
        Ok(AlertFilter {
            severity: severity.transpose()?,
            resolved: resolved.transpose()?,
        })
    }

    fn page(&self) -> Result<(i64, i64), Refusal> {
        let limit = page_limit(self.limit)?;
        let offset = self.offset.unwrap_or(0);
        if offset < 0 {
            return Err(Refusal::Parameter {
                name: "offset",
                expected: "0 or more",
            });
        }
        Ok((limit, offset))
    }

    fn next(&self, limit: i64, offset: i64) -> String {
        let mut pairs = Vec::new();
        pairs.extend(self.severity.clone().map(|severity| ("severity", severity)));
        pairs.extend(self.resolved.clone().map(|resolved| ("resolved", resolved)));
        pairs.push(("limit", limit.to_string()));
        pairs.push(("offset", offset.saturating_add(limit).to_string()));
        next_page(PATH, &pairs)
    }
}

/// Alerts, the last seen first.
pub(super) async fn list(
    caller: Principal,
    desk: web::Data<Desk>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Refusal> {
    desk.require_admin(&caller).await?;
    let filter = query.filter()?;
    let (limit, offset) = query.page()?;
    let conn = desk.database.conn().await?;
    let alerts = list_alerts(&conn, &filter, limit, offset).await?;
    let mut answer = HttpResponse::Ok();
    if i64::try_from(alerts.len()).is_ok_and(|found| found == limit) {
        answer.insert_header((header::LINK, query.next(limit, offset)));
    }
    Ok(answer.json(alerts.into_iter().map(Shown::from).collect::<Vec<_>>()))
}

/// Ends an alert. Of two who do it at once the second gets 409.
pub(super) async fn resolve(
    caller: Principal,
    desk: web::Data<Desk>,
    id: web::Path<String>,
) -> Result<HttpResponse, Refusal> {
    desk.require_admin(&caller).await?;
    let id = Uuid::parse_str(&id).map_err(|_| Refusal::UnknownAlert)?;
    let conn = desk.database.conn().await?;
    match resolve_alert(&conn, id, &caller.subject, desk.clock.now()).await? {
        ResolveOutcome::Resolved(alert) => {
            tracing::info!(
                alert.key = alert.alert.alert_key,
                by = caller.subject,
                "an alert was resolved"
            );
            Ok(HttpResponse::Ok().json(Shown::from(alert)))
        }
        ResolveOutcome::AlreadyResolved(alert) => Err(Refusal::AlreadyResolved {
            by: alert.resolved.map(|resolution| resolution.by).unwrap_or_default(),
        }),
        ResolveOutcome::NotFound => Err(Refusal::UnknownAlert),
    }
}
