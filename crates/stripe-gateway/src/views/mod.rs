//! Narrow, lenient views of the objects that events carry.
//!
//! A view has the fields that a consumer decides by and no other, so that Stripe may add, drop or reshape anything else. A
//! field that moved between API versions is read from both places, and the view says the same for either. A word that is
//! not known is kept ([`words`]); `null` and absent are `None`; an id may be an expanded object. What is there but of a
//! wrong type is an error that names its path, because guessing there would move money or state: the consumer parks the
//! message, and the archive has the body.
//!
//! An object stands in an event ([`EventView`]) or alone, as an answer of the API has it ([`ObjectView`]).
//!
//! Texts never hold U+0000, which Postgres cannot store, and ids are 1 to 255 bytes.

mod account;
mod charge;
mod checkout_session;
mod customer;
mod dispute;
mod event;
mod invoice;
mod invoice_line;
mod invoice_payment;
mod list;
mod object;
mod payment_intent;
mod payout;
mod read;
mod refund;
mod related;
mod split;
mod subscription;
mod transfer;
pub mod words;

use std::collections::BTreeMap;

pub use account::{Account, Requirements};
pub use charge::Charge;
pub use checkout_session::CheckoutSession;
pub use dispute::Dispute;
pub use event::EventView;
pub use invoice::Invoice;
pub use invoice_payment::InvoicePayment;
pub use list::List;
pub use object::ObjectView;
pub use payment_intent::{PaymentError, PaymentIntent};
pub use payout::Payout;
pub use read::Change;
pub use refund::Refund;
pub use related::related_url;
pub use subscription::{PreviousSubscription, Price, Subscription};
pub use transfer::Transfer;

use crate::envelope::EnvelopeError;
use read::Object;

/// Why an event or an object does not have what a consumer needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The body is not an event.
    #[error("the event cannot be read")]
    Envelope(#[from] EnvelopeError),
    /// The body is not a JSON object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// There is no `data.object`: the event is thin, or not Stripe's.
    #[error("the event carries no object")]
    NoObject,
    /// The object is of another kind than the view.
    #[error("the object is of kind {found}, not {expected}")]
    OtherObject {
        /// The kind of the view, as Stripe names it.
        expected: &'static str,
        /// The first 64 characters of what its `object` says; `unknown` where it says nothing.
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
    /// A page that is empty and not the last one.
    #[error("is true, but there is nothing to go on after")]
    MoreAfterNothing,
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
