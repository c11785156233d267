//! Metric handles, looked up once and not per request.

use metrics::{Counter, Histogram};

use crate::endpoint::Endpoint;

/// The outcome of a delivery that was answered 200.
pub(crate) const ACCEPTED: &str = "accepted";

/// The meters of one endpoint.
pub(crate) struct Meters {
    endpoint: Endpoint,
    accepted: Counter,
    duration: Histogram,
}

impl Meters {
    /// The meters of an endpoint. Needs the recorder to be installed before.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            accepted: webhooks(endpoint, ACCEPTED),
            duration: metrics::histogram!("holdfast_webhook_duration_seconds"),
        }
    }

    /// Counts a delivery. The outcome is one of a fixed list of words.
    pub(crate) fn count(&self, outcome: &'static str, seconds: f64) {
        if outcome == ACCEPTED {
            self.accepted.increment(1);
        } else {
            webhooks(self.endpoint, outcome).increment(1);
        }
        self.duration.record(seconds);
    }
}

fn webhooks(endpoint: Endpoint, outcome: &'static str) -> Counter {
    metrics::counter!("holdfast_webhooks_total", "endpoint" => endpoint.as_str(), "outcome" => outcome)
}
