//! Objects that were read from Stripe, in the domain's words: what a thin event points to, and what events leave open.
//!
//! Such an object shows how things are when Stripe answers. Where time decides between observations it speaks for the second that
//! [`observed_at`] gives it.

use chrono::{DateTime, Utc};
use domain::billing::charge::DisputeWord;
use domain::billing::decision::Reason;
use domain::billing::subscription::{Rank, observed_at};
use domain::time::UnixSeconds;
use stripe_gateway::client::read::RelatedObject;
use stripe_gateway::views::{Charge, PreviousSubscription, Subscription};

use super::field::Unreadable;
use super::payment::Paid;
use super::{Content, Pointer, Reading, Rule, Source, Statement, charge, describe, payment, subscription};

/// What a thin event says, now that its object was read.
pub(crate) fn of_object(object: &RelatedObject, pointer: &Pointer, answered: UnixSeconds) -> Content {
    let Pointer { rule, at, .. } = pointer;
    let seen = observed_at(answered, Some(*at));
    let said = match (rule, object) {
        (Rule::SubscriptionCreated | Rule::SubscriptionChanged, RelatedObject::Subscription(view)) => {
            subscription::snapshot(view, &PreviousSubscription::default(), seen, Rank::Updated).map(Ok)
        }
        (Rule::SubscriptionDeleted, RelatedObject::Subscription(view)) => subscription::deleted(view, *at),
        (Rule::InvoicePaid, RelatedObject::Invoice(view)) => payment::invoice(view, *at, Paid::Yes),
        (Rule::InvoiceFailed, RelatedObject::Invoice(view)) => payment::invoice(view, *at, Paid::No),
        (Rule::Checkout, RelatedObject::CheckoutSession(view)) => payment::checkout(view, *at),
        (Rule::Charge, RelatedObject::Charge(view)) => charge::charge(view).map(Ok),
        (Rule::Refund, RelatedObject::Refund(view)) => charge::refund(view),
        (Rule::Dispute(_), RelatedObject::Dispute(view)) => charge::dispute(view, DisputeWord::Later, seen).map(Ok),
        (Rule::Nothing(reason), _) => Ok(Err(*reason)),
        (
            Rule::SubscriptionCreated
            | Rule::SubscriptionChanged
            | Rule::SubscriptionDeleted
            | Rule::InvoicePaid
            | Rule::InvoiceFailed
            | Rule::Checkout
            | Rule::Charge
            | Rule::Refund
            | Rule::Dispute(_),
            _,
        ) => return Content::Unreadable("related_object is of another kind than the event's type".to_owned()),
    };
    content(said)
}

/// A subscription that was read because events leave its last state open, for the second `at`.
pub(crate) fn of_subscription(view: &Subscription, at: UnixSeconds) -> Content {
    content(subscription::snapshot(view, &PreviousSubscription::default(), at, Rank::Updated).map(Ok))
}

/// A charge that was read because no event has shown it.
pub(crate) fn of_charge(view: &Charge) -> Content {
    content(charge::charge(view).map(Ok))
}

fn content(said: Result<Result<Statement, Reason>, Unreadable>) -> Content {
    match said {
        Ok(Ok(statement)) => Content::Statement(Box::new(statement)),
        Ok(Err(reason)) => Content::Ignored(reason, None),
        Err(error) => Content::Unreadable(describe(&error)),
    }
}

impl Reading<'_> {
    /// A reading of an object, which is no event and is not archived. `kind` and `id` say in the timeline what was read.
    pub(crate) fn of_read_object(kind: &str, id: &str, answered: DateTime<Utc>, content: Content) -> Self {
        Self {
            source: Source::Object,
            event_id: format!("{kind}:{id}"),
            kind: kind.to_owned(),
            created: answered,
            endpoint: "platform",
            account: None,
            api_version: None,
            livemode: None,
            received_at: answered,
            is_delivery: false,
            traceparent: None,
            payload: "",
            content,
        }
    }
}
