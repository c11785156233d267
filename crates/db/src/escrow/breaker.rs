//! What the refund breaker has let pass on a day, and what waits for the time-out run.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use domain::escrow::breaker::Used;
use domain::money::Currency;
use serde_json::{Map, Value};

use crate::DbError;
use crate::error::During as _;
use crate::statement::{corrupt, execute, query};

/// The day's count, locked until the transaction ends: of two runs, one asks the breaker after the other has counted.
///
/// # Errors
/// When the database does not answer or the row cannot be read.
pub async fn lock_day_in_txn(txn: &Transaction<'_>, utc_day: i64) -> Result<Used, DbError> {
    const OPERATION: &str = "lock_breaker_day";
    let day = date(utc_day);
    let insert = "INSERT INTO refund_breaker_days (day) VALUES ($1) ON CONFLICT DO NOTHING";
    execute(txn, OPERATION, insert, &[&day]).await?;
    let sql = "SELECT count, amounts FROM refund_breaker_days WHERE day = $1 FOR UPDATE";
    let rows = query(txn, OPERATION, sql, &[&day]).await?;
    let row = rows.first().ok_or_else(|| corrupt(OPERATION, "day"))?;
    let empty = Map::new();
    let amounts: Value = row.get(1);
    let pairs = amounts.as_object().unwrap_or(&empty).iter();
    let amounts = pairs.map(|(code, minor)| Some((Currency::parse(code).ok()?, minor.as_i64()?)));
    Ok(Used {
        count: row.get(0),
        amounts: amounts
            .collect::<Option<_>>()
            .ok_or_else(|| corrupt(OPERATION, "amounts"))?,
    })
}

/// Writes the day's count. The caller has locked it.
///
/// # Errors
/// When the database does not answer.
pub async fn store_day_in_txn(txn: &Transaction<'_>, utc_day: i64, used: &Used) -> Result<(), DbError> {
    let sql = "UPDATE refund_breaker_days SET count = $2, amounts = $3 WHERE day = $1";
    let pairs = used.amounts.iter();
    let amounts: Map<String, Value> = pairs
        .map(|(currency, minor)| (currency.as_str().to_owned(), (*minor).into()))
        .collect();
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&date(utc_day), &used.count, &Value::Object(amounts)];
    execute(txn, "store_breaker_day", sql, &values).await?;
    Ok(())
}

fn date(utc_day: i64) -> NaiveDate {
    let epoch = DateTime::UNIX_EPOCH.date_naive();
    TimeDelta::try_days(utc_day)
        .and_then(|days| epoch.checked_add_signed(days))
        .unwrap_or(epoch)
}

/// Escrows whose time is over and that nobody has set aside, those first that have waited longest.
///
/// # Errors
/// When the database does not answer.
pub async fn list_expired_escrows(
    conn: &impl GenericClient,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<String>, DbError> {
    const OPERATION: &str = "list_expired_escrows";
    let sql = "SELECT id FROM escrow_transactions WHERE status IN ('awaiting_payment', 'payment_failed', 'held') \
                   AND set_aside_at IS NULL AND expires_at <= $1 ORDER BY expires_at, id LIMIT $2";
    let statement = conn.prepare_cached(sql).await.during(OPERATION)?;
    let rows = conn.query(&statement, &[&now, &limit]).await.during(OPERATION)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// How many escrows' time is over, among those that nobody has set aside; counts to `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn count_expired_escrows(conn: &impl GenericClient, now: DateTime<Utc>, limit: i64) -> Result<i64, DbError> {
    let sql = "SELECT count(*) FROM (SELECT FROM escrow_transactions WHERE status IN ('awaiting_payment', 'payment_failed', 'held') \
                   AND set_aside_at IS NULL AND expires_at <= $1 LIMIT $2) AS expired";
    let row = conn
        .query_one(sql, &[&now, &limit])
        .await
        .during("count_expired_escrows")?;
    Ok(row.get(0))
}

/// Held escrows whose authorisation ends before `before`, those first that end first; then such of which nobody knows when it ends. At
/// most `limit` of either, so that neither kind keeps the other out.
///
/// # Errors
/// When the database does not answer.
pub async fn list_escrows_to_secure(
    conn: &impl GenericClient,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<String>, DbError> {
    const OPERATION: &str = "list_escrows_to_secure";
    let to_secure = "SELECT id FROM escrow_transactions WHERE status = 'held' AND captured IS NULL \
                         AND on_authorization_expiry = 'capture' AND NOT asked_secure";
    let sql = format!(
        "({to_secure} AND capture_before <= $1 ORDER BY capture_before LIMIT $2) \
         UNION ALL ({to_secure} AND capture_before IS NULL LIMIT $2)"
    );
    let statement = conn.prepare_cached(&sql).await.during(OPERATION)?;
    let rows = conn.query(&statement, &[&before, &limit]).await.during(OPERATION)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What is held, in minor units of each currency, for the gauge: less what was never captured, went back or was lost of it. An index alone
/// tells what is held; the others are few, and each is looked up.
///
/// # Errors
/// When the database does not answer.
pub async fn sum_held(conn: &impl GenericClient) -> Result<Vec<(String, i64)>, DbError> {
    let sql = "SELECT currency, sum(minor)::bigint FROM ( \
                   SELECT currency, amount AS minor FROM escrow_transactions WHERE status = 'held' \
                   UNION ALL SELECT currency, coalesce(captured, amount) - amount - greatest(refunded_told, refunded_outside + \
                       (SELECT coalesce(sum(minor::bigint), 0) FROM jsonb_each_text(refunded_ours) AS ours (job, minor))) \
                       FROM escrow_transactions WHERE status = 'held' \
                           AND (captured < amount OR refunded_told > 0 OR refunded_outside > 0 OR refunded_ours <> '{}') \
                   UNION ALL SELECT e.currency, -d.amount FROM escrow_disputes AS d CROSS JOIN LATERAL (SELECT currency \
                       FROM escrow_transactions WHERE id = d.escrow_id AND status = 'held' LIMIT 1) AS e WHERE d.stage = 'lost') AS held \
               GROUP BY currency";
    let rows = conn.query(sql, &[]).await.during("sum_held")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
