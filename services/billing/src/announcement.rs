//! What leaves billing in the transaction that decided: changes of state for the user's own systems, alerts for people, and
//! events that waited and are to be decided again.

use bus::{ALERT_TYPE, AlertMessage, headers, topology};
use chrono::{DateTime, Utc};
use db::billing::waiting::WaitingEvent;
use db::outbox::NewOutboxRow;
use domain::alert::Alert;
use domain::billing::decision::Transition;
use serde_json::{Value, json};
use uuid::Uuid;

/// AMQP type and routing key of an announcement.
pub const STATE_CHANGED: &str = "client.state_changed";

/// A change of a client's state, and what caused it.
#[derive(Debug)]
pub(crate) struct StateChange<'a> {
    pub(crate) client: &'a str,
    pub(crate) org: &'a str,
    pub(crate) transition: Transition,
    pub(crate) version: i64,
    pub(crate) subscription: Option<&'a str>,
    pub(crate) cause: Cause<'a>,
    pub(crate) decided_at: DateTime<Utc>,
    pub(crate) traceparent: Option<&'a str>,
}

/// What changed a state: an event, a look at Stripe, or a registration of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) created: DateTime<Utc>,
}

/// Consumers recognise a repeat, and restore the order, by client and version.
pub(crate) fn state_changed(change: &StateChange<'_>) -> NewOutboxRow {
    let payload = json!({
        "type": STATE_CHANGED,
        "client_id": change.client,
        "org_id": change.org,
        "from": change.transition.from.as_str(),
        "to": change.transition.to.as_str(),
        "version": change.version,
        "stripe_subscription_id": change.subscription,
        "cause": {"event_id": change.cause.id, "type": change.cause.kind, "created": change.cause.created.timestamp()},
        "decided_at": change.decided_at.to_rfc3339(),
    });
    NewOutboxRow {
        exchange: topology::EVENTS.to_owned(),
        routing_key: STATE_CHANGED.to_owned(),
        message_id: Uuid::now_v7().to_string(),
        kind: STATE_CHANGED.to_owned(),
        headers: in_trace(change.traceparent),
        payload: payload.to_string(),
    }
}

/// The headers of what follows from an event. A batch is of many traces, so that this is the event's own and not the work's at hand.
fn in_trace(traceparent: Option<&str>) -> Value {
    traceparent.map_or_else(|| json!({}), |place| json!({ headers::TRACEPARENT: place }))
}

/// An alert that commits with the decision that it is about.
pub(crate) fn alert(alert: Alert, now: DateTime<Utc>, traceparent: Option<&str>) -> NewOutboxRow {
    let message = AlertMessage::of(alert, now);
    NewOutboxRow {
        exchange: topology::ALERTS.to_owned(),
        routing_key: format!("{}.{}", message.severity, message.kind),
        message_id: Uuid::now_v7().to_string(),
        kind: ALERT_TYPE.to_owned(),
        headers: in_trace(traceparent),
        payload: serde_json::to_string(&message).unwrap_or_default(),
    }
}

/// An event that waited, on its way back into billing's own queue. Its row in the inbox still says that it waits, which is why
/// it is decided again and not taken for a repeat.
pub(crate) fn decide_again(event: WaitingEvent) -> NewOutboxRow {
    NewOutboxRow {
        exchange: String::new(),
        routing_key: topology::BILLING_EVENTS.to_owned(),
        message_id: event.event_id,
        kind: event.kind,
        headers: json!({
            headers::ENDPOINT: event.endpoint,
            headers::RECEIVED_AT: event.received_at.to_rfc3339(),
            headers::AGAIN: true,
        }),
        payload: event.payload,
    }
}
