//! The use case: a delivery comes in, is judged, is published, and is answered.
//!
//! Order, and why: the signature over the raw bytes first, so that nothing unsigned is parsed; then the envelope; then the
//! broker, and 200 only after its confirm (ING-3). Bad attempts are counted per address after they were judged, so that a
//! good delivery is never throttled (ING-6), whoever else sits behind its address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bus::{AlertRaiser, PublishError, Publisher};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::alert::{Alert, AlertKind};
use service_kit::clock::Clock;
use service_kit::log_budget::LogBudget;
use service_kit::rate_limit::AddressLimit;
use service_kit::request_id::RequestId;
use service_kit::trace::TraceContext;
use stripe_gateway::envelope::{self, Envelope};
use stripe_gateway::signature::{self, Secrets};

use crate::api_versions::ApiVersions;
use crate::endpoint::Endpoint;
use crate::message;
use crate::refusal::Refusal;

/// Bad attempts per address and minute that get an answer of their own.
const BAD_ATTEMPTS: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");
/// So long after the start nobody is told that the broker is not connected yet, if nothing was published before.
const STARTING: Duration = Duration::from_secs(10);
/// Log lines per second about refused deliveries; the metrics count every one.
const LOG_LINES: u32 = 20;

/// A delivery as it arrived.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) secrets: &'a Secrets,
    pub(crate) signature: Option<&'a [u8]>,
    pub(crate) traceparent: Option<&'a [u8]>,
    pub(crate) body: Bytes,
    pub(crate) received_at: DateTime<Utc>,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Judge {
    livemode: bool,
    tolerance_seconds: u64,
    versions: ApiVersions,
    bad_attempts: AddressLimit,
    log_lines: LogBudget,
    began: Instant,
    has_published: AtomicBool,
}

impl Judge {
    pub(crate) fn new(livemode: bool, tolerance_seconds: u64) -> Self {
        Self {
            livemode,
            tolerance_seconds,
            versions: ApiVersions::default(),
            bad_attempts: AddressLimit::per_minute(BAD_ATTEMPTS),
            log_lines: LogBudget::per_second(LOG_LINES),
            began: Instant::now(),
            has_published: AtomicBool::new(false),
        }
    }

    /// Whether the broker is only not connected yet: a delivery that comes within the first moments of a process is sent again, and no
    /// person need be told.
    fn is_starting(&self, refusal: &Refusal) -> bool {
        matches!(refusal, Refusal::Broker(PublishError::Unavailable))
            && !self.has_published.load(Ordering::Relaxed)
            && self.began.elapsed() < STARTING
    }
}

/// Receives deliveries on one worker.
pub(crate) struct Receiver {
    pub(crate) publisher: Publisher,
    pub(crate) alerts: AlertRaiser,
    pub(crate) clock: Clock,
    pub(crate) judge: Arc<Judge>,
}

impl Receiver {
    /// Judges a delivery and publishes its event. `Ok` is the event's id, and means that the broker holds the event.
    pub(crate) async fn receive(&self, delivery: Delivery<'_>) -> Result<String, Refusal> {
        let Delivery {
            endpoint,
            secrets,
            signature,
            traceparent,
            body,
            received_at,
        } = delivery;
        let now = self.clock.unix_seconds();
        signature::verify(signature, &body, secrets, now, self.judge.tolerance_seconds).map_err(Refusal::Signature)?;
        let trace = TraceContext::current().unwrap_or_else(|| TraceContext::continue_or_start(traceparent));
        let message = {
            let envelope = envelope::peek(&body).map_err(Refusal::Payload)?;
            if envelope.livemode != Some(self.judge.livemode) {
                self.alerts
                    .raise(livemode_alert(endpoint, self.judge.livemode, envelope.livemode));
            }
            if let Some(alert) = misdirected(endpoint, &envelope) {
                self.alerts.raise(alert);
            }
            if let Some(alert) = self.judge.versions.count(envelope.api_version.as_deref()) {
                self.alerts.raise(alert);
            }
            message::of_event(endpoint, &envelope, body.clone(), received_at, trace)
        };
        // The message has it; two holders would keep it until the confirm.
        drop(body);
        let event_id = message.message_id.clone();
        self.publisher.publish(message).await.map_err(Refusal::Broker)?;
        if !self.judge.has_published.load(Ordering::Relaxed) {
            self.judge.has_published.store(true, Ordering::Relaxed);
        }
        Ok(event_id)
    }

    /// Counts a refusal against its sender, tells a person, and gives the refusal to answer with.
    pub(crate) fn refuse(&self, endpoint: Endpoint, address: IpAddr, id: &RequestId, refusal: Refusal) -> Refusal {
        let to_tell = refusal.alert(endpoint).filter(|_| !self.judge.is_starting(&refusal));
        if let Some(alert) = to_tell {
            self.alerts.raise(alert.with("address", address));
        }
        if let Some(left_out) = self.judge.log_lines.take(self.clock.unix_seconds()) {
            let (code, reason) = (refusal.code(), refusal.reason());
            tracing::warn!(request_id = %id, %endpoint, code, reason, %address, left_out, "refused a delivery");
        }
        if !refusal.is_bad_attempt() {
            return refusal;
        }
        match self.judge.bad_attempts.count(address) {
            Ok(()) => refusal,
            Err(wait) => Refusal::Throttled { wait },
        }
    }
}

fn livemode_alert(endpoint: Endpoint, ours: bool, theirs: Option<bool>) -> Alert {
    let theirs = theirs.map_or("none", |live| if live { "live" } else { "test" });
    let summary = format!("Events of another mode arrive at the {endpoint} endpoint; they are kept and never applied");
    Alert::new(AlertKind::LivemodeMismatch, endpoint.as_str(), summary)
        .with("expected", if ours { "live" } else { "test" })
        .with("found", theirs)
}

/// Tells of an event that came to the endpoint of the other kind, where the services that own its type do not look for it. Events of
/// API v2 may concern a connected account without naming it.
fn misdirected(endpoint: Endpoint, envelope: &Envelope<'_>) -> Option<Alert> {
    let of_account = envelope.connected_account().is_some();
    let (whose, other) = match endpoint {
        Endpoint::Platform if of_account => ("connected accounts", Endpoint::Connect),
        Endpoint::Connect if !of_account && !envelope.kind.starts_with("v2.") => {
            ("the platform's own account", Endpoint::Platform)
        }
        Endpoint::Platform | Endpoint::Connect => return None,
    };
    let summary = format!(
        "Events of {whose} arrive at the {endpoint} endpoint, {}; they are kept, and belong to {}",
        endpoint.path(),
        other.path()
    );
    Some(Alert::new(AlertKind::WebhookEndpoint, endpoint.as_str(), summary).with("type", &envelope.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_not_connected_yet_is_told_only_when_the_start_is_over() {
        let away = Refusal::Broker(PublishError::Unavailable);
        let mut judge = Judge::new(false, 300);
        assert!(judge.is_starting(&away));
        assert!(
            !judge.is_starting(&Refusal::Broker(PublishError::Blocked)),
            "it is connected"
        );
        assert!(!judge.is_starting(&Refusal::Saturated));
        judge.has_published.store(true, Ordering::Relaxed);
        assert!(!judge.is_starting(&away), "it was connected");
        judge.has_published.store(false, Ordering::Relaxed);
        judge.began = Instant::now().checked_sub(STARTING).unwrap();
        assert!(!judge.is_starting(&away));
    }
}
