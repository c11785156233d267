//! Raising alerts from anywhere, without waiting and without a database.
//!
//! [`AlertRaiser::raise`] only merges the alert into a bounded map, by key: one cause that strikes a thousand times a
//! second is one entry with a count. A task empties the map into the exchange `holdfast.alerts` at most once per
//! interval. What it cannot publish goes to the fallback, where a service with a database has given one, and else back
//! into the map, merged with what came meanwhile. Nothing here can block a request or grow with an outage; what does
//! not fit is counted in `holdfast_alerts_dropped_total`.
//!
//! An alert can be sent twice when a confirm is lost: then its count is too high, never its number of rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::alert::Alert;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Clock, Headers, Outgoing, Publisher, topology};

/// AMQP `type` of an alert.
pub const ALERT_TYPE: &str = "alert.raised";

/// An alert on the wire: what one or more raises of one key amount to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMessage {
    /// `<kind>:<subject>`; at most one unresolved alert per key exists.
    pub key: String,
    /// The cause, as `domain::alert::AlertKind::as_str` says it.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What it is about.
    pub subject: String,
    /// One sentence for a person; the newest raise's.
    pub summary: String,
    /// The newest raise's details, values as text.
    #[serde(default)]
    pub details: serde_json::Map<String, serde_json::Value>,
    /// How many raises this message stands for: to be added to what is stored.
    pub occurrences: u64,
    /// The first of them.
    pub first_seen_at: DateTime<Utc>,
    /// The last of them.
    pub last_seen_at: DateTime<Utc>,
}

impl AlertMessage {
    /// One raise at one time.
    #[must_use]
    pub fn of(alert: Alert, now: DateTime<Utc>) -> Self {
        let key = alert.key();
        let details = alert
            .details
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        Self {
            key,
            kind: alert.kind.as_str().to_owned(),
            severity: alert.kind.severity().as_str().to_owned(),
            subject: alert.subject,
            summary: alert.summary,
            details,
            occurrences: 1,
            first_seen_at: now,
            last_seen_at: now,
        }
    }

    /// Adds another message of the same key; the text of the later one stays.
    fn merge(&mut self, other: Self) {
        let occurrences = self.occurrences.saturating_add(other.occurrences);
        let first_seen_at = self.first_seen_at.min(other.first_seen_at);
        let later = if other.last_seen_at >= self.last_seen_at {
            other
        } else {
            self.clone()
        };
        *self = Self {
            occurrences,
            first_seen_at,
            ..later
        };
    }

    fn outgoing(&self) -> Result<Outgoing, serde_json::Error> {
        Ok(Outgoing {
            exchange: topology::ALERTS.into(),
            routing_key: format!("{}.{}", self.severity, self.kind),
            message_id: uuid::Uuid::now_v7().to_string(),
            kind: ALERT_TYPE.to_owned(),
            timestamp: u64::try_from(self.last_seen_at.timestamp()).unwrap_or(0),
            headers: Headers::new(),
            body: Bytes::from(serde_json::to_vec(self)?),
        })
    }
}

/// What a fallback answers; the error is logged.
pub type FallbackResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Stores an alert without the broker, for services that have a database.
pub type AlertFallback =
    Arc<dyn Fn(AlertMessage) -> Pin<Box<dyn Future<Output = FallbackResult> + Send>> + Send + Sync>;

/// How an [`AlertRaiser`] works.
#[derive(Clone)]
pub struct AlertRaiserConfig {
    /// Where alerts go.
    pub publisher: Publisher,
    /// When they were raised.
    pub clock: Clock,
    /// Most keys kept; what is raised beyond is counted and dropped.
    pub capacity: usize,
    /// Raises of one key within this time are one message.
    pub merge_for: Duration,
    /// Used while the broker does not take alerts.
    pub fallback: Option<AlertFallback>,
}

impl AlertRaiserConfig {
    /// 1 000 keys, one message per key and second, no fallback.
    #[must_use]
    pub fn new(publisher: Publisher, clock: Clock) -> Self {
        Self {
            publisher,
            clock,
            capacity: 1_000,
            merge_for: Duration::from_secs(1),
            fallback: None,
        }
    }
}

/// Raises alerts; clones share one map and one task, which ends with the last of them.
#[derive(Clone)]
pub struct AlertRaiser {
    inner: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    clock: Clock,
    _stop_with_last_clone: DropGuard,
}

struct Shared {
    pending: Mutex<Pending>,
    raised: Notify,
}

#[derive(Default)]
struct Pending {
    alerts: HashMap<String, AlertMessage>,
    /// Taken out to be sent, and not yet sent.
    in_hand: usize,
    capacity: usize,
}

impl std::fmt::Debug for AlertRaiser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertRaiser").field("pending", &self.pending()).finish()
    }
}

impl AlertRaiser {
    /// Starts the task that sends.
    #[must_use]
    pub fn start(config: AlertRaiserConfig) -> Self {
        let shared = Arc::new(Shared {
            pending: Mutex::new(Pending {
                capacity: config.capacity,
                ..Pending::default()
            }),
            raised: Notify::new(),
        });
        let stop = CancellationToken::new();
        let clock = Arc::clone(&config.clock);
        tokio::spawn(send_until_stopped(Arc::clone(&shared), config, stop.clone()));
        Self {
            inner: Arc::new(Handle {
                shared,
                clock,
                _stop_with_last_clone: stop.drop_guard(),
            }),
        }
    }

    /// Notes an alert, and logs it unless its key waits to be sent already. Never waits, never fails.
    pub fn raise(&self, alert: Alert) {
        let message = AlertMessage::of(alert, (self.inner.clock)());
        let (key, severity, summary) = (message.key.clone(), message.severity.clone(), message.summary.clone());
        if self.inner.shared.put(message) {
            tracing::warn!(alert.key = key, alert.severity = severity, "{summary}");
        }
        self.inner.shared.raised.notify_one();
    }

    /// Keys that are not sent yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        let pending = self.inner.shared.lock();
        pending.alerts.len().saturating_add(pending.in_hand)
    }

    /// Waits until all is sent, at most so long, and says whether it was. For the end of a process.
    pub async fn flush(&self, at_most: Duration) -> bool {
        let sent = async {
            while self.pending() > 0 {
                self.inner.shared.raised.notify_one();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(at_most, sent).await.is_ok()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers whether the key is new in the map.
    fn put(&self, message: AlertMessage) -> bool {
        let mut pending = self.lock();
        let full = pending.alerts.len() >= pending.capacity;
        match pending.alerts.entry(message.key.clone()) {
            Entry::Occupied(mut known) => {
                known.get_mut().merge(message);
                false
            }
            Entry::Vacant(_) if full => {
                metrics::counter!("holdfast_alerts_dropped_total").increment(1);
                false
            }
            Entry::Vacant(free) => {
                free.insert(message);
                true
            }
        }
    }

    fn take(&self) -> Vec<AlertMessage> {
        let mut pending = self.lock();
        let taken = pending.alerts.drain().map(|(_, message)| message).collect::<Vec<_>>();
        pending.in_hand = taken.len();
        taken
    }

    fn sent(&self) {
        let mut pending = self.lock();
        pending.in_hand = pending.in_hand.saturating_sub(1);
    }
}

async fn send_until_stopped(shared: Arc<Shared>, config: AlertRaiserConfig, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.raised.notified() => {}
        }
        for message in shared.take() {
            if let Err(unsent) = send(&config, message).await {
                shared.put(unsent);
                shared.raised.notify_one();
            }
            shared.sent();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(config.merge_for) => {}
        }
    }
}

/// Sends by the broker, else by the fallback; gives the message back when neither took it.
async fn send(config: &AlertRaiserConfig, message: AlertMessage) -> Result<(), AlertMessage> {
    let outgoing = match message.outgoing() {
        Ok(outgoing) => outgoing,
        Err(error) => {
            tracing::error!(%error, alert.key = %message.key, "an alert does not encode, it is only logged");
            return Ok(());
        }
    };
    let Err(error) = config.publisher.publish(outgoing).await else {
        return Ok(());
    };
    tracing::debug!(%error, alert.key = %message.key, "the broker does not take an alert");
    let Some(fallback) = &config.fallback else {
        return Err(message);
    };
    fallback(message.clone()).await.map_err(|error| {
        tracing::warn!(%error, alert.key = %message.key, "the database does not take an alert either, it is kept");
        message
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use domain::alert::AlertKind;

    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 21, 12, 0, second)
            .single()
            .expect("a valid time")
    }

    fn shared(capacity: usize) -> Shared {
        let pending = Pending {
            capacity,
            ..Pending::default()
        };
        Shared {
            pending: Mutex::new(pending),
            raised: Notify::new(),
        }
    }

    fn forged(subject: &str, summary: &str, second: u32) -> AlertMessage {
        AlertMessage::of(Alert::new(AlertKind::WebhookSignature, subject, summary), at(second))
    }

    #[test]
    fn repeats_of_one_key_are_one_message_with_the_newest_text() {
        let shared = shared(10);
        shared.put(forged("platform", "second", 2));
        shared.put(forged("platform", "first", 1));
        shared.put(forged("platform", "third", 3));
        let taken = shared.take();
        let [message] = taken.as_slice() else {
            panic!("one message, not {taken:?}")
        };
        assert_eq!((message.occurrences, message.summary.as_str()), (3, "third"));
        assert_eq!((message.first_seen_at, message.last_seen_at), (at(1), at(3)));
    }

    #[test]
    fn a_full_map_takes_known_keys_and_drops_new_ones() {
        let shared = shared(1);
        shared.put(forged("platform", "kept", 1));
        shared.put(forged("connect", "dropped", 1));
        shared.put(forged("platform", "kept", 2));
        let taken = shared.take();
        assert_eq!(taken.iter().map(|message| message.occurrences).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn an_alert_survives_the_wire() {
        let alert = Alert::new(AlertKind::Test, "operator", "hello").with("who", "me");
        let message = AlertMessage::of(alert, at(5));
        let json = serde_json::to_string(&message).expect("encodes");
        assert_eq!(serde_json::from_str::<AlertMessage>(&json).expect("decodes"), message);
    }
}
