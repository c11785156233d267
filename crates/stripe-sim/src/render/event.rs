//! Events and their bodies.

use serde_json::{Value, json};

use super::{difference, object};
use crate::state::event::Event;
use crate::version::{ApiVersion, Train};

/// Whether a type of event is there in a version.
pub(crate) fn event_exists(kind: &str, version: &ApiVersion) -> bool {
    version.train() > Train::Classic || !kind.starts_with("invoice_payment.")
}

/// An event as an endpoint with this version, or `GET /v1/events`, shows it.
pub(crate) fn event(event: &Event, version: &ApiVersion, pending: usize) -> Value {
    if let Some(thin) = &event.thin {
        return thin.body.clone();
    }
    let after = object(&event.object, version);
    let previous = event
        .previous
        .as_ref()
        .map(|before| difference(&object(before, version), &after));
    let mut data = json!({ "object": after });
    if let Some(previous) = previous.filter(|fields| !fields.is_empty()) {
        super::add(&mut data, json!({ "previous_attributes": previous }));
    }
    let mut body = json!({ "id": event.id, "object": "event" });
    if let Some(account) = &event.account {
        super::add(&mut body, json!({ "account": account }));
    }
    super::add(
        &mut body,
        json!({ "api_version": event.api_version.as_deref().unwrap_or_else(|| version.label()) }),
    );
    if let Some(account) = event.account.as_ref().filter(|_| version.train() > Train::Classic) {
        super::add(&mut body, json!({ "context": account }));
    }
    super::add(
        &mut body,
        json!({
            "created": event.created,
            "data": data,
            "livemode": event.livemode,
            "pending_webhooks": pending,
            "request": { "id": event.cause.request, "idempotency_key": event.cause.idempotency_key },
            "type": event.kind,
        }),
    );
    body
}

/// The body of a delivery: indented by two spaces, as Stripe posts it.
pub(crate) fn event_body(one: &Event, version: &ApiVersion, pending: usize) -> String {
    format!("{:#}", event(one, version, pending))
}
