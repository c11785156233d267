//! A Checkout session. Fulfil once per session id, and only by [`CheckoutSession::payment_status`].

use super::read::Object;
use super::words::{CheckoutMode, CheckoutPaymentStatus, CheckoutStatus};
use super::{Metadata, ViewError};

/// What billing and checkout decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutSession {
    /// `cs_...`.
    pub id: String,
    /// What the session is for.
    pub mode: CheckoutMode,
    /// Its state of life.
    pub status: Option<CheckoutStatus>,
    /// Whether money came in.
    pub payment_status: CheckoutPaymentStatus,
    /// `cus_...`; none for guests and for sessions that expired early.
    pub customer: Option<String>,
    /// `sub_...` in mode `subscription`.
    pub subscription: Option<String>,
    /// `in_...`.
    pub invoice: Option<String>,
    /// `pi_...` in mode `payment`.
    pub payment_intent: Option<String>,
    /// Anybody can set it in the URL of a payment link: a hint, no proof.
    pub client_reference_id: Option<String>,
    /// Set by whoever made the session.
    pub metadata: Metadata,
    /// Minor units.
    pub amount_total: Option<i64>,
    /// Lower-case ISO 4217.
    pub currency: Option<String>,
    /// When it was made.
    pub created: i64,
}

impl CheckoutSession {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        Ok(Self {
            id: object.required("id", Object::id)?,
            mode: object.required("mode", Object::word)?,
            status: object.word("status")?,
            payment_status: object.required("payment_status", Object::word)?,
            customer: object.id("customer")?,
            subscription: object.id("subscription")?,
            invoice: object.id("invoice")?,
            payment_intent: object.id("payment_intent")?,
            client_reference_id: object.text("client_reference_id")?,
            metadata: Metadata::read(object, "metadata")?,
            amount_total: object.amount("amount_total")?,
            currency: object.text("currency")?,
            created: object.required("created", Object::time)?,
        })
    }
}
