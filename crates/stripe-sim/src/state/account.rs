//! Connected accounts. A capability that was asked for is active while nothing is due; what is due comes from what creation left out, or from
//! `/_sim/act`, by which capabilities are also lost.

use std::collections::BTreeMap;

use super::World;
use super::customer::Metadata;
use super::object::Object;
use super::thin::Related;
use crate::error::{ApiError, ApiResult};

/// Why an account is disabled of which something is past due.
const PAST_DUE: &str = "requirements.past_due";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CapabilityStatus {
    Active,
    Inactive,
    Pending,
}

impl CapabilityStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
        }
    }
}

/// Where payouts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bank {
    pub(crate) id: String,
    pub(crate) last4: String,
    pub(crate) currency: String,
}

/// What is past due is currently due as well, and disables the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) currently_due: Vec<String>,
    pub(crate) past_due: Vec<String>,
    pub(crate) pending_verification: Vec<String>,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) current_deadline: Option<i64>,
}

impl Requirements {
    /// With what Stripe shows along with what was said: a capability that is withdrawn with nothing due has a reason all the same.
    pub(crate) fn told_with(mut self, status: CapabilityStatus) -> Self {
        for past in &self.past_due {
            if !self.currently_due.contains(past) {
                self.currently_due.push(past.clone());
            }
        }
        let reason = match status {
            _ if !self.past_due.is_empty() => Some(PAST_DUE),
            CapabilityStatus::Inactive if self.currently_due.is_empty() => Some("other"),
            CapabilityStatus::Active | CapabilityStatus::Inactive | CapabilityStatus::Pending => None,
        };
        self.disabled_reason = self.disabled_reason.or_else(|| reason.map(str::to_owned));
        self
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) created: i64,
    /// `express`, `custom` or `standard`.
    pub(crate) kind: &'static str,
    pub(crate) country: String,
    pub(crate) email: Option<String>,
    pub(crate) default_currency: String,
    pub(crate) business_type: Option<String>,
    pub(crate) business_name: Option<String>,
    pub(crate) capabilities: BTreeMap<String, CapabilityStatus>,
    pub(crate) requirements: Requirements,
    pub(crate) details_submitted: bool,
    pub(crate) tos_accepted: Option<i64>,
    pub(crate) bank: Option<Bank>,
    pub(crate) payouts_enabled: bool,
    pub(crate) metadata: Metadata,
}

impl Account {
    pub(crate) fn can_receive_transfers(&self) -> bool {
        self.capabilities.get("transfers") == Some(&CapabilityStatus::Active)
    }

    /// What is due decides what is possible: the effect of an update that may have brought what was missing.
    pub(crate) fn settle(&mut self) {
        let given = [
            ("external_account", self.bank.is_some()),
            ("tos_acceptance.date", self.tos_accepted.is_some()),
            ("tos_acceptance.ip", self.tos_accepted.is_some()),
        ];
        for due in [&mut self.requirements.currently_due, &mut self.requirements.past_due] {
            due.retain(|one| !given.iter().any(|(name, there)| *there && one == name));
        }
        let is_past_due = self.requirements.disabled_reason.as_deref() == Some(PAST_DUE);
        if is_past_due && self.requirements.past_due.is_empty() {
            self.requirements.disabled_reason = None;
        }
        let clear = self.requirements.currently_due.is_empty() && self.requirements.past_due.is_empty();
        if clear {
            self.details_submitted = true;
            self.requirements.disabled_reason = None;
            self.requirements.current_deadline = None;
            self.payouts_enabled = true;
            for status in self.capabilities.values_mut() {
                *status = CapabilityStatus::Active;
            }
        }
    }
}

/// One capability of an account, as it is shown by itself.
#[derive(Clone, Debug)]
pub(crate) struct Capability {
    pub(crate) name: String,
    pub(crate) account: Account,
}

impl World {
    pub(crate) fn account(&self, id: &str, param: &str) -> ApiResult<&Account> {
        self.accounts
            .get(id)
            .ok_or_else(|| ApiError::missing("account", id, param))
    }

    pub(crate) fn create_account(&mut self, mut account: Account) -> Account {
        account.id = self.ids.next("acct");
        account.created = self.now();
        // An account is disabled until it has brought these: they are past due from its first day.
        let due = ["external_account", "tos_acceptance.date", "tos_acceptance.ip"];
        account.requirements.past_due = due.map(str::to_owned).to_vec();
        account.requirements = account.requirements.told_with(CapabilityStatus::Inactive);
        account.settle();
        self.accounts.insert(&account.id, account.clone());
        account
    }

    pub(crate) fn new_bank(&mut self, number: Option<&str>, currency: &str) -> Bank {
        let number = number.unwrap_or("000123456789");
        Bank {
            id: self.ids.next("ba"),
            last4: number
                .get(number.len().saturating_sub(4)..)
                .unwrap_or(number)
                .to_owned(),
            currency: currency.to_owned(),
        }
    }

    /// Changes an account and tells of it, of each capability whose status changed, and both by the thin events of Accounts v2.
    pub(crate) fn change_account(&mut self, id: &str, change: impl FnOnce(&mut Account)) -> ApiResult<Account> {
        let before = self.account(id, "id")?.clone();
        let mut after = before.clone();
        change(&mut after);
        self.accounts.insert(id, after.clone());
        self.emit_change(
            "account.updated",
            Object::Account(before.clone().into()),
            Object::Account(after.clone().into()),
        );
        let related = Related {
            id: id.to_owned(),
            kind: "v2.core.account".to_owned(),
            url: format!("/v2/core/accounts/{id}"),
        };
        let object = Object::Account(after.clone().into());
        if before.requirements != after.requirements {
            let kind = "v2.core.account[requirements].updated";
            self.emit_thin(kind, Some(id), &related, object.clone());
        }
        for (name, status) in &after.capabilities {
            if before.capabilities.get(name) == Some(status) {
                continue;
            }
            let shown = |account: &Account| {
                Object::Capability(
                    Capability {
                        name: name.clone(),
                        account: account.clone(),
                    }
                    .into(),
                )
            };
            self.emit_with_previous("capability.updated", shown(&before), shown(&after));
            if name == "transfers" {
                let kind = "v2.core.account[configuration.recipient].capability_status_updated";
                self.emit_thin(kind, Some(id), &related, object.clone());
            }
        }
        Ok(after)
    }

    /// The owner filled in everything Stripe's form asks for.
    pub(crate) fn complete_onboarding(&mut self, id: &str) -> ApiResult<Account> {
        let now = self.now();
        let currency = self.account(id, "account")?.default_currency.clone();
        let bank = match self.account(id, "account")?.bank.clone() {
            Some(bank) => bank,
            None => self.new_bank(None, &currency),
        };
        self.change_account(id, |account| {
            account.bank = Some(bank);
            account.tos_accepted = account.tos_accepted.or(Some(now));
            account.requirements = Requirements::default();
            account.settle();
        })
    }

    /// Stripe decides about a capability. What is due then is told along with it.
    pub(crate) fn set_capability(
        &mut self,
        id: &str,
        capability: &str,
        status: CapabilityStatus,
        requirements: Requirements,
    ) -> ApiResult<Account> {
        if !self.account(id, "account")?.capabilities.contains_key(capability) {
            let message = format!("The account never asked for the capability {capability}.");
            return Err(ApiError::invalid("capability", "", message));
        }
        self.change_account(id, |account| {
            account.capabilities.insert(capability.to_owned(), status);
            account.requirements = requirements.told_with(status);
        })
    }
}
