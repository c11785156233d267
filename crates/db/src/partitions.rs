//! The months of the large tables.
//!
//! Months are made ahead. An event whose `created` lies in none of them goes to the DEFAULT partition, which is a reason to tell
//! a person: that month cannot be made any more while its rows lie there.

use deadpool_postgres::GenericClient;

use crate::error::{DbError, During as _};
use crate::migrate::MONTHS_AHEAD;

/// The tables that are partitioned by month.
pub const PARTITIONED: [&str; 3] = ["billing_events", "billing_decisions", "admin_actions"];

/// [`default_partition_count`] counts no further.
pub const DEFAULT_COUNT_LIMIT: i64 = 10_000;

/// Makes the months that are missing, this one and those to come; answers how many partitions were new. Idempotent, for a timer.
///
/// # Errors
/// When the statement fails.
pub async fn ensure_partitions(conn: &impl GenericClient) -> Result<i32, DbError> {
    const OPERATION: &str = "ensure_partitions";
    let statement = conn
        .prepare_cached("SELECT holdfast_ensure_partitions(0, $1)")
        .await
        .during(OPERATION)?;
    Ok(conn
        .query_one(&statement, &[&MONTHS_AHEAD])
        .await
        .during(OPERATION)?
        .get(0))
}

/// How many rows lie in the DEFAULT partition of each table of [`PARTITIONED`], at most [`DEFAULT_COUNT_LIMIT`].
///
/// # Errors
/// When a statement fails.
pub async fn default_partition_count(conn: &impl GenericClient) -> Result<Vec<(&'static str, i64)>, DbError> {
    const OPERATION: &str = "default_partition_count";
    let mut counts = Vec::with_capacity(PARTITIONED.len());
    for table in PARTITIONED {
        let sql = count_default_sql(table);
        let statement = conn.prepare_cached(&sql).await.during(OPERATION)?;
        let row = conn
            .query_one(&statement, &[&DEFAULT_COUNT_LIMIT])
            .await
            .during(OPERATION)?;
        counts.push((table, row.get(0)));
    }
    Ok(counts)
}

/// Counts the rows of a table's DEFAULT partition up to a limit.
pub(crate) fn count_default_sql(table: &str) -> String {
    format!("SELECT count(*) FROM (SELECT FROM {table}_default LIMIT $1) AS counted")
}
