//! The outbox relay: publishes what transactions wrote, at least once, in the order of their rows but for those that were set aside.
//!
//! A round claims the oldest rows, publishes them with confirms and deletes those that were confirmed, in one database
//! transaction under an advisory lock: of many relays one works at a time, the others find the lock taken and wait. A
//! crash between a confirm and the delete publishes a row again with the same message id, which consumers recognise.
//!
//! Rounds run on a timer and by a nudge ([`Notify`]) from whoever has just committed rows: the same path for both, so
//! that a lost nudge costs an interval and nothing else. Rows keep their order in a queue as long as the publisher has
//! one channel and nothing fails; consumers rely on neither.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::alert::{Alert, AlertKind};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alerts::AlertRaiser;
use crate::connection::Backoff;
use crate::outgoing::{Outgoing, PublishError};
use crate::publisher::Publisher;

/// How a relay works.
#[derive(Clone)]
pub struct RelaySpec {
    /// Names the relay in logs and alerts: the service whose outbox it is.
    pub name: String,
    /// Where rows go.
    pub publisher: Publisher,
    /// Told about rows that can never be published.
    pub alerts: AlertRaiser,
    /// Wakes the relay; `notify_one` after a commit that wrote rows.
    pub nudge: Arc<Notify>,
    /// A round at least this often.
    pub interval: Duration,
}

/// What became of a batch of rows.
#[derive(Debug)]
pub struct Published<Id> {
    /// Confirmed: to be deleted.
    pub ids: Vec<Id>,
    /// Not confirmed: they stay, and are tried again in a later round.
    pub failed: Vec<(Id, PublishError)>,
}

/// What a round left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Rows that were published and deleted.
    pub published: u64,
    /// Rows that were not taken, and were set aside.
    pub set_aside: u64,
    /// There may be more to publish at once.
    pub more: bool,
    /// Rows that are still in the outbox, where they were counted: counting costs in proportion to them, so that a round that
    /// always did would make a long backlog quadratic.
    pub pending: Option<u64>,
}

/// Publishes a batch, all at once, and waits for every confirm.
pub async fn publish_all<Id>(spec: &RelaySpec, rows: Vec<(Id, Outgoing)>) -> Published<Id> {
    let publishes = rows
        .into_iter()
        .map(async |(id, message)| (id, spec.publisher.publish(message).await));
    let outcomes = futures_util::future::join_all(publishes).await;
    let mut published = Published {
        ids: Vec::with_capacity(outcomes.len()),
        failed: Vec::new(),
    };
    for (id, outcome) in outcomes {
        match outcome {
            Ok(()) => published.ids.push(id),
            Err(error) => published.failed.push((id, error)),
        }
    }
    for (_, error) in published.failed.iter().filter(|(_, error)| !error.is_transient()) {
        spec.raise("cannot be published", error);
    }
    published
}

impl RelaySpec {
    /// Tells a person of a message that stays.
    pub(crate) fn raise(&self, what: &str, error: &PublishError) {
        let summary = format!("the outbox of {} holds a message that {what}", self.name);
        let alert = Alert::new(AlertKind::HandlerFailure, format!("outbox.{}", self.name), summary);
        self.alerts.raise(alert.with("error", error));
    }
}

/// Runs rounds until cancelled. `round` claims, calls [`publish_all`], deletes and commits; it is called again at once
/// while it gets rows done or out of the way and leaves some, and after a pause when it fails or gets nothing done.
pub async fn run<R, F, E>(spec: RelaySpec, round: R, cancel: CancellationToken)
where
    R: Fn() -> F + Send,
    F: Future<Output = Result<Round, E>> + Send,
    E: std::error::Error + 'static,
{
    // One table for all services, so no label: with one, a sum would count every row once for each.
    let pending = metrics::gauge!("holdfast_outbox_pending");
    let mut timer = tokio::time::interval(spec.interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut backoff = Backoff::new();
    while !cancel.is_cancelled() {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = spec.nudge.notified() => {}
            _ = timer.tick() => {}
        }
        loop {
            match round().await {
                Ok(Round {
                    published,
                    set_aside,
                    more,
                    pending: left,
                }) => {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "a gauge is a float, and nobody keeps 2^53 rows"
                    )]
                    if let Some(left) = left {
                        pending.set(left as f64);
                    }
                    if published > 0 {
                        backoff.reset();
                    }
                    if published + set_aside == 0 || !more || cancel.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    log_failure(&spec.name, &error);
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = backoff.wait() => break,
                    }
                }
            }
        }
    }
}

fn log_failure(relay: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(relay, error, "a round of the outbox relay failed, its rows stay");
}
