//! A snapshot of any object, as an event keeps it: rendered when it is sent, in the version of each endpoint.

use serde_json::Value;

use super::account::{Account, Capability};
use super::catalog::{Price, Product};
use super::checkout::Session;
use super::customer::Customer;
use super::dispute::Dispute;
use super::invoice::{Invoice, InvoiceItem, InvoicePayment};
use super::payment::{Charge, Intent};
use super::payment_method::PaymentMethod;
use super::payout::Payout;
use super::refund::Refund;
use super::subscription::Subscription;
use super::test_clock::TestClock;
use super::transfer::{Reversal, Transfer};

#[derive(Clone, Debug)]
pub(crate) enum Object {
    Customer(Customer),
    PaymentMethod(PaymentMethod),
    Product(Product),
    Price(Price),
    Plan(Price),
    Subscription(Box<Subscription>),
    Invoice(Box<Invoice>),
    InvoiceItem(InvoiceItem),
    InvoicePayment(InvoicePayment),
    Intent(Intent),
    Charge(Box<Charge>),
    Refund(Refund),
    Dispute(Dispute),
    Session(Box<Session>),
    Account(Box<Account>),
    Capability(Box<Capability>),
    Transfer(Box<Transfer>),
    Reversal(Box<Reversal>),
    Payout(Payout),
    TestClock(TestClock),
    /// Given from outside through `/_sim/emit`.
    Raw(Value),
}

impl Object {
    /// The test clock whose time this object lives in.
    pub(crate) fn clock(&self) -> Option<&str> {
        match self {
            Self::Customer(one) => one.test_clock.as_deref(),
            Self::Subscription(one) => one.test_clock.as_deref(),
            Self::Invoice(one) => one.test_clock.as_deref(),
            Self::InvoiceItem(one) => one.test_clock.as_deref(),
            Self::InvoicePayment(one) => one.test_clock.as_deref(),
            Self::Intent(one) => one.test_clock.as_deref(),
            Self::Charge(one) => one.test_clock.as_deref(),
            Self::Refund(one) => one.test_clock.as_deref(),
            Self::Dispute(one) => one.test_clock.as_deref(),
            Self::Session(_)
            | Self::Account(_)
            | Self::Capability(_)
            | Self::Transfer(_)
            | Self::Reversal(_)
            | Self::Payout(_)
            | Self::TestClock(_)
            | Self::PaymentMethod(_)
            | Self::Product(_)
            | Self::Price(_)
            | Self::Plan(_)
            | Self::Raw(_) => None,
        }
    }

    /// The connected account that this object belongs to; `None` for the platform's own.
    pub(crate) fn account(&self) -> Option<&str> {
        match self {
            Self::Account(one) => Some(&one.id),
            Self::Capability(one) => Some(&one.account.id),
            Self::Payout(one) => one.account.as_deref(),
            Self::Customer(_)
            | Self::PaymentMethod(_)
            | Self::Product(_)
            | Self::Price(_)
            | Self::Plan(_)
            | Self::Subscription(_)
            | Self::Invoice(_)
            | Self::InvoiceItem(_)
            | Self::InvoicePayment(_)
            | Self::Intent(_)
            | Self::Charge(_)
            | Self::Refund(_)
            | Self::Dispute(_)
            | Self::Session(_)
            | Self::Transfer(_)
            | Self::Reversal(_)
            | Self::TestClock(_)
            | Self::Raw(_) => None,
        }
    }
}
