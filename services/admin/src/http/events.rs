//! `GET /api/admin/events` and `POST /api/admin/events/{event_id}/replay`.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use db::events::{EventCursor, EventFilter, EventRow, list_events};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::auth::Principal;

use super::refusal::Refusal;
use super::{Desk, given, next_page, page_limit};

const PATH: &str = "/api/admin/events";

/// What may stand after the question mark.
#[derive(Debug, Deserialize)]
pub(super) struct Query {
    #[serde(default, deserialize_with = "given")]
    r#type: Option<String>,
    #[serde(default, deserialize_with = "given")]
    outcome: Option<String>,
    #[serde(default, deserialize_with = "given")]
    status: Option<String>,
    #[serde(default, deserialize_with = "given")]
    client_id: Option<String>,
    /// The end of the page before, as its `Link` said.
    #[serde(default, deserialize_with = "given")]
    before: Option<String>,
    #[serde(default, deserialize_with = "given")]
    limit: Option<i64>,
}

/// An event as it is shown: everything but its body, which may hold personal data.
#[derive(Debug, Serialize)]
struct Shown {
    event_id: String,
    r#type: String,
    created: DateTime<Utc>,
    received_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    consumer: String,
    endpoint: String,
    account: Option<String>,
    api_version: Option<String>,
    livemode: Option<bool>,
    status: String,
    outcome: String,
    guard: Option<String>,
    reason: Option<String>,
    client_id: Option<String>,
    org_id: Option<String>,
    deliveries: i32,
}

impl From<EventRow> for Shown {
    fn from(row: EventRow) -> Self {
        Self {
            event_id: row.event_id,
            r#type: row.kind,
            created: row.created,
            received_at: row.received_at,
            recorded_at: row.recorded_at,
            consumer: row.consumer,
            endpoint: row.endpoint,
            account: row.account,
            api_version: row.api_version,
            livemode: row.livemode,
            status: row.status,
            outcome: row.outcome,
            guard: row.guard,
            reason: row.reason,
            client_id: row.client_id,
            org_id: row.org_id,
            deliveries: row.deliveries,
        }
    }
}

impl Query {
    fn filter(&self) -> Result<EventFilter, Refusal> {
        Ok(EventFilter {
            kind: text("type", self.r#type.as_deref())?,
            outcome: text("outcome", self.outcome.as_deref())?,
            status: text("status", self.status.as_deref())?,
            client_id: text("client_id", self.client_id.as_deref())?,
            since: None,
        })
    }

    fn cursor(&self) -> Result<Option<EventCursor>, Refusal> {
        let Some(text) = &self.before else { return Ok(None) };
        read_cursor(text).map(Some).ok_or(Refusal::Parameter {
            name: "before",
            expected: "what the Link header of the page before says",
        })
    }

    fn next(&self, last: &EventCursor, limit: i64) -> String {
        let given = [
            ("type", &self.r#type),
            ("outcome", &self.outcome),
            ("status", &self.status),
            ("client_id", &self.client_id),
        ];
        let mut pairs: Vec<(&str, String)> = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect();
        pairs.push(("before", write_cursor(last)));
        pairs.push(("limit", limit.to_string()));
        next_page(PATH, &pairs)
    }
}

/// Postgres takes every text but one with NUL.
fn text(name: &'static str, value: Option<&str>) -> Result<Option<String>, Refusal> {
    match value {
        Some(value) if value.contains('\0') => Err(Refusal::Parameter {
            name,
            expected: "a text without NUL",
        }),
        value => Ok(value.map(str::to_owned)),
    }
}

/// `<microseconds>~<consumer>~<event id>`; event ids have no tilde.
fn write_cursor(cursor: &EventCursor) -> String {
    let micros = cursor.recorded_at.timestamp_micros();
    format!("{micros}~{}~{}", cursor.consumer, cursor.event_id)
}

fn read_cursor(text: &str) -> Option<EventCursor> {
    let mut parts = text.splitn(3, '~');
    let recorded_at = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
    let (consumer, event_id) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    (!text.contains('\0')).then_some(EventCursor {
        recorded_at,
        event_id,
        consumer,
    })
}

/// Events, the last recorded first.
pub(super) async fn list(
    caller: Principal,
    desk: web::Data<Desk>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Refusal> {
    desk.require_admin(&caller).await?;
    let (filter, before, limit) = (query.filter()?, query.cursor()?, page_limit(query.limit)?);
    let conn = desk.database.conn().await?;
    let events = list_events(&conn, &filter, before.as_ref(), limit).await?;
    let mut answer = HttpResponse::Ok();
    if let Some(last) = events.last()
        && i64::try_from(events.len()).is_ok_and(|found| found == limit)
    {
        answer.insert_header((header::LINK, query.next(&EventCursor::from(last), limit)));
    }
    Ok(answer.json(events.into_iter().map(Shown::from).collect::<Vec<_>>()))
}

/// Publishes an event once more.
pub(super) async fn replay(
    caller: Principal,
    desk: web::Data<Desk>,
    event_id: web::Path<String>,
) -> Result<HttpResponse, Refusal> {
    desk.require_admin(&caller).await?;
    let replayed = desk.replayer.replay(&event_id).await?;
    tracing::info!(
        event_id = replayed.event_id,
        by = caller.subject,
        "an admin asked for a replay"
    );
    Ok(HttpResponse::Accepted().json(json!({
        "event_id": replayed.event_id,
        "type": replayed.kind,
        "routing_key": replayed.routing_key,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nonsense_does_not() {
        let cursor = EventCursor {
            recorded_at: DateTime::from_timestamp_micros(1_763_726_400_123_456).unwrap(),
            event_id: "evt_1:a/b[0]".to_owned(),
            consumer: "archive".to_owned(),
        };
        assert_eq!(read_cursor(&write_cursor(&cursor)), Some(cursor));
        for nonsense in ["", "~", "1", "1~archive", "x~archive~evt_1", "1~archive~evt\0"] {
            assert_eq!(read_cursor(nonsense), None, "{nonsense:?}");
        }
    }
}
