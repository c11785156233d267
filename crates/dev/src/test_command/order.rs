//! In which order programs start: the longest first, so that the last ones to end are short. How long each took is
//! remembered from run to run below `target/`; it decides nothing but the order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::programs::TestProgram;

/// The longest ones by measurement, for a first run, which remembers nothing; a wrong guess costs time only.
/// The grid also has the broker make some thousand queues as it begins, for which others would wait; those that follow it here have
/// brokers of their own.
const LONGEST: [&str; 9] = [
    "escrow tests/crash_grid/main.rs",
    "dev tests/lifecycle.rs",
    "dev tests/e2e_outage.rs",
    "provision tests/servers.rs",
    "dev tests/e2e_kill.rs",
    "dev tests/e2e_drain.rs",
    "bus tests/outage.rs",
    "webhook-ingest tests/broker_away.rs",
    "bus tests/outbox.rs",
];

/// How long each program took when it last ran all of its tests, in milliseconds.
pub(super) struct Times {
    file: PathBuf,
    known: BTreeMap<String, u64>,
}

impl Times {
    pub(super) fn remembered(folder: &Path) -> Self {
        let file = folder.join("times.json");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self {
            file,
            known: serde_json::from_str(&text).unwrap_or_default(),
        }
    }

    /// Those never seen come first.
    pub(super) fn longest_first(&self, programs: &mut [TestProgram]) {
        programs.sort_by_key(|program| {
            let known = self.known.get(&program.title).copied();
            let guess = LONGEST.iter().position(|title| *title == program.title);
            (Reverse(known.unwrap_or(u64::MAX)), guess.unwrap_or(LONGEST.len()))
        });
    }

    pub(super) fn took(&mut self, title: &str, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.known.insert(title.to_owned(), milliseconds);
    }

    /// Without success the next run has another order, which is no reason to fail this one.
    pub(super) fn remember(&self) {
        if let Ok(text) = serde_json::to_string_pretty(&self.known) {
            drop(std::fs::write(&self.file, text));
        }
    }
}
