//! The object that a thin event is about: `related_object.url` is a path at Stripe, and it is followed only to what we know.

use stripe_billing::invoice::RetrieveInvoice;
use stripe_billing::invoice_payment::RetrieveInvoicePayment;
use stripe_billing::subscription::RetrieveSubscription;
use stripe_checkout::checkout_session::RetrieveCheckoutSession;
use stripe_connect::account::RetrieveAccount;
use stripe_connect::transfer::RetrieveTransfer;
use stripe_core::charge::RetrieveCharge;
use stripe_core::dispute::RetrieveDispute;
use stripe_core::payment_intent::RetrievePaymentIntent;
use stripe_core::payout::RetrievePayout;
use stripe_core::refund::RetrieveRefund;

use super::Reading;
use crate::client::call::is_plain;
use crate::client::{Call, Client};
use crate::views::{
    Account, Charge, CheckoutSession, Dispute, Invoice, InvoicePayment, ObjectView, PaymentIntent, Payout, Refund,
    Subscription, Transfer, ViewError,
};

/// Why the URL of a related object is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRelated {
    /// It does not begin with `/v1/`: another host, another API.
    #[error("its URL does not begin with /v1/")]
    NotV1,
    /// A kind of object that no view reads.
    #[error("its URL leads to a kind of object that is not read")]
    UnknownKind,
    /// What stands where the id should be is none.
    #[error("its URL has no id")]
    InvalidId,
}

/// One kind of object per line: the path below `/v1/`, the view, its accessor, the request.
macro_rules! kinds {
    ($($path:literal => $kind:ident, $accessor:ident, $request:ident;)+) => {
        /// An object that a thin event is about.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum RelatedObject {
            $(#[doc = concat!("Below `/v1/", $path, "`.")] $kind($kind),)+
        }

        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Kind { $($kind,)+ }

        impl Kind {
            fn of(path: &str) -> Option<Self> {
                match path {
                    $($path => Some(Self::$kind),)+
                    _ => None,
                }
            }

            fn call(self, id: &str) -> Call {
                match self {
                    $(Self::$kind => Call::get(&$request::new(id)),)+
                }
            }

            fn view(self, body: &[u8]) -> Result<RelatedObject, ViewError> {
                let object = ObjectView::parse(body)?;
                match self {
                    $(Self::$kind => object.$accessor().map(RelatedObject::$kind),)+
                }
            }
        }
    };
}

kinds! {
    "accounts" => Account, account, RetrieveAccount;
    "charges" => Charge, charge, RetrieveCharge;
    "checkout/sessions" => CheckoutSession, checkout_session, RetrieveCheckoutSession;
    "disputes" => Dispute, dispute, RetrieveDispute;
    "invoice_payments" => InvoicePayment, invoice_payment, RetrieveInvoicePayment;
    "invoices" => Invoice, invoice, RetrieveInvoice;
    "payment_intents" => PaymentIntent, payment_intent, RetrievePaymentIntent;
    "payouts" => Payout, payout, RetrievePayout;
    "refunds" => Refund, refund, RetrieveRefund;
    "subscriptions" => Subscription, subscription, RetrieveSubscription;
    "transfers" => Transfer, transfer, RetrieveTransfer;
}

/// A `related_object.url` that may be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    kind: Kind,
    id: String,
}

impl Related {
    /// Takes `/v1/<kind>/<id>` and nothing else. The host is never taken from an event: it is always the configured one.
    ///
    /// # Errors
    /// [`InvalidRelated`] says why it is not followed.
    pub fn parse(url: &str) -> Result<Self, InvalidRelated> {
        let path = url.strip_prefix("/v1/").ok_or(InvalidRelated::NotV1)?;
        let (kind, id) = path.rsplit_once('/').ok_or(InvalidRelated::UnknownKind)?;
        let kind = Kind::of(kind).ok_or(InvalidRelated::UnknownKind)?;
        if is_plain(id) {
            Ok(Self {
                kind,
                id: id.to_owned(),
            })
        } else {
            Err(InvalidRelated::InvalidId)
        }
    }
}

impl Client {
    /// The object that a thin event is about, as it is now. `url` is the event's `related_object.url`. For an event of a connected
    /// account (its `context`) ask a client [`Client::on_account`].
    ///
    /// # Errors
    /// [`super::ReadError`]; nothing is sent when the URL is not one of ours to follow.
    pub async fn read_related(&self, url: &str) -> Reading<RelatedObject> {
        let related = Related::parse(url)?;
        let kind = related.kind;
        if kind == Kind::Subscription {
            let whole = self.read_subscription(&related.id).await?;
            return Ok(whole.map(RelatedObject::Subscription));
        }
        self.read(kind.call(&related.id), |body| kind.view(body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_kinds_at_the_configured_host_are_followed() {
        for (url, expect) in [
            ("/v1/invoices/in_1", Ok(Kind::Invoice)),
            ("/v1/checkout/sessions/cs_test_1", Ok(Kind::CheckoutSession)),
            ("/v1/accounts/acct_1", Ok(Kind::Account)),
            ("", Err(InvalidRelated::NotV1)),
            ("https://api.stripe.com/v1/invoices/in_1", Err(InvalidRelated::NotV1)),
            ("https://evil.example/v1/invoices/in_1", Err(InvalidRelated::NotV1)),
            ("//evil.example/v1/invoices/in_1", Err(InvalidRelated::NotV1)),
            ("/v2/core/accounts/acct_1", Err(InvalidRelated::NotV1)),
            ("/v1/../v2/core/accounts/acct_1", Err(InvalidRelated::UnknownKind)),
            ("/v1/", Err(InvalidRelated::UnknownKind)),
            ("/v1/invoices", Err(InvalidRelated::UnknownKind)),
            ("/v1/webhook_endpoints/we_1", Err(InvalidRelated::UnknownKind)),
            ("/v1/invoices/in_1/lines", Err(InvalidRelated::UnknownKind)),
            ("/v1//invoices/in_1", Err(InvalidRelated::UnknownKind)),
            ("/v1/invoices/", Err(InvalidRelated::InvalidId)),
            ("/v1/invoices/..", Err(InvalidRelated::InvalidId)),
            ("/v1/invoices/in_1?expand[]=customer", Err(InvalidRelated::InvalidId)),
            ("/v1/invoices/in_1#", Err(InvalidRelated::InvalidId)),
            ("/v1/invoices/%2e%2e", Err(InvalidRelated::InvalidId)),
        ] {
            assert_eq!(Related::parse(url).map(|related| related.kind), expect, "{url}");
        }
    }
}
