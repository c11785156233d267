//! The report on billing for people, and the targets that it is held against.

use std::fmt::Write as _;

use super::Report;
use super::flat::Size;
use super::whole_way::WholeWay;

/// The least in relation to one event per transaction.
const LEAST_TO_ALONE: f64 = 2.0;
/// The least share of what batches of 64 reach.
const LEAST_TO_BATCHED: f64 = 0.5;
/// The most memory at any time, in KiB.
const MOST_MEMORY_KIB: u64 = 100 * 1024;
/// The least share of the rate at the smallest size.
const LEAST_FLAT: f64 = 0.8;

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

impl Report {
    /// Whether every target of the requirements is met, as far as it was measured.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.to_alone >= LEAST_TO_ALONE
            && self.to_batched >= LEAST_TO_BATCHED
            && self.memory_peak_kib() < MOST_MEMORY_KIB
            && self.flatness().is_none_or(|least| least >= LEAST_FLAT)
    }

    /// Memory of billing at most, over everything that was measured.
    #[must_use]
    pub fn memory_peak_kib(&self) -> u64 {
        let rounds = self.rounds.iter().map(|round| round.consumer.memory_peak_kib);
        let flat = self.flat.iter().map(|size| size.memory_peak_kib);
        let backlog = self.backlog.iter().map(|backlog| backlog.memory_peak_kib);
        let all = rounds
            .chain(flat)
            .chain(backlog)
            .chain([self.whole_way.billing_peak_kib]);
        all.max().unwrap_or_default()
    }

    /// The lowest rate of all sizes as a share of that at the smallest.
    fn flatness(&self) -> Option<f64> {
        let first = self.flat.first()?.rate;
        self.flat.iter().map(|size| size.rate / first).min_by(f64::total_cmp)
    }

    /// The report for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("billing, {} clients\n", self.clients);
        text.push_str("  A: one per transaction/s  B: 64 per transaction/s  consumer/s   of A   of B   µs of consumer: own  Postgres  broker\n");
        for round in &self.rounds {
            let (a, b, drain) = (round.alone, round.batched, &round.consumer);
            let _ = writeln!(
                text,
                "  {a:>24.0}  {b:>22.0}  {:>10.0}  {:>5.2}  {:>5.2}  {:>19.0}  {:>8.0}  {:>6.0}",
                drain.rate,
                drain.rate / a,
                drain.rate / b,
                drain.billing_micros,
                drain.postgres_micros,
                drain.broker_micros
            );
        }
        let _ = writeln!(
            text,
            "  median {:.2} of A (target {LEAST_TO_ALONE}), {:.2} of B (target {LEAST_TO_BATCHED})",
            self.to_alone, self.to_batched
        );
        self.whole_way_text(&mut text);
        self.flat_text(&mut text);
        if let Some(backlog) = &self.backlog {
            let rates: Vec<String> = backlog.rates.iter().map(|rate| format!("{rate:.0}")).collect();
            let _ = writeln!(
                text,
                "  a backlog of {} events drains at {:.0}/s (each tenth: {})",
                backlog.events,
                backlog.rate,
                rates.join(" ")
            );
        }
        let _ = writeln!(
            text,
            "  memory of billing at most {:.1} MiB",
            mib(self.memory_peak_kib())
        );
        text
    }

    fn whole_way_text(&self, text: &mut String) {
        let WholeWay {
            rate,
            micros: [ingest, broker, billing, postgres, generator],
            half,
            p50_ms,
            p99_ms,
            max_ms,
            refused,
            ..
        } = self.whole_way;
        let _ = writeln!(
            text,
            "  the whole way: {rate:.0}/s; µs of CPU per event: ingest {ingest:.0}, broker {broker:.0}, billing {billing:.0}, Postgres \
             {postgres:.0}, generator {generator:.0}"
        );
        let _ = writeln!(
            text,
            "  at {half:.0}/s from HTTP to the commit: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms; {refused} answers were \
             not 200"
        );
    }

    fn flat_text(&self, text: &mut String) {
        for size in &self.flat {
            let Size {
                clients,
                archived,
                rate,
                postgres_micros,
                memory_peak_kib,
                ..
            } = size;
            let _ = writeln!(
                text,
                "  {clients:>9} clients, {archived:>9} archived events: {rate:.0}/s, Postgres {postgres_micros:.0} µs, memory at most {:.1} MiB",
                mib(*memory_peak_kib)
            );
        }
        if let Some(least) = self.flatness() {
            let _ = writeln!(text, "  the lowest is {least:.2} of the first (target {LEAST_FLAT})");
        }
    }
}
