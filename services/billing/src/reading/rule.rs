//! What a type of event is for billing, decided by its name in one place.

use domain::billing::charge::DisputeWord;
use domain::billing::decision::Reason;

/// What is read of an event of some type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A snapshot of a subscription, by the event that never overrides.
    SubscriptionCreated,
    /// A snapshot of a subscription.
    SubscriptionChanged,
    /// A snapshot of a subscription that is said to have ended.
    SubscriptionDeleted,
    /// A payment of an invoice succeeded.
    InvoicePaid,
    /// A payment of an invoice failed.
    InvoiceFailed,
    /// A checkout is complete or was paid later.
    Checkout,
    /// A charge was made, or something of it was paid back.
    Charge,
    /// A refund, alone.
    Refund,
    /// A dispute.
    Dispute(DisputeWord),
    /// Nothing; why.
    Nothing(Reason),
}

impl Rule {
    /// The rule for a type. A thin event of API v1 has the type of its snapshot with `v1.` before it, and means the same.
    pub(crate) fn of(kind: &str) -> Self {
        match kind.strip_prefix("v1.").unwrap_or(kind) {
            "customer.subscription.created" => Self::SubscriptionCreated,
            "customer.subscription.updated"
            | "customer.subscription.paused"
            | "customer.subscription.resumed"
            | "customer.subscription.pending_update_applied"
            | "customer.subscription.pending_update_expired" => Self::SubscriptionChanged,
            "customer.subscription.deleted" => Self::SubscriptionDeleted,
            "customer.subscription.trial_will_end" | "invoice.upcoming" | "invoice.will_be_due" => {
                Self::Nothing(Reason::Advisory)
            }
            "invoice.paid" | "invoice.payment_succeeded" => Self::InvoicePaid,
            "invoice.payment_failed" => Self::InvoiceFailed,
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => Self::Checkout,
            "checkout.session.async_payment_failed" => Self::Nothing(Reason::CheckoutNotPaid),
            "charge.succeeded" | "charge.refunded" => Self::Charge,
            "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => Self::Refund,
            "charge.dispute.created" => Self::Dispute(DisputeWord::Opened),
            "charge.dispute.updated"
            | "charge.dispute.closed"
            | "charge.dispute.funds_withdrawn"
            | "charge.dispute.funds_reinstated" => Self::Dispute(DisputeWord::Later),
            _ => Self::Nothing(Reason::NoEffectOnState),
        }
    }
}
