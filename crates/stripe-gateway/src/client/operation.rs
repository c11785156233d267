//! The operations that this system asks of Stripe: async-stripe's request structs, each with the fixed name that metrics and logs
//! know it by and the shape of its path, and with its method in the type, so that a POST without an idempotency key does not compile.

use stripe_billing::invoice::RetrieveInvoice;
use stripe_billing::invoice_payment::RetrieveInvoicePayment;
use stripe_billing::subscription::RetrieveSubscription;
use stripe_billing::subscription_item::ListSubscriptionItem;
use stripe_checkout::checkout_session::RetrieveCheckoutSession;
use stripe_client_core::StripeRequest;
use stripe_connect::account::RetrieveAccount;
use stripe_connect::transfer::{CreateTransfer, ListTransfer, RetrieveTransfer};
use stripe_connect::transfer_reversal::{CreateIdTransferReversal, ListIdTransferReversal};
use stripe_core::charge::RetrieveCharge;
use stripe_core::dispute::RetrieveDispute;
use stripe_core::event::{ListEvent, RetrieveEvent};
use stripe_core::payment_intent::{
    CancelPaymentIntent, CapturePaymentIntent, CreatePaymentIntent, ListPaymentIntent, RetrievePaymentIntent,
};
use stripe_core::payout::RetrievePayout;
use stripe_core::refund::{CreateRefund, ListRefund, RetrieveRefund};

/// A request that reads.
pub trait Get: StripeRequest {
    /// Its name in metrics and logs: words with underscores.
    const OP: &'static str;
    /// Its path below `/v1`, with `*` where an id stands.
    const PATH: &'static str;
}

/// A request that changes something.
pub trait Post: StripeRequest {
    /// Its name in metrics and logs: words with underscores.
    const OP: &'static str;
    /// Its path below `/v1`, with `*` where an id stands.
    const PATH: &'static str;
}

macro_rules! operations {
    ($method:ident { $($request:ty => $op:literal at $path:literal,)+ }) => {
        $(impl $method for $request {
            const OP: &'static str = $op;
            const PATH: &'static str = $path;
        })+
    };
}

operations!(Get {
    RetrieveAccount => "retrieve_account" at "/accounts/*",
    RetrieveCharge => "retrieve_charge" at "/charges/*",
    RetrieveCheckoutSession => "retrieve_checkout_session" at "/checkout/sessions/*",
    RetrieveDispute => "retrieve_dispute" at "/disputes/*",
    RetrieveEvent => "retrieve_event" at "/events/*",
    RetrieveInvoice => "retrieve_invoice" at "/invoices/*",
    RetrieveInvoicePayment => "retrieve_invoice_payment" at "/invoice_payments/*",
    RetrievePaymentIntent => "retrieve_payment_intent" at "/payment_intents/*",
    RetrievePayout => "retrieve_payout" at "/payouts/*",
    RetrieveRefund => "retrieve_refund" at "/refunds/*",
    RetrieveSubscription => "retrieve_subscription" at "/subscriptions/*",
    RetrieveTransfer => "retrieve_transfer" at "/transfers/*",
    ListEvent => "list_events" at "/events",
    ListIdTransferReversal => "list_transfer_reversals" at "/transfers/*/reversals",
    ListPaymentIntent => "list_payment_intents" at "/payment_intents",
    ListRefund => "list_refunds" at "/refunds",
    ListSubscriptionItem => "list_subscription_items" at "/subscription_items",
    ListTransfer => "list_transfers" at "/transfers",
});

operations!(Post {
    CancelPaymentIntent => "cancel_payment_intent" at "/payment_intents/*/cancel",
    CapturePaymentIntent => "capture_payment_intent" at "/payment_intents/*/capture",
    CreateIdTransferReversal => "create_transfer_reversal" at "/transfers/*/reversals",
    CreatePaymentIntent => "create_payment_intent" at "/payment_intents",
    CreateRefund => "create_refund" at "/refunds",
    CreateTransfer => "create_transfer" at "/transfers",
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Call, IdempotencyKey};
    use stripe_client_core::StripeMethod;
    use stripe_types::Currency;

    fn get<R: Get>(request: &R, path: &str) -> &'static str {
        let built = request.build();
        assert!(matches!(built.method, StripeMethod::Get), "{}", R::OP);
        assert_eq!(built.path, path, "{}", R::OP);
        assert!(Call::get(request).has_plain_path(), "{}", R::OP);
        R::OP
    }

    fn post<R: Post>(request: &R, path: &str) -> &'static str {
        let built = request.build();
        assert!(matches!(built.method, StripeMethod::Post), "{}", R::OP);
        assert_eq!(built.path, path, "{}", R::OP);
        let key = IdempotencyKey::parse("k").unwrap();
        assert!(Call::post(request, key).has_plain_path(), "{}", R::OP);
        R::OP
    }

    /// The type says the method, async-stripe says it again: both must mean the same.
    #[test]
    fn each_operation_has_the_method_and_path_that_its_type_promises() {
        let mut ops = vec![
            get(&RetrieveAccount::new("acct_1"), "/accounts/acct_1"),
            get(&RetrieveCharge::new("ch_1"), "/charges/ch_1"),
            get(&RetrieveCheckoutSession::new("cs_1"), "/checkout/sessions/cs_1"),
            get(&RetrieveDispute::new("du_1"), "/disputes/du_1"),
            get(&RetrieveEvent::new("evt_1"), "/events/evt_1"),
            get(&RetrieveInvoice::new("in_1"), "/invoices/in_1"),
            get(&RetrieveInvoicePayment::new("inpay_1"), "/invoice_payments/inpay_1"),
            get(&RetrievePaymentIntent::new("pi_1"), "/payment_intents/pi_1"),
            get(&RetrievePayout::new("po_1"), "/payouts/po_1"),
            get(&RetrieveRefund::new("re_1"), "/refunds/re_1"),
            get(&RetrieveSubscription::new("sub_1"), "/subscriptions/sub_1"),
            get(&RetrieveTransfer::new("tr_1"), "/transfers/tr_1"),
            get(&ListEvent::new(), "/events"),
            get(&ListIdTransferReversal::new("tr_1"), "/transfers/tr_1/reversals"),
            get(&ListPaymentIntent::new(), "/payment_intents"),
            get(&ListRefund::new(), "/refunds"),
            get(&ListSubscriptionItem::new("sub_1"), "/subscription_items"),
            get(&ListTransfer::new(), "/transfers"),
            post(&CancelPaymentIntent::new("pi_1"), "/payment_intents/pi_1/cancel"),
            post(&CapturePaymentIntent::new("pi_1"), "/payment_intents/pi_1/capture"),
            post(&CreateIdTransferReversal::new("tr_1"), "/transfers/tr_1/reversals"),
            post(&CreatePaymentIntent::new(1, Currency::EUR), "/payment_intents"),
            post(&CreateRefund::new(), "/refunds"),
            post(&CreateTransfer::new(Currency::EUR, "acct_1"), "/transfers"),
        ];
        let all = ops.len();
        ops.sort_unstable();
        ops.dedup();
        assert_eq!(ops.len(), all, "two operations share a name");
    }
}
