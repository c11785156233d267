//! Whether Stripe lets us wait in vain just now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nobody waits for it again, after somebody has in vain.
const REST: Duration = Duration::from_secs(30);
/// A refusal or an error that comes sooner costs nobody anything.
const LONG: Duration = Duration::from_secs(3);

/// Since when Stripe has not answered. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence(Arc<Mutex<Option<Instant>>>);

impl Silence {
    /// Whether it makes no sense to wait for an answer.
    pub(crate) fn is_on(&self) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < REST)
    }

    /// Notes what became of a question that was asked at this time.
    pub(crate) fn note(&self, asked: Instant, is_answered: bool) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_answered {
            *since = None;
        } else if asked.elapsed() >= LONG {
            *since = Some(Instant::now());
        }
    }
}
