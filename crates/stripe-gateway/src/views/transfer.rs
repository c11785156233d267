//! A transfer to a connected account. It fails at the call that makes it or not at all; what comes later are reversals,
//! of which the cumulative amount is the truth, since two events may swap.

use super::read::Object;
use super::{Metadata, ViewError};

/// What escrow decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// `tr_...`.
    pub id: String,
    /// Minor units.
    pub amount: i64,
    /// Minor units, cumulative over all reversals.
    pub amount_reversed: i64,
    /// True only when nothing is left.
    pub reversed: bool,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// `acct_...`.
    pub destination: Option<String>,
    /// `py_...`, the payment on the connected account.
    pub destination_payment: Option<String>,
    /// `ch_...`, the charge that the money came from.
    pub source_transaction: Option<String>,
    /// A label, no check.
    pub transfer_group: Option<String>,
    /// `txn_...`.
    pub balance_transaction: Option<String>,
    /// Set by whoever made it.
    pub metadata: Metadata,
    /// When it was made.
    pub created: i64,
}

impl Transfer {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        Ok(Self {
            id: object.required("id", Object::id)?,
            amount: object.required("amount", Object::amount)?,
            amount_reversed: object.required("amount_reversed", Object::amount)?,
            reversed: object.flag("reversed")?.unwrap_or(false),
            currency: object.required("currency", Object::text)?,
            destination: object.id("destination")?,
            destination_payment: object.id("destination_payment")?,
            source_transaction: object.id("source_transaction")?,
            transfer_group: object.text("transfer_group")?,
            balance_transaction: object.id("balance_transaction")?,
            metadata: Metadata::read(object, "metadata")?,
            created: object.required("created", Object::time)?,
        })
    }
}
