//! A subscription, and what it was before a change.
//!
//! Moved in 2025-03-31.basil: `current_period_end` went from the subscription to each of its items.

use super::read::{Change, Object};
use super::words::SubscriptionStatus;
use super::{List, Metadata, ObjectView, ViewError};

/// What billing decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// `sub_...`.
    pub id: String,
    /// `cus_...`; whose contract this is.
    pub customer: String,
    /// Its state of life.
    pub status: SubscriptionStatus,
    /// Whether `pause_collection` is set; the status does not change by it.
    pub collection_paused: bool,
    /// Whether it will end with the period.
    pub cancel_at_period_end: bool,
    /// When it will end, if that is planned.
    pub cancel_at: Option<i64>,
    /// When the wish to end it was noted, which is before the end.
    pub canceled_at: Option<i64>,
    /// When it really ended.
    pub ended_at: Option<i64>,
    /// The end of the trial, past or to come.
    pub trial_end: Option<i64>,
    /// When it began; the time of its making where Stripe does not say.
    pub start_date: i64,
    /// When it was made.
    pub created: i64,
    /// Until when it is paid for: the latest of its items' ends where each item has its own.
    pub current_period_end: Option<i64>,
    /// The price of the first item.
    pub price: Option<Price>,
    /// The prices of the other items.
    pub other_prices: Vec<Price>,
    /// Whether it has items that are not shown: Stripe shows the first ten.
    pub has_more_items: bool,
    /// `in_...`.
    pub latest_invoice: Option<String>,
    /// Set by whoever made it.
    pub metadata: Metadata,
}

/// The price of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// `price_...`, or `plan_...` of old.
    pub id: String,
    /// Lower-case ISO 4217, in which it is charged: that of the subscription, since a price can have several, of which its own is only the
    /// default; its own where the subscription does not say.
    pub currency: Option<String>,
}

/// The same fields as far as `previous_attributes` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreviousSubscription {
    /// See [`Subscription::customer`].
    pub customer: Change<String>,
    /// See [`Subscription::status`].
    pub status: Change<SubscriptionStatus>,
    /// `Null`: collection was not paused before. `Value(())`: it was paused.
    pub collection_paused: Change<()>,
    /// See [`Subscription::cancel_at_period_end`].
    pub cancel_at_period_end: Change<bool>,
    /// See [`Subscription::cancel_at`].
    pub cancel_at: Change<i64>,
    /// See [`Subscription::canceled_at`].
    pub canceled_at: Change<i64>,
    /// See [`Subscription::ended_at`].
    pub ended_at: Change<i64>,
    /// See [`Subscription::trial_end`].
    pub trial_end: Change<i64>,
    /// See [`Subscription::start_date`].
    pub start_date: Change<i64>,
    /// See [`Subscription::current_period_end`].
    pub current_period_end: Change<i64>,
    /// See [`Subscription::price`].
    pub price: Change<Price>,
    /// See [`Subscription::latest_invoice`].
    pub latest_invoice: Change<String>,
    /// The client that the metadata named.
    pub client_id: Change<String>,
}

impl Subscription {
    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let created = object.required("created", Object::time)?;
        let items = object.list("items")?;
        let has_more_items = object
            .object_if_one("items")?
            .map_or(Ok(None), |list| list.flag("has_more"))?;
        let current_period_end = match object.time("current_period_end")? {
            Some(end) => Some(end),
            None => latest_period_end(&items)?,
        };
        let currency = object.text("currency")?;
        let mut other_prices = Vec::new();
        for item in items.iter().skip(1) {
            other_prices.extend(price(item, currency.clone())?);
        }
        Ok(Self {
            id: object.required("id", Object::id)?,
            customer: object.required("customer", Object::id)?,
            status: object.required("status", Object::word)?,
            collection_paused: object.value("pause_collection")?.is_some(),
            cancel_at_period_end: object.flag("cancel_at_period_end")?.unwrap_or(false),
            cancel_at: object.time("cancel_at")?,
            canceled_at: object.time("canceled_at")?,
            ended_at: object.time("ended_at")?,
            trial_end: object.time("trial_end")?,
            start_date: object.time("start_date")?.unwrap_or(created),
            created,
            current_period_end,
            price: first_price(&items, currency)?,
            other_prices,
            has_more_items: has_more_items.unwrap_or(false),
            latest_invoice: object.id("latest_invoice")?,
            metadata: Metadata::read(object, "metadata")?,
        })
    }
}

impl Subscription {
    /// Takes in the prices of a page of its items, as `GET /v1/subscription_items` lists them.
    pub(crate) fn take_items(&mut self, page: &[u8]) -> Result<(), ViewError> {
        let page = List::parse(page)?;
        let currency = self.price.as_ref().and_then(|price| price.currency.clone());
        for item in page.items {
            let item = ObjectView::of(item).of_kind("subscription_item", "subscription_item")?;
            let price = price(&item, currency.clone())?;
            self.other_prices
                .extend(price.filter(|price| Some(price) != self.price.as_ref() && !self.other_prices.contains(price)));
        }
        self.has_more_items = page.has_more;
        Ok(())
    }
}

impl PreviousSubscription {
    /// `items` come whole, be it that one price or one period changed, so that what equals the present is no change.
    pub(super) fn read(object: &Object<'_>, now: &Subscription) -> Result<Self, ViewError> {
        let items = object.list("items")?;
        let mut current_period_end = object.change("current_period_end", Object::time)?;
        if !current_period_end.is_present()
            && let Some(end) = latest_period_end(&items)?.filter(|end| Some(*end) != now.current_period_end)
        {
            current_period_end = Change::Value(end);
        }
        let client_id = match object.object("metadata")? {
            Some(metadata) => metadata.change("client_id", Object::text)?,
            None => Change::Absent,
        };
        let currency = object
            .text("currency")?
            .or_else(|| now.price.as_ref().and_then(|price| price.currency.clone()));
        let price = first_price(&items, currency)?.filter(|price| Some(price) != now.price.as_ref());
        Ok(Self {
            customer: object.change("customer", Object::id)?,
            status: object.change("status", Object::word)?,
            collection_paused: object.change("pause_collection", |object, name| Ok(object.value(name)?.map(|_| ())))?,
            cancel_at_period_end: object.change("cancel_at_period_end", Object::flag)?,
            cancel_at: object.change("cancel_at", Object::time)?,
            canceled_at: object.change("canceled_at", Object::time)?,
            ended_at: object.change("ended_at", Object::time)?,
            trial_end: object.change("trial_end", Object::time)?,
            start_date: object.change("start_date", Object::time)?,
            current_period_end,
            price: price.map_or(Change::Absent, Change::Value),
            latest_invoice: object.change("latest_invoice", Object::id)?,
            client_id,
        })
    }
}

fn latest_period_end(items: &[Object<'_>]) -> Result<Option<i64>, ViewError> {
    items
        .iter()
        .try_fold(None, |latest, item| Ok(latest.max(item.time("current_period_end")?)))
}

fn first_price(items: &[Object<'_>], currency: Option<String>) -> Result<Option<Price>, ViewError> {
    items.first().map_or(Ok(None), |item| price(item, currency))
}

/// The price may be an id alone, and was called `plan` before prices existed.
fn price(item: &Object<'_>, currency: Option<String>) -> Result<Option<Price>, ViewError> {
    for name in ["price", "plan"] {
        if let Some(id) = item.id(name)? {
            let own = item
                .object_if_one(name)?
                .map_or(Ok(None), |price| price.text("currency"))?;
            return Ok(Some(Price {
                id,
                currency: currency.or(own),
            }));
        }
    }
    Ok(None)
}
