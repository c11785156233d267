//! Whether a queue is consumed, for readiness and for a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use domain::alert::{Alert, AlertKind};

use super::{ConsumerSpec, SessionError};

/// How many consumers of this process have a queue at present. Clones are the same number.
#[derive(Clone, Debug, Default)]
pub struct Intake(Arc<AtomicUsize>);

impl Intake {
    /// Whether any has.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Counts one more until what it answers is dropped.
    pub(super) fn open(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(Self(Arc::clone(&self.0)))
    }
}

/// A consumer that has its queue.
pub(super) struct Open(Intake);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Since when a consumer has tried in vain to get its queue.
#[derive(Debug, Default)]
pub(super) struct InVain {
    since: Option<Instant>,
}

impl InVain {
    /// It had the queue meanwhile.
    pub(super) fn reset(&mut self) {
        self.since = None;
    }

    /// It failed once more; a person is told after a while, if no other consumer of this process has the queue.
    pub(super) fn failed(&mut self, spec: &ConsumerSpec, error: &SessionError) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if spec.intake.is_open() || since.elapsed() < spec.told_after {
            return;
        }
        self.since = Some(Instant::now());
        let (queue, service) = (&spec.family.name, &spec.broker.client_name);
        let alert = match error {
            // One cause, whichever queue it is that cannot be had.
            SessionError::Connect(_) => {
                let summary = format!("{service} cannot consume: the broker is not there");
                Alert::new(AlertKind::BrokerUnavailable, service.as_str(), summary)
            }
            SessionError::Name
            | SessionError::Start(_)
            | SessionError::Delivery(_)
            | SessionError::Ended
            | SessionError::Ack(_) => {
                let summary = format!("{queue} cannot be consumed: its messages wait");
                Alert::new(AlertKind::HandlerFailure, format!("{queue}/not_consumed"), summary)
            }
        };
        spec.alerts.raise(alert.with("error", db::error::chain(error)));
    }
}
