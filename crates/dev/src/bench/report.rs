//! The report on ingest for people, and the targets that it is held against.

use std::fmt::Write as _;

use super::ingest::{CONNECTIONS, Latency, Report, Round, median};
use super::largest::Largest;
use super::outage::Outage;

/// The least share of the ceiling.
const LEAST_RATIO: f64 = 0.65;
/// The most that 99 of 100 requests may take at half of the peak, in milliseconds.
const MOST_P99_MS: f64 = 25.0;
/// The most memory at any time, in KiB.
const MOST_MEMORY_KIB: u64 = 60 * 1024;
/// The most that an answer may take while the broker is stopped, in milliseconds.
const MOST_REFUSAL_MS: f64 = 1_000.0;
/// The most until ingest is at full speed after the broker's return, in seconds.
const MOST_BACK_SECONDS: f64 = 5.0;

impl Report {
    /// Whether every target of the requirements is met.
    #[must_use]
    pub fn holds(&self) -> bool {
        let p99 = median(self.latency.iter().map(|latency| latency.p99_ms));
        let Outage {
            slowest_ms,
            back_seconds,
            ..
        } = self.outage;
        self.ratio >= LEAST_RATIO
            && p99 < MOST_P99_MS
            && self.memory_peak_kib < MOST_MEMORY_KIB
            && self.largest.memory_peak_kib < MOST_MEMORY_KIB
            && slowest_ms < MOST_REFUSAL_MS
            && back_seconds < MOST_BACK_SECONDS
    }

    /// The report for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("ingest, {} connections, {} byte bodies\n", CONNECTIONS, self.body_bytes);
        text.push_str(
            "  ceiling/s  ingest/s  ratio   µs of ceiling: loop  broker   µs of ingest: own  broker  generator\n",
        );
        for round in &self.rounds {
            let Round {
                ceiling,
                ingest,
                ceiling_own_micros,
                ceiling_broker_micros,
                ..
            } = round;
            let Round {
                ingest_micros,
                broker_micros,
                generator_micros,
                ..
            } = round;
            let _ = writeln!(
                text,
                "  {ceiling:>9.0} {ingest:>9.0}  {:>5.3}  {ceiling_own_micros:>19.0}  {ceiling_broker_micros:>6.0}  \
                 {ingest_micros:>18.0}  {broker_micros:>6.0}  {generator_micros:>9.0}",
                round.ratio()
            );
        }
        let _ = writeln!(text, "  median ratio {:.3} (target {LEAST_RATIO})", self.ratio);
        for latency in &self.latency {
            let Latency {
                rate,
                p50_ms,
                p99_ms,
                max_ms,
            } = latency;
            let _ = writeln!(
                text,
                "  at {rate:.0}/s: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms"
            );
        }
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (start, end, peak) = (
            mib(self.memory_start_kib),
            mib(self.memory_end_kib),
            mib(self.memory_peak_kib),
        );
        let _ = writeln!(
            text,
            "  memory {start:.1} MiB, {end:.1} MiB after {} events, peak {peak:.1} MiB",
            self.events
        );
        let Outage {
            refused,
            slowest_ms,
            back_seconds,
        } = self.outage;
        let _ = writeln!(
            text,
            "  broker stopped: {refused} answers of 503, the slowest after {slowest_ms:.0} ms; full speed {back_seconds:.1} s after its return"
        );
        let Largest {
            accepted,
            refused,
            memory_peak_kib,
        } = self.largest;
        let _ = writeln!(
            text,
            "  only bodies of 1 MiB: {accepted} taken, {refused} put off, memory at most {:.1} MiB",
            mib(memory_peak_kib)
        );
        text
    }
}
