//! What our side agreed with a client. Stripe may confirm it, never define it.

use std::fmt;

use super::payment::Billed;
use super::state::ClientState;
use crate::ids::{ClientId, PriceId};
use crate::money::Currency;

/// How a client pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentSource {
    /// Not at all: no event of Stripe's ever changes the client's state.
    None,
    /// By Stripe.
    Stripe,
    /// Outside of Stripe, kept by hand.
    Manual,
}

impl PaymentSource {
    /// The word in the database and in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Stripe => "STRIPE",
            Self::Manual => "MANUAL",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Stripe, Self::Manual]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
}

impl fmt::Display for PaymentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The contract of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Whose.
    pub client: ClientId,
    /// How the client pays.
    pub source: PaymentSource,
    /// The state while no fact speaks: `TrialPending` or `TrialActive`.
    pub initial: ClientState,
    /// Whether a Stripe customer was registered or bound already.
    pub has_customer: bool,
    /// The only price that activates, where one was agreed (BIL-13).
    pub price: Option<PriceId>,
    /// The only currency that activates, where one was agreed.
    pub currency: Option<Currency>,
}

impl Contract {
    /// Whether the agreed price and currency, where there are any, are borne out: the price by any item of the subscription, since what
    /// was agreed may be one of several. What is unknown bears nothing out.
    #[must_use]
    pub fn admits<'p>(&self, prices: impl IntoIterator<Item = &'p PriceId>, currency: Option<Currency>) -> bool {
        let mut prices = prices.into_iter();
        self.price
            .as_ref()
            .is_none_or(|agreed| prices.any(|price| price == agreed))
            && self.currency.is_none_or(|agreed| currency == Some(agreed))
    }

    /// Whether nothing that a payment shows is against the agreed price and currency. One that names no price may be for any.
    #[must_use]
    pub fn allows(&self, billed: &Billed) -> bool {
        self.price
            .as_ref()
            .is_none_or(|agreed| billed.prices.is_empty() || billed.prices.contains(agreed))
            && self
                .currency
                .is_none_or(|agreed| billed.currency.is_none_or(|paid| paid == agreed))
    }
}
