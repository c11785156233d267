//! A charge. `charge.refunded` carries it too, for partial refunds as well: the cumulative amount is the truth.

use super::read::Object;
use super::words::ChargeStatus;
use super::{Metadata, ViewError};

/// What escrow and billing decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// `ch_...` or `py_...`.
    pub id: String,
    /// `cus_...`.
    pub customer: Option<String>,
    /// `pi_...`.
    pub payment_intent: Option<String>,
    /// Its state of life.
    pub status: Option<ChargeStatus>,
    /// Minor units.
    pub amount: i64,
    /// False while the payment is only authorised.
    pub captured: Option<bool>,
    /// Minor units; below `amount` after a partial capture.
    pub amount_captured: Option<i64>,
    /// Minor units, cumulative over all refunds.
    pub amount_refunded: i64,
    /// True only when nothing is left.
    pub refunded: bool,
    /// Whether a dispute was ever opened.
    pub disputed: bool,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// A label for transfers, no check.
    pub transfer_group: Option<String>,
    /// Until when an authorised card payment can be captured.
    pub capture_before: Option<i64>,
    /// Copied from the payment intent when the charge was made.
    pub metadata: Metadata,
    /// When it was made.
    pub created: i64,
}

impl Charge {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let method = match object.object("payment_method_details")? {
            Some(details) => details.object(&details.text("type")?.unwrap_or_else(|| "card".to_owned()))?,
            None => None,
        };
        Ok(Self {
            id: object.required("id", Object::id)?,
            customer: object.id("customer")?,
            payment_intent: object.id("payment_intent")?,
            status: object.word("status")?,
            amount: object.required("amount", Object::amount)?,
            captured: object.flag("captured")?,
            amount_captured: object.amount("amount_captured")?,
            amount_refunded: object.required("amount_refunded", Object::amount)?,
            refunded: object.flag("refunded")?.unwrap_or(false),
            disputed: object.flag("disputed")?.unwrap_or(false),
            currency: object.required("currency", Object::text)?,
            transfer_group: object.text("transfer_group")?,
            capture_before: method.map_or(Ok(None), |method| method.time("capture_before"))?,
            metadata: Metadata::read(object, "metadata")?,
            created: object.required("created", Object::time)?,
        })
    }
}
