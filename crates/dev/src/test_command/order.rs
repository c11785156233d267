//! In which order programs start: the longest first, so that the last ones to end are short. How long each took is
//! remembered from run to run below `target/`; it decides nothing but the order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::programs::TestProgram;

/// Whose tests start whole systems: the longest ones, as far as a first run can know.
const SYSTEMS: &str = "dev ";

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
            let expected = known.unwrap_or(u64::MAX);
            (std::cmp::Reverse(expected), !program.title.starts_with(SYSTEMS))
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
