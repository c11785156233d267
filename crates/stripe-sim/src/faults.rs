//! Faults on demand: what goes wrong with deliveries (chances drawn from the seed) and with API calls (a given number of times).

use serde::{Deserialize, Serialize};

use crate::ids::chance;

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
    /// Refused with `status`, `type`, `code` and `message`, without effect.
    Error,
    /// Waits `delay_ms`, then does as usual.
    Slow,
    /// Does everything and closes the connection without an answer.
    #[serde(alias = "lost_after")]
    LostResponse,
    /// Closes the connection without doing anything.
    #[serde(alias = "lost_before")]
    Refuse,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiFault {
    /// The start of the path, for example `/v1/subscriptions`; with `*` for a part or `$` at the end the whole of it; absent for all.
    #[serde(default)]
    pub(crate) path: String,
    /// Absent for all.
    #[serde(default)]
    pub(crate) method: Option<String>,
    pub(crate) kind: Kind,
    /// How often it strikes; absent: once, or without end when there is a `chance`.
    #[serde(default)]
    pub(crate) times: Option<u64>,
    /// How many calls that fit are let pass first.
    #[serde(default)]
    pub(crate) skip: u64,
    /// From 0 to 1, drawn from the seed and the number of the call among those that fit.
    #[serde(default)]
    pub(crate) chance: Option<f64>,
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
    /// For `error`: 400 unless given.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// Calls that fitted so far.
    #[serde(default, skip_deserializing)]
    seen: u64,
}

const fn a_second() -> u64 {
    1_000
}

impl ApiFault {
    fn fits(&self, method: &str, path: &str) -> bool {
        let named = self.method.as_ref().is_none_or(|one| one.eq_ignore_ascii_case(method));
        named && matches(&self.path, path)
    }

    fn is_over(&self) -> bool {
        self.times == Some(0)
    }
}

/// A pattern is the start of a path, or all of it when it ends in `$` or holds a `*`, which stands for one part.
fn matches(pattern: &str, path: &str) -> bool {
    let whole = pattern.strip_suffix('$');
    if whole.is_none() && !pattern.contains('*') {
        return path.starts_with(pattern);
    }
    let (mut expected, mut given) = (whole.unwrap_or(pattern).split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == "*" || one == other => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Faults {
    #[serde(flatten)]
    pub(crate) deliveries: DeliveryFaults,
    /// How long every API call takes.
    pub(crate) latency_ms: u64,
    pub(crate) api: Vec<ApiFault>,
}

impl Faults {
    /// The fault for this call, which is thereby used up once.
    pub(crate) fn take(&mut self, seed: u64, method: &str, path: &str) -> Option<ApiFault> {
        let mut taken = None;
        for (place, fault) in self
            .api
            .iter_mut()
            .enumerate()
            .filter(|(_, fault)| fault.fits(method, path))
        {
            fault.seen += 1;
            let subject = u64::try_from(place).unwrap_or(0) << 40 | fault.seen;
            if fault.seen <= fault.skip || !chance(seed, "api_fault", subject, fault.chance.unwrap_or(1.0)) {
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            taken = Some(fault.clone());
            break;
        }
        self.api.retain(|fault| !fault.is_over());
        taken
    }

    /// Adds a fault of API calls.
    pub(crate) fn add(&mut self, mut fault: ApiFault) {
        if fault.times.is_none() && fault.chance.is_none() {
            fault.times = Some(1);
        }
        self.api.push(fault);
        self.api.retain(|fault| !fault.is_over());
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_is_a_start_or_a_whole_path() {
        for (pattern, path, expected) in [
            ("", "/v1/transfers", true),
            ("/v1/transfers", "/v1/transfers/tr_1/reversals", true),
            ("/v1/transfers$", "/v1/transfers/tr_1/reversals", false),
            ("/v1/transfers$", "/v1/transfers", true),
            ("/v1/transfers/*/reversals", "/v1/transfers/tr_1/reversals", true),
            ("/v1/transfers/*/reversals", "/v1/transfers/tr_1/reversals/trr_1", false),
            ("/v1/payment_intents/*", "/v1/payment_intents", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
