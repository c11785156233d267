//! Names of the headers that Holdfast's messages carry, and the small table that holds them.
//!
//! Everything that a consumer needs to judge a message without parsing its body is a header, so that the body stays
//! what Stripe sent, byte for byte. Header names are part of the contract that outsiders rely on; the `x-holdfast-*`
//! and `x-parked-*` ones are the bus's own book-keeping and survive retry and parking.

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

/// Connected account of the event (`acct_...`); absent for the platform's own events.
pub const STRIPE_ACCOUNT: &str = "x-stripe-account";
/// Stripe API version that rendered the body; absent for thin events.
pub const API_VERSION: &str = "x-api-version";
/// `true` for live mode, as a boolean.
pub const LIVEMODE: &str = "x-livemode";
/// `platform` or `connect`: the endpoint whose secret verified the body.
pub const ENDPOINT: &str = "x-endpoint";
/// When ingest received the request, RFC 3339 with milliseconds.
pub const RECEIVED_AT: &str = "x-received-at";
/// `true` on what is sent back to its queue because it waited or was parked: it was delivered before and is not counted again.
pub const AGAIN: &str = "x-holdfast-again";
/// W3C trace context of the request or job that published the message.
pub const TRACEPARENT: &str = "traceparent";

/// How many attempts at this message have failed so far, counted by Holdfast and not by the broker, whose own count
/// goes up for every prefetched message of a lost connection.
pub const ATTEMPTS: &str = "x-holdfast-attempts";
/// How often a message was put off although nothing is wrong with it, as far as is known.
pub const PUT_OFF: &str = "x-holdfast-put-off";
/// Exchange that the message was first published to; set when a retry or parking republishes it.
pub const ORIGINAL_EXCHANGE: &str = "x-holdfast-exchange";
/// Routing key that the message was first published with; set when a retry or parking republishes it.
pub const ORIGINAL_ROUTING_KEY: &str = "x-holdfast-routing-key";
/// Why the last attempt failed; set on a message that waits for its retry.
pub const RETRY_REASON: &str = "x-holdfast-retry-reason";
/// Why a message was parked.
pub const PARKED_REASON: &str = "x-parked-reason";
/// When a message was parked, RFC 3339.
pub const PARKED_AT: &str = "x-parked-at";
/// Attempts that were made before a message was parked.
pub const PARKED_ATTEMPTS: &str = "x-attempts";

/// Set by the broker on every dead-lettered message; dropped when we republish, since it would grow with each round.
const BROKER_BOOK_KEEPING: [&str; 4] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
];
const DEATHS: &str = "x-death";
const FIRST_DEATH_REASON: &str = "x-first-death-reason";
const DELIVERY_COUNT: &str = "x-delivery-count";

/// A reason in a header is for humans: it is cut to this many bytes so that a long error cannot bloat a message.
const MAX_REASON_BYTES: usize = 500;

/// The headers of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(FieldTable);

impl Headers {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn from_table(table: FieldTable) -> Self {
        Self(table)
    }

    pub(crate) fn into_table(self) -> FieldTable {
        self.0
    }

    /// Sets a text header. A name longer than AMQP's 255 bytes is ignored: names are constants of this module.
    pub fn set_str(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.set(name, AMQPValue::LongString(LongString::from(value.into())))
    }

    /// Sets a boolean header.
    pub fn set_bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.set(name, AMQPValue::Boolean(value))
    }

    /// Sets an integer header.
    pub fn set_int(&mut self, name: &str, value: i64) -> &mut Self {
        self.set(name, AMQPValue::LongLongInt(value))
    }

    /// The same as [`Self::set_str`], for building in one expression.
    #[must_use]
    pub fn with_str(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_str(name, value);
        self
    }

    /// Sets a text header for humans, cut at a character border near 500 bytes.
    pub(crate) fn set_reason(&mut self, name: &str, reason: &str) -> &mut Self {
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.set_str(name, reason.get(..end).unwrap_or_default())
    }

    fn set(&mut self, name: &str, value: AMQPValue) -> &mut Self {
        if let Ok(name) = ShortString::try_new(name) {
            self.0.insert(name, value);
        }
        self
    }

    /// Removes a header.
    pub fn remove(&mut self, name: &str) {
        if self.0.contains_key(name) {
            let mut inner = self.0.inner().clone();
            inner.remove(name);
            self.0 = FieldTable::from(inner);
        }
    }

    /// A text header; `None` when it is absent or not UTF-8 text.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        match self.0.inner().get(name)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            AMQPValue::ShortString(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// A boolean header; `None` when it is absent or of another type.
    #[must_use]
    pub fn get_bool(&self, name: &str) -> Option<bool> {
        match self.0.inner().get(name)? {
            AMQPValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer header of any width; `None` when it is absent, of another type or too large.
    #[must_use]
    pub fn get_int(&self, name: &str) -> Option<i64> {
        match self.0.inner().get(name)? {
            AMQPValue::ShortShortInt(value) => Some(i64::from(*value)),
            AMQPValue::ShortShortUInt(value) => Some(i64::from(*value)),
            AMQPValue::ShortInt(value) => Some(i64::from(*value)),
            AMQPValue::ShortUInt(value) => Some(i64::from(*value)),
            AMQPValue::LongInt(value) => Some(i64::from(*value)),
            AMQPValue::LongUInt(value) => Some(i64::from(*value)),
            AMQPValue::LongLongInt(value) => Some(*value),
            AMQPValue::Timestamp(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// Failed attempts so far; 0 for a message that was never retried, and for a header that makes no sense.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.get_int(ATTEMPTS)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0)
    }

    /// How often the message was put off without having failed.
    #[must_use]
    pub fn put_off(&self) -> u32 {
        self.get_int(PUT_OFF)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0)
    }

    /// Why the broker itself dead-lettered the message first (`delivery_limit` for one that was never settled).
    #[must_use]
    pub fn first_death_reason(&self) -> Option<&str> {
        self.get_str(FIRST_DEATH_REASON)
    }

    /// Exchange and routing key that the message had before the broker dead-lettered it for the first time.
    pub(crate) fn first_death_route(&self) -> Option<(String, String)> {
        let AMQPValue::FieldArray(deaths) = self.0.inner().get(DEATHS)? else {
            return None;
        };
        let AMQPValue::FieldTable(first) = deaths.as_slice().last()? else {
            return None;
        };
        let first = Self(first.clone());
        let AMQPValue::FieldArray(keys) = first.0.inner().get("routing-keys")? else {
            return None;
        };
        let AMQPValue::LongString(key) = keys.as_slice().first()? else {
            return None;
        };
        Some((first.get_str("exchange")?.to_owned(), key.to_string()))
    }

    /// All headers with a simple value as JSON, for showing a message to a human.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut out = serde_json::Map::new();
        for (name, _) in &self.0 {
            let name = name.as_str();
            let value = if let Some(text) = self.get_str(name) {
                serde_json::Value::from(text)
            } else if let Some(flag) = self.get_bool(name) {
                serde_json::Value::from(flag)
            } else if let Some(number) = self.get_int(name) {
                serde_json::Value::from(number)
            } else {
                continue;
            };
            out.insert(name.to_owned(), value);
        }
        out
    }

    /// Headers from a JSON object as the outbox stores it; nested values and nulls are left out.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Self {
        let mut headers = Self::new();
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::String(text) => headers.set_str(name, text.as_str()),
                serde_json::Value::Bool(flag) => headers.set_bool(name, *flag),
                serde_json::Value::Number(number) => match number.as_i64() {
                    Some(number) => headers.set_int(name, number),
                    None => headers.set_str(name, number.to_string()),
                },
                _ => &mut headers,
            };
        }
        headers
    }

    /// A copy without what the broker added while it moved the message around.
    pub(crate) fn without_broker_book_keeping(&self) -> Self {
        let kept = self
            .0
            .inner()
            .iter()
            .filter(|(name, _)| !BROKER_BOOK_KEEPING.contains(&name.as_str()) && name.as_str() != DELIVERY_COUNT)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<std::collections::BTreeMap<_, _>>();
        Self(FieldTable::from(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_with_their_type() {
        let mut headers = Headers::new();
        headers
            .set_str(ENDPOINT, "platform")
            .set_bool(LIVEMODE, true)
            .set_int(ATTEMPTS, 3);
        assert_eq!(headers.get_str(ENDPOINT), Some("platform"));
        assert_eq!(headers.get_bool(LIVEMODE), Some(true));
        assert_eq!(headers.attempts(), 3);
        assert_eq!(
            Headers::from_json(&serde_json::Value::Object(headers.to_json())),
            headers
        );
    }

    #[test]
    fn an_attempt_count_that_makes_no_sense_counts_as_none() {
        let mut headers = Headers::new();
        headers.set_int(ATTEMPTS, -1);
        assert_eq!(headers.attempts(), 0);
        headers.set_str(ATTEMPTS, "many");
        assert_eq!(headers.attempts(), 0);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character_border() {
        let mut headers = Headers::new();
        headers.set_reason(PARKED_REASON, &"é".repeat(400));
        assert_eq!(headers.get_str(PARKED_REASON).map(str::len), Some(500));
        headers.set_reason(PARKED_REASON, &format!("x{}", "é".repeat(400)));
        assert_eq!(headers.get_str(PARKED_REASON).map(str::len), Some(499));
    }

    #[test]
    fn what_the_broker_added_is_dropped() {
        let mut headers = Headers::new();
        headers
            .set_str("x-first-death-reason", "expired")
            .set_int("x-delivery-count", 4)
            .set_str(ENDPOINT, "connect");
        let kept = headers.without_broker_book_keeping();
        assert_eq!(kept, Headers::new().with_str(ENDPOINT, "connect"));
    }
}
