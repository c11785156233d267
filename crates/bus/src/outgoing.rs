//! One message on its way out, and what can become of it.

use std::borrow::Cow;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;

use crate::headers::Headers;

/// AMQP's delivery mode for a message that the broker must write to disk.
const PERSISTENT: u8 = 2;

/// A message to publish. The body is never looked at.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Target exchange; empty for the default exchange, where the routing key is a queue's name.
    pub exchange: Cow<'static, str>,
    /// At most 255 bytes, as every text here but the headers.
    pub routing_key: String,
    /// What consumers recognise a repeat by: the event's id for Stripe's events.
    pub message_id: String,
    /// AMQP `type`: the event's type.
    pub kind: String,
    /// Unix seconds: the event's `created`.
    pub timestamp: u64,
    /// See [`crate::headers`].
    pub headers: Headers,
    /// Published byte for byte.
    pub body: Bytes,
}

impl Outgoing {
    pub(crate) fn into_parts(self) -> Result<Parts, PublishError> {
        let exchange = short("exchange", self.exchange.into_owned())?;
        let routing_key = short("routing key", self.routing_key)?;
        let mandatory = crate::topology::needs_route(exchange.as_str());
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short("message id", self.message_id)?)
            .with_type(short("type", self.kind)?)
            .with_timestamp(self.timestamp)
            .with_headers(self.headers.into_table());
        Ok(Parts {
            exchange,
            routing_key,
            mandatory,
            properties,
            body: self.body,
        })
    }
}

/// An [`Outgoing`] in the form that lapin takes; built in the caller's task so that a channel's owner only hands it on.
pub(crate) struct Parts {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) mandatory: bool,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

fn short(field: &'static str, text: String) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|_| PublishError::TooLong { field })
}

/// Why a publish is not known to have succeeded.
///
/// Only `Ok(())` means that the broker took responsibility. [`Self::may_have_arrived`] tells the errors after which the
/// message may exist all the same: publishing again can then double it, which consumers have to tolerate anyway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No connection to the broker at the moment; nothing was sent.
    #[error("the broker is not connected")]
    Unavailable,
    /// The broker has raised a memory or disk alarm and takes no messages; nothing was sent.
    #[error("the broker blocks publishers")]
    Blocked,
    /// As many messages as allowed wait for their confirm; nothing was sent.
    #[error("too many messages wait for the broker's confirm")]
    Saturated,
    /// A text of the message is longer than AMQP's 255 bytes; nothing was sent.
    #[error("the message's {field} is longer than 255 bytes")]
    TooLong {
        /// Which one.
        field: &'static str,
    },
    /// No queue takes messages of this exchange and routing key; the message was returned and is stored nowhere.
    #[error("no queue is bound for the message: {reply}")]
    Unroutable {
        /// The broker's words.
        reply: String,
    },
    /// The broker refused to store the message (a full queue, or a queue without a majority).
    #[error("the broker refused the message")]
    Refused,
    /// No confirm in time. The message may be stored all the same.
    #[error("the broker did not confirm in time")]
    TimedOut,
    /// The channel or connection was lost before the confirm. The message may be stored all the same.
    #[error("the connection was lost before the broker confirmed: {reason}")]
    Lost {
        /// lapin's words.
        reason: String,
    },
}

impl PublishError {
    /// A stable word for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Blocked => "blocked",
            Self::Saturated => "saturated",
            Self::TooLong { .. } => "too_long",
            Self::Unroutable { .. } => "unroutable",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Lost { .. } => "lost",
        }
    }

    /// Whether the message may be in the broker although the publish failed.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::TimedOut | Self::Lost { .. } => true,
            Self::Unavailable
            | Self::Blocked
            | Self::Saturated
            | Self::TooLong { .. }
            | Self::Unroutable { .. }
            | Self::Refused => false,
        }
    }

    /// Whether it is this one message that fails, for the queues that it goes to, while others can go out.
    #[must_use]
    pub const fn is_of_this_message(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::Unroutable { .. } | Self::Refused | Self::TimedOut => true,
            Self::Unavailable | Self::Blocked | Self::Saturated | Self::Lost { .. } => false,
        }
    }

    /// Whether the same message can succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::Blocked
            | Self::Saturated
            | Self::Refused
            | Self::TimedOut
            | Self::Lost { .. } => true,
            Self::TooLong { .. } | Self::Unroutable { .. } => false,
        }
    }
}
