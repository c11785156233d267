//! One run: the oldest refused calls whose backoff is over, at most ten, are sent to escrow to be made again (RET-1).
//!
//! Retry decides nothing about money. It finds what is due and commands; escrow decides under the escrow's lock whether the call may be
//! made, makes it under a new key, and notes the next backoff, the cap on attempts and the alert. So a command that comes twice, or too
//! late, does nothing. What was refused for good, what waits for its recipient, and what is unknown is never among those found.

use std::time::Duration;

use bus::{Headers, Outgoing, PublishError, Publisher, topology};
use bytes::Bytes;
use db::escrow::jobs::{CallStanding, RefusedCall, count_refused_calls, find_call_standing, list_refused_calls};
use db::{Database, DbError};
use serde::Serialize;
use serde_json::json;
use service_kit::clock::Clock;
use uuid::Uuid;

/// The type of the command, as escrow knows it.
const COMMAND: &str = "escrow.retry";
/// Calls in one run.
const AT_MOST: i64 = 10;
/// How long a run waits for what becomes of its calls, all together.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RetryReport {
    /// Every command was sent.
    pub success: bool,
    /// Refused calls whose backoff was over.
    pub found: i64,
    /// Calls that were sent on.
    pub processed: i64,
    /// Calls that have happened by the end of the run.
    pub succeeded: i64,
    /// Calls that were refused again by the end of the run.
    pub failed: i64,
    /// Calls that are still being made.
    pub pending: i64,
    /// Calls that the next run finds.
    pub left: i64,
}

/// Why a run did not end.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// The database.
    #[error("the database did not answer")]
    Database(#[from] DbError),
    /// The broker.
    #[error("a command was not sent")]
    Publish(#[from] PublishError),
}

/// Runs.
#[derive(Clone)]
pub(crate) struct Runs {
    pub(crate) database: Database,
    pub(crate) publisher: Publisher,
    pub(crate) clock: Clock,
}

impl Runs {
    /// One run.
    ///
    /// # Errors
    /// When it could not begin; no command was confirmed then.
    pub(crate) async fn run(&self) -> Result<RetryReport, RetryError> {
        let now = self.clock.now();
        let conn = self.database.conn().await?;
        let found = count_refused_calls(&conn, now).await?;
        let calls = list_refused_calls(&conn, now, AT_MOST).await?;
        drop(conn);
        let mut sent = Vec::new();
        let mut unsent = None;
        for call in &calls {
            if let Err(error) = self.publisher.publish(self.command(call)).await {
                unsent = Some(error);
                break;
            }
            sent.push(call);
        }
        let is_complete = match unsent {
            Some(error) if sent.is_empty() => return Err(error.into()),
            Some(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "a run of retries ended before all its calls were sent on");
                false
            }
            None => true,
        };
        let processed = i64::try_from(sent.len()).unwrap_or(i64::MAX);
        let mut report = RetryReport {
            success: is_complete,
            found,
            processed,
            pending: processed,
            left: found.saturating_sub(processed),
            ..RetryReport::default()
        };
        // Not longer: a run tells what it has seen, and what is pending is told by the next one.
        let watched = tokio::time::timeout(PATIENCE, self.watch(sent, &mut report)).await;
        if let Ok(Err(error)) = watched {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "what became of the calls that were sent on could not be read");
        }
        if found > 0 {
            tracing::info!(?report, "a run of retries");
        }
        Ok(report)
    }

    fn command(&self, call: &RefusedCall) -> Outgoing {
        let body = json!({"escrow_id": call.escrow, "number": call.number});
        Outgoing {
            exchange: topology::COMMANDS.into(),
            routing_key: topology::ESCROW_COMMANDS.to_owned(),
            message_id: Uuid::now_v7().to_string(),
            kind: COMMAND.to_owned(),
            timestamp: u64::try_from(self.clock.unix_seconds()).unwrap_or_default(),
            headers: Headers::new(),
            body: Bytes::from(body.to_string()),
        }
    }

    async fn watch(&self, mut open: Vec<&RefusedCall>, report: &mut RetryReport) -> Result<(), RetryError> {
        loop {
            let conn = self.database.conn().await?;
            let mut still = Vec::new();
            for call in open {
                match find_call_standing(&conn, &call.operation, call.attempt).await? {
                    CallStanding::Succeeded => report.succeeded += 1,
                    CallStanding::Failed => report.failed += 1,
                    CallStanding::Open => still.push(call),
                }
            }
            drop(conn);
            open = still;
            report.pending = i64::try_from(open.len()).unwrap_or(i64::MAX);
            if open.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
