//! How long what could not be read is left alone, and how long nothing is said of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(600);

/// The pause after so many failures in a row: twice as long each time, up to ten minutes. Between three and five quarters of that, by
/// the subject, so that what failed together does not come back together.
#[must_use]
pub fn pause(subject: &str, failures: i32) -> Duration {
    let pause = doubled(FIRST, LONGEST, failures);
    let mut hasher = DefaultHasher::new();
    (subject, failures).hash(&mut hasher);
    let percent = 75 + u32::try_from(hasher.finish() % 51).unwrap_or_default();
    pause.saturating_mul(percent) / 100
}

/// `first`, twice as long each time, up to `longest`.
#[must_use]
pub fn doubled(first: Duration, longest: Duration, times: i32) -> Duration {
    let doublings = u32::try_from(times.clamp(0, 16)).unwrap_or_default();
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_doubles_begins_with_the_first_and_ends_with_the_longest() {
        let minutes = |times| doubled(Duration::from_secs(60), Duration::from_secs(3_600), times).as_secs() / 60;
        assert_eq!([-1, 0, 1, 2, 5, 6, i32::MAX].map(minutes), [1, 1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn pauses_grow_up_to_ten_minutes_and_differ_from_subject_to_subject() {
        let within = |failures, low: f64, high: f64| {
            let pauses: Vec<Duration> = (0..50).map(|n| pause(&format!("evt_{n}"), failures)).collect();
            assert!(
                pauses.iter().all(|pause| (low..=high).contains(&pause.as_secs_f64())),
                "{pauses:?}"
            );
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        };
        within(0, 3.0, 5.0);
        within(1, 6.0, 10.0);
        within(5, 96.0, 160.0);
        for failures in [8, 1000, i32::MAX] {
            within(failures, 450.0, 750.0);
        }
        assert_eq!(pause("evt_1", 3), pause("evt_1", 3));
    }
}
