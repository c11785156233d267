//! The message of an event: the body untouched, everything that a consumer needs to judge it in the properties (ING-5).

use bus::{Headers, Outgoing, headers, topology};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use service_kit::trace::TraceContext;
use stripe_gateway::envelope::Envelope;

use crate::endpoint::Endpoint;

/// Makes the message of an event. `body` is what the envelope was read from.
pub(crate) fn of_event(
    endpoint: Endpoint,
    envelope: &Envelope<'_>,
    body: Bytes,
    received_at: DateTime<Utc>,
    trace: TraceContext,
) -> Outgoing {
    let mut table = Headers::new();
    table.set_str(headers::ENDPOINT, endpoint.as_str());
    table.set_str(
        headers::RECEIVED_AT,
        received_at.to_rfc3339_opts(SecondsFormat::Millis, true),
    );
    table.set_str(headers::TRACEPARENT, trace.to_string());
    if let Some(account) = &envelope.account {
        table.set_str(headers::STRIPE_ACCOUNT, account.as_ref());
    }
    if let Some(version) = &envelope.api_version {
        table.set_str(headers::API_VERSION, version.as_ref());
    }
    // Without the header an event matches neither mode.
    if let Some(livemode) = envelope.livemode {
        table.set_bool(headers::LIVEMODE, livemode);
    }
    let (prefix, kind) = (endpoint.as_str(), envelope.kind.as_ref());
    Outgoing {
        exchange: topology::STRIPE_EVENTS.into(),
        routing_key: [prefix, ".", kind].concat(),
        message_id: envelope.id.as_ref().to_owned(),
        kind: kind.to_owned(),
        timestamp: envelope.created.unsigned_abs(),
        headers: table,
        body,
    }
}
