//! Payments by invoice and by checkout, in the domain's words.

use domain::billing::decision::Reason;
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::ids::{CheckoutSessionId, CustomerId, InvoiceId, SubscriptionId};
use domain::money::Money;
use domain::time::UnixSeconds;
use stripe_gateway::views::words::{BillingReason, CheckoutMode, CheckoutPaymentStatus};
use stripe_gateway::views::{CheckoutSession, Invoice};

use super::field::{Unreadable, id, money, required_id};
use super::{Says, Statement, named};

/// Whether an invoice's payment succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paid {
    Yes,
    No,
}

pub(super) fn invoice(view: &Invoice, at: UnixSeconds, paid: Paid) -> Result<Result<Statement, Reason>, Unreadable> {
    let Some(subscription) = &view.subscription else {
        return Ok(Err(Reason::InvoiceWithoutSubscription));
    };
    let (field, minor) = match paid {
        Paid::Yes => ("invoice.amount_paid", view.amount_paid),
        Paid::No => ("invoice.amount_due", view.amount_due),
    };
    let payment = Payment {
        act: Act::Invoice {
            invoice: id("invoice.id", &view.id, InvoiceId::parse)?,
            first: view.billing_reason == Some(BillingReason::SubscriptionCreate),
        },
        amount: Some(money((field, minor), ("invoice.currency", &view.currency))?),
    };
    Ok(Ok(Statement {
        says: Says::OfSubscription(Fact {
            subscription: id("invoice.subscription", subscription, SubscriptionId::parse)?,
            at,
            kind: match paid {
                Paid::Yes => FactKind::Paid(payment),
                Paid::No => FactKind::Failed(payment),
            },
        }),
        customer: Some(required_id(
            "invoice.customer",
            view.customer.as_deref(),
            CustomerId::parse,
        )?),
        session: None,
        named: named(view.client_id()),
        is_checkout: false,
    }))
}

pub(super) fn checkout(view: &CheckoutSession, at: UnixSeconds) -> Result<Result<Statement, Reason>, Unreadable> {
    let Some(subscription) = view
        .subscription
        .as_ref()
        .filter(|_| view.mode == CheckoutMode::Subscription)
    else {
        return Ok(Err(Reason::CheckoutWithoutSubscription));
    };
    if view.payment_status != CheckoutPaymentStatus::Paid {
        return Ok(Err(Reason::CheckoutNotPaid));
    }
    let session = id("checkout_session.id", &view.id, CheckoutSessionId::parse)?;
    let invoice = view
        .invoice
        .as_ref()
        .map(|invoice| id("checkout_session.invoice", invoice, InvoiceId::parse))
        .transpose()?;
    Ok(Ok(Statement {
        says: Says::OfSubscription(Fact {
            subscription: id("checkout_session.subscription", subscription, SubscriptionId::parse)?,
            at,
            kind: FactKind::Paid(Payment {
                act: Act::Checkout {
                    session: session.clone(),
                    invoice,
                },
                amount: checkout_amount(view)?,
            }),
        }),
        customer: Some(required_id(
            "checkout_session.customer",
            view.customer.as_deref(),
            CustomerId::parse,
        )?),
        session: Some(session),
        named: named(view.metadata.client_id()),
        is_checkout: true,
    }))
}

fn checkout_amount(view: &CheckoutSession) -> Result<Option<Money>, Unreadable> {
    let (Some(minor), Some(code)) = (view.amount_total, view.currency.as_deref()) else {
        return Ok(None);
    };
    money(
        ("checkout_session.amount_total", minor),
        ("checkout_session.currency", code),
    )
    .map(Some)
}
