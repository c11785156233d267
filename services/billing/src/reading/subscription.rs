//! Snapshots of subscriptions, in the domain's words.

use domain::billing::decision::Reason;
use domain::billing::fact::{Fact, FactKind};
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Status};
use domain::ids::{CustomerId, PriceId, SubscriptionId};
use domain::time::UnixSeconds;
use stripe_gateway::views::words::SubscriptionStatus;
use stripe_gateway::views::{Change, PreviousSubscription, Subscription};

use super::field::{Unreadable, currency, id, id_of_kind, time, word};
use super::{Says, Statement, named};

/// What an event says that the subscription is, and what it was before.
pub(super) fn snapshot(
    view: &Subscription,
    previous: &PreviousSubscription,
    at: UnixSeconds,
    rank: Rank,
) -> Result<Statement, Unreadable> {
    let observation = Observation {
        snapshot: observed(view, status(&view.status)?)?,
        before: before(previous)?,
    };
    statement(view, at, rank, observation)
}

/// A deletion counts only when the subscription was really canceled (BIL-5).
pub(super) fn deleted(view: &Subscription, at: UnixSeconds) -> Result<Result<Statement, Reason>, Unreadable> {
    let told = status(&view.status)?;
    let status = match (told.is_final(), view.canceled_at) {
        (true, _) => told,
        (false, Some(_)) => Status::Canceled,
        (false, None) => return Ok(Err(Reason::DeletionWithoutCancellation)),
    };
    let observation = Observation {
        snapshot: observed(view, status)?,
        before: Before::default(),
    };
    statement(view, at, Rank::Ended, observation).map(Ok)
}

fn statement(
    view: &Subscription,
    at: UnixSeconds,
    rank: Rank,
    observation: Observation,
) -> Result<Statement, Unreadable> {
    let other_prices = view
        .other_prices
        .iter()
        .map(|price| id("subscription.items.data[].price.id", &price.id, PriceId::parse))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Statement {
        says: Says::OfSubscription(Fact {
            subscription: id_of_kind("subscription.id", &view.id, "sub_", SubscriptionId::parse)?,
            at,
            kind: FactKind::Snapshot {
                rank,
                observation,
                other_prices,
            },
        }),
        customer: Some(id("subscription.customer", &view.customer, CustomerId::parse)?),
        session: None,
        named: named(view.metadata.client_id()),
        is_checkout: false,
        payment_intent: None,
        whole: None,
    })
}

fn observed(view: &Subscription, status: Status) -> Result<Snapshot, Unreadable> {
    let price = view.price.as_ref();
    Ok(Snapshot {
        status,
        collection_paused: view.collection_paused,
        cancel_at_period_end: view.cancel_at_period_end,
        start: time("subscription.start_date", view.start_date)?,
        current_period_end: view
            .current_period_end
            .map(|end| time("subscription.current_period_end", end))
            .transpose()?,
        trial_end: view
            .trial_end
            .map(|end| time("subscription.trial_end", end))
            .transpose()?,
        price: price
            .map(|price| id("subscription.items.data[0].price.id", &price.id, PriceId::parse))
            .transpose()?,
        currency: price
            .and_then(|price| price.currency.as_deref())
            .map(|code| currency("subscription.currency", code))
            .transpose()?,
    })
}

fn status(status: &SubscriptionStatus) -> Result<Status, Unreadable> {
    word("subscription.status", status.as_str(), Status::parse)
}

fn before(previous: &PreviousSubscription) -> Result<Before, Unreadable> {
    let time = |change: &Change<i64>| match change {
        Change::Absent => None,
        Change::Null => Some(None),
        Change::Value(at) => Some(Some(UnixSeconds(*at))),
    };
    Ok(Before {
        status: match &previous.status {
            Change::Value(word) => Some(status(word)?),
            Change::Absent | Change::Null => None,
        },
        collection_paused: match previous.collection_paused {
            Change::Absent => None,
            Change::Null => Some(false),
            Change::Value(()) => Some(true),
        },
        cancel_at_period_end: match previous.cancel_at_period_end {
            Change::Value(ends) => Some(ends),
            Change::Absent | Change::Null => None,
        },
        current_period_end: time(&previous.current_period_end),
        trial_end: time(&previous.trial_end),
        price: match &previous.price {
            Change::Absent => None,
            Change::Null => Some(None),
            Change::Value(price) => Some(Some(id(
                "previous_attributes.items.data[0].price.id",
                &price.id,
                PriceId::parse,
            )?)),
        },
    })
}
