//! An invoice.
//!
//! Moved in 2025-03-31.basil: `subscription` and `subscription_details.metadata` went below
//! `parent.subscription_details`; `paid_out_of_band` is gone.

use super::read::Object;
use super::words::{BillingReason, InvoiceStatus};
use super::{Metadata, ViewError, invoice_line};

/// What billing decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// `in_...`; `invoice.paid` and `invoice.payment_succeeded` of one payment share it.
    pub id: String,
    /// `cus_...`.
    pub customer: Option<String>,
    /// `sub_...`; none for a one-off invoice.
    pub subscription: Option<String>,
    /// Its state of life.
    pub status: Option<InvoiceStatus>,
    /// Minor units. 0 for trials and full discounts: an invoice that is paid need not be money.
    pub amount_paid: i64,
    /// Minor units.
    pub amount_due: i64,
    /// Lower-case ISO 4217.
    pub currency: String,
    /// Why it was made.
    pub billing_reason: Option<BillingReason>,
    /// The end of the period in which items were collected. For the first invoice of a subscription that is its beginning.
    pub period_end: Option<i64>,
    /// The latest end of the periods that its lines pay for.
    pub line_period_end: Option<i64>,
    /// The prices by which its lines bill its subscription. None where they do not say, where one cannot be read, and where the list is cut
    /// short: what is not shown may be the price that is looked for.
    pub prices: Vec<String>,
    /// How often a payment was tried.
    pub attempt_count: i64,
    /// When it will be tried again; none after the last attempt.
    pub next_payment_attempt: Option<i64>,
    /// Whether it was marked as paid by other means; unknown since basil.
    pub paid_out_of_band: Option<bool>,
    /// When it was made.
    pub created: i64,
    /// The invoice's own.
    pub metadata: Metadata,
    /// The subscription's, as it was when the invoice was finalised.
    pub subscription_metadata: Metadata,
}

impl Invoice {
    /// The client that the invoice or else its subscription claims to belong to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.metadata
            .client_id()
            .or_else(|| self.subscription_metadata.client_id())
    }

    pub(super) fn read(object: &Object<'_>) -> Result<Self, ViewError> {
        let parent = match object.object("parent")? {
            Some(parent) => parent.object("subscription_details")?,
            None => None,
        };
        let subscription = match (object.id("subscription")?, &parent) {
            (Some(id), _) => Some(id),
            (None, Some(parent)) => parent.id("subscription")?,
            (None, None) => None,
        };
        let subscription_metadata = match object.object("subscription_details")?.or(parent) {
            Some(details) => Metadata::read(&details, "metadata")?,
            None => Metadata::default(),
        };
        let lines = object.list("lines")?;
        let line_period_end = lines.iter().try_fold(None, |latest: Option<i64>, line| {
            let end = match line.object("period")? {
                Some(period) => period.time("end")?,
                None => None,
            };
            Ok::<_, ViewError>(latest.max(end))
        })?;
        let prices = subscription
            .as_deref()
            .map_or(Ok(Vec::new()), |id| invoice_line::prices(object, &lines, id));
        Ok(Self {
            id: object.required("id", Object::id)?,
            customer: object.id("customer")?,
            subscription,
            status: object.word("status")?,
            amount_paid: object.required("amount_paid", Object::amount)?,
            amount_due: object.required("amount_due", Object::amount)?,
            currency: object.required("currency", Object::text)?,
            billing_reason: object.word("billing_reason")?,
            period_end: object.time("period_end")?,
            line_period_end,
            // A payment must not be lost for the name of its price.
            prices: prices.unwrap_or_default(),
            attempt_count: object.count("attempt_count")?.unwrap_or(0),
            next_payment_attempt: object.time("next_payment_attempt")?,
            paid_out_of_band: object.flag("paid_out_of_band")?,
            created: object.required("created", Object::time)?,
            metadata: Metadata::read(object, "metadata")?,
            subscription_metadata,
        })
    }
}
