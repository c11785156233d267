//! The simulator's own book of money that really moved, kept apart from the objects so that tests can hold a service's book against it.

use serde::Serialize;

use super::World;
use super::dispute::Dispute;
use super::payment::Charge;
use super::payout::Payout;
use super::refund::Refund;
use super::transfer::{Reversal, Transfer};

/// One movement of money, in minor units and always positive: the list it is in says which way it went.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    amount: i64,
    currency: String,
    created: i64,
    payment_intent: Option<String>,
    charge: Option<String>,
    invoice: Option<String>,
    customer: Option<String>,
    pub(crate) transfer_group: Option<String>,
    /// From the metadata of the object itself, else from that of its charge.
    pub(crate) escrow_id: Option<String>,
    /// The transfer that a reversal takes back.
    transfer: Option<String>,
    /// The connected account that gets (or gives back, or pays out) the money.
    pub(crate) destination: Option<String>,
    /// Of the call that moved it.
    idempotency_key: Option<String>,
    /// When the money came back, for a refund or payout that failed later or a dispute that was won.
    failed_at: Option<i64>,
}

impl Entry {
    pub(crate) fn of_charge(charge: &Charge) -> Self {
        Self {
            id: charge.id.clone(),
            amount: charge.amount_captured,
            currency: charge.currency.clone(),
            created: charge.created,
            payment_intent: Some(charge.intent.clone()),
            charge: Some(charge.id.clone()),
            invoice: charge.invoice.clone(),
            customer: charge.customer.clone(),
            transfer_group: charge.transfer_group.clone(),
            escrow_id: charge.metadata.get("escrow_id").cloned(),
            ..Self::default()
        }
    }

    pub(crate) fn of_refund(refund: &Refund, charge: &Charge) -> Self {
        let own = refund.metadata.get("escrow_id").cloned();
        Self {
            id: refund.id.clone(),
            amount: refund.amount,
            created: refund.created,
            escrow_id: own.or_else(|| charge.metadata.get("escrow_id").cloned()),
            ..Self::of_charge(charge)
        }
    }

    pub(crate) fn of_dispute(dispute: &Dispute, charge: &Charge) -> Self {
        Self {
            id: dispute.id.clone(),
            amount: dispute.amount,
            created: dispute.created,
            ..Self::of_charge(charge)
        }
    }

    pub(crate) fn of_transfer(transfer: &Transfer, source: Option<&Charge>) -> Self {
        let base = source.map(Self::of_charge).unwrap_or_default();
        Self {
            id: transfer.id.clone(),
            amount: transfer.amount,
            currency: transfer.currency.clone(),
            created: transfer.created,
            transfer_group: transfer.transfer_group.clone(),
            escrow_id: transfer.metadata.get("escrow_id").cloned().or(base.escrow_id),
            destination: Some(transfer.destination.clone()),
            ..base
        }
    }

    pub(crate) fn of_reversal(reversal: &Reversal, transfer: &Transfer, source: Option<&Charge>) -> Self {
        let base = Self::of_transfer(transfer, source);
        Self {
            id: reversal.id.clone(),
            amount: reversal.amount,
            created: reversal.created,
            escrow_id: reversal.metadata.get("escrow_id").cloned().or(base.escrow_id),
            transfer: Some(transfer.id.clone()),
            ..base
        }
    }

    pub(crate) fn of_payout(payout: &Payout) -> Self {
        Self {
            id: payout.id.clone(),
            amount: payout.amount,
            currency: payout.currency.clone(),
            created: payout.created,
            escrow_id: payout.metadata.get("escrow_id").cloned(),
            destination: payout.account.clone(),
            ..Self::default()
        }
    }
}

/// Everything moved so far.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ledger {
    pub(crate) captures: Vec<Entry>,
    pub(crate) transfers: Vec<Entry>,
    pub(crate) reversals: Vec<Entry>,
    pub(crate) refunds: Vec<Entry>,
    pub(crate) payouts: Vec<Entry>,
    /// What banks took from the platform.
    pub(crate) disputes: Vec<Entry>,
}

impl Ledger {
    /// Each list by its name.
    pub(crate) const fn lists(&self) -> [(&'static str, &Vec<Entry>); 6] {
        [
            ("captures", &self.captures),
            ("transfers", &self.transfers),
            ("reversals", &self.reversals),
            ("refunds", &self.refunds),
            ("payouts", &self.payouts),
            ("disputes", &self.disputes),
        ]
    }
}

/// Marks the last movement of an object as undone.
fn undo(list: &mut [Entry], id: &str, at: i64) {
    let open = |entry: &&mut Entry| entry.id == id && entry.failed_at.is_none();
    if let Some(entry) = list.iter_mut().rev().find(open) {
        entry.failed_at = Some(at);
    }
}

impl World {
    /// Writes a movement into one list of the book, with the key of the call that causes it.
    pub(crate) fn book(&mut self, list: fn(&mut Ledger) -> &mut Vec<Entry>, mut entry: Entry) {
        entry.idempotency_key.clone_from(&self.cause.idempotency_key);
        list(&mut self.ledger).push(entry);
    }

    /// The money of a refund, payout or dispute came back.
    pub(crate) fn unbook(&mut self, list: fn(&mut Ledger) -> &mut Vec<Entry>, id: &str) {
        let now = self.now();
        undo(list(&mut self.ledger), id, now);
    }
}
