//! One object, wherever it stands: the body of an answer of the API, or what an event carries.

use secrecy::SecretString;
use serde_json::value::RawValue;

use super::read::Object;
use super::{
    Account, Charge, CheckoutSession, Dispute, Invoice, InvoicePayment, Metadata, PaymentIntent, Payout, Refund,
    Subscription, Transfer, ViewError,
};

/// An object that has been found but not yet read. `object` says of which kind it is, and each accessor takes one kind only.
#[derive(Debug, Clone, Copy)]
pub struct ObjectView<'a> {
    raw: &'a RawValue,
}

/// One reader per view, all alike.
macro_rules! views {
    ($($(#[$doc:meta])* $name:ident, $kind:literal => $view:ty;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// When it is another object, or a field that is needed is missing or of a wrong type.
            pub fn $name(&self) -> Result<$view, ViewError> {
                <$view>::read(&self.of_kind($kind, stringify!($name))?)
            }
        )+
    };
}

/// The same readers on an event, by its method `view`.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident => $view:ty;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the event carries another object, or a field that is needed is missing or of a wrong type.
            pub fn $name(&self) -> Result<$view, ViewError> {
                self.view()?.$name()
            }
        )+
    };
}

pub(super) use accessors;

impl<'a> ObjectView<'a> {
    /// Takes a body that is one object, as the API answers with it.
    ///
    /// # Errors
    /// When the body is not UTF-8, JSON, and one object.
    pub fn parse(body: &'a [u8]) -> Result<Self, ViewError> {
        let raw: &RawValue = serde_json::from_slice(body).map_err(|_| ViewError::NotAnObject)?;
        if raw.get().starts_with('{') {
            Ok(Self { raw })
        } else {
            Err(ViewError::NotAnObject)
        }
    }

    pub(super) const fn of(raw: &'a RawValue) -> Self {
        Self { raw }
    }

    /// The id, whatever the kind; some objects (a balance) have none.
    ///
    /// # Errors
    /// When the object is none, or its id is no id.
    pub fn id(&self) -> Result<Option<String>, ViewError> {
        Object::parse(self.raw, "object")?.id("id")
    }

    /// The id of an object that must have one.
    ///
    /// # Errors
    /// When the object is none, or has no id.
    pub fn required_id(&self) -> Result<String, ViewError> {
        Object::parse(self.raw, "object")?.required("id", Object::id)
    }

    /// The metadata, whatever the kind; empty where there are none.
    ///
    /// # Errors
    /// When the object is none, or its metadata are no texts.
    pub fn metadata(&self) -> Result<Metadata, ViewError> {
        Metadata::read(&Object::parse(self.raw, "object")?, "metadata")
    }

    /// A payment intent's `client_secret`, for whoever pays and nobody else: never log it, never store it.
    ///
    /// # Errors
    /// When the object is none, or the secret is no text.
    pub fn client_secret(&self) -> Result<Option<SecretString>, ViewError> {
        let secret = Object::parse(self.raw, "object")?.text("client_secret")?;
        Ok(secret.map(SecretString::from))
    }

    views! {
        /// A subscription.
        subscription, "subscription" => Subscription;
        /// An invoice.
        invoice, "invoice" => Invoice;
        /// A Checkout session.
        checkout_session, "checkout.session" => CheckoutSession;
        /// A charge.
        charge, "charge" => Charge;
        /// A refund.
        refund, "refund" => Refund;
        /// A dispute.
        dispute, "dispute" => Dispute;
        /// A payment intent.
        payment_intent, "payment_intent" => PaymentIntent;
        /// A transfer.
        transfer, "transfer" => Transfer;
        /// A connected account.
        account, "account" => Account;
        /// A payout.
        payout, "payout" => Payout;
        /// The link of an invoice and a payment (basil and later).
        invoice_payment, "invoice_payment" => InvoicePayment;
    }

    pub(super) fn of_kind(&self, kind: &'static str, path: &str) -> Result<Object<'a>, ViewError> {
        let object = Object::parse(self.raw, path)?;
        let found = object.text("object")?;
        if found.as_deref() == Some(kind) {
            return Ok(object);
        }
        let found = found.map_or_else(|| "unknown".to_owned(), |found| found.chars().take(64).collect());
        Err(ViewError::OtherObject { expected: kind, found })
    }
}
