//! Events that no service owns, on their way into the archive: byte for byte, ignored by a named rule (ING-8).
//!
//! The body is what Stripe signed, so what is stored is read from the body and not from the message's headers; these only say
//! what the body cannot: the endpoint that took it and when. A body that is not an event can only have been published by
//! somebody else, and parks. One statement stores a batch, and is atomic; an event that comes again adds to its row's count.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bus::{BatchError, BatchHandler, Incoming, Verdict, headers};
use chrono::{DateTime, Utc};
use db::Database;
use db::events::{NewEvent, archive_events};
use metrics::Counter;
use service_kit::clock::Clock;
use stripe_gateway::envelope::{self, Envelope, Form};

use crate::NAME;

/// Types that get a counter of their own; Stripe has about half as many. The rest count as `other`.
const MAX_TYPES: usize = 600;

/// Why an event changes nothing. The first that holds is recorded, in the order below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It is of the other mode, live or test, or does not say of which.
    LivemodeMismatch,
    /// It came to the endpoint for connected accounts, whose events no service owns yet.
    ConnectedAccount,
    /// It is a notification without its object, which nobody fetches yet.
    ThinEvent,
    /// No service owns its type.
    NoHandler,
}

impl Rule {
    /// The word in the archive.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LivemodeMismatch => "livemode_mismatch",
            Self::ConnectedAccount => "connected_account",
            Self::ThinEvent => "thin_event",
            Self::NoHandler => "no_handler",
        }
    }

    fn of(envelope: &Envelope<'_>, endpoint: Endpoint, livemode: bool) -> Self {
        if envelope.livemode != Some(livemode) {
            return Self::LivemodeMismatch;
        }
        match (endpoint, envelope.form) {
            (Endpoint::Connect, _) => Self::ConnectedAccount,
            (Endpoint::Platform, Form::Thin) => Self::ThinEvent,
            (Endpoint::Platform, Form::Snapshot) => Self::NoHandler,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Platform,
    Connect,
}

impl Endpoint {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Connect => "connect",
        }
    }

    /// What ingest wrote, else what the routing key begins with, else what the event itself suggests.
    fn of(message: &Incoming, envelope: &Envelope<'_>) -> Self {
        let prefix = message.routing_key.split_once('.').map(|(prefix, _)| prefix);
        match message.headers.get_str(headers::ENDPOINT).or(prefix) {
            Some("connect") => Self::Connect,
            Some("platform") => Self::Platform,
            _ if envelope.account.is_some() => Self::Connect,
            _ => Self::Platform,
        }
    }
}

/// Archives events.
pub(crate) struct Archive {
    database: Database,
    clock: Clock,
    livemode: bool,
    counters: Mutex<HashMap<String, Counter>>,
}

impl Archive {
    pub(crate) fn new(database: Database, clock: Clock, livemode: bool) -> Self {
        Self {
            database,
            clock,
            livemode,
            counters: Mutex::default(),
        }
    }

    fn read<'m>(&self, message: &'m Incoming) -> Result<Event<'m>, String> {
        let envelope = envelope::peek(&message.body).map_err(|error| error.to_string())?;
        let payload = std::str::from_utf8(&message.body).map_err(|error| error.to_string())?;
        let created = DateTime::from_timestamp(envelope.created, 0).ok_or("created is no time")?;
        let received_at = message.headers.get_str(headers::RECEIVED_AT);
        let received_at = received_at.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let endpoint = Endpoint::of(message, &envelope);
        Ok(Event {
            created,
            received_at: received_at.map_or_else(|| self.clock.now(), |at| at.to_utc()),
            endpoint,
            rule: Rule::of(&envelope, endpoint, self.livemode),
            payload,
            envelope,
        })
    }

    fn count(&self, kind: &str) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(kind) {
            return counter.increment(1);
        }
        let label = if counters.len() < MAX_TYPES { kind } else { "other" };
        let counter = metrics::counter!(
            "holdfast_events_total", "service" => NAME, "type" => label.to_owned(), "outcome" => "ignored"
        );
        counter.increment(1);
        if label == kind {
            counters.insert(kind.to_owned(), counter);
        }
    }
}

/// An event that can be archived.
struct Event<'m> {
    envelope: Envelope<'m>,
    created: DateTime<Utc>,
    received_at: DateTime<Utc>,
    endpoint: Endpoint,
    rule: Rule,
    payload: &'m str,
}

impl Event<'_> {
    fn row(&self) -> NewEvent<'_> {
        NewEvent {
            event_id: &self.envelope.id,
            created: self.created,
            kind: &self.envelope.kind,
            endpoint: self.endpoint.as_str(),
            account: self.envelope.account.as_deref(),
            api_version: self.envelope.api_version.as_deref(),
            livemode: self.envelope.livemode,
            received_at: self.received_at,
            payload: self.payload,
            reason: self.rule.as_str(),
        }
    }
}

impl BatchHandler for Archive {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let mut events = Vec::with_capacity(batch.len());
        let mut verdicts = Vec::with_capacity(batch.len());
        for message in batch {
            verdicts.push(match self.read(message) {
                Ok(event) => {
                    events.push(event);
                    Verdict::Done
                }
                Err(reason) => Verdict::Park { reason },
            });
        }
        if !events.is_empty() {
            let rows = events.iter().map(Event::row).collect::<Vec<_>>();
            let stored = async { archive_events(&self.database.conn().await?, &rows).await };
            stored.await.map_err(|error| BatchError::of_database(&error))?;
        }
        for event in &events {
            self.count(&event.envelope.kind);
            tracing::debug!(
                event_id = %event.envelope.id, r#type = %event.envelope.kind, rule = %event.rule, "archived an event"
            );
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(body: &str, endpoint: Endpoint) -> &'static str {
        Rule::of(&envelope::peek(body.as_bytes()).unwrap(), endpoint, false).as_str()
    }

    #[test]
    fn every_event_has_one_rule() {
        let snapshot = r#"{"object":"event","id":"evt_1","type":"a.b","created":1,"livemode":false}"#;
        let thin = r#"{"object":"v2.core.event","id":"evt_1","type":"v2.a","created":"2026-11-21T12:00:00Z","livemode":false}"#;
        let live = snapshot.replace("false", "true");
        let silent = snapshot.replace(r#","livemode":false"#, "");
        for (body, endpoint, expect) in [
            (snapshot, Endpoint::Platform, "no_handler"),
            (snapshot, Endpoint::Connect, "connected_account"),
            (thin, Endpoint::Platform, "thin_event"),
            (thin, Endpoint::Connect, "connected_account"),
            (live.as_str(), Endpoint::Platform, "livemode_mismatch"),
            (live.as_str(), Endpoint::Connect, "livemode_mismatch"),
            (silent.as_str(), Endpoint::Platform, "livemode_mismatch"),
        ] {
            assert_eq!(rule(body, endpoint), expect, "{body}");
        }
    }
}
