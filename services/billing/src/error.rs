//! What can go wrong while a batch is decided.

use db::DbError;
use db::error::TransactError;

/// Why a batch was not decided. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    /// The database.
    #[error("the database did not take the batch")]
    Database(#[from] DbError),
    /// Another consumer decided one of the events, or bound one of the customers, at the same moment.
    #[error("another consumer was faster with {0}")]
    Raced(&'static str),
}

impl TransactError for BillingError {
    fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Raced(_) => None,
        }
    }
}
