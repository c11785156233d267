//! The report on escrow for people, and the targets that it is held against.

use std::fmt::Write as _;

use super::{Report, Round};

/// The least share of what the calls alone allow, where a call takes as long as at Stripe.
const LEAST_OF_CALLS: f64 = 0.8;
/// The least share of the rate of a small table.
const LEAST_FLAT: f64 = 0.8;

impl Report {
    /// Whether every target of the requirements is met.
    #[must_use]
    pub fn holds(&self) -> bool {
        of_calls(&self.slow) >= LEAST_OF_CALLS && self.flatness() >= LEAST_FLAT
    }

    /// The lowest rate of all sizes as a share of that at the smallest.
    fn flatness(&self) -> f64 {
        let first = self.sizes.first().map_or(1.0, super::Size::rate);
        self.sizes.iter().map(|size| size.rate() / first).fold(1.0, f64::min)
    }

    /// The report for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::from("escrow, releases of one transfer, 8 workers\n");
        let slow = &self.slow;
        let _ = writeln!(
            text,
            "  150 ms a call: {:.1} releases/s, the calls alone {:.1}/s: {:.2} (target {LEAST_OF_CALLS})",
            slow.releases,
            slow.calls,
            of_calls(slow)
        );
        for size in &self.sizes {
            let _ = writeln!(
                text,
                "  {:>9} escrows, a Stripe that answers at once: {:.0} releases/s",
                size.escrows,
                size.rate()
            );
            for round in &size.rounds {
                let _ = writeln!(
                    text,
                    "      {:>5.0} releases/s, the calls alone {:>5.0}/s; µs of CPU per release: own {:.0}, Postgres {:.0}, the simulator {:.0}",
                    round.releases, round.calls, round.own_micros, round.postgres_micros, round.stripe_micros
                );
            }
            let scans = &size.scans;
            let _ = writeln!(
                text,
                "      looks: due operations {:.2} ms, expired {:.2} ms, to be captured in time {:.2} ms, refused calls {:.2} ms",
                scans.due_ms, scans.expired_ms, scans.to_secure_ms, scans.refused_ms
            );
        }
        let _ = writeln!(
            text,
            "  the lowest rate is {:.2} of the first (target {LEAST_FLAT})",
            self.flatness()
        );
        text
    }
}

fn of_calls(round: &Round) -> f64 {
    round.releases / round.calls
}
