//! The API versions that events come in: a metric per version and one alert for each that is not the newest known (ING-10).
//!
//! Any version is taken; drift is only never silent. The label set is bounded: beyond [`MAX_VERSIONS`] versions (Stripe has
//! had about twenty-five with a train name) an event counts as `other`.

use std::sync::{PoisonError, RwLock};

use chrono::NaiveDate;
use domain::alert::{Alert, AlertKind};
use metrics::Counter;

/// The newest version that Holdfast's views were written against.
pub const NEWEST_KNOWN: &str = "2026-09-30.endive";

const MAX_VERSIONS: usize = 32;

/// Counts events by version.
#[derive(Debug, Default)]
pub(crate) struct ApiVersions {
    seen: RwLock<Vec<Seen>>,
}

struct Seen {
    version: Box<str>,
    count: Counter,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.version)
    }
}

impl ApiVersions {
    /// Counts an event of this version. The alert comes with the first event of a version that is not the newest known.
    pub(crate) fn count(&self, version: Option<&str>) -> Option<Alert> {
        let version = version.unwrap_or("none");
        if self.count_known(version) {
            return None;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| &*known.version == version) {
            drop(seen);
            self.count_known(version);
            return None;
        }
        if seen.len() >= MAX_VERSIONS {
            counter("other").increment(1);
            return None;
        }
        let count = counter(version);
        count.increment(1);
        seen.push(Seen {
            version: version.into(),
            count,
        });
        drop(seen);
        let days = distance_days(version);
        if let Some(days) = days {
            let gauge = metrics::gauge!("holdfast_webhook_api_version_distance_days", "version" => version.to_owned());
            gauge.set(f64::from(days));
        }
        drift_alert(version, days)
    }

    fn count_known(&self, version: &str) -> bool {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let known = seen.iter().find(|known| &*known.version == version);
        known.inspect(|known| known.count.increment(1)).is_some()
    }
}

fn counter(version: &str) -> Counter {
    metrics::counter!("holdfast_webhook_api_version_total", "version" => version.to_owned())
}

/// How many days a version is newer (positive) or older (negative) than the newest known.
fn distance_days(version: &str) -> Option<i32> {
    let days = date_of(version)?
        .signed_duration_since(date_of(NEWEST_KNOWN)?)
        .num_days();
    i32::try_from(days).ok()
}

fn date_of(version: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(version.get(..10)?, "%Y-%m-%d").ok()
}

fn drift_alert(version: &str, days: Option<i32>) -> Option<Alert> {
    if version == NEWEST_KNOWN || version == "none" {
        return None;
    }
    let summary = match days {
        Some(days) if days > 0 => format!("Events come in API version {version}, newer than any that Holdfast knows"),
        _ => format!("Events come in API version {version}, other than the newest known"),
    };
    let alert = Alert::new(AlertKind::ApiVersionDrift, version, summary).with("newest_known", NEWEST_KNOWN);
    Some(match days {
        Some(days) => alert.with("distance_days", days),
        None => alert,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_that_is_not_the_newest_alerts_once() {
        let versions = ApiVersions::default();
        assert!(versions.count(Some(NEWEST_KNOWN)).is_none());
        assert!(versions.count(None).is_none());
        let alert = versions.count(Some("2023-10-16")).unwrap();
        assert_eq!(alert.key(), "api_version_drift:2023-10-16");
        assert!(versions.count(Some("2023-10-16")).is_none());
        let newer = versions.count(Some("2027-03-31.fennel")).unwrap();
        assert!(newer.summary.contains("newer"), "{}", newer.summary);
    }

    #[test]
    fn the_number_of_versions_is_bounded() {
        let versions = ApiVersions::default();
        let alerts = (0..100)
            .filter(|n| versions.count(Some(&format!("made-up-{n}"))).is_some())
            .count();
        assert_eq!(alerts, MAX_VERSIONS);
        assert_eq!(versions.seen.read().unwrap().len(), MAX_VERSIONS);
    }

    #[test]
    fn distances_are_in_days() {
        assert_eq!(distance_days(NEWEST_KNOWN), Some(0));
        assert_eq!(distance_days("2026-09-29.x"), Some(-1));
        assert_eq!(distance_days("2026-10-28.endive"), Some(28));
        assert_eq!(distance_days("é"), None);
    }
}
