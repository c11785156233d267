//! A payout from a Stripe balance to a bank; the envelope's `account` says whose. `failed` may follow `paid`.

use super::read::Object;
use super::words::PayoutStatus;
use super::{Metadata, ViewError};

/// What escrow and reconciliation decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// `po_...`.
    pub id: String,
    /// Its state of life.
    pub status: PayoutStatus,
    /// Minor units; negative when Stripe collects.
    pub amount: i64,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// Such as `account_closed`.
    pub failure_code: Option<String>,
    /// The same in words.
    pub failure_message: Option<String>,
    /// `txn_...`, which gives the money back.
    pub failure_balance_transaction: Option<String>,
    /// `ba_...` or `card_...`.
    pub destination: Option<String>,
    /// When it should be there.
    pub arrival_date: Option<i64>,
    /// Set by whoever made it.
    pub metadata: Metadata,
    /// When it was made.
    pub created: i64,
}

impl Payout {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        Ok(Self {
            id: object.required("id", Object::id)?,
            status: object.required("status", Object::word)?,
            amount: object.required("amount", Object::amount)?,
            currency: object.required("currency", Object::text)?,
            failure_code: object.text("failure_code")?,
            failure_message: object.text("failure_message")?,
            failure_balance_transaction: object.id("failure_balance_transaction")?,
            destination: object.id("destination")?,
            arrival_date: object.time("arrival_date")?,
            metadata: Metadata::read(object, "metadata")?,
            created: object.required("created", Object::time)?,
        })
    }
}
