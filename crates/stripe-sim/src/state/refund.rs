//! Refunds and disputes, as far as billing sees them.

use super::World;
use super::customer::Metadata;
use super::ledger::Entry;
use super::object::Object;
use crate::error::{ApiError, ApiResult};

#[derive(Clone, Debug)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) charge: String,
    pub(crate) intent: String,
    pub(crate) reason: Option<&'static str>,
    pub(crate) balance_transaction: String,
    pub(crate) metadata: Metadata,
    pub(crate) test_clock: Option<String>,
}

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
    pub(crate) test_clock: Option<String>,
}

/// Every state a dispute can be put into.
pub(crate) const DISPUTE_STATUSES: [&str; 8] = [
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
];

impl World {
    pub(crate) fn refund(
        &mut self,
        charge_id: &str,
        amount: Option<i64>,
        reason: Option<&'static str>,
        metadata: Metadata,
    ) -> ApiResult<Refund> {
        let charge = self
            .charges
            .get(charge_id)
            .cloned()
            .ok_or_else(|| ApiError::missing("charge", charge_id, "charge"))?;
        let left = charge.amount - charge.amount_refunded;
        let amount = amount.unwrap_or(left);
        if charge.failure.is_some() {
            return Err(ApiError::state(
                "charge_not_refundable",
                "This charge has not succeeded and cannot be refunded.",
            ));
        }
        if charge.disputed {
            return Err(ApiError::state(
                "charge_disputed",
                format!("Charge {charge_id} has been charged back; cannot issue a refund."),
            ));
        }
        if left == 0 {
            return Err(ApiError::state(
                "charge_already_refunded",
                format!("Charge {charge_id} has already been refunded."),
            ));
        }
        if amount <= 0 || amount > left {
            return Err(ApiError::state(
                "",
                format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"),
            ));
        }
        let refund = Refund {
            id: self.ids.next("re"),
            created: self.now_on(charge.test_clock.as_deref()),
            amount,
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            intent: charge.intent.clone(),
            reason,
            balance_transaction: self.ids.next("txn"),
            metadata,
            test_clock: charge.test_clock.clone(),
        };
        self.refunds.insert(&refund.id, refund.clone());
        self.ledger.refund(Entry::of_refund(&refund, &charge));
        if let Some(known) = self.charges.get_mut(charge_id) {
            known.amount_refunded += amount;
            let after = known.clone();
            self.emit("refund.created", Object::Refund(refund.clone()));
            self.emit_with_previous("charge.refunded", Object::Charge(charge), Object::Charge(after));
        }
        Ok(refund)
    }

    /// Opens a dispute; one that is more than an inquiry takes the money at once.
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
        let dispute = Dispute {
            id: self.ids.next("du"),
            created: self.now_on(charge.test_clock.as_deref()),
            amount: amount.unwrap_or(charge.amount),
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            intent: charge.intent.clone(),
            reason: reason.to_owned(),
            status: status.to_owned(),
            test_clock: charge.test_clock.clone(),
        };
        self.disputes.insert(&dispute.id, dispute.clone());
        self.emit("charge.dispute.created", Object::Dispute(dispute.clone()));
        if !status.starts_with("warning") {
            self.emit("charge.dispute.funds_withdrawn", Object::Dispute(dispute.clone()));
        }
        Some(dispute)
    }

    pub(crate) fn close_dispute(&mut self, id: &str, status: &str) -> Option<Dispute> {
        let dispute = self.disputes.get_mut(id)?;
        let before = dispute.clone();
        dispute.status = status.to_owned();
        let after = dispute.clone();
        self.emit_with_previous(
            "charge.dispute.closed",
            Object::Dispute(before),
            Object::Dispute(after.clone()),
        );
        if status == "won" {
            self.emit("charge.dispute.funds_reinstated", Object::Dispute(after.clone()));
        }
        Some(after)
    }
}
