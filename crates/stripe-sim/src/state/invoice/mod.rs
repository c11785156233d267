//! Invoices: draft, open, paid, void or uncollectible, and what they are made of.

mod collect;
mod lifecycle;

pub(crate) use lifecycle::NewInvoice;

use super::World;
use super::catalog::Price;
use super::customer::Metadata;
use super::subscription::Collection;
use crate::error::{ApiError, ApiResult};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvoiceStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

impl InvoiceStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Void => "void",
            Self::Uncollectible => "uncollectible",
        }
    }
}

/// `billing_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    SubscriptionCreate,
    SubscriptionCycle,
    SubscriptionUpdate,
    Manual,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionCreate => "subscription_create",
            Self::SubscriptionCycle => "subscription_cycle",
            Self::SubscriptionUpdate => "subscription_update",
            Self::Manual => "manual",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) amount: i64,
    pub(crate) price: Option<Price>,
    pub(crate) quantity: i64,
    pub(crate) proration: bool,
    pub(crate) subscription: Option<String>,
    pub(crate) subscription_item: Option<String>,
    pub(crate) invoice_item: Option<String>,
    pub(crate) period: (i64, i64),
    pub(crate) metadata: Metadata,
}

/// Something to bill that waits for an invoice, or was put on one.
#[derive(Clone, Debug)]
pub(crate) struct InvoiceItem {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) customer: String,
    pub(crate) currency: String,
    pub(crate) amount: i64,
    pub(crate) description: Option<String>,
    pub(crate) price: Option<Price>,
    pub(crate) quantity: i64,
    pub(crate) invoice: Option<String>,
    pub(crate) subscription: Option<String>,
    pub(crate) proration: bool,
    pub(crate) period: (i64, i64),
    pub(crate) metadata: Metadata,
    pub(crate) test_clock: Option<String>,
}

impl InvoiceItem {
    pub(crate) fn of_line(line: &Line, customer: &str, currency: &str, now: i64, test_clock: Option<String>) -> Self {
        Self {
            id: line.invoice_item.clone().unwrap_or_default(),
            created: now,
            customer: customer.to_owned(),
            currency: currency.to_owned(),
            amount: line.amount,
            description: Some(line.description.clone()),
            price: line.price.clone(),
            quantity: line.quantity,
            invoice: None,
            subscription: line.subscription.clone(),
            proration: line.proration,
            period: line.period,
            metadata: line.metadata.clone(),
            test_clock,
        }
    }
}

/// A payment of an invoice, as newer API versions show it.
#[derive(Clone, Debug)]
pub(crate) struct InvoicePayment {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) invoice: String,
    pub(crate) intent: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) paid_at: Option<i64>,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) test_clock: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) number: Option<String>,
    pub(crate) customer: String,
    pub(crate) customer_email: Option<String>,
    pub(crate) customer_name: Option<String>,
    pub(crate) subscription: Option<String>,
    pub(crate) subscription_metadata: Metadata,
    pub(crate) status: InvoiceStatus,
    pub(crate) reason: Reason,
    pub(crate) currency: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) period: (i64, i64),
    /// Credit of the customer that this invoice used (or gave, negative).
    pub(crate) credit_used: i64,
    pub(crate) amount_paid: i64,
    pub(crate) attempt_count: u32,
    pub(crate) next_payment_attempt: Option<i64>,
    pub(crate) auto_advance: bool,
    pub(crate) collection: Collection,
    pub(crate) due_date: Option<i64>,
    pub(crate) finalized_at: Option<i64>,
    pub(crate) paid_at: Option<i64>,
    pub(crate) voided_at: Option<i64>,
    pub(crate) uncollectible_at: Option<i64>,
    pub(crate) paid_out_of_band: bool,
    pub(crate) intent: Option<String>,
    pub(crate) charge: Option<String>,
    pub(crate) payments: Vec<InvoicePayment>,
    pub(crate) default_payment_method: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) test_clock: Option<String>,
}

impl Invoice {
    pub(crate) fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.amount).sum()
    }

    pub(crate) fn amount_due(&self) -> i64 {
        (self.total() - self.credit_used).max(0)
    }

    pub(crate) const fn is_unpaid(&self) -> bool {
        matches!(self.status, InvoiceStatus::Draft | InvoiceStatus::Open)
    }
}

impl World {
    pub(crate) fn invoice(&self, id: &str) -> ApiResult<&Invoice> {
        self.invoices
            .get(id)
            .ok_or_else(|| ApiError::missing("invoice", id, "id"))
    }
}
