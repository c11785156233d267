//! Reads: one object, in the words of our views, with the body as it came and Stripe's own time of the answer.

mod events;
mod money;
mod related;

use stripe_billing::invoice::RetrieveInvoice;
use stripe_billing::subscription::RetrieveSubscription;
use stripe_billing::subscription_item::ListSubscriptionItem;
use stripe_checkout::checkout_session::RetrieveCheckoutSession;
use stripe_core::charge::RetrieveCharge;
use stripe_core::event::RetrieveEvent;

pub use events::{EventPage, EventsQuery, ListedEvent};
pub use money::{Fate, Found, Place};
pub use related::{InvalidRelated, Related, RelatedObject};

use super::call::is_plain;
use super::outcome::{Answer, NotSent, Outcome, Refusal, Unknown, UnknownCause};
use super::{Body, Call, Client, Get};
use crate::envelope::{self, Envelope};
use crate::views::{Charge, CheckoutSession, Invoice, ObjectView, Subscription, ViewError};

/// Why there is nothing to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Stripe says that there is no such object (404 `resource_missing`).
    #[error("Stripe has no such object")]
    Missing,
    /// The id cannot be one of Stripe's. Nothing was sent.
    #[error("it is no id that Stripe could be asked for")]
    InvalidId,
    /// The URL of a thin event leads nowhere that we read from. Nothing was sent.
    #[error("the related object cannot be read")]
    InvalidRelated(#[from] InvalidRelated),
    /// Stripe refused for another reason, such as a key that may not read this.
    #[error("Stripe refused with HTTP status {} ({})", .0.receipt.status, .0.code.as_deref().unwrap_or(&.0.kind))]
    Refused(Box<Refusal>),
    /// Stripe answered, but not with what the view needs.
    #[error("Stripe's answer cannot be read")]
    Unreadable {
        /// What is wrong with it.
        #[source]
        problem: ViewError,
        /// The answer, for the archive.
        body: Body,
    },
    /// No answer that counts, for the reason named by one of a fixed list of words.
    #[error("Stripe cannot be asked at present ({0})")]
    Unavailable(&'static str),
}

impl ReadError {
    /// Whether the same read may succeed later without anything changing about the object: Stripe is away or busy, or our key
    /// is not accepted.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused(refusal) => refusal.is_about_the_key(),
            Self::Missing | Self::InvalidId | Self::InvalidRelated(_) | Self::Unreadable { .. } => false,
        }
    }

    /// Whether there is nothing to read, now or later: no such object, or an account that is not connected to this platform, or no longer.
    /// Of the latter Stripe says 403, as of a key that may not read: [`Self::is_transient`] does not tell the two apart.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Refused(refusal) => refusal.code.as_deref() == Some("account_invalid"),
            Self::Unavailable(_) | Self::InvalidId | Self::InvalidRelated(_) | Self::Unreadable { .. } => false,
        }
    }
}

/// The most that Stripe gives on one page; a subscription has at most twenty items, unless Stripe allows an account more.
const ITEMS: i64 = 100;

/// What a read gives.
pub type Reading<T> = Result<Answer<T>, ReadError>;

impl Client {
    /// The subscription as it is now, with the prices of all its items: those that it does not show itself are listed by a second call. Body and
    /// time are those of the first one, so that what changes between the two is told by an event that is later.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id.
    pub async fn read_subscription(&self, id: &str) -> Reading<Subscription> {
        let mut read = self
            .read_by_id(id, RetrieveSubscription::new, |object| object.subscription())
            .await?;
        if read.content.has_more_items {
            let call = plain(id).map(|id| Call::get(&ListSubscriptionItem::new(id).limit(ITEMS)))?;
            let mut whole = read.content;
            let listed = self.read(call, |page| {
                whole.take_items(page)?;
                Ok(whole)
            });
            read.content = listed.await?.content;
        }
        Ok(read)
    }

    /// The invoice as it is now.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id.
    pub async fn read_invoice(&self, id: &str) -> Reading<Invoice> {
        self.read_by_id(id, RetrieveInvoice::new, |object| object.invoice())
            .await
    }

    /// The charge as it is now.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id.
    pub async fn read_charge(&self, id: &str) -> Reading<Charge> {
        self.read_by_id(id, RetrieveCharge::new, |object| object.charge()).await
    }

    /// The Checkout session as it is now.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id.
    pub async fn read_checkout_session(&self, id: &str) -> Reading<CheckoutSession> {
        self.read_by_id(id, RetrieveCheckoutSession::new, |object| object.checkout_session())
            .await
    }

    /// The event as it was rendered when it happened; [`crate::views::EventView::parse`] takes the body. Stripe keeps events for
    /// 30 days.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Missing`] when there is none of that id, or not any more.
    pub async fn read_event(&self, id: &str) -> Reading<Envelope<'static>> {
        let call = plain(id).map(|id| Call::get(&RetrieveEvent::new(id)))?;
        self.read(call, |body| Ok(envelope::peek(body)?.into_owned())).await
    }

    async fn read_by_id<'a, R: Get, T>(
        &self,
        id: &'a str,
        request: impl FnOnce(&'a str) -> R,
        view: impl FnOnce(ObjectView<'_>) -> Result<T, ViewError>,
    ) -> Reading<T> {
        let call = plain(id).map(|id| Call::get(&request(id)))?;
        self.read(call, |body| view(ObjectView::parse(body)?)).await
    }

    async fn read<T>(&self, call: Call, view: impl FnOnce(&[u8]) -> Result<T, ViewError>) -> Reading<T> {
        reading(self.send(call).await.read(view))
    }
}

fn plain(id: &str) -> Result<&str, ReadError> {
    if is_plain(id) {
        Ok(id)
    } else {
        Err(ReadError::InvalidId)
    }
}

/// A read has no effect, so that an unknown outcome is only an answer that is still to be had.
fn reading<T>(outcome: Outcome<T>) -> Reading<T> {
    let detail = outcome.detail();
    match outcome {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Refused(refusal) if refusal.is_missing() => Err(ReadError::Missing),
        Outcome::Refused(refusal) => Err(ReadError::Refused(Box::new(refusal))),
        Outcome::Unknown(Unknown {
            cause: UnknownCause::Unreadable(problem),
            body: Some(body),
            ..
        }) => Err(ReadError::Unreadable { problem, body }),
        Outcome::NotSent(NotSent::BadRequest) => Err(ReadError::InvalidId),
        Outcome::Unknown(_) | Outcome::NotSent(NotSent::NoConnection | NotSent::RateLimited(_)) => {
            Err(ReadError::Unavailable(detail))
        }
    }
}
