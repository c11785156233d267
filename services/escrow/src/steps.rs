//! The steps of the way of money, by name, so that a test can stop a worker after each of them.

use std::future::pending;
use std::sync::Arc;

/// What has just been done. Everything that was committed is kept; everything else is gone with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// An escrow and the intent to make its payment were committed.
    Created,
    /// A command, or the run of time-outs, was committed with the intents that follow from it.
    Commanded,
    /// A call was marked as being made.
    PickedUp,
    /// A call to Stripe has returned, and nothing of that is written down.
    Called,
    /// Stripe was looked at, and nothing of that is written down.
    Looked,
    /// The outcome of a call was committed.
    Settled,
    /// An event was committed, and its message is not acknowledged.
    EventDecided,
    /// The news of an account were told to one escrow.
    NewsTold,
}

impl Step {
    /// Every step, for a grid of crashes.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Commanded,
        Self::PickedUp,
        Self::Called,
        Self::Looked,
        Self::Settled,
        Self::EventDecided,
        Self::NewsTold,
    ];
}

/// Says whether the worker stops here.
type Hook = Arc<dyn Fn(Step) -> bool + Send + Sync>;

/// Is told of each step.
#[derive(Clone, Default)]
pub struct Steps(Option<Hook>);

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

impl Steps {
    /// Asks `stops` after each step; where it says yes, whoever did the step never does another one. It may also abort the process.
    #[must_use]
    pub fn stopping(stops: impl Fn(Step) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(stops)))
    }

    /// To be called after each step.
    pub(crate) async fn after(&self, step: Step) {
        if self.0.as_ref().is_some_and(|stops| stops(step)) {
            pending::<()>().await;
        }
    }
}
