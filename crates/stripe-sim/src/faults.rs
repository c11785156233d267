//! Faults on demand: what goes wrong with deliveries (chances drawn from the seed) and with API calls (a given number of times).

use serde::{Deserialize, Serialize};

/// Chances (0 to 1) per event and endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DeliveryFaults {
    /// Delivered up to `window` places later than its turn.
    pub(crate) reorder: f64,
    pub(crate) window: u64,
    /// How long a displaced event waits for those that should overtake it.
    pub(crate) hold_ms: u64,
    /// Delivered twice with the same id, the second time up to `window` places later.
    pub(crate) duplicate: f64,
    /// A second event with another id for the same occurrence.
    pub(crate) twin: f64,
    /// Delivered as a thin event, without the object.
    pub(crate) thin: f64,
    /// Delivered `delay_ms` later.
    pub(crate) delay: f64,
    pub(crate) delay_ms: u64,
    /// Never delivered, except by `/_sim/deliver`.
    pub(crate) drop: f64,
}

impl Default for DeliveryFaults {
    fn default() -> Self {
        Self {
            reorder: 0.0,
            window: 5,
            hold_ms: 300,
            duplicate: 0.0,
            twin: 0.0,
            thin: 0.0,
            delay: 0.0,
            delay_ms: 0,
            drop: 0.0,
        }
    }
}

/// What happens to an API call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// 409 `idempotency_key_in_use`.
    #[serde(rename = "409")]
    Conflict,
    /// 429, with the reason in `Stripe-Rate-Limited-Reason`, or `lock_timeout`.
    #[serde(rename = "429")]
    RateLimit,
    /// 500 of a call that began to execute: kept under its key.
    #[serde(rename = "500")]
    Internal,
    /// 502 with a page of HTML.
    Html502,
    /// Waits `delay_ms`, then does as usual.
    Slow,
    /// Does everything and closes the connection without an answer.
    LostResponse,
    /// Closes the connection without doing anything.
    Refuse,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiFault {
    /// The start of the path, for example `/v1/subscriptions`; absent for all.
    #[serde(default)]
    pub(crate) path: String,
    /// Absent for all.
    #[serde(default)]
    pub(crate) method: Option<String>,
    pub(crate) kind: Kind,
    #[serde(default = "once")]
    pub(crate) times: u64,
    #[serde(default = "a_second")]
    pub(crate) delay_ms: u64,
    /// For `429`: `global-rate`, `endpoint-rate`, .., or `lock_timeout`.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// For `500` and `html502`: the call takes effect all the same.
    #[serde(default)]
    pub(crate) after_effect: bool,
    /// Overrides `Stripe-Should-Retry`.
    #[serde(default)]
    pub(crate) should_retry: Option<bool>,
}

const fn once() -> u64 {
    1
}

const fn a_second() -> u64 {
    1_000
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Faults {
    #[serde(flatten)]
    pub(crate) deliveries: DeliveryFaults,
    pub(crate) api: Vec<ApiFault>,
}

impl Faults {
    /// The fault for this call, which is thereby used up once.
    pub(crate) fn take(&mut self, method: &str, path: &str) -> Option<ApiFault> {
        let fits = |fault: &&mut ApiFault| {
            fault.times > 0
                && path.starts_with(&fault.path)
                && fault.method.as_ref().is_none_or(|one| one.eq_ignore_ascii_case(method))
        };
        let fault = self.api.iter_mut().find(fits)?;
        fault.times -= 1;
        let taken = fault.clone();
        self.api.retain(|fault| fault.times > 0);
        Some(taken)
    }
}
