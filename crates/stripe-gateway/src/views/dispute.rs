//! A dispute. It has no metadata of ours: its charge leads to whom it concerns. `created` may already say `lost`, and
//! `closed` may arrive first.

use super::ViewError;
use super::read::Object;
use super::words::DisputeStatus;

/// What escrow and billing decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// `du_...` or `dp_...`; a charge can have several.
    pub id: String,
    /// `ch_...`.
    pub charge: Option<String>,
    /// `pi_...`.
    pub payment_intent: Option<String>,
    /// Its state of life.
    pub status: DisputeStatus,
    /// Minor units; may be below or above the charge.
    pub amount: i64,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// What the card holder claims.
    pub reason: Option<String>,
    /// Until when evidence can be given.
    pub due_by: Option<i64>,
    /// Whether a refund would still end it.
    pub is_charge_refundable: Option<bool>,
    /// When it was opened.
    pub created: i64,
}

impl Dispute {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let evidence = object.object("evidence_details")?;
        Ok(Self {
            id: object.required("id", Object::id)?,
            charge: object.id("charge")?,
            payment_intent: object.id("payment_intent")?,
            status: object.required("status", Object::word)?,
            amount: object.required("amount", Object::amount)?,
            currency: object.required("currency", Object::text)?,
            reason: object.text("reason")?,
            due_by: evidence.map_or(Ok(None), |evidence| evidence.time("due_by"))?,
            is_charge_refundable: object.flag("is_charge_refundable")?,
            created: object.required("created", Object::time)?,
        })
    }
}
