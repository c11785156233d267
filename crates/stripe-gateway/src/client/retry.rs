//! Whether to try once more, and when.

use std::time::Duration;

use super::outcome::Outcome;

/// Full jitter: a wait drawn evenly between nothing and `base * 2^n`, at most `cap`. Clients that failed together come back apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// The wait before the retry of that number, counted from 0. `chance` is drawn evenly from 0 to 1.
    #[must_use]
    pub fn wait(self, retry: u32, chance: f64) -> Duration {
        let ceiling = self.base.saturating_mul(2_u32.saturating_pow(retry)).min(self.cap);
        ceiling.mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// Whether the same call may be made again: under the same key for a POST, as it stands for a GET.
///
/// `Stripe-Should-Retry` wins over what the outcome suggests, in both directions: Stripe knows whether a refusal was kept under
/// the key (docs.stripe.com/error-low-level). An answer is never asked for twice.
pub(super) fn is_worthwhile(outcome: &Outcome, stripe_says: Option<bool>) -> bool {
    match outcome {
        Outcome::Answered(_) => false,
        Outcome::Refused(_) => stripe_says.unwrap_or(false),
        Outcome::Unknown(unknown) => stripe_says.unwrap_or_else(|| unknown.cause.may_pass()),
        Outcome::NotSent(not_sent) => stripe_says.unwrap_or_else(|| not_sent.may_pass()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_drawn_from_nothing_on() {
        let backoff = Backoff::default();
        let longest: Vec<u128> = (0..6).map(|n| backoff.wait(n, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.wait(1, 0.25), Duration::from_millis(250));
        assert_eq!(backoff.wait(u32::MAX, 2.0), Duration::from_secs(5));
    }
}
