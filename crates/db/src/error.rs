//! What can go wrong between a query function and the server, sorted by what the caller does next.
//!
//! A consumer asks one question of an error: is the database away (keep the whole batch, try again later), is it slow or locked
//! (ask it, [`crate::Database::takes_writes`]), or is it about this message (take the batch apart)? [`DbError::is_unavailable`],
//! [`DbError::met_a_lock`] and [`DbError::ran_out_of_time`] answer it from SQLSTATE and I/O errors, never from texts.

use std::error::Error as _;
use std::io;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

/// A failure of the database or of a statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// No connection could be had from the pool in time.
    #[error("taking a database connection failed")]
    Checkout(#[source] PoolError),
    /// A connection outside the pool could not be made.
    #[error("connecting to the database failed")]
    Connect(#[source] tokio_postgres::Error),
    /// A statement failed, or its connection was lost while it ran.
    #[error("the database operation {operation} failed")]
    Statement {
        /// The query function, or the step of a transaction.
        operation: &'static str,
        /// Postgres' words: SQLSTATE, message, constraint.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A row holds what this version cannot read, or a value does not fit into its column.
    #[error("the database operation {operation} met a value that does not fit: {detail}")]
    Value {
        /// The query function.
        operation: &'static str,
        /// Column and value.
        detail: String,
    },
    /// `holdfast migrate` of this version has not run yet.
    #[error("the schema is at migration {found}, this version needs {newest}: run holdfast migrate")]
    SchemaTooOld {
        /// The newest migration that was applied.
        found: i32,
        /// The newest one of this version.
        newest: i32,
    },
}

impl DbError {
    /// Whether the failure is the database's and not that of what the call was given, so that the same call may succeed later: no
    /// connection for whatever reason (a password that was rotated is no fault of a message), a server that starts or stops, a
    /// standby after a failover, full disk or memory, a schema that is not migrated yet.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Checkout(_) | Self::Connect(_) | Self::SchemaTooOld { .. } => true,
            Self::Statement { source, .. } => lost(source) || source.code().is_some_and(says_unavailable),
            Self::Value { .. } => false,
        }
    }

    /// Whether somebody else's lock was waited for in vain: no fault of what the call was given.
    #[must_use]
    pub fn met_a_lock(&self) -> bool {
        self.code().is_some_and(|code| *code == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether the statement was cancelled because its time was over.
    #[must_use]
    pub fn ran_out_of_time(&self) -> bool {
        self.code().is_some_and(|code| *code == SqlState::QUERY_CANCELED)
    }

    /// Whether the transaction lost against another one and may simply run again: serialization failure or deadlock.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| {
            *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
        })
    }

    /// Whether the statement was refused only because one before it in the same transaction was.
    #[must_use]
    pub fn is_consequence(&self) -> bool {
        self.code()
            .is_some_and(|code| *code == SqlState::IN_FAILED_SQL_TRANSACTION)
    }

    /// The SQLSTATE that Postgres gave, where it answered.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Checkout(PoolError::Backend(source)) | Self::Connect(source) | Self::Statement { source, .. } => {
                source.code()
            }
            Self::Checkout(_) | Self::Value { .. } | Self::SchemaTooOld { .. } => None,
        }
    }

    /// The constraint that refused the statement, where one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Statement { source, .. } => source.as_db_error().and_then(|refusal| refusal.constraint()),
            Self::Checkout(_) | Self::Connect(_) | Self::Value { .. } | Self::SchemaTooOld { .. } => None,
        }
    }
}

/// The connection ended or could not be made, which shows as a closed client or an I/O error somewhere in the chain.
fn lost(error: &tokio_postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    let mut cause = error.source();
    while let Some(link) = cause {
        if link.is::<io::Error>() {
            return true;
        }
        cause = link.source();
    }
    false
}

/// Classes 08 (connection) and 53 (resources); the 57P0x of a server that stops or starts; a server that became read-only; a pooler that
/// does not know our prepared statements; tables, columns and grants that are missing, which no message can cause because statements are constant.
fn says_unavailable(code: &SqlState) -> bool {
    let text = code.code();
    text.starts_with("08")
        || text.starts_with("53")
        || matches!(
            text,
            "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "26000" | "42P01" | "42703" | "42501"
        )
}

/// An error with its causes on one line, for logs and for the reason of a message that is set aside.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Names the operation that failed, where an error of the driver becomes ours.
pub trait During<T> {
    /// # Errors
    /// [`DbError::Statement`] with this name.
    fn during(self, operation: &'static str) -> Result<T, DbError>;
}

impl<T> During<T> for Result<T, tokio_postgres::Error> {
    fn during(self, operation: &'static str) -> Result<T, DbError> {
        self.map_err(|source| DbError::Statement { operation, source })
    }
}

/// An error type that a transaction's body may return: [`crate::Database::transact`] looks for a conflict in it.
pub trait TransactError: From<DbError> {
    /// The database's part in it, where it has one.
    fn db_error(&self) -> Option<&DbError>;
}

impl TransactError for DbError {
    fn db_error(&self) -> Option<&DbError> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_message_can_cause_is_the_databases_and_a_bad_row_is_not() {
        for code in [
            "08006", "08P01", "53100", "53300", "57P01", "57P02", "57P03", "25006", "26000", "42P01", "42501",
        ] {
            assert!(says_unavailable(&SqlState::from_code(code)), "{code}");
        }
        for code in ["23505", "23514", "40001", "40P01", "22021", "22008", "57014"] {
            assert!(!says_unavailable(&SqlState::from_code(code)), "{code}");
        }
    }
}
