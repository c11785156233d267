//! Simulated time. The simulator's clock runs with the machine's (or stands, when frozen) plus what `/_sim/clock` added; a test clock
//! stands where it was set. Due work is done in order of its time, and while it runs "now" is that time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use chrono::{DateTime, Datelike, Days, Months, Utc};

/// The simulator's own clock, in whole seconds.
#[derive(Debug)]
pub(crate) struct SimClock {
    offset: i64,
    frozen: Option<i64>,
}

impl SimClock {
    pub(crate) fn new(start_at: Option<i64>) -> Self {
        Self {
            offset: 0,
            frozen: start_at,
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.frozen.unwrap_or_else(wall) + self.offset
    }

    pub(crate) fn advance(&mut self, seconds: i64) {
        self.offset += seconds;
    }

    /// Stops the clock, or lets it run on from where it stands.
    pub(crate) fn freeze(&mut self, freeze: bool) {
        let now = self.now();
        self.frozen = freeze.then_some(now);
        self.offset = if freeze { 0 } else { now - wall() };
    }
}

/// The machine's time, unix seconds.
pub(crate) fn wall() -> i64 {
    Utc::now().timestamp()
}

/// Work that simulated time brings about. Handlers check that it still applies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    PeriodEnd { subscription: String, end: i64 },
    TrialWillEnd { subscription: String, end: i64 },
    CancelAt { subscription: String, at: i64 },
    ResumeCollection { subscription: String, at: i64 },
    IncompleteExpires { subscription: String },
    Finalize { invoice: String },
    Retry { invoice: String, at: i64 },
    Overdue { invoice: String },
    SessionExpires { session: String },
    RefundDecided { refund: String },
    HoldExpires { intent: String, at: i64 },
    PayoutArrives { payout: String },
}

/// By time, then in the order in which it was put there.
type Due = BinaryHeap<Reverse<(i64, u64, Task)>>;

/// What is due when, on which clock (`None` is the simulator's).
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    clocks: BTreeMap<Option<String>, Due>,
    sequence: u64,
}

impl Agenda {
    pub(crate) fn add(&mut self, due: i64, clock: Option<String>, task: Task) {
        self.sequence += 1;
        self.clocks
            .entry(clock)
            .or_default()
            .push(Reverse((due, self.sequence, task)));
    }

    /// Forgets a deleted test clock.
    pub(crate) fn forget(&mut self, clock: &str) {
        self.clocks.remove(&Some(clock.to_owned()));
    }

    /// The earliest task of a clock that is due at `now`, and its time.
    pub(crate) fn pop_due(&mut self, clock: Option<&str>, now: i64) -> Option<(i64, Task)> {
        let heap = self.clocks.get_mut(&clock.map(ToOwned::to_owned))?;
        if heap.peek().is_none_or(|Reverse(entry)| entry.0 > now) {
            return None;
        }
        heap.pop().map(|Reverse((due, _, task))| (due, task))
    }
}

/// Length of a billing period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    Day,
    Week,
    Month,
    Year,
}

impl Interval {
    pub(crate) const NAMES: [&'static str; 4] = ["day", "week", "month", "year"];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// The first end of a period after `after`, counted from the anchor so that the 31st comes back after February.
pub(crate) fn period_end(anchor: i64, interval: Interval, count: u32, after: i64) -> i64 {
    let Some(start) = DateTime::from_timestamp(anchor, 0) else {
        return after + 30 * 86_400;
    };
    let fixed = |days: i64| anchor + ((after - anchor).div_euclid(days * 86_400) + 1) * days * 86_400;
    let count = count.max(1);
    match interval {
        Interval::Day => fixed(i64::from(count)),
        Interval::Week => fixed(7 * i64::from(count)),
        Interval::Month | Interval::Year => {
            let step = if interval == Interval::Year { count * 12 } else { count };
            let end = |n: u32| start.checked_add_months(Months::new(n * step)).map(|at| at.timestamp());
            (1..12_000)
                .find_map(|n| end(n).filter(|at| *at > after))
                .unwrap_or(after + 30 * 86_400)
        }
    }
}

/// `days` later.
pub(crate) fn add_days(at: i64, days: u32) -> i64 {
    DateTime::from_timestamp(at, 0)
        .and_then(|at| at.checked_add_days(Days::new(u64::from(days))))
        .map_or(at, |at| at.timestamp())
}

/// The value of a `Date` header.
pub(crate) fn http_date(at: i64) -> String {
    let at = DateTime::from_timestamp(at, 0).unwrap_or_default();
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `YYYY` and `MM`, for invoice numbers and card expiries.
pub(crate) fn year_of(at: i64) -> i32 {
    DateTime::from_timestamp(at, 0).map_or(2026, |at| at.year())
}

#[cfg(test)]
mod tests {
    use super::{Interval, period_end};

    #[test]
    fn months_are_counted_from_the_anchor() {
        let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp();
        let anchor = at("2026-01-31T10:00:00Z");
        for (after, expect) in [
            ("2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z"),
            ("2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z"),
            ("2026-12-31T10:00:00Z", "2027-01-31T10:00:00Z"),
        ] {
            assert_eq!(period_end(anchor, Interval::Month, 1, at(after)), at(expect));
        }
        assert_eq!(period_end(anchor, Interval::Week, 2, anchor), anchor + 14 * 86_400);
    }
}
