//! Subscriptions: what they are, and the one way to change them.

mod cancel;
mod change;
mod create;
mod cycle;
mod proration;

pub(crate) use change::{ItemChange, Update};
pub(crate) use create::{FirstPayment, NewSubscription};

use super::World;
use super::catalog::Price;
use super::customer::Metadata;
use super::invoice::Line;
use super::object::Object;
use crate::error::{ApiError, ApiResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Incomplete,
    IncompleteExpired,
    Trialing,
    Active,
    PastDue,
    Canceled,
    Unpaid,
    Paused,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
        }
    }

    /// Nothing changes any more.
    pub(crate) const fn is_terminal(self) -> bool {
        matches!(self, Self::Canceled | Self::IncompleteExpired)
    }
}

/// How invoices are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    Automatic,
    /// By mail, due after this many days.
    Send(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct PauseCollection {
    pub(crate) behavior: &'static str,
    pub(crate) resumes_at: Option<i64>,
}

/// What happens at a trial's end without a payment method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingMethod {
    CreateInvoice,
    Pause,
    Cancel,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) price: Price,
    pub(crate) quantity: i64,
    pub(crate) metadata: Metadata,
}

impl Item {
    pub(crate) const fn amount(&self) -> i64 {
        self.price.unit_amount.saturating_mul(self.quantity)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) customer: String,
    pub(crate) status: Status,
    pub(crate) items: Vec<Item>,
    pub(crate) currency: String,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) anchor: i64,
    pub(crate) period: (i64, i64),
    pub(crate) trial: Option<(i64, i64)>,
    pub(crate) missing_method: MissingMethod,
    pub(crate) default_payment_method: Option<String>,
    pub(crate) collection: Collection,
    pub(crate) latest_invoice: Option<String>,
    pub(crate) pause_collection: Option<PauseCollection>,
    pub(crate) cancel_at_period_end: bool,
    pub(crate) cancel_at: Option<i64>,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) ended_at: Option<i64>,
    pub(crate) cancel_reason: Option<&'static str>,
    /// Prorations waiting for the next invoice.
    pub(crate) pending: Vec<Line>,
    pub(crate) test_clock: Option<String>,
    /// False until `customer.subscription.created` is told: changes before belong to the creation.
    pub(crate) announced: bool,
}

impl Subscription {
    /// The end of the period that begins at `start`.
    fn next_end(&self, start: i64) -> i64 {
        let recurring = self.items.first().and_then(|item| item.price.recurring);
        let (interval, count) = recurring.unwrap_or((crate::time::Interval::Month, 1));
        crate::time::period_end(self.anchor, interval, count, start)
    }
}

impl World {
    pub(crate) fn subscription(&self, id: &str, param: &str) -> ApiResult<&Subscription> {
        self.subscriptions
            .get(id)
            .ok_or_else(|| ApiError::missing("subscription", id, param))
    }

    /// Changes a subscription and tells of it when something changed.
    pub(crate) fn change_subscription(&mut self, id: &str, change: impl FnOnce(&mut Subscription)) {
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return;
        };
        let before = subscription.clone();
        change(subscription);
        let after = subscription.clone();
        if after.announced {
            self.emit_change(
                "customer.subscription.updated",
                Object::Subscription(before.into()),
                Object::Subscription(after.into()),
            );
        }
    }

    /// The payment method that pays a subscription's invoices: its own, else the customer's default.
    pub(crate) fn paying_method(&self, subscription: Option<&str>, customer: &str) -> Option<String> {
        let own = subscription
            .and_then(|id| self.subscriptions.get(id))
            .and_then(|one| one.default_payment_method.clone());
        own.or_else(|| {
            self.customers
                .get(customer)
                .and_then(|one| one.default_payment_method.clone())
        })
    }

    /// An invoice of the subscription was paid.
    pub(crate) fn subscription_paid(&mut self, id: &str, invoice: &str) {
        let Some(subscription) = self.subscriptions.get(id) else {
            return;
        };
        let current = subscription.latest_invoice.as_deref() == Some(invoice);
        let next = match subscription.status {
            Status::Incomplete => Status::Active,
            Status::PastDue | Status::Unpaid if current => Status::Active,
            other => other,
        };
        self.change_subscription(id, |one| one.status = next);
    }

    /// A payment of an invoice of the subscription failed; `last` when no further attempt follows.
    pub(crate) fn subscription_failed(&mut self, id: &str, last: bool) {
        let Some(subscription) = self.subscriptions.get(id) else {
            return;
        };
        if subscription.status.is_terminal()
            || matches!(
                subscription.status,
                Status::Incomplete | Status::Paused | Status::Unpaid
            )
        {
            return;
        }
        match self.settings.after_retries.as_str() {
            "cancel" if last => self.cancel_subscription(id, "payment_failed", false),
            "unpaid" if last => self.change_subscription(id, |one| one.status = Status::Unpaid),
            _ => self.change_subscription(id, |one| one.status = Status::PastDue),
        }
    }
}
