//! Points in time as Stripe gives them: whole seconds since the Unix epoch.

use std::fmt;

/// Whole seconds since 1970-01-01T00:00:00Z. Stripe's `created` has no finer resolution, so two events of one second are common
/// and this value alone never orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The distance to `other` in seconds, whichever comes first; saturates at `u64::MAX`.
    #[must_use]
    pub const fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }

    /// This many seconds later; earlier for a negative number; saturates.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// How many seconds have passed since then; negative when it is still to come; saturates.
    #[must_use]
    pub const fn since(self, then: Self) -> i64 {
        self.0.saturating_sub(then.0)
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
