//! Payments by invoice and by checkout, in the domain's words.

use std::collections::BTreeSet;

use domain::billing::decision::Reason;
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::ids::{CheckoutSessionId, CustomerId, InvalidId, InvoiceId, PriceId, SubscriptionId};
use domain::money::Money;
use domain::time::UnixSeconds;
use stripe_gateway::views::words::{BillingReason, CheckoutMode, CheckoutPaymentStatus};
use stripe_gateway::views::{CheckoutSession, Invoice};

use super::field::{Unreadable, id, money, required_id, time};
use super::{Bought, Says, Statement, named};

/// Whether an invoice's payment succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paid {
    Yes,
    No,
}

pub(super) fn invoice(view: &Invoice, at: UnixSeconds, paid: Paid) -> Result<Result<Statement, Reason>, Unreadable> {
    let Some(subscription) = &view.subscription else {
        // A place for the subscription that no version had before must not cost a client its payment.
        return if view.billing_reason.as_ref().is_some_and(is_of_a_subscription) {
            Err(Unreadable::Missing("invoice.subscription"))
        } else {
            Ok(Err(Reason::InvoiceWithoutSubscription))
        };
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
        made_at: Some(time("invoice.created", view.created)?),
        amount: Some(money((field, minor), ("invoice.currency", &view.currency))?),
        prices: prices(view),
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
        payment_intent: None,
        whole: None,
    }))
}

/// The prices that an invoice names. A payment must not be lost for the name of its price: where one is no id, it names none.
fn prices(view: &Invoice) -> BTreeSet<PriceId> {
    let prices: Result<_, InvalidId> = view.prices.iter().map(PriceId::parse).collect();
    prices.unwrap_or_default()
}

/// Whether Stripe makes such an invoice for a subscription only.
fn is_of_a_subscription(reason: &BillingReason) -> bool {
    match reason {
        BillingReason::SubscriptionCreate
        | BillingReason::SubscriptionCycle
        | BillingReason::SubscriptionUpdate
        | BillingReason::SubscriptionThreshold
        | BillingReason::Subscription => true,
        BillingReason::Manual
        | BillingReason::Upcoming
        | BillingReason::QuoteAccept
        | BillingReason::AutomaticPendingInvoiceItemInvoice => false,
        BillingReason::Unknown(word) => word.starts_with("subscription"),
    }
}

pub(super) fn checkout(view: &CheckoutSession, at: UnixSeconds) -> Result<Result<Statement, Reason>, Unreadable> {
    let Some(subscription) = view
        .subscription
        .as_ref()
        .filter(|_| view.mode == CheckoutMode::Subscription)
    else {
        return Ok(bought_once(view));
    };
    let why_nothing = match &view.payment_status {
        CheckoutPaymentStatus::Paid => None,
        CheckoutPaymentStatus::NoPaymentRequired => Some(Reason::ZeroAmount),
        CheckoutPaymentStatus::Unpaid | CheckoutPaymentStatus::Unknown(_) => Some(Reason::CheckoutNotPaid),
    };
    if let (Some(reason), None) = (why_nothing, &view.customer) {
        return Ok(Err(reason));
    }
    let session = id("checkout_session.id", &view.id, CheckoutSessionId::parse)?;
    let invoice = view
        .invoice
        .as_ref()
        .map(|invoice| id("checkout_session.invoice", invoice, InvoiceId::parse))
        .transpose()?;
    let subscription = id("checkout_session.subscription", subscription, SubscriptionId::parse)?;
    let says = match why_nothing {
        Some(why_nothing) => Says::WhoBought(Bought {
            subscription,
            why_nothing,
        }),
        None => Says::OfSubscription(Fact {
            subscription,
            at,
            kind: FactKind::Paid(Payment {
                act: Act::Checkout {
                    session: session.clone(),
                    invoice,
                },
                made_at: Some(time("checkout_session.created", view.created)?),
                amount: checkout_amount(view)?,
                prices: BTreeSet::new(),
            }),
        }),
    };
    Ok(Ok(Statement {
        says,
        customer: Some(required_id(
            "checkout_session.customer",
            view.customer.as_deref(),
            CustomerId::parse,
        )?),
        session: Some(session),
        named: named(view.metadata.client_id()),
        is_checkout: true,
        payment_intent: None,
        whole: None,
    }))
}

/// Names that are none name nobody here: nothing is decided by them but an accusation.
fn bought_once(view: &CheckoutSession) -> Result<Statement, Reason> {
    let named = named(view.metadata.client_id());
    if named.is_none() {
        return Err(Reason::CheckoutWithoutSubscription);
    }
    Ok(Statement {
        says: Says::BoughtOnce,
        customer: view.customer.as_deref().and_then(|id| CustomerId::parse(id).ok()),
        session: None,
        named,
        is_checkout: true,
        payment_intent: None,
        whole: None,
    })
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
