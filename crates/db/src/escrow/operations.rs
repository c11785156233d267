//! The calls to Stripe: one row each, written down before the call is made.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use domain::escrow::failure::ErrorClass;
use domain::escrow::held::{Escrow, Job, Standing, Task, TaskKind};
use domain::escrow::operation::Operation;
use domain::ids::{AccountId, OperationId, TransferId};
use domain::money::{Currency, Money};
use tokio_postgres::Row;
use uuid::Uuid;

use super::held::Stored;
use super::operation_status::{self, StatusColumns, job_columns, read_job};
use super::{seconds, time};
use crate::DbError;
use crate::error::During as _;
use crate::statement::{corrupt, execute, query};

const COLUMNS: &str = "id, escrow_id, number, kind, account, transfer_id, amount, currency, status, cause, resolve, failure_code, \
    failure_class, next_at, lease_until, attempt, calls, key_since, last_call, failures, params, object_id, request_id, job, job_code, \
    job_class";
/// How soon a worker looks again at an operation that its escrow has put on hold.
const HOLD: TimeDelta = TimeDelta::seconds(60);

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Makes the payment of a new escrow.
    CreatePayment,
    /// A job of the escrow's.
    Job(Task),
}

impl Work {
    /// The word in the database, in logs and in answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::CreatePayment => "create_payment",
            Self::Job(task) => task.kind().as_str(),
        }
    }
}

/// An operation as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRow {
    /// Where the protocol stands.
    pub operation: Operation,
    /// Whose it is.
    pub escrow: String,
    /// The escrow's job; 0 for its payment.
    pub number: u32,
    /// What it does.
    pub work: Work,
    /// How much.
    pub amount: Money,
    /// How the job stands; `None` once it is done or let go.
    pub job: Option<Standing>,
    /// What the call under the present key is made of.
    pub params: Option<String>,
    /// Stripe's name for the last call that it answered.
    pub request_id: Option<String>,
}

/// An operation that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueOperation {
    /// Which.
    pub id: String,
    /// Whose it is, for ever.
    pub escrow: String,
    /// The W3C trace context of whoever wanted it, where that was traced.
    pub traceparent: Option<String>,
}

/// What is learned with a step of the protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallRecord<'a> {
    /// What the call is made of.
    pub params: Option<&'a str>,
    /// Stripe's name for the call.
    pub request_id: Option<&'a str>,
}

/// How long the request that creates an escrow is left alone with its payment.
const HEAD_START: TimeDelta = TimeDelta::seconds(10);

/// Writes an operation down, intended. Answers its id. Workers find a job's at once; a payment's is made by the request that asks for it,
/// which needs the payer's secret, and by a worker only if the request has ended. `traceparent` is the trace of whoever wants it.
///
/// # Errors
/// When the database does not answer, or another job works on the same task.
pub async fn insert_operation_in_txn(
    txn: &Transaction<'_>,
    escrow: &str,
    number: u32,
    work: &Work,
    amount: Money,
    now: DateTime<Utc>,
    traceparent: Option<&str>,
) -> Result<String, DbError> {
    let sql = "INSERT INTO stripe_operations (id, escrow_id, number, kind, account, transfer_id, amount, currency, status, attempt, \
                   calls, key_since, last_call, failures, job, due_at, traceparent, created_at, \
                   updated_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'intended', 0, 0, $9, $9, 0, $10, $11, $12, $9, $9)";
    let id = format!("op_{}", Uuid::now_v7().simple());
    let (account, transfer, job, due_at) = match work {
        Work::CreatePayment => (None, None, None, now + HEAD_START),
        Work::Job(task) => {
            let (account, transfer) = subject(task);
            (account, transfer, Some("open"), now)
        }
    };
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    execute(
        txn,
        "insert_operation",
        sql,
        &[
            &id,
            &escrow,
            &number,
            &work.as_str(),
            &account,
            &transfer,
            &amount.minor,
            &amount.currency.as_str(),
            &now,
            &job,
            &due_at,
            &traceparent,
        ],
    )
    .await?;
    Ok(id)
}

/// Whom a task is about.
fn subject(task: &Task) -> (Option<&str>, Option<&str>) {
    match task {
        Task::Capture | Task::Cancel | Task::Refund => (None, None),
        Task::Transfer(account) => (Some(account.as_str()), None),
        Task::Reverse(account, transfer) => (Some(account.as_str()), Some(transfer.as_str())),
    }
}

/// The jobs of an escrow that are not done.
pub(super) async fn load_jobs(txn: &Transaction<'_>, escrow: &str) -> Result<BTreeMap<u32, Job>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM stripe_operations WHERE escrow_id = $1 AND job IS NOT NULL");
    let mut jobs = BTreeMap::new();
    for row in query(txn, "load_jobs", &sql, &[&escrow]).await? {
        let OperationRow {
            number,
            work,
            amount,
            job,
            ..
        } = read(&row)?;
        if let (Work::Job(task), Some(standing)) = (work, job) {
            let amount = amount.minor;
            jobs.insert(number, Job { task, amount, standing });
        }
    }
    Ok(jobs)
}

/// Writes how the jobs of an escrow stand now. A refused call that is wanted again is due when its backoff is over; one that waited for
/// its recipient is due at once, since it is the account that says when, and not the time; but only the first time: an account that looks
/// ready and is refused all the same would be asked without end.
pub(super) async fn store_jobs(
    txn: &Transaction<'_>,
    before: &Escrow,
    next: &Escrow,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let sql = "UPDATE stripe_operations SET job = $3, job_code = $4, job_class = $5, updated_at = $6, \
                   next_at = CASE WHEN $7 AND failures <= 1 THEN least(next_at, $6) ELSE next_at END, \
                   due_at = CASE WHEN status <> 'failed_transient' THEN due_at WHEN $3 IS DISTINCT FROM 'open' THEN NULL \
                                 WHEN $7 AND failures <= 1 THEN least(next_at, $6) ELSE next_at END \
               WHERE escrow_id = $1 AND number = $2";
    for (number, was) in &before.jobs {
        let standing = next.jobs.get(number).map(|job| job.standing);
        if standing == Some(was.standing) {
            continue;
        }
        let (word, failure) = job_columns(standing);
        let number = i32::try_from(*number).unwrap_or(i32::MAX);
        let code = failure.map(|failure| failure.code.as_str());
        let class = failure.map(|failure| failure.class.as_str());
        let id = next.terms.id.as_str();
        let is_healed = standing == Some(Standing::Open)
            && matches!(was.standing, Standing::Refused(failure) if failure.class == ErrorClass::RecipientNotReady);
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&id, &number, &word, &code, &class, &now, &is_healed];
        execute(txn, "store_jobs", sql, &values).await?;
    }
    Ok(())
}

/// The operation. Whoever is going to change it holds its escrow's row.
///
/// # Errors
/// When the database does not answer or the row cannot be read.
pub async fn find_operation_in_txn(txn: &Transaction<'_>, id: &str) -> Result<Option<OperationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM stripe_operations WHERE id = $1");
    let row = query(txn, "find_operation", &sql, &[&id]).await?.pop();
    row.map(|row| read(&row)).transpose()
}

/// Every operation of an escrow, in the order of their numbers.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn list_operations_in_txn(txn: &Transaction<'_>, escrow: &str) -> Result<Vec<OperationRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM stripe_operations WHERE escrow_id = $1 ORDER BY number");
    let rows = query(txn, "list_operations", &sql, &[&escrow]).await?;
    rows.iter().map(read).collect()
}

/// Writes a step of the protocol, where the operation still stands as it was read. The caller has stored the escrow before, so that
/// the job's standing says whether a refused call is due again by itself.
///
/// # Errors
/// When the database does not answer, or refuses the row: an object that is another operation's effect.
pub async fn store_operation_in_txn(
    txn: &Transaction<'_>,
    before: &Operation,
    next: &Operation,
    call: CallRecord<'_>,
    now: DateTime<Utc>,
) -> Result<Stored, DbError> {
    let sql = "UPDATE stripe_operations SET status = $5, cause = $6, resolve = $7, failure_code = $8, failure_class = $9, next_at = $10, \
                   lease_until = $11, attempt = $12, calls = $13, key_since = $14, last_call = $15, failures = $16, object_id = $17, \
                   idempotency_key = $18, params = coalesce($19, params), request_id = coalesce($20, request_id), updated_at = $21, \
                   due_at = CASE WHEN $5 = 'failed_transient' AND number > 0 AND job IS DISTINCT FROM 'open' THEN NULL \
                                 ELSE $22::timestamptz END \
               WHERE id = $1 AND status = $2 AND attempt = $3 AND calls = $4";
    let columns = StatusColumns::of(&next.status);
    let due = columns.due(&next.status, now);
    let key = (next.attempt > 0).then(|| next.key());
    let written = execute(
        txn,
        "store_operation",
        sql,
        &[
            &before.id.as_str(),
            &before.status.as_str(),
            &count(before.attempt),
            &count(before.calls),
            &next.status.as_str(),
            &columns.cause,
            &columns.resolve,
            &columns.failure.map(|failure| failure.code.as_str()),
            &columns.failure.map(|failure| failure.class.as_str()),
            &columns.next_at,
            &columns.lease_until,
            &count(next.attempt),
            &count(next.calls),
            &time(next.key_since),
            &time(next.last_call),
            &count(next.failures),
            &columns.object,
            &key,
            &call.params,
            &call.request_id,
            &now,
            &due,
        ],
    )
    .await?;
    Ok(if written == 0 { Stored::Raced } else { Stored::Yes })
}

fn count(of: u32) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

/// Lets an operation rest for a while that its escrow does not want now.
///
/// # Errors
/// When the database does not answer.
pub async fn hold_operation_in_txn(txn: &Transaction<'_>, id: &str, now: DateTime<Utc>) -> Result<(), DbError> {
    let sql = "UPDATE stripe_operations SET due_at = $2 WHERE id = $1 AND due_at IS NOT NULL";
    execute(txn, "hold_operation", sql, &[&id, &(now + HOLD)]).await?;
    Ok(())
}

/// The operations that a worker has something to do with, those first that wait longest.
///
/// # Errors
/// When the database does not answer.
pub async fn list_due_operations(
    conn: &impl GenericClient,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DueOperation>, DbError> {
    const OPERATION: &str = "list_due_operations";
    let sql = "SELECT id, escrow_id, traceparent FROM stripe_operations WHERE due_at <= $1 ORDER BY due_at LIMIT $2";
    let statement = conn.prepare_cached(sql).await.during(OPERATION)?;
    let rows = conn.query(&statement, &[&now, &limit]).await.during(OPERATION)?;
    let due = rows.iter().map(|row| DueOperation {
        id: row.get(0),
        escrow: row.get(1),
        traceparent: row.get(2),
    });
    Ok(due.collect())
}

fn read(row: &Row) -> Result<OperationRow, DbError> {
    const OPERATION: &str = "load_operation";
    let wrong = |column: &str| corrupt(OPERATION, column);
    let unsigned = |column: &str| u32::try_from(row.get::<_, i32>(column)).map_err(|_| wrong(column));
    let currency = Currency::parse(row.get("currency")).map_err(|_| wrong("currency"))?;
    Ok(OperationRow {
        operation: Operation {
            id: OperationId::parse(row.get::<_, &str>("id")).map_err(|_| wrong("id"))?,
            status: operation_status::read(row)?,
            attempt: unsigned("attempt")?,
            calls: unsigned("calls")?,
            key_since: seconds(row.get("key_since")),
            last_call: seconds(row.get("last_call")),
            failures: unsigned("failures")?,
        },
        escrow: row.get("escrow_id"),
        number: unsigned("number")?,
        work: work(row)?,
        amount: Money::new(row.get("amount"), currency),
        job: read_job(row)?,
        params: row.get("params"),
        request_id: row.get("request_id"),
    })
}

fn work(row: &Row) -> Result<Work, DbError> {
    let wrong = |column: &str| corrupt("load_operation", column);
    let kind: &str = row.get("kind");
    if kind == "create_payment" {
        return Ok(Work::CreatePayment);
    }
    let account = || {
        let account: Option<&str> = row.get("account");
        let account = account.and_then(|account| AccountId::parse(account).ok());
        account.ok_or_else(|| wrong("account"))
    };
    let transfer = || {
        let transfer: Option<&str> = row.get("transfer_id");
        let transfer = transfer.and_then(|transfer| TransferId::parse(transfer).ok());
        transfer.ok_or_else(|| wrong("transfer_id"))
    };
    Ok(Work::Job(match TaskKind::parse(kind).ok_or_else(|| wrong("kind"))? {
        TaskKind::Capture => Task::Capture,
        TaskKind::Cancel => Task::Cancel,
        TaskKind::Refund => Task::Refund,
        TaskKind::Transfer => Task::Transfer(account()?),
        TaskKind::Reverse => Task::Reverse(account()?, transfer()?),
    }))
}
