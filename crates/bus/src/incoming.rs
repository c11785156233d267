//! One message that was delivered to a consumer.

use bytes::Bytes;
use lapin::message::Delivery;
use lapin::types::ShortString;
use tracing::Span;

use crate::headers::{Headers, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY};
use crate::outgoing::Outgoing;

/// A delivered message. The body is what was published, byte for byte.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Exchange that the message was first published to, also after retries.
    pub exchange: String,
    /// Routing key that the message was first published with, also after retries.
    pub routing_key: String,
    /// What repeats of one message have in common; empty when the publisher set none.
    pub message_id: String,
    /// AMQP `type`; empty when the publisher set none.
    pub kind: String,
    /// Unix seconds as the publisher set them.
    pub timestamp: Option<u64>,
    /// See [`crate::headers`].
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// The broker has delivered it before, to somebody who did not settle it.
    pub redelivered: bool,
    /// See [`Self::span`].
    pub(crate) span: Span,
}

impl Incoming {
    /// Takes a delivery over; the body is not copied.
    pub(crate) fn take(delivery: Delivery) -> Self {
        let Delivery {
            exchange,
            routing_key,
            redelivered,
            properties,
            data,
            ..
        } = delivery;
        let headers = properties
            .headers()
            .clone()
            .map(Headers::from_table)
            .unwrap_or_default();
        let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        let (exchange, routing_key) = original_route(&headers).unwrap_or_else(|| (exchange.into(), routing_key.into()));
        Self {
            exchange,
            routing_key,
            message_id: text(properties.message_id()),
            kind: text(properties.kind()),
            timestamp: *properties.timestamp(),
            headers,
            body: Bytes::from(data),
            redelivered,
            span: Span::none(),
        }
    }

    /// Where work on this message alone belongs in its trace: a handler that takes messages one by one works in it.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// How many attempts at this message have failed before.
    #[must_use]
    pub fn failed_attempts(&self) -> u32 {
        self.headers.attempts()
    }

    /// How often it was put off without having failed.
    #[must_use]
    pub fn put_off(&self) -> u32 {
        self.headers.put_off()
    }

    /// The same message for a queue of its family, remembering where it came from.
    pub(crate) fn forward_to(&self, queue: String) -> Outgoing {
        let mut headers = self.headers.without_broker_book_keeping();
        headers.set_str(ORIGINAL_EXCHANGE, self.exchange.as_str());
        headers.set_str(ORIGINAL_ROUTING_KEY, self.routing_key.as_str());
        Outgoing {
            exchange: "".into(),
            routing_key: queue,
            message_id: self.message_id.clone(),
            kind: self.kind.clone(),
            timestamp: self.timestamp.unwrap_or(0),
            headers,
            body: self.body.clone(),
        }
    }
}

/// Where a message that was moved around came from: our own headers, or what the broker noted when it dead-lettered it.
fn original_route(headers: &Headers) -> Option<(String, String)> {
    match (
        headers.get_str(ORIGINAL_EXCHANGE),
        headers.get_str(ORIGINAL_ROUTING_KEY),
    ) {
        (Some(exchange), Some(routing_key)) => Some((exchange.to_owned(), routing_key.to_owned())),
        _ => headers.first_death_route(),
    }
}
