//! What can go wrong while an escrow is changed.

use db::error::TransactError;
use db::{DbError, SqlState};
use domain::escrow::decide::Reason;
use domain::escrow::state::EscrowStatus;
use domain::escrow::terms::TermsError;

/// Why nothing was changed. Nothing of it was committed.
#[derive(Debug, thiserror::Error)]
pub enum EscrowError {
    /// The database.
    #[error("the database did not take the change")]
    Database(#[from] DbError),
    /// Somebody else was faster, which the lock on the escrow should have kept from happening.
    #[error("somebody else was faster with {0}")]
    Raced(&'static str),
    /// There is no such escrow.
    #[error("there is no such escrow")]
    Missing,
    /// The rules refuse it.
    #[error("it is refused: {reason}")]
    Refused {
        /// By which rule.
        reason: Reason,
        /// The status that the escrow has.
        status: EscrowStatus,
    },
    /// The terms are refused.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// A person names an object that the call cannot have made.
    #[error("object is none that this call can have made")]
    WrongObject,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
}

impl TransactError for EscrowError {
    fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Raced(_)
            | Self::Missing
            | Self::Refused { .. }
            | Self::Terms(_)
            | Self::WrongObject
            | Self::KeyReused => None,
        }
    }
}

impl EscrowError {
    /// Whether it is the database's matter, and no fault of what was to be changed: others would meet it as well.
    pub(crate) fn is_everybodys(&self) -> bool {
        let is_everybodys = |error: &DbError| error.is_unavailable() || error.met_a_lock() || error.ran_out_of_time();
        self.db_error().is_some_and(is_everybodys)
    }

    /// Whether another one wrote the same thing at the same moment, so that the same change may be tried once more.
    pub(crate) fn is_race(&self) -> bool {
        match self {
            Self::Raced(_) => true,
            Self::Database(error) => error.code() == Some(&SqlState::UNIQUE_VIOLATION),
            Self::Missing | Self::Refused { .. } | Self::Terms(_) | Self::WrongObject | Self::KeyReused => false,
        }
    }
}
