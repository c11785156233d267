//! The workers: operations that are due, by a nudge and by a timer, and what else a timer does.
//!
//! There is no other way to a call: what a request has just begun, what a crash left, and what an unknown outcome waits for are all
//! rows that are due. Any number of processes may run pools; the lease in the row says who makes a call.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use db::escrow::breaker::sum_held;
use db::escrow::jobs::take_slot;
use db::escrow::operations::{DueOperation, list_due_operations};
use db::in_txn;
use service_kit::trace::TraceContext;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::error::EscrowError;
use crate::runner::Runner;
use crate::steps::Commit;
use crate::timeouts::{SWEEPER, Timeouts};

/// Calls at once.
const WORKERS: usize = 8;
/// Due operations that are looked at in one round.
const ROUND: i64 = 256;
/// Seconds between two runs of time-outs, of all replicas: two of them are the 20 minutes that an escrow may be late.
const TIMEOUTS_EVERY: i64 = 600;

/// Works on what is due until stopped; then finishes what is in hand.
pub(crate) async fn work(runner: Runner, look_every: Duration, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(WORKERS));
    let in_hand: Arc<Mutex<HashSet<String>>> = Arc::default();
    let mut tasks = JoinSet::new();
    while !stop.is_cancelled() {
        let due = match due(&runner).await {
            Ok(due) => due,
            Err(error) => {
                log(&error, "due operations cannot be listed");
                Vec::new()
            }
        };
        for operation in due {
            let DueOperation {
                id,
                escrow,
                traceparent,
            } = operation;
            if !lock(&in_hand).insert(id.clone()) {
                continue;
            }
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit,
            };
            let runner = runner.clone();
            let span = span(&id, traceparent.as_deref());
            let in_hand = InHand(id, Arc::clone(&in_hand));
            let working = async move {
                if let Err(error) = runner.work(&in_hand.0, &escrow).await {
                    Span::current().record("otel.status_code", "ERROR");
                    log(&error, "an operation was not worked on, it stays due");
                }
                drop((in_hand, permit));
            };
            tasks.spawn(working.instrument(span));
        }
        while let Some(ended) = tasks.try_join_next() {
            log_panic(ended);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = runner.pool.notified() => {}
            () = tokio::time::sleep(look_every) => {}
        }
    }
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

/// An operation that a worker of this process has in hand. It is let go however the work ends, a panic included: it stays due then, and
/// is taken up again when its lease is over.
struct InHand(String, Arc<Mutex<HashSet<String>>>);

impl Drop for InHand {
    fn drop(&mut self) {
        lock(&self.1).remove(&self.0);
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the work on an operation ended badly, it stays due");
    }
}

/// The span of working on an operation, in the trace of whoever wanted it; what nobody traced is not traced here either.
fn span(operation: &str, traceparent: Option<&str>) -> Span {
    let parent = traceparent.and_then(|header| TraceContext::parse(header.as_bytes()));
    parent.map_or_else(Span::none, |parent| {
        let span = tracing::info_span!(target: "holdfast::trace", parent: None, "operation", otel.status_code = tracing::field::Empty, operation);
        parent.adopt(&span);
        span
    })
}

async fn due(runner: &Runner) -> Result<Vec<DueOperation>, EscrowError> {
    let conn = runner.store.reader().await?;
    Ok(list_due_operations(&conn, runner.clock.now(), ROUND).await?)
}

fn lock(in_hand: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    in_hand.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(error: &EscrowError, what: &str) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "{what}");
}

/// Tells escrows of their accounts, by a nudge and by a timer.
pub(crate) async fn tell(runner: Runner, nudge: Arc<Notify>, every: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = runner.tell_news().await {
            log(&error, "news of accounts were not told");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = nudge.notified() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// Runs by the timer what nobody asks for.
pub(crate) async fn tick(timeouts: Timeouts, every: Duration, stop: CancellationToken) {
    let mut currencies = BTreeSet::new();
    let mut owed = None;
    loop {
        if let Err(error) = tick_once(&timeouts, &mut owed, &mut currencies).await {
            log(&error, "a round of the timer failed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// Captures by the timer what would be lost. Asks Stripe, and so has a timer to itself: time-outs wait for nobody.
pub(crate) async fn secure(timeouts: Timeouts, every: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = timeouts.secure().await {
            log(&error, "authorisations that are about to end cannot be listed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

async fn tick_once(
    timeouts: &Timeouts,
    owed: &mut Option<i64>,
    currencies: &mut BTreeSet<String>,
) -> Result<(), EscrowError> {
    let runner = &timeouts.runner;
    let now = runner.clock.now();
    let slot = now.timestamp().div_euclid(TIMEOUTS_EVERY);
    // A run that could not begin is owed, and made up for at the next look: it would be ten minutes late otherwise (ESC-7).
    if *owed != Some(slot) && take(runner, slot, now).await? {
        *owed = Some(slot);
    }
    // First of all: the slot is taken, and what fails beside it must not cost the run.
    if *owed == Some(slot) {
        timeouts.run(SWEEPER).await?;
        *owed = None;
        runner.pool.notify_one();
        runner.relay.notify_one();
    }
    match held(runner).await {
        Ok(held) => show_held(held, currencies),
        Err(error) => log(&error, "what is held cannot be summed up"),
    }
    Ok(())
}

/// Whether a slot's run is ours: of all replicas, the first takes it.
async fn take(runner: &Runner, slot: i64, now: DateTime<Utc>) -> Result<bool, EscrowError> {
    runner
        .store
        .commit_if(
            Commit::SlotTaken,
            |is_ours| *is_ours,
            |txn| in_txn(async move { Ok::<_, EscrowError>(take_slot(txn, "escrow_timeouts", slot, now).await?) }),
        )
        .await
}

async fn held(runner: &Runner) -> Result<Vec<(String, i64)>, EscrowError> {
    Ok(sum_held(&runner.store.reader().await?).await?)
}

/// Sets the gauge, to nothing where a currency was held and is no longer.
fn show_held(held: Vec<(String, i64)>, currencies: &mut BTreeSet<String>) {
    let held: BTreeMap<String, i64> = held.into_iter().collect();
    currencies.extend(held.keys().cloned());
    for currency in currencies.iter() {
        let minor = held.get(currency).copied().unwrap_or_default();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float, and nobody holds 2^53 minor units"
        )]
        metrics::gauge!("holdfast_escrow_held_minor_units", "currency" => currency.clone()).set(minor as f64);
    }
}
