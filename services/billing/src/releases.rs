//! Sends events back that waited for something which became known, a bounded number at a time.
//!
//! Whoever makes it known marks all of them and sends the first ones in its own transaction; a client can have more of them than fit into
//! one. This job sends the others, by any instance at any time: taking them is what makes each go once.

use std::sync::Arc;
use std::time::Duration;

use db::billing::waiting::take_released_events_in_txn;
use db::outbox::insert_outbox_in_txn;
use db::{Database, DbError, in_txn};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::announcement;

/// Events that one transaction sends back at most; their bodies, which are in memory together, have a bound of their own.
pub(crate) const AT_ONCE: i64 = 500;
const INTERVAL: Duration = Duration::from_secs(2);

/// Sends back what is marked until the stop. `nudge` wakes the relay.
pub(crate) async fn send_released(database: Database, nudge: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        loop {
            match send_some(&database).await {
                Ok(0) => break,
                Ok(sent) => {
                    tracing::info!(sent, "events that waited are decided now");
                    nudge.notify_one();
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "events that waited could not be sent back yet");
                    break;
                }
            }
        }
    }
}

async fn send_some(database: &Database) -> Result<usize, DbError> {
    database
        .transact(|txn| {
            in_txn(async move {
                let released = take_released_events_in_txn(txn, AT_ONCE).await?;
                let rows: Vec<_> = released.into_iter().map(announcement::decide_again).collect();
                insert_outbox_in_txn(txn, &rows).await?;
                Ok(rows.len())
            })
        })
        .await
}
