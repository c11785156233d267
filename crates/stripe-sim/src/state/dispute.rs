//! Disputes: what a bank says about a charge. A status that is more than an inquiry holds the disputed money; leaving it (won, even after
//! it was lost) gives the money back.

use super::World;
use super::balance::Posting;
use super::customer::Metadata;
use super::ledger::Entry;
use super::object::Object;
use crate::error::{ApiError, ApiResult};

#[derive(Clone, Debug)]
pub(crate) struct Dispute {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) charge: String,
    pub(crate) intent: String,
    pub(crate) reason: String,
    pub(crate) status: String,
    pub(crate) submissions: u32,
    pub(crate) metadata: Metadata,
    /// The money is with the bank.
    pub(crate) withdrawn: bool,
    /// Of what was withdrawn and reinstated.
    pub(crate) balance_transactions: Vec<String>,
    pub(crate) test_clock: Option<String>,
}

/// Every state a dispute can be put into.
pub(crate) const DISPUTE_STATUSES: [&str; 10] = [
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
    "appeal_needs_response",
    "appeal_under_review",
];

/// A dispute in this state holds the money.
fn holds_money(status: &str) -> bool {
    !matches!(status, "won" | "prevented") && !status.starts_with("warning")
}

fn is_closed(status: &str) -> bool {
    matches!(status, "won" | "lost" | "warning_closed" | "prevented")
}

impl World {
    pub(crate) fn dispute(&self, id: &str, param: &str) -> ApiResult<&Dispute> {
        self.disputes
            .get(id)
            .ok_or_else(|| ApiError::missing("dispute", id, param))
    }

    /// Opens a dispute, of the whole charge unless an amount is given (which may be more than the charge).
    pub(crate) fn open_dispute(
        &mut self,
        charge_id: &str,
        amount: Option<i64>,
        reason: &str,
        status: &str,
    ) -> Option<Dispute> {
        let charge = self.charges.get_mut(charge_id)?;
        charge.disputed = true;
        let charge = charge.clone();
        let mut dispute = Dispute {
            id: self.ids.next("du"),
            created: self.now_on(charge.test_clock.as_deref()),
            amount: amount.unwrap_or(charge.amount),
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            intent: charge.intent.clone(),
            reason: reason.to_owned(),
            status: status.to_owned(),
            submissions: 0,
            metadata: Metadata::new(),
            withdrawn: holds_money(status),
            balance_transactions: Vec::new(),
            test_clock: charge.test_clock.clone(),
        };
        if dispute.withdrawn {
            self.withdraw(&mut dispute);
        }
        self.disputes.insert(&dispute.id, dispute.clone());
        self.emit("charge.dispute.created", Object::Dispute(dispute.clone()));
        if dispute.withdrawn {
            self.emit("charge.dispute.funds_withdrawn", Object::Dispute(dispute.clone()));
        }
        Some(dispute)
    }

    /// Puts a dispute into another state, told as `closed` when that ends it and as `updated` otherwise, and moves its money accordingly.
    pub(crate) fn move_dispute(&mut self, id: &str, status: &str) -> Option<Dispute> {
        let before = self.disputes.get(id)?.clone();
        let mut after = before.clone();
        after.status = status.to_owned();
        after.withdrawn = holds_money(status);
        match (before.withdrawn, after.withdrawn) {
            (false, true) => self.withdraw(&mut after),
            (true, false) => self.reinstate(&mut after),
            (true, true) | (false, false) => {}
        }
        self.disputes.insert(id, after.clone());
        let kind = if is_closed(status) {
            "charge.dispute.closed"
        } else {
            "charge.dispute.updated"
        };
        let moved = match (before.withdrawn, after.withdrawn) {
            (false, true) => Some("charge.dispute.funds_withdrawn"),
            (true, false) => Some("charge.dispute.funds_reinstated"),
            (true, true) | (false, false) => None,
        };
        self.emit_with_previous(kind, Object::Dispute(before), Object::Dispute(after.clone()));
        if let Some(moved) = moved {
            self.emit(moved, Object::Dispute(after.clone()));
        }
        Some(after)
    }

    /// The bank takes the disputed amount, and Stripe its fee, whether the balance covers them or not.
    fn withdraw(&mut self, dispute: &mut Dispute) {
        let fee = self.settings.dispute_fee;
        let transaction = self.post(Posting {
            owner: None,
            amount: -dispute.amount,
            fee,
            currency: &dispute.currency,
            kind: "adjustment",
            source: &dispute.id,
            available_on: 0,
        });
        dispute.balance_transactions.push(transaction);
        if let Some(charge) = self.charges.get(&dispute.charge) {
            let entry = Entry::of_dispute(dispute, charge);
            self.book(|ledger| &mut ledger.disputes, entry);
        }
    }

    /// The amount comes back, the fee does not.
    fn reinstate(&mut self, dispute: &mut Dispute) {
        let transaction = self.post(Posting {
            owner: None,
            amount: dispute.amount,
            fee: 0,
            currency: &dispute.currency,
            kind: "adjustment",
            source: &dispute.id,
            available_on: 0,
        });
        dispute.balance_transactions.push(transaction);
        self.unbook(|ledger| &mut ledger.disputes, &dispute.id);
        self.retry_waiting_refunds();
    }

    /// Hands in evidence. Stripe's test texts decide at once; any other evidence puts the dispute under review.
    pub(crate) fn submit_evidence(
        &mut self,
        id: &str,
        text: Option<&str>,
        metadata: Option<Metadata>,
    ) -> ApiResult<()> {
        let before = self.dispute(id, "id")?.clone();
        if is_closed(&before.status) {
            return Err(ApiError::state("", "This dispute is already closed"));
        }
        if let Some(dispute) = self.disputes.get_mut(id) {
            super::customer::merge_metadata(&mut dispute.metadata, metadata);
            dispute.submissions += u32::from(text.is_some());
        }
        let inquiry = before.status.starts_with("warning");
        let next = match text {
            None => {
                let after = self.dispute(id, "id")?.clone();
                self.emit_change(
                    "charge.dispute.updated",
                    Object::Dispute(before),
                    Object::Dispute(after),
                );
                return Ok(());
            }
            Some("winning_evidence") if inquiry => "warning_closed",
            Some("winning_evidence") => "won",
            Some("losing_evidence") if !inquiry => "lost",
            Some(_) if inquiry => "warning_under_review",
            Some(_) => "under_review",
        };
        self.move_dispute(id, next);
        Ok(())
    }

    /// True while a dispute, or a lost one, stands against refunding a charge. An inquiry does not.
    pub(crate) fn is_charged_back(&self, charge: &str) -> bool {
        self.disputes
            .iter()
            .any(|(_, one)| one.charge == charge && holds_money(&one.status))
    }
}
