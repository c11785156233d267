//! Getting verdicts out of a handler, whatever it does.

use std::sync::Arc;

use domain::alert::{Alert, AlertKind};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::BatchHandler;
use super::settle::Settler;
use super::spans;
use crate::connection::Backoff;
use crate::incoming::Incoming;
use crate::verdict::{BatchError, Pause, Verdict};

/// Messages of one batch that may take too long alone before the others are left for later untried. Each of them costs the time limit
/// of a statement, and the broker takes everything back from a consumer that acks nothing for too long.
const SLOW_ALONE: usize = 2;

/// A verdict for each message; `None` for those that could not be judged before the connection was lost.
pub(super) async fn judge<H: BatchHandler>(
    handler: &Arc<H>,
    batch: &Arc<[Incoming]>,
    settler: &Settler<'_>,
) -> Vec<Option<Verdict>> {
    let outcome = persist(handler, batch, settler).await;
    if let [message] = batch.as_ref() {
        return vec![judged_alone(message, outcome, Company::None, settler)];
    }
    match outcome {
        Outcome::Judged(verdicts) => verdicts.into_iter().map(Some).collect(),
        Outcome::Lost => batch.iter().map(|_| None).collect(),
        Outcome::Failed(reason) | Outcome::Slow(reason) | Outcome::Held(reason) => {
            let (queue, size) = (settler.queue(), batch.len());
            tracing::warn!(queue, %reason, size, "a batch failed, its messages are tried one by one");
            take_apart(handler, batch, settler).await
        }
    }
}

/// Tries the messages one by one. When too many take too long the rest comes back soon and untried; those that were too slow come back
/// after the others, so that they do not stand before them once more.
async fn take_apart<H: BatchHandler>(
    handler: &Arc<H>,
    batch: &Arc<[Incoming]>,
    settler: &Settler<'_>,
) -> Vec<Option<Verdict>> {
    let mut tried = Vec::with_capacity(batch.len());
    let (mut slow, mut held, mut judged) = (0, 0, 0);
    for message in batch.iter() {
        if slow + held >= SLOW_ALONE {
            break;
        }
        let one = Arc::from([message.clone()]);
        let outcome = persist(handler, &one, settler).await;
        match &outcome {
            Outcome::Judged(_) => judged += 1,
            Outcome::Slow(_) => slow += 1,
            Outcome::Held(_) => held += 1,
            Outcome::Failed(_) | Outcome::Lost => {}
        }
        tried.push(outcome);
    }
    let company = if slow > 1 && judged == 0 {
        Company::AsSlow
    } else {
        Company::None
    };
    let untried = batch.len().saturating_sub(tried.len());
    let soon = || {
        Some(Verdict::Later {
            pause: Pause::Short,
            reason: "others of its batch took too long".to_owned(),
        })
    };
    let tried = batch.iter().zip(tried);
    let verdicts = tried.map(|(message, outcome)| judged_alone(message, outcome, company, settler));
    verdicts.chain((0..untried).map(|_| soon())).collect()
}

/// What became of the other messages of a batch that was taken apart.
#[derive(Clone, Copy)]
enum Company {
    /// None, or others went through: what happened to a message is its own.
    None,
    /// Others took too long as well and nothing went through: this says nothing about any one of them.
    AsSlow,
}

/// What an outcome means for a message that was alone.
fn judged_alone(message: &Incoming, outcome: Outcome, company: Company, settler: &Settler<'_>) -> Option<Verdict> {
    // Two that are too slow, and nothing else in their queue, would speak for each other for ever.
    let company = if message.put_off() < settler.put_off_at_most() {
        company
    } else {
        Company::None
    };
    match (outcome, company) {
        (Outcome::Judged(mut verdicts), _) => verdicts.pop(),
        (Outcome::Lost, _) => None,
        (Outcome::Held(reason), _) | (Outcome::Slow(reason), Company::AsSlow) => Some(put_off(reason, settler)),
        (Outcome::Slow(reason), Company::None) | (Outcome::Failed(reason), _) => Some(failed(reason, settler)),
    }
}

/// Not the message's fault, so it is not counted against it; a person is told all the same.
fn put_off(reason: String, settler: &Settler<'_>) -> Verdict {
    let queue = settler.queue();
    let summary = format!("the database holds messages of {queue} up");
    let alert = Alert::new(AlertKind::HandlerFailure, format!("{queue}/held_up"), summary);
    settler.alerts().raise(alert.with("reason", &reason));
    Verdict::Later {
        pause: Pause::Long,
        reason,
    }
}

fn failed(reason: String, settler: &Settler<'_>) -> Verdict {
    let summary = format!("the handler of {} fails", settler.queue());
    settler
        .alerts()
        .raise(Alert::new(AlertKind::HandlerFailure, settler.queue(), summary).with("reason", &reason));
    Verdict::Retry { reason }
}

/// What a handler's call came to.
enum Outcome {
    Judged(Vec<Verdict>),
    Failed(String),
    /// It took too long, and not because of what everybody needs.
    Slow(String),
    /// Somebody else held what it needs.
    Held(String),
    Lost,
}

/// Calls the handler, and again after a pause as long as what it needs is away and the messages are still ours.
async fn persist<H: BatchHandler>(handler: &Arc<H>, batch: &Arc<[Incoming]>, settler: &Settler<'_>) -> Outcome {
    let mut backoff = Backoff::new();
    loop {
        match call(handler, batch, settler).await {
            Ok(verdicts) if verdicts.len() == batch.len() => return Outcome::Judged(verdicts),
            Ok(verdicts) => {
                return Outcome::Failed(format!("{} verdicts for {} messages", verdicts.len(), batch.len()));
            }
            Err(BatchError::Failed { reason }) => return Outcome::Failed(reason),
            Err(BatchError::Slow { reason }) => return Outcome::Slow(reason),
            Err(BatchError::Held { reason }) => return Outcome::Held(reason),
            Err(BatchError::Unavailable { reason }) => {
                tracing::warn!(queue = settler.queue(), %reason, "what the handler needs is away, the batch waits");
                if !settler.may_wait() {
                    return Outcome::Lost;
                }
                backoff.wait().await;
            }
        }
    }
}

/// Calls the handler in a task of its own, which is aborted when it takes too long or the consumer gives up.
async fn call<H: BatchHandler>(
    handler: &Arc<H>,
    batch: &Arc<[Incoming]>,
    settler: &Settler<'_>,
) -> Result<Vec<Verdict>, BatchError> {
    let mut task = JoinSet::new();
    let (handler, batch) = (Arc::clone(handler), Arc::clone(batch));
    let leading = spans::leading(&batch);
    task.spawn(async move { handler.handle(&batch).await }.instrument(leading));
    let timeout = settler.handler_timeout();
    match tokio::time::timeout(timeout, task.join_next()).await {
        Ok(Some(Ok(verdicts))) => verdicts,
        Ok(Some(Err(error))) if error.is_panic() => Err(BatchError::failed(format!("panicked: {}", text(error)))),
        Ok(Some(Err(error))) => Err(BatchError::failed(error)),
        Ok(None) => Err(BatchError::failed("the handler's task vanished")),
        Err(_) => Err(BatchError::failed(format!("took longer than {timeout:?}"))),
    }
}

fn text(error: tokio::task::JoinError) -> String {
    let payload = error.into_panic();
    let message = payload.downcast_ref::<&str>().map(ToString::to_string);
    message
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
