//! A payment intent.
//!
//! Moved in 2022-11-15: the charge went from `charges.data[0]` to `latest_charge`.

use super::read::Object;
use super::words::{CancellationReason, CaptureMethod, PaymentIntentStatus};
use super::{Metadata, ViewError};

/// What escrow and checkout decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentIntent {
    /// `pi_...`.
    pub id: String,
    /// `cus_...`.
    pub customer: Option<String>,
    /// Its state of life.
    pub status: PaymentIntentStatus,
    /// Minor units.
    pub amount: i64,
    /// Minor units; below `amount` after a partial capture.
    pub amount_received: i64,
    /// Minor units that are authorised and waiting.
    pub amount_capturable: i64,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// Whether money is taken at once or on demand.
    pub capture_method: Option<CaptureMethod>,
    /// `ch_...`.
    pub latest_charge: Option<String>,
    /// A label for transfers, no check.
    pub transfer_group: Option<String>,
    /// Why it was canceled.
    pub cancellation_reason: Option<CancellationReason>,
    /// Why the last attempt failed; the intent can still be paid.
    pub last_payment_error: Option<PaymentError>,
    /// Set by whoever made it.
    pub metadata: Metadata,
    /// When it was made.
    pub created: i64,
}

/// Stripe's codes for a failed attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentError {
    /// Such as `card_declined`.
    pub code: Option<String>,
    /// Such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// What to do next, such as `try_again_later`.
    pub advice_code: Option<String>,
}

impl PaymentIntent {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let latest_charge = match object.id("latest_charge")? {
            Some(id) => Some(id),
            None => object
                .list("charges")?
                .first()
                .map_or(Ok(None), |charge| charge.id("id"))?,
        };
        let last_payment_error = match object.object("last_payment_error")? {
            Some(error) => Some(PaymentError {
                code: error.text("code")?,
                decline_code: error.text("decline_code")?,
                advice_code: error.text("advice_code")?,
            }),
            None => None,
        };
        Ok(Self {
            id: object.required("id", Object::id)?,
            customer: object.id("customer")?,
            status: object.required("status", Object::word)?,
            amount: object.required("amount", Object::amount)?,
            amount_received: object.amount("amount_received")?.unwrap_or(0),
            amount_capturable: object.amount("amount_capturable")?.unwrap_or(0),
            currency: object.required("currency", Object::text)?,
            capture_method: object.word("capture_method")?,
            latest_charge,
            transfer_group: object.text("transfer_group")?,
            cancellation_reason: object.word("cancellation_reason")?,
            last_payment_error,
            metadata: Metadata::read(object, "metadata")?,
            created: object.required("created", Object::time)?,
        })
    }
}
