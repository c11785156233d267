//! Publishing an event of the archive once more, as it was received.
//!
//! It goes where its type goes today, so that an event that nobody owned when it came reaches the service that owns it now. Whose event it
//! is says its body: one that came to the endpoint of the other kind reaches the service that looks for it at its own.
//! Consumers recognise it as known and decide again only where the stored status says that nothing was decided yet (`waiting`
//! or `parked`); everything else is a repeat, which adds to a count. So a replay can be asked for at any time, by anybody who
//! may, as often as they like.

use bus::{Headers, Outgoing, PublishError, Publisher, headers, topology};
use bytes::Bytes;
use chrono::SecondsFormat;
use db::events::{EventRow, find_event};
use db::{Database, DbError};
use service_kit::trace::TraceContext;
use stripe_gateway::envelope;

/// Header that marks a message as replayed.
pub const REPLAY: &str = "x-holdfast-replay";

/// Replays events.
#[derive(Debug, Clone)]
pub struct Replayer {
    database: Database,
    publisher: Publisher,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Stripe's id.
    pub event_id: String,
    /// The event's type.
    pub kind: String,
    /// Where it went.
    pub routing_key: String,
}

/// Why an event was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It never arrived.
    #[error("no event has this id")]
    Unknown,
    /// Its body was removed by retention.
    #[error("the event's body was removed when its retention ended")]
    Blanked,
    /// The broker did not take it.
    #[error("the event was not published")]
    Publish(#[source] PublishError),
    /// The archive could not be read.
    #[error("the archive could not be read")]
    Database(#[from] DbError),
}

impl Replayer {
    /// A replayer over a database and a publisher.
    #[must_use]
    pub fn new(database: Database, publisher: Publisher) -> Self {
        Self { database, publisher }
    }

    /// Publishes the stored body of an event; `Ok` means that the broker holds it.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub async fn replay(&self, event_id: &str) -> Result<Replayed, ReplayError> {
        // Postgres' texts have no NUL, so no event has such an id.
        if event_id.contains('\0') {
            return Err(ReplayError::Unknown);
        }
        let found = find_event(&self.database.conn().await?, event_id).await?;
        let rows = found.ok_or(ReplayError::Unknown)?.rows;
        let with_body = |(row, payload): (EventRow, Option<String>)| payload.map(|payload| (row, payload));
        let (row, payload) = rows.into_iter().find_map(with_body).ok_or(ReplayError::Blanked)?;
        let endpoint = endpoint_of(&payload).unwrap_or(&row.endpoint);
        let replayed = Replayed {
            routing_key: format!("{endpoint}.{}", row.kind),
            event_id: row.event_id.clone(),
            kind: row.kind.clone(),
        };
        let endpoint = endpoint.to_owned();
        let message = message(row, payload, endpoint, replayed.routing_key.clone());
        self.publisher.publish(message).await.map_err(ReplayError::Publish)?;
        tracing::info!(event_id, routing_key = replayed.routing_key, "an event was replayed");
        Ok(replayed)
    }
}

/// The endpoint that Stripe sends such an event to. The archive has nothing but events; what somebody has written there by hand goes by its
/// row.
fn endpoint_of(payload: &str) -> Option<&'static str> {
    let envelope = envelope::peek(payload.as_bytes()).ok()?;
    Some(match envelope.connected_account() {
        Some(_) => "connect",
        None => "platform",
    })
}

/// The message as ingest makes it, with a mark.
fn message(row: EventRow, payload: String, endpoint: String, routing_key: String) -> Outgoing {
    let mut table = Headers::new();
    table.set_bool(REPLAY, true);
    let received_at = row.received_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    table.set_str(headers::RECEIVED_AT, received_at);
    let trace = TraceContext::current().unwrap_or_else(TraceContext::new_root);
    table.set_str(headers::TRACEPARENT, trace.to_string());
    if let Some(account) = row.account {
        table.set_str(headers::STRIPE_ACCOUNT, account);
    }
    if let Some(version) = row.api_version {
        table.set_str(headers::API_VERSION, version);
    }
    if let Some(livemode) = row.livemode {
        table.set_bool(headers::LIVEMODE, livemode);
    }
    table.set_str(headers::ENDPOINT, endpoint);
    Outgoing {
        exchange: topology::STRIPE_EVENTS.into(),
        routing_key,
        message_id: row.event_id,
        kind: row.kind,
        timestamp: row.created.timestamp().unsigned_abs(),
        headers: table,
        body: Bytes::from(payload),
    }
}
