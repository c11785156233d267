//! A snapshot of any object, as an event keeps it: rendered when it is sent, in the version of each endpoint.

use serde_json::Value;

use super::catalog::{Price, Product};
use super::checkout::Session;
use super::customer::Customer;
use super::dispute::Dispute;
use super::invoice::{Invoice, InvoiceItem, InvoicePayment};
use super::payment::{Charge, Intent};
use super::payment_method::PaymentMethod;
use super::refund::Refund;
use super::subscription::Subscription;
use super::test_clock::TestClock;

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
    Charge(Charge),
    Refund(Refund),
    Dispute(Dispute),
    Session(Box<Session>),
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
        None
    }
}
