//! Getting verdicts out of a handler, whatever it does.

use std::sync::Arc;

use domain::alert::{Alert, AlertKind};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::BatchHandler;
use super::settle::Settler;
use crate::connection::Backoff;
use crate::incoming::Incoming;
use crate::verdict::{BatchError, Verdict};

/// A verdict for each message; `None` for those that could not be judged before the connection was lost.
pub(super) async fn judge<H: BatchHandler>(
    handler: &Arc<H>,
    batch: &Arc<[Incoming]>,
    settler: &Settler<'_>,
) -> Vec<Option<Verdict>> {
    match persist(handler, batch, settler).await {
        Outcome::Judged(verdicts) => verdicts.into_iter().map(Some).collect(),
        Outcome::Lost => batch.iter().map(|_| None).collect(),
        Outcome::Failed(reason) if batch.len() == 1 => vec![Some(failed(reason, settler))],
        Outcome::Failed(reason) => {
            let (queue, size) = (settler.queue(), batch.len());
            tracing::warn!(queue, %reason, size, "a batch failed, its messages are tried one by one");
            take_apart(handler, batch, settler).await
        }
    }
}

async fn take_apart<H: BatchHandler>(
    handler: &Arc<H>,
    batch: &Arc<[Incoming]>,
    settler: &Settler<'_>,
) -> Vec<Option<Verdict>> {
    let mut verdicts = Vec::with_capacity(batch.len());
    for message in batch.iter() {
        let alone = Arc::from([message.clone()]);
        verdicts.push(match persist(handler, &alone, settler).await {
            Outcome::Judged(mut verdict) => verdict.pop(),
            Outcome::Lost => None,
            Outcome::Failed(reason) => Some(failed(reason, settler)),
        });
    }
    verdicts
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
    task.spawn(async move { handler.handle(&batch).await }.in_current_span());
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
