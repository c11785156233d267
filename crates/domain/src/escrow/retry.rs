//! When to try again (RET-1): exponential backoff with full jitter, and a cap on attempts.
//!
//! Full jitter (a delay drawn evenly from zero to the backoff) spreads a crowd of failures that began in one second over the whole
//! window, where a fixed backoff would send them all back together.

use crate::time::UnixSeconds;

/// An evenly distributed random number, drawn by the caller: the domain has no source of chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Jitter(pub u32);

impl Jitter {
    /// No delay at all.
    pub const NONE: Self = Self(0);
    /// The whole backoff.
    pub const FULL: Self = Self(u32::MAX);
}

/// How delays grow, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// The backoff after the first failure.
    pub base: u32,
    /// The longest backoff.
    pub cap: u32,
    /// How many attempts there are before a person has to decide.
    pub max_attempts: u32,
}

impl Schedule {
    /// For what Stripe refused and may grant later: from 15 minutes up to a day, ten attempts.
    pub const REFUSED: Self = Self {
        base: 15 * 60,
        cap: 24 * 3_600,
        max_attempts: 10,
    };
    /// For a call whose outcome is not known: from 30 seconds up to an hour. Its attempts never end; what it waits for is certainty.
    pub const UNKNOWN: Self = Self {
        base: 30,
        cap: 3_600,
        max_attempts: u32::MAX,
    };

    /// The backoff after `failures` failures (1 for the first), in seconds.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> u32 {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u64.checked_shl(doublings.min(32)).unwrap_or(u64::MAX);
        let grown = u64::from(self.base).saturating_mul(factor).min(u64::from(self.cap));
        u32::try_from(grown).unwrap_or(self.cap)
    }

    /// When to try again after `failures` failures: somewhere between now and the backoff from now.
    #[must_use]
    pub fn next(&self, failures: u32, now: UnixSeconds, jitter: Jitter) -> UnixSeconds {
        let wide = u64::from(self.backoff(failures)).saturating_mul(u64::from(jitter.0));
        let delay = wide.checked_div(u64::from(u32::MAX)).unwrap_or_default();
        now.plus(i64::try_from(delay).unwrap_or(i64::MAX))
    }

    /// Whether `attempts` were enough.
    #[must_use]
    pub const fn is_exhausted(&self, attempts: u32) -> bool {
        attempts >= self.max_attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let schedule = Schedule::REFUSED;
        let minutes: Vec<u32> = (1..=9).map(|failures| schedule.backoff(failures) / 60).collect();
        assert_eq!(minutes, [15, 30, 60, 120, 240, 480, 960, 1_440, 1_440]);
        assert_eq!(schedule.backoff(0), schedule.backoff(1));
        assert_eq!(schedule.backoff(u32::MAX), schedule.cap);
    }

    #[test]
    fn jitter_is_full_and_never_more_than_the_backoff() {
        let now = UnixSeconds(1_000);
        let at = |jitter| Schedule::REFUSED.next(2, now, jitter).0 - now.0;
        assert_eq!(at(Jitter::NONE), 0);
        assert_eq!(at(Jitter(u32::MAX / 2)), 899);
        assert_eq!(at(Jitter::FULL), 1_800);
        assert_eq!(
            Schedule::REFUSED.next(40, UnixSeconds(i64::MAX), Jitter::FULL).0,
            i64::MAX
        );
    }

    #[test]
    fn attempts_end() {
        assert!(!Schedule::REFUSED.is_exhausted(9));
        assert!(Schedule::REFUSED.is_exhausted(10));
        assert!(!Schedule::UNKNOWN.is_exhausted(1_000_000));
    }
}
