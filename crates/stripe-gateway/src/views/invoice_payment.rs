//! The link of an invoice and what paid it, which exists since 2025-03-31.basil; before, the invoice named its payment.

use super::ViewError;
use super::read::Object;
use super::words::InvoicePaymentStatus;

/// What billing and reconciliation join by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoicePayment {
    /// `inpay_...`.
    pub id: String,
    /// `in_...`.
    pub invoice: String,
    /// Its state of life.
    pub status: InvoicePaymentStatus,
    /// Minor units; none until something was paid.
    pub amount_paid: Option<i64>,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// `pi_...`, when a payment intent paid.
    pub payment_intent: Option<String>,
    /// `ch_...`, when a charge without one did.
    pub charge: Option<String>,
    /// When it was made.
    pub created: i64,
}

impl InvoicePayment {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let payment = object.object("payment")?;
        let of = |name| payment.as_ref().map_or(Ok(None), |payment| payment.id(name));
        Ok(Self {
            id: object.required("id", Object::id)?,
            invoice: object.required("invoice", Object::id)?,
            status: object.required("status", Object::word)?,
            amount_paid: object.amount("amount_paid")?,
            currency: object.required("currency", Object::text)?,
            payment_intent: of("payment_intent")?,
            charge: of("charge")?,
            created: object.required("created", Object::time)?,
        })
    }
}
