//! A bound on log lines that anybody outside can cause.
//!
//! A flood of forged webhooks must not become a flood of log lines. [`LogBudget::take`] allows so many lines per second and
//! says, with the next allowed one, how many were left out; the counters in the metrics stay exact.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many lines per second.
#[derive(Debug)]
pub struct LogBudget {
    per_second: u64,
    /// The second in work (upper 40 bits) and the lines written in it (lower 24 bits).
    window: AtomicU64,
    left_out: AtomicU64,
}

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl LogBudget {
    /// A budget of `per_second` lines.
    #[must_use]
    pub const fn per_second(per_second: u32) -> Self {
        Self {
            per_second: per_second as u64,
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Asks for one line at a time in unix seconds: `Some(n)` allows it, where `n` lines were left out since the last one.
    pub fn take(&self, now_unix: i64) -> Option<u64> {
        let second = now_unix.unsigned_abs() & (u64::MAX >> COUNT_BITS);
        let taken = self
            .window
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
                let (current, count) = (window >> COUNT_BITS, window & COUNT_MASK);
                let count = if current == second { count } else { 0 };
                (count < self.per_second.min(COUNT_MASK)).then_some((second << COUNT_BITS) | count.saturating_add(1))
            });
        if taken.is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_budget_are_counted_and_told_with_the_next() {
        let budget = LogBudget::per_second(2);
        let told: Vec<_> = (0..5).map(|_| budget.take(100)).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        assert_eq!(budget.take(101), Some(3));
        assert_eq!(budget.take(101), Some(0));
        assert_eq!(budget.take(101), None);
    }
}
