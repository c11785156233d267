//! Runs by a timer: who runs, and what a retry run finds.

use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use domain::escrow::facts::DisputeStage;
use domain::escrow::failure::ErrorClass;

use crate::DbError;
use crate::error::During as _;

/// Takes a slot of a job; of all replicas, the first does.
///
/// # Errors
/// When the database does not answer.
pub async fn take_slot(conn: &impl GenericClient, job: &str, slot: i64, now: DateTime<Utc>) -> Result<bool, DbError> {
    let sql = "INSERT INTO job_slots (job, slot, started_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let taken = conn.execute(sql, &[&job, &slot, &now]).await.during("take_slot")?;
    Ok(taken == 1)
}

/// A refused call that may be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCall {
    /// The operation.
    pub operation: String,
    /// Its escrow.
    pub escrow: String,
    /// The escrow's job.
    pub number: u32,
    /// How often it failed.
    pub failures: i32,
    /// How often it was begun.
    pub attempt: i32,
}

/// A call of an escrow that an open dispute freezes is refused until the dispute ends, and would keep its place before all others.
///
/// The class stands in the statement itself: with a parameter in its place a prepared statement cannot use
/// `stripe_operations_to_retry`, and would read every open job.
fn refused_by_then() -> String {
    let not_ready = ErrorClass::RecipientNotReady.as_str();
    let open = DisputeStage::Open.as_str();
    format!(
        "o.status = 'failed_transient' AND o.job = 'refused' AND o.failure_class <> '{not_ready}' AND o.next_at <= $1 \
         AND NOT EXISTS (SELECT FROM escrow_disputes AS d WHERE d.escrow_id = o.escrow_id AND d.stage = '{open}')"
    )
}

/// Refused calls whose backoff is over, the oldest first. Those that wait for their recipient, or for the end of
/// a dispute, are not among them.
///
/// # Errors
/// When the database does not answer.
pub async fn list_refused_calls(
    conn: &impl GenericClient,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<RefusedCall>, DbError> {
    let sql = format!(
        "SELECT id, escrow_id, number, failures, attempt FROM stripe_operations AS o WHERE {} ORDER BY created_at, id LIMIT $2",
        refused_by_then()
    );
    let rows = conn.query(&sql, &[&now, &limit]).await.during("list_refused_calls")?;
    let read = |row: &tokio_postgres::Row| RefusedCall {
        operation: row.get(0),
        escrow: row.get(1),
        number: u32::try_from(row.get::<_, i32>(2)).unwrap_or_default(),
        failures: row.get(3),
        attempt: row.get(4),
    };
    Ok(rows.iter().map(read).collect())
}

/// How many of them there are.
///
/// # Errors
/// When the database does not answer.
pub async fn count_refused_calls(conn: &impl GenericClient, now: DateTime<Utc>) -> Result<i64, DbError> {
    let sql = format!(
        "SELECT count(*) FROM stripe_operations AS o WHERE {}",
        refused_by_then()
    );
    let row = conn.query_one(&sql, &[&now]).await.during("count_refused_calls")?;
    Ok(row.get(0))
}

/// How a call that was sent on stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallStanding {
    /// It happened.
    Succeeded,
    /// It was refused again, or dropped.
    Failed,
    /// It is still being made, or its outcome is not known.
    Open,
}

/// How a call stands that was sent on when it had been begun `attempt` times.
///
/// # Errors
/// When the database does not answer.
pub async fn find_call_standing(
    conn: &impl GenericClient,
    operation: &str,
    attempt: i32,
) -> Result<CallStanding, DbError> {
    let sql = "SELECT status, attempt > $2 FROM stripe_operations WHERE id = $1";
    let row = conn
        .query_opt(sql, &[&operation, &attempt])
        .await
        .during("find_call_standing")?;
    Ok(match row.map(|row| (row.get::<_, String>(0), row.get::<_, bool>(1))) {
        Some((status, _)) if status == "succeeded" => CallStanding::Succeeded,
        Some((status, _)) if status == "failed_permanent" => CallStanding::Failed,
        Some((status, true)) if status == "failed_transient" => CallStanding::Failed,
        Some(_) | None => CallStanding::Open,
    })
}
