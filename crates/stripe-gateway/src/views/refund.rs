//! A refund. It can fail up to 30 days later; the money is then back in the platform's balance.

use super::read::Object;
use super::words::RefundStatus;
use super::{Metadata, ViewError};

/// What escrow and billing decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// `re_...` or `pyr_...`.
    pub id: String,
    /// `ch_...`.
    pub charge: Option<String>,
    /// `pi_...`.
    pub payment_intent: Option<String>,
    /// Its state of life.
    pub status: Option<RefundStatus>,
    /// Minor units of this refund alone.
    pub amount: i64,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// Why it was made.
    pub reason: Option<String>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// Set by whoever made it.
    pub metadata: Metadata,
    /// When it was made.
    pub created: i64,
}

impl Refund {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        Ok(Self {
            id: object.required("id", Object::id)?,
            charge: object.id("charge")?,
            payment_intent: object.id("payment_intent")?,
            status: object.word("status")?,
            amount: object.required("amount", Object::amount)?,
            currency: object.required("currency", Object::text)?,
            reason: object.text("reason")?,
            failure_reason: object.text("failure_reason")?,
            metadata: Metadata::read(object, "metadata")?,
            created: object.required("created", Object::time)?,
        })
    }
}
