//! Refunds. One can fail long after it was made: the money then comes back, and the charge can be refunded again.

use super::World;
use super::balance::Posting;
use super::customer::Metadata;
use super::ledger::Entry;
use super::object::Object;
use super::payment::Charge;
use super::payment_method::Refunding;
use crate::error::{ApiError, ApiResult};
use crate::time::Task;

/// How long a refund that is decided later takes.
const LATER_SECONDS: i64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefundStatus {
    Pending,
    Succeeded,
    Canceled,
    Failed,
}

impl RefundStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) charge: String,
    pub(crate) intent: String,
    pub(crate) status: RefundStatus,
    pub(crate) reason: Option<&'static str>,
    pub(crate) failure_reason: Option<String>,
    pub(crate) failure_balance_transaction: Option<String>,
    /// Absent while the platform's balance does not cover it.
    pub(crate) balance_transaction: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) test_clock: Option<String>,
}

impl World {
    pub(crate) fn find_refund(&self, id: &str, param: &str) -> ApiResult<&Refund> {
        self.refunds
            .get(id)
            .ok_or_else(|| ApiError::missing("refund", id, param))
    }

    /// Refunds a charge, all that is left of it unless an amount is given.
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
        let amount = self.refundable(&charge, amount)?;
        let later = charge.card.refunding;
        let mut refund = Refund {
            id: self.ids.next("re"),
            created: self.now_on(charge.test_clock.as_deref()),
            amount,
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            intent: charge.intent.clone(),
            status: if later == Refunding::SucceedsLater {
                RefundStatus::Pending
            } else {
                RefundStatus::Succeeded
            },
            reason,
            failure_reason: None,
            failure_balance_transaction: None,
            balance_transaction: None,
            metadata,
            test_clock: charge.test_clock.clone(),
        };
        if later == Refunding::FailsAtOnce {
            return Ok(self.refused_refund(refund));
        }
        if later != Refunding::Succeeds {
            let task = Task::RefundDecided {
                refund: refund.id.clone(),
            };
            self.agenda
                .add(refund.created + LATER_SECONDS, refund.test_clock.clone(), task);
        }
        if !self.pay_refund(&mut refund, &charge) {
            refund.status = RefundStatus::Pending;
            self.waiting_refunds.push_back(refund.id.clone());
        }
        self.refunds.insert(&refund.id, refund.clone());
        if let Some(known) = self.charges.get_mut(charge_id) {
            known.amount_refunded += amount;
            let after = known.clone();
            self.emit("refund.created", Object::Refund(refund.clone()));
            self.emit_with_previous(
                "charge.refunded",
                Object::Charge(charge.into()),
                Object::Charge(after.into()),
            );
        }
        Ok(refund)
    }

    /// The bank does not take a refund: no money moves.
    fn refused_refund(&mut self, refund: Refund) -> Refund {
        let refund = Refund {
            status: RefundStatus::Failed,
            failure_reason: Some("declined".to_owned()),
            ..refund
        };
        self.refunds.insert(&refund.id, refund.clone());
        for kind in ["refund.created", "refund.failed"] {
            self.emit(kind, Object::Refund(refund.clone()));
        }
        refund
    }

    /// How much of a charge a refund would take, or why it cannot be refunded.
    fn refundable(&self, charge: &Charge, amount: Option<i64>) -> ApiResult<i64> {
        let left = charge.amount_captured - charge.amount_refunded;
        let amount = amount.unwrap_or(left);
        if !charge.is_captured() {
            return Err(ApiError::state(
                "charge_not_refundable",
                format!("Charge {} has not been captured and cannot be refunded.", charge.id),
            ));
        }
        if self.is_charged_back(&charge.id) {
            return Err(ApiError::state(
                "charge_disputed",
                format!("Charge {} has been charged back; cannot issue a refund.", charge.id),
            ));
        }
        if left == 0 {
            return Err(ApiError::state(
                "charge_already_refunded",
                format!("Charge {} has already been refunded.", charge.id),
            ));
        }
        if amount > left {
            return Err(ApiError::state(
                "",
                format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"),
            ));
        }
        Ok(amount)
    }

    /// Takes a refund's money from the platform's balance, what is on its way included. False when that is not enough.
    fn pay_refund(&mut self, refund: &mut Refund, charge: &Charge) -> bool {
        let (available, pending) = self.balance(&None, &refund.currency);
        if available + pending < refund.amount {
            return false;
        }
        let available_on = self.available_with(charge.balance_transaction.as_deref());
        let transaction = self.post(Posting {
            owner: None,
            amount: -refund.amount,
            fee: 0,
            currency: &refund.currency,
            kind: "refund",
            source: &refund.id,
            available_on,
        });
        refund.balance_transaction = Some(transaction);
        self.book(|ledger| &mut ledger.refunds, Entry::of_refund(refund, charge));
        true
    }

    /// Money came in: refunds that waited for it go through, in each currency the oldest first.
    pub(crate) fn retry_waiting_refunds(&mut self) {
        let mut short: Vec<String> = Vec::new();
        for id in std::mem::take(&mut self.waiting_refunds) {
            let Some(before) = self.refunds.get(&id).cloned() else {
                continue;
            };
            let Some(charge) = self.charges.get(&before.charge).cloned() else {
                continue;
            };
            if before.status != RefundStatus::Pending {
                continue;
            }
            let mut paid = before.clone();
            if short.contains(&before.currency) || !self.pay_refund(&mut paid, &charge) {
                short.push(before.currency);
                self.waiting_refunds.push_back(id);
                continue;
            }
            self.change_refund(before, |one| {
                one.status = RefundStatus::Succeeded;
                one.balance_transaction = paid.balance_transaction;
            });
        }
    }

    /// What a test card has in store for a refund.
    pub(crate) fn refund_decided(&mut self, id: &str) {
        let pending = self
            .refunds
            .get(id)
            .is_some_and(|one| one.status == RefundStatus::Pending);
        let _: ApiResult<Refund> = if pending {
            self.settle_refund(id)
        } else {
            self.fail_refund(id, "expired_or_canceled_card")
        };
    }

    /// A pending refund goes through.
    pub(crate) fn settle_refund(&mut self, id: &str) -> ApiResult<Refund> {
        let before = self.find_refund(id, "refund")?.clone();
        if before.status != RefundStatus::Pending || before.balance_transaction.is_none() {
            let message = format!("A refund that is {} waits for no bank.", before.status.as_str());
            return Err(ApiError::state("", message));
        }
        Ok(self.change_refund(before, |one| one.status = RefundStatus::Succeeded))
    }

    /// The bank sends a refund back: the money is the platform's again.
    pub(crate) fn fail_refund(&mut self, id: &str, reason: &str) -> ApiResult<Refund> {
        let before = self.find_refund(id, "refund")?.clone();
        if matches!(before.status, RefundStatus::Failed | RefundStatus::Canceled) {
            let message = format!("This refund is {} already.", before.status.as_str());
            return Err(ApiError::state("", message));
        }
        let returned = self.return_money(&before);
        let refund = self.change_refund(before, |one| {
            one.status = RefundStatus::Failed;
            one.failure_reason = Some(reason.to_owned());
            one.failure_balance_transaction = returned;
        });
        self.emit("refund.failed", Object::Refund(refund.clone()));
        self.unbook(|ledger| &mut ledger.refunds, &refund.id);
        if let Some(charge) = self.charges.get_mut(&refund.charge) {
            let before = charge.clone();
            charge.amount_refunded -= refund.amount;
            let after = charge.clone();
            self.emit_with_previous(
                "charge.updated",
                Object::Charge(before.into()),
                Object::Charge(after.into()),
            );
        }
        self.retry_waiting_refunds();
        Ok(refund)
    }

    /// The money of a refund is the platform's again, if it was taken.
    fn return_money(&mut self, refund: &Refund) -> Option<String> {
        let was_taken = refund.balance_transaction.is_some();
        was_taken.then(|| {
            self.post(Posting {
                owner: None,
                amount: refund.amount,
                fee: 0,
                currency: &refund.currency,
                kind: "refund_failure",
                source: &refund.id,
                available_on: 0,
            })
        })
    }

    /// A pending refund is withdrawn before it is paid out: the money is the platform's again. Only the newer event tells of it.
    pub(crate) fn cancel_refund(&mut self, id: &str) -> ApiResult<Refund> {
        let before = self.find_refund(id, "refund")?.clone();
        if before.status != RefundStatus::Pending {
            let message = format!("A refund that is {} cannot be canceled.", before.status.as_str());
            return Err(ApiError::state("", message));
        }
        let returned = self.return_money(&before);
        let refund = Refund {
            status: RefundStatus::Canceled,
            failure_balance_transaction: returned,
            ..before.clone()
        };
        self.refunds.insert(&refund.id, refund.clone());
        self.emit_change("refund.updated", Object::Refund(before), Object::Refund(refund.clone()));
        self.unbook(|ledger| &mut ledger.refunds, &refund.id);
        if let Some(charge) = self.charges.get_mut(&refund.charge) {
            charge.amount_refunded -= refund.amount;
        }
        self.retry_waiting_refunds();
        Ok(refund)
    }

    /// Changes a refund and tells of it, also under the name that older integrations listen to.
    pub(crate) fn change_refund(&mut self, before: Refund, change: impl FnOnce(&mut Refund)) -> Refund {
        let Some(known) = self.refunds.get_mut(&before.id) else {
            return before;
        };
        change(known);
        let after = known.clone();
        for kind in ["refund.updated", "charge.refund.updated"] {
            self.emit_change(kind, Object::Refund(before.clone()), Object::Refund(after.clone()));
        }
        after
    }
}
