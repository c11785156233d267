//! The simulator's own book of money that really moved, kept apart from the objects so that tests can hold a service's book against it.

use serde::Serialize;

use super::payment::Charge;
use super::refund::Refund;

/// One movement of money.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    id: String,
    amount: i64,
    currency: String,
    created: i64,
    payment_intent: Option<String>,
    charge: Option<String>,
    invoice: Option<String>,
    customer: Option<String>,
    transfer_group: Option<String>,
    escrow_id: Option<String>,
    destination: Option<String>,
    /// When the money came back, for a refund or payout that failed later.
    failed_at: Option<i64>,
}

impl Entry {
    pub(crate) fn of_charge(charge: &Charge) -> Self {
        Self {
            id: charge.id.clone(),
            amount: charge.amount,
            currency: charge.currency.clone(),
            created: charge.created,
            payment_intent: Some(charge.intent.clone()),
            charge: Some(charge.id.clone()),
            invoice: charge.invoice.clone(),
            customer: charge.customer.clone(),
            transfer_group: charge.transfer_group.clone(),
            escrow_id: charge.metadata.get("escrow_id").cloned(),
            destination: None,
            failed_at: None,
        }
    }

    pub(crate) fn of_refund(refund: &Refund, charge: &Charge) -> Self {
        Self {
            id: refund.id.clone(),
            amount: refund.amount,
            created: refund.created,
            ..Self::of_charge(charge)
        }
    }
}

/// Everything moved so far.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ledger {
    captures: Vec<Entry>,
    transfers: Vec<Entry>,
    reversals: Vec<Entry>,
    refunds: Vec<Entry>,
    payouts: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn capture(&mut self, entry: Entry) {
        self.captures.push(entry);
    }

    pub(crate) fn refund(&mut self, entry: Entry) {
        self.refunds.push(entry);
    }

    pub(crate) fn refund_failed(&mut self, id: &str, at: i64) {
        if let Some(entry) = self.refunds.iter_mut().rev().find(|entry| entry.id == id) {
            entry.failed_at = Some(at);
        }
    }
}
