//! Statements within a transaction, planned once per connection.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::DbError;
use crate::error::During as _;

/// A query.
pub(crate) async fn query(
    txn: &Transaction<'_>,
    operation: &'static str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, DbError> {
    let statement = txn.prepare_cached(sql).await.during(operation)?;
    txn.query(&statement, params).await.during(operation)
}

/// A statement; answers how many rows it touched.
pub(crate) async fn execute(
    txn: &Transaction<'_>,
    operation: &'static str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<u64, DbError> {
    let statement = txn.prepare_cached(sql).await.during(operation)?;
    txn.execute(&statement, params).await.during(operation)
}

/// A row that breaks what its constraints promise, or that a newer version wrote.
pub(crate) fn corrupt(operation: &'static str, column: &str) -> DbError {
    DbError::Value {
        operation,
        detail: format!("the column {column} holds what this version does not know"),
    }
}
