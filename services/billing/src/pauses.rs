//! Which kinds of objects Stripe is not asked for at present.
//!
//! A kind is paused when it was asked for and nothing of it could be read: Stripe is away, or our key may not read this kind. It is not
//! paused for one object that cannot be read while others can, which has a time of its own. After a pause a kind is doubted until
//! something of it was read, and only a few of its objects are asked for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use service_kit::backoff;
use tokio::time::Instant;

/// The pauses of a process.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    doubted: Mutex<HashMap<String, Doubted>>,
}

/// A kind of which nothing could be read when it was asked for last.
#[derive(Debug, Clone, Copy)]
struct Doubted {
    until: Instant,
    failures: i32,
}

/// Whether a kind of objects is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// As often as there is something to ask.
    Open,
    /// A few times, to see whether it can be read again.
    Doubted,
    /// Not now.
    Paused,
}

impl Pauses {
    pub(crate) fn standing(&self, kind: &str) -> Standing {
        match self.doubted().get(kind) {
            None => Standing::Open,
            Some(doubted) if doubted.until <= Instant::now() => Standing::Doubted,
            Some(_) => Standing::Paused,
        }
    }

    /// Something of this kind could be read.
    pub(crate) fn end(&self, kind: &str) {
        self.doubted().remove(kind);
    }

    /// Nothing of this kind could be read.
    pub(crate) fn begin(&self, kind: &str) {
        let mut kinds = self.doubted();
        let failures = kinds.get(kind).map_or(1, |doubted| doubted.failures.saturating_add(1));
        let until = Instant::now() + backoff::pause(kind, failures.min(LONGEST_BY));
        kinds.insert(kind.to_owned(), Doubted { until, failures });
    }

    fn doubted(&self) -> MutexGuard<'_, HashMap<String, Doubted>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After so many failures a pause grows no more: half a minute, so that everything is decided soon after an outage.
const LONGEST_BY: i32 = 3;
