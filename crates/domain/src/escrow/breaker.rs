//! The refund breaker (ESC-7): how much may be given back by itself, without a person.
//!
//! A defect, or a forged clock, must not be able to refund a whole book. Per run at most 50 escrows and at most EUR 100.00 (its set
//! equivalent in each other currency); per UTC day ten times as much, counted in the database, so that a crash loop cannot get round
//! it. A single escrow above the amount of a run could never pass: it is set aside for a person and holds up nobody else. Giving up
//! what was not captured moves no money, so it counts in the number only. A person's refund is never asked about.

use std::collections::BTreeMap;

use crate::money::{Currency, Money};
use crate::time::UnixSeconds;

/// How many runs' worth may pass in a day.
pub const RUNS_PER_DAY: i64 = 10;

/// The limits of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many escrows (`REFUND_BREAKER_MAX_COUNT`); with 0 nothing is given back, and nothing is set aside.
    pub count: i64,
    /// How much of each currency, in minor units (`REFUND_BREAKER_MAX_AMOUNT`). A currency that is not here is never refunded by
    /// itself.
    pub amounts: BTreeMap<Currency, i64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            count: 50,
            amounts: BTreeMap::from([(Currency::EUR, 10_000)]),
        }
    }
}

/// What was used up, of a run or of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// Escrows, refunded or given up.
    pub count: i64,
    /// Refunded, in minor units.
    pub amounts: BTreeMap<Currency, i64>,
}

/// What is to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivingBack {
    /// A refund of captured money.
    Refund(Money),
    /// A cancellation of what was not captured.
    Cancel,
}

/// What the breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, with this counted.
    Pass,
    /// This one is above the limit by itself: a person has to decide. Go on with the next.
    SetAside,
    /// Stop this run; the rest waits for the next one.
    Trip(Limit),
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The number of a run.
    RunCount,
    /// The amount of a run.
    RunAmount,
    /// The number of a day.
    DayCount,
    /// The amount of a day.
    DayAmount,
}

/// The UTC day that a moment belongs to, as days since 1970-01-01.
#[must_use]
pub const fn utc_day(at: UnixSeconds) -> i64 {
    at.0.div_euclid(86_400)
}

impl Used {
    fn amount(&self, currency: Currency) -> i64 {
        self.amounts.get(&currency).copied().unwrap_or_default()
    }

    /// Counts one that passed.
    pub fn count(&mut self, giving_back: GivingBack) {
        self.count = self.count.saturating_add(1);
        match giving_back {
            GivingBack::Refund(money) => {
                let used = self.amounts.entry(money.currency).or_default();
                *used = used.saturating_add(money.minor);
            }
            GivingBack::Cancel => {}
        }
    }
}

impl Limits {
    /// Asks whether one more may pass, after what this run and this day have used.
    #[must_use]
    pub fn ask(&self, run: &Used, day: &Used, giving_back: GivingBack) -> Verdict {
        // The number first: a person who sets it to 0 stops everything, and nothing is set aside for good meanwhile.
        let counts = [
            (run, self.count, Limit::RunCount),
            (day, daily(self.count), Limit::DayCount),
        ];
        if let Some((_, _, limit)) = counts.into_iter().find(|(used, most, _)| used.count >= *most) {
            return Verdict::Trip(limit);
        }
        let GivingBack::Refund(money) = giving_back else {
            return Verdict::Pass;
        };
        let most = self.amount(money.currency);
        if money.minor > most {
            return Verdict::SetAside;
        }
        let amounts = [(run, most, Limit::RunAmount), (day, daily(most), Limit::DayAmount)];
        let is_over = |used: &Used, most: i64| used.amount(money.currency).saturating_add(money.minor) > most;
        match amounts.into_iter().find(|(used, most, _)| is_over(used, *most)) {
            Some((_, _, limit)) => Verdict::Trip(limit),
            None => Verdict::Pass,
        }
    }

    fn amount(&self, currency: Currency) -> i64 {
        self.amounts.get(&currency).copied().unwrap_or_default()
    }
}

const fn daily(of_a_run: i64) -> i64 {
    of_a_run.saturating_mul(RUNS_PER_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur(minor: i64) -> GivingBack {
        GivingBack::Refund(Money::new(minor, Currency::EUR))
    }

    /// Runs through `waiting`; gives how many passed, how many were set aside, and what tripped.
    fn run(day: &mut Used, waiting: &[GivingBack]) -> (usize, usize, Option<Limit>) {
        let limits = Limits::default();
        let (mut used, mut passed, mut aside) = (Used::default(), 0, 0);
        for giving_back in waiting {
            match limits.ask(&used, day, *giving_back) {
                Verdict::Pass => {
                    used.count(*giving_back);
                    day.count(*giving_back);
                    passed += 1;
                }
                Verdict::SetAside => aside += 1,
                Verdict::Trip(limit) => return (passed, aside, Some(limit)),
            }
        }
        (passed, aside, None)
    }

    /// How many pass, how many are set aside, and which limit was met.
    type Expected = (usize, usize, Option<Limit>);

    #[test]
    fn a_run_ends_at_its_number_or_its_amount() {
        let cases: [(Vec<GivingBack>, Expected); 7] = [
            (vec![eur(100); 100], (50, 0, Some(Limit::RunCount))),
            (vec![eur(3_000); 5], (3, 0, Some(Limit::RunAmount))),
            (vec![eur(10_000)], (1, 0, None)),
            (vec![eur(10_000), eur(1)], (1, 0, Some(Limit::RunAmount))),
            (vec![eur(10_001), eur(1)], (1, 1, None)),
            (vec![GivingBack::Cancel; 60], (50, 0, Some(Limit::RunCount))),
            (
                vec![GivingBack::Refund(Money::new(
                    1,
                    Currency::parse("usd").expect("a code"),
                ))],
                (0, 1, None),
            ),
        ];
        for (waiting, expected) in cases {
            assert_eq!(run(&mut Used::default(), &waiting), expected, "{:?}", waiting.first());
        }
    }

    #[test]
    fn a_crash_loop_ends_at_ten_runs_worth() {
        let mut day = Used::default();
        let mut passed = 0;
        for _ in 0..1_000 {
            passed += run(&mut day, &[eur(7_000), eur(7_000)]).0;
        }
        assert_eq!(passed, 14, "EUR 980.00 of 1,000.00");
        assert_eq!(run(&mut day, &[eur(2_001)]).2, Some(Limit::DayAmount));
        let mut day = Used::default();
        let cancels: usize = (0..100).map(|_| run(&mut day, &[GivingBack::Cancel; 50]).0).sum();
        assert_eq!(cancels, 500);
    }

    #[test]
    fn a_number_of_0_stops_everything_and_sets_nothing_aside() {
        let none = Limits {
            count: 0,
            amounts: BTreeMap::from([(Currency::EUR, 0)]),
        };
        for giving_back in [eur(1), eur(1_000_000), GivingBack::Cancel] {
            let verdict = none.ask(&Used::default(), &Used::default(), giving_back);
            assert_eq!(verdict, Verdict::Trip(Limit::RunCount), "{giving_back:?}");
        }
    }

    #[test]
    fn days_are_utc() {
        assert_eq!(utc_day(UnixSeconds(86_399)), 0);
        assert_eq!(utc_day(UnixSeconds(86_400)), 1);
        assert_eq!(utc_day(UnixSeconds(-1)), -1);
    }
}
