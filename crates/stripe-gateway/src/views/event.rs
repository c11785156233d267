//! The object that an event carries, and what it was before.

use serde_json::value::RawValue;

use super::object::{ObjectView, accessors};
use super::read::Object;
use super::{
    Account, Charge, CheckoutSession, Dispute, Invoice, InvoicePayment, PaymentIntent, Payout, PreviousSubscription,
    Problem, Refund, Subscription, Transfer, ViewError,
};
use crate::envelope::{self, Data, DataMembers, Envelope};

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

impl<'a> EventView<'a> {
    /// Reads the envelope and finds the object.
    ///
    /// # Errors
    /// When the body is not an event, or `data` is there but not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, ViewError> {
        let (envelope, data) = match envelope::peek_with_data(body) {
            Ok(read) => read,
            // An event all the same: only `data` is such that it cannot be looked into.
            Err(_) => (envelope::peek(body)?, Data::NotAnObject),
        };
        let members = match data {
            Data::Members(members) => members,
            Data::Absent | Data::Skipped | Data::Null => DataMembers::default(),
            Data::NotAnObject => return Err(ViewError::field("data", Problem::NotAnObject)),
        };
        if let Some(name) = members.repeated {
            return Err(ViewError::field(&format!("data.{name}"), Problem::Repeated));
        }
        let present = |value: Option<&'a RawValue>| value.filter(|raw| raw.get() != "null");
        Ok(Self {
            object: present(members.object),
            previous_attributes: present(members.previous_attributes),
            envelope,
        })
    }

    /// The id of the object, whatever its kind; some objects (a balance) have none.
    ///
    /// # Errors
    /// When the object is none, or its id is no id.
    pub fn object_id(&self) -> Result<Option<String>, ViewError> {
        self.view()?.id()
    }

    accessors! {
        /// The subscription of a `customer.subscription.*` event.
        subscription => Subscription;
        /// The invoice of an `invoice.*` event.
        invoice => Invoice;
        /// The session of a `checkout.session.*` event.
        checkout_session => CheckoutSession;
        /// The charge of a `charge.*` event, of `charge.refunded` too.
        charge => Charge;
        /// The refund of a `refund.*` or `charge.refund.updated` event.
        refund => Refund;
        /// The dispute of a `charge.dispute.*` event.
        dispute => Dispute;
        /// The payment intent of a `payment_intent.*` event.
        payment_intent => PaymentIntent;
        /// The transfer of a `transfer.*` event.
        transfer => Transfer;
        /// The account of an `account.updated` event.
        account => Account;
        /// The payout of a `payout.*` event.
        payout => Payout;
        /// The link of an invoice and a payment of an `invoice_payment.*` event (basil and later).
        invoice_payment => InvoicePayment;
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

    fn view(&self) -> Result<ObjectView<'a>, ViewError> {
        self.object.map(ObjectView::of).ok_or(ViewError::NoObject)
    }
}
