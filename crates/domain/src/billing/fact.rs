//! What an event of Stripe's says, in the words of the rules. Edges translate into these; nothing here knows of JSON.

use std::collections::BTreeSet;

use super::payment::Billed;
use super::subscription::{Observation, Rank};
use crate::ids::{CheckoutSessionId, InvoiceId, PriceId, SubscriptionId};
use crate::money::Money;
use crate::time::UnixSeconds;

/// One event's word, with the time at which Stripe says it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The subscription that it is about.
    pub subscription: SubscriptionId,
    /// The event's `created`.
    pub at: UnixSeconds,
    /// What it says.
    pub kind: FactKind,
}

/// What a fact says of its subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactKind {
    /// A snapshot.
    Snapshot {
        /// How the event competes with others.
        rank: Rank,
        /// What it saw.
        observation: Observation,
        /// The prices of the items after the first one. They only matter to the contract, when the fact comes in.
        other_prices: Vec<PriceId>,
    },
    /// A payment succeeded.
    Paid(Payment),
    /// A payment failed.
    Failed(Payment),
}

/// A payment for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Which object stands for it.
    pub act: Act,
    /// When its invoice, or its checkout session, was made; none where that is not shown, then the fact's own time stands for it. Of several
    /// invoices the newest says how its subscription stands: Stripe tries an older one again for weeks.
    pub made_at: Option<UnixSeconds>,
    /// How much; zero for trials and full discounts.
    pub amount: Option<Money>,
    /// The prices that its invoice names (BIL-13). None for a checkout, and for an invoice whose lines do not say: then it bears no price out,
    /// and is at no other one.
    pub prices: BTreeSet<PriceId>,
}

impl Payment {
    /// The second for which it speaks, told by a fact of `at`: no invoice is made after what is told of it.
    #[must_use]
    pub fn speaks_for(&self, at: UnixSeconds) -> UnixSeconds {
        self.made_at.map_or(at, |made| made.min(at))
    }

    /// By what it was billed.
    #[must_use]
    pub fn billed(&self) -> Billed {
        Billed {
            prices: self.prices.clone(),
            currency: self.amount.map(|amount| amount.currency),
        }
    }
}

/// The object that stands for a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A checkout session.
    Checkout {
        /// Its id.
        session: CheckoutSessionId,
        /// The invoice that it paid, where the session names one.
        invoice: Option<InvoiceId>,
    },
    /// An invoice.
    Invoice {
        /// Its id.
        invoice: InvoiceId,
        /// Whether it is the one that the subscription began with (`billing_reason` is `subscription_create`).
        first: bool,
    },
}

impl Act {
    /// The id of the object.
    #[must_use]
    pub fn object_id(&self) -> &str {
        match self {
            Self::Checkout { session, .. } => session.as_str(),
            Self::Invoice { invoice, .. } => invoice.as_str(),
        }
    }

    /// The invoice that was paid, where it is known.
    #[must_use]
    pub const fn invoice(&self) -> Option<&InvoiceId> {
        match self {
            Self::Checkout { invoice, .. } => invoice.as_ref(),
            Self::Invoice { invoice, .. } => Some(invoice),
        }
    }

    /// Whether this is the purchase of the subscription, of which there is one.
    #[must_use]
    pub const fn is_purchase(&self) -> bool {
        match self {
            Self::Checkout { .. } => true,
            Self::Invoice { first, .. } => *first,
        }
    }
}

/// A payment act that is already known to have succeeded, at whatever price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAct {
    /// The act.
    pub act: Act,
    /// When it was paid.
    pub paid_at: UnixSeconds,
}

/// Two events of one client and subscription this close together (in seconds) are one business act (BIL-4).
pub const ONE_ACT_WINDOW: u64 = 60;

impl KnownAct {
    /// Whether a payment of the same subscription is the same business act as this one (guard 6). Links by invoice and by the
    /// subscription's one purchase hold at any distance; the window catches pairs whose link Stripe does not show.
    #[must_use]
    pub fn is_same_as(&self, act: &Act, at: UnixSeconds) -> bool {
        let same_invoice = self.act.invoice().is_some() && self.act.invoice() == act.invoice();
        let same_purchase = self.act.is_purchase() && act.is_purchase();
        same_invoice || same_purchase || self.paid_at.distance(at) <= ONE_ACT_WINDOW
    }
}
