//! Narrow, lenient views of the objects that events carry.
//!
//! A view has the fields that a consumer decides by and no other, so that Stripe may add, drop or reshape anything else. A
//! field that moved between API versions is read from both places, and the view says the same for either. A word that is
//! not known is kept ([`words`]); `null` and absent are `None`; an id may be an expanded object. What is there but of a
//! wrong type is an error that names its path, because guessing there would move money or state: the consumer parks the
//! message, and the archive has the body.
//!
//! Texts never hold U+0000, which Postgres cannot store, and ids are 1 to 255 bytes.

mod account;
mod charge;
mod checkout_session;
mod dispute;
mod invoice;
mod invoice_payment;
mod payment_intent;
mod payout;
mod read;
mod refund;
mod subscription;
mod transfer;
pub mod words;

use std::collections::BTreeMap;

use serde_json::value::RawValue;

pub use account::{Account, Requirements};
pub use charge::Charge;
pub use checkout_session::CheckoutSession;
pub use dispute::Dispute;
pub use invoice::Invoice;
pub use invoice_payment::InvoicePayment;
pub use payment_intent::{PaymentError, PaymentIntent};
pub use payout::Payout;
pub use read::Change;
pub use refund::Refund;
pub use subscription::{PreviousSubscription, Price, Subscription};
pub use transfer::Transfer;

use crate::envelope::{self, Envelope, EnvelopeError};
use read::Object;

/// Why an event does not have what a consumer needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The body is not an event.
    #[error("the event cannot be read")]
    Envelope(#[from] EnvelopeError),
    /// There is no `data.object`: the event is thin, or not Stripe's.
    #[error("the event carries no object")]
    NoObject,
    /// `data.object` is of another kind than the view.
    #[error("the event carries an object of kind {found}, not {expected}")]
    OtherObject {
        /// The kind of the view, as Stripe names it.
        expected: &'static str,
        /// The first 64 characters of what `data.object.object` says; `unknown` where it says nothing.
        found: String,
    },
    /// A field cannot be used.
    #[error("{path} {problem}")]
    Field {
        /// Where it is, such as `invoice.lines.data[0].period.end`.
        path: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

impl ViewError {
    fn field(path: &str, problem: Problem) -> Self {
        Self::Field {
            path: path.to_owned(),
            problem,
        }
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Absent or null.
    #[error("is missing")]
    Missing,
    /// Several members have this name, and readers disagree which one counts.
    #[error("appears more than once")]
    Repeated,
    /// Money that is a fraction, a text or anything else.
    #[error("is not an integer of minor units")]
    NotMinorUnits,
    /// A time that is a fraction, a text or anything else.
    #[error("is not a time in whole unix seconds")]
    NotUnixSeconds,
    /// A count that is none.
    #[error("is not an integer")]
    NotAnInteger,
    /// An integer beyond 64 bits.
    #[error("is larger than 64 bits can hold")]
    TooLarge,
    /// Not text, or text with half a surrogate pair.
    #[error("is not a text")]
    NotAText,
    /// A text with U+0000 in it.
    #[error("contains the character U+0000, which cannot be stored")]
    HasNul,
    /// Neither true nor false.
    #[error("is neither true nor false")]
    NotAFlag,
    /// Neither a text of 1 to 255 bytes nor an object with such an id.
    #[error("is neither an id nor an object with one")]
    NotAnId,
    /// Not a JSON object.
    #[error("is not an object")]
    NotAnObject,
    /// Not a JSON array.
    #[error("is not a list")]
    NotAList,
}

/// The `metadata` of an object: texts by name. It is set by whoever made the object, which need not be our side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// The text under a name. An empty text counts as none: that is how Stripe's API unsets a key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The client that a billing object claims to belong to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.get("client_id")
    }

    /// The order that a checkout claims to pay.
    #[must_use]
    pub fn order_id(&self) -> Option<&str> {
        self.get("order_id")
    }

    /// The escrow that a payment or transfer claims to belong to.
    #[must_use]
    pub fn escrow_id(&self) -> Option<&str> {
        self.get("escrow_id")
    }

    fn read(object: &Object<'_>, name: &str) -> Result<Self, ViewError> {
        let Some(members) = object.object(name)? else {
            return Ok(Self::default());
        };
        Ok(Self(members.all_texts()?.into_iter().collect()))
    }
}

/// An event whose object has been found but not yet read.
#[derive(Debug, Clone)]
pub struct EventView<'a> {
    /// The outermost fields.
    pub envelope: Envelope<'a>,
    /// `data.object` as it was sent; none in a thin event.
    pub object: Option<&'a RawValue>,
    /// `data.previous_attributes` as it was sent; only `*.updated` events have it.
    pub previous_attributes: Option<&'a RawValue>,
}

/// One accessor per view, all alike.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident, $kind:literal => $view:ty;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the event carries another object, or a field that is needed is missing or of a wrong type.
            pub fn $name(&self) -> Result<$view, ViewError> {
                <$view>::read(&self.object_of_kind($kind, stringify!($name))?)
            }
        )+
    };
}

impl<'a> EventView<'a> {
    /// Reads the envelope and finds the object.
    ///
    /// # Errors
    /// When the body is not an event, or `data` is there but not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, ViewError> {
        let (envelope, data) = envelope::peek_with_data(body)?;
        let data = data
            .filter(|raw| raw.get() != "null")
            .map(|raw| Object::parse(raw, "data"))
            .transpose()?;
        let member = |name| data.as_ref().map_or(Ok(None), |data| data.value(name));
        Ok(Self {
            object: member("object")?,
            previous_attributes: member("previous_attributes")?,
            envelope,
        })
    }

    /// The id of the object, whatever its kind; some objects (a balance) have none.
    ///
    /// # Errors
    /// When the object is none, or its id is no id.
    pub fn object_id(&self) -> Result<Option<String>, ViewError> {
        Object::parse(self.object.ok_or(ViewError::NoObject)?, "object")?.id("id")
    }

    accessors! {
        /// The subscription of a `customer.subscription.*` event.
        subscription, "subscription" => Subscription;
        /// The invoice of an `invoice.*` event.
        invoice, "invoice" => Invoice;
        /// The session of a `checkout.session.*` event.
        checkout_session, "checkout.session" => CheckoutSession;
        /// The charge of a `charge.*` event, of `charge.refunded` too.
        charge, "charge" => Charge;
        /// The refund of a `refund.*` or `charge.refund.updated` event.
        refund, "refund" => Refund;
        /// The dispute of a `charge.dispute.*` event.
        dispute, "dispute" => Dispute;
        /// The payment intent of a `payment_intent.*` event.
        payment_intent, "payment_intent" => PaymentIntent;
        /// The transfer of a `transfer.*` event.
        transfer, "transfer" => Transfer;
        /// The account of an `account.updated` event.
        account, "account" => Account;
        /// The payout of a `payout.*` event.
        payout, "payout" => Payout;
        /// The link of an invoice and a payment of an `invoice_payment.*` event (basil and later).
        invoice_payment, "invoice_payment" => InvoicePayment;
    }

    /// What `customer.subscription.updated` says the subscription was before; all absent in other events. `now` is what
    /// [`EventView::subscription`] gave for the same event.
    ///
    /// # Errors
    /// When a field that is needed is of a wrong type.
    pub fn previous_subscription(&self, now: &Subscription) -> Result<PreviousSubscription, ViewError> {
        let Some(raw) = self.previous_attributes else {
            return Ok(PreviousSubscription::default());
        };
        PreviousSubscription::read(&Object::parse(raw, "previous_attributes")?, now)
    }

    fn object_of_kind(&self, kind: &'static str, path: &str) -> Result<Object<'a>, ViewError> {
        let object = Object::parse(self.object.ok_or(ViewError::NoObject)?, path)?;
        let found = object.text("object")?;
        if found.as_deref() == Some(kind) {
            return Ok(object);
        }
        let found = found.map_or_else(|| "unknown".to_owned(), |found| found.chars().take(64).collect());
        Err(ViewError::OtherObject { expected: kind, found })
    }
}
