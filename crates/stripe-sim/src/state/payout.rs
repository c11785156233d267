//! Payouts from a balance to a bank. One arrives after a day, and can fail then or even later: the money is back in the balance.

use super::World;
use super::balance::{Owner, Posting};
use super::customer::Metadata;
use super::ledger::Entry;
use super::object::Object;
use crate::error::{ApiError, ApiResult};
use crate::time::Task;

const ARRIVAL_SECONDS: i64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayoutStatus {
    Pending,
    Paid,
    Failed,
    Canceled,
}

impl PayoutStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Payout {
    pub(crate) id: String,
    pub(crate) created: i64,
    /// `None`: the platform's.
    pub(crate) account: Owner,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) arrival_date: i64,
    pub(crate) destination: Option<String>,
    pub(crate) status: PayoutStatus,
    pub(crate) failure_code: Option<String>,
    pub(crate) balance_transaction: String,
    pub(crate) failure_balance_transaction: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
}

/// Why payouts to Stripe's test bank accounts fail, by the last digits of their number.
fn test_failure(last4: &str) -> Option<&'static str> {
    match last4 {
        "1116" => Some("no_account"),
        "1113" => Some("account_closed"),
        "2227" => Some("insufficient_funds"),
        "3335" => Some("debit_not_authorized"),
        "4440" => Some("invalid_currency"),
        _ => None,
    }
}

impl World {
    pub(crate) fn payout(&self, id: &str, param: &str) -> ApiResult<&Payout> {
        self.payouts
            .get(id)
            .ok_or_else(|| ApiError::missing("payout", id, param))
    }

    pub(crate) fn create_payout(
        &mut self,
        owner: Owner,
        amount: i64,
        currency: &str,
        description: Option<String>,
        metadata: Metadata,
    ) -> ApiResult<Payout> {
        let account = owner.as_deref().map(|id| self.account(id, "account")).transpose()?;
        if account.is_some_and(|one| !one.payouts_enabled) {
            return Err(ApiError::state(
                "payouts_not_allowed",
                "Cannot create payouts: the account has payouts disabled until its requirements are met.",
            ));
        }
        let bank = account.and_then(|one| one.bank.clone());
        if self.balance(&owner, currency).0 < amount {
            return Err(ApiError::state(
                "balance_insufficient",
                "You have insufficient funds in your Stripe account for this transfer.",
            ));
        }
        let id = self.ids.next("po");
        let balance_transaction = self.post(Posting {
            owner: owner.clone(),
            amount: -amount,
            fee: 0,
            currency,
            kind: "payout",
            source: &id,
            available_on: 0,
        });
        let now = self.now();
        let payout = Payout {
            id: id.clone(),
            created: now,
            account: owner,
            amount,
            currency: currency.to_owned(),
            arrival_date: now + ARRIVAL_SECONDS,
            destination: bank.map(|one| one.id),
            status: PayoutStatus::Pending,
            failure_code: None,
            balance_transaction,
            failure_balance_transaction: None,
            description,
            metadata,
        };
        self.payouts.insert(&id, payout.clone());
        self.book(|ledger| &mut ledger.payouts, Entry::of_payout(&payout));
        self.agenda
            .add(payout.arrival_date, None, Task::PayoutArrives { payout: id });
        self.emit("payout.created", Object::Payout(payout.clone()));
        Ok(payout)
    }

    /// The day of arrival: paid, unless the bank account is one of Stripe's failing ones.
    pub(crate) fn payout_arrives(&mut self, id: &str) {
        let Some(payout) = self.payouts.get(id).cloned() else {
            return;
        };
        if payout.status != PayoutStatus::Pending {
            return;
        }
        let account = payout.account.as_deref().and_then(|id| self.accounts.get(id));
        let bank = account.and_then(|one| one.bank.as_ref());
        match bank.and_then(|bank| test_failure(&bank.last4)) {
            Some(code) => {
                let _: ApiResult<Payout> = self.fail_payout(id, code);
            }
            None => {
                if let Some(one) = self.payouts.get_mut(id) {
                    one.status = PayoutStatus::Paid;
                    let paid = one.clone();
                    self.emit("payout.paid", Object::Payout(paid));
                }
            }
        }
    }

    /// The bank sends the money back, also after the payout counted as paid.
    pub(crate) fn fail_payout(&mut self, id: &str, code: &str) -> ApiResult<Payout> {
        let status = self.payout(id, "payout")?.status;
        if matches!(status, PayoutStatus::Failed | PayoutStatus::Canceled) {
            let message = format!("This payout has already {}.", status.as_str());
            return Err(ApiError::state("", message));
        }
        let code = code.to_owned();
        self.return_payout(id, "payout_failure", "payout.failed", |one| {
            one.status = PayoutStatus::Failed;
            one.failure_code = Some(code);
        })
    }

    pub(crate) fn cancel_payout(&mut self, id: &str) -> ApiResult<Payout> {
        let status = self.payout(id, "id")?.status;
        if status != PayoutStatus::Pending {
            let message = format!(
                "Payouts can only be canceled while they are pending; this one is {}.",
                status.as_str()
            );
            return Err(ApiError::state("", message));
        }
        self.return_payout(id, "payout_cancel", "payout.canceled", |one| {
            one.status = PayoutStatus::Canceled;
        })
    }

    fn return_payout(
        &mut self,
        id: &str,
        kind: &'static str,
        event: &str,
        change: impl FnOnce(&mut Payout),
    ) -> ApiResult<Payout> {
        let before = self.payout(id, "id")?.clone();
        let returned = self.post(Posting {
            owner: before.account.clone(),
            amount: before.amount,
            fee: 0,
            currency: &before.currency,
            kind,
            source: id,
            available_on: 0,
        });
        let mut after = before;
        change(&mut after);
        after.failure_balance_transaction = Some(returned);
        self.payouts.insert(id, after.clone());
        self.unbook(|ledger| &mut ledger.payouts, id);
        self.emit(event, Object::Payout(after.clone()));
        self.retry_waiting_refunds();
        Ok(after)
    }
}
