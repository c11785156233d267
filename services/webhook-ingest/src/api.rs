//! What the document says of these routes.

use service_kit::openapi::{Credential, Field, Operation, Schema, Verb};

use crate::endpoint::Endpoint;

/// The route of an endpoint.
pub(crate) fn receive(endpoint: Endpoint) -> Operation {
    let (id, summary) = match endpoint {
        Endpoint::Platform => ("receiveStripeEvent", "Takes an event of the platform's own account."),
        Endpoint::Connect => ("receiveConnectEvent", "Takes an event of a connected account."),
    };
    let received = Schema::object([
        ("received", Field::Always, Schema::boolean()),
        ("event_id", Field::Always, Schema::text()),
    ]);
    Operation::of(Verb::Post, id, summary, "Stripe", &[Credential::StripeSignature])
        .body(
            Field::Always,
            Schema::any_object().note("An event as Stripe posts it; the signature is over these bytes."),
        )
        .answer(200, "The broker holds the event on replicated queues.", received)
        .problem(
            400,
            &[
                "signature_missing",
                "signature_malformed",
                "signature_mismatch",
                "timestamp_out_of_tolerance",
                "payload_malformed",
                "body_incomplete",
            ],
        )
        .problem(429, &["too_many_bad_attempts"])
        .problem(503, &["broker_unavailable"])
}
