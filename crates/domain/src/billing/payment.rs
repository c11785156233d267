//! What is known of the payments for one subscription, for as long as no snapshot of it has been seen.
//!
//! First and last payment and last failure are a minimum and two maxima, so the order in which they arrive does not matter. Their time is
//! that of the invoice and not of the attempt: Stripe tries an invoice again for weeks, beside the next one, and a subscription stands as
//! its newest invoice does. So an old invoice that fails once more takes nobody down who has paid a newer one, and one that is paid at
//! last takes nobody up who has not. The first invoice is older than all others, and whoever fails to pay it has paid nothing yet: its
//! failures are no evidence.

use std::collections::BTreeSet;

use crate::ids::PriceId;
use crate::money::Currency;
use crate::time::UnixSeconds;

/// By what a payment was billed, as far as it shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Billed {
    /// The prices that its invoice names.
    pub prices: BTreeSet<PriceId>,
    /// Its currency.
    pub currency: Option<Currency>,
}

/// Evidence that a subscription is paid for. Zero amounts are none: a trial's first invoice is "paid" too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// When the first and the last invoice that was paid were made.
    paid: Option<(UnixSeconds, UnixSeconds)>,
    /// When the last invoice that failed was made.
    failed: Option<UnixSeconds>,
}

/// What the evidence comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing was ever paid.
    NeverPaid,
    /// The newest invoice that is known of was paid.
    Paid {
        /// When the first one that was paid was made.
        since: UnixSeconds,
    },
    /// An invoice failed that is newer than the last one that was paid.
    Behind {
        /// When the first one that was paid was made.
        since: UnixSeconds,
    },
}

impl Evidence {
    /// Evidence as it was stored. A first payment without a last one, or the other way round, is read as one payment.
    #[must_use]
    pub fn restore(first: Option<UnixSeconds>, last: Option<UnixSeconds>, failed: Option<UnixSeconds>) -> Self {
        let paid = first.or(last).map(|any| (first.unwrap_or(any), last.unwrap_or(any)));
        Self { paid, failed }
    }

    /// One payment, of an invoice that was made then.
    #[must_use]
    pub const fn of_payment(at: UnixSeconds) -> Self {
        Self {
            paid: Some((at, at)),
            failed: None,
        }
    }

    /// One failure, of an invoice that was made then.
    #[must_use]
    pub const fn of_failure(at: UnixSeconds) -> Self {
        Self {
            paid: None,
            failed: Some(at),
        }
    }

    /// When the first invoice that was paid was made.
    #[must_use]
    pub fn first_paid(&self) -> Option<UnixSeconds> {
        self.paid.map(|(first, _)| first)
    }

    /// When the last invoice that was paid was made.
    #[must_use]
    pub fn last_paid(&self) -> Option<UnixSeconds> {
        self.paid.map(|(_, last)| last)
    }

    /// When the last invoice that failed was made.
    #[must_use]
    pub const fn last_failed(&self) -> Option<UnixSeconds> {
        self.failed
    }

    /// Both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let paid = match (self.paid, other.paid) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (paid, None) | (None, paid) => paid,
        };
        Self {
            paid,
            failed: self.failed.max(other.failed),
        }
    }

    /// What it comes to. An invoice that failed and was paid is paid: of the two, only the payment is final.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.paid, self.failed) {
            (None, _) => Standing::NeverPaid,
            (Some((since, last)), Some(failed)) if failed > last => Standing::Behind { since },
            (Some((since, _)), _) => Standing::Paid { since },
        }
    }
}
