//! What is known of the charges of a client: what was paid back, and what is disputed.
//!
//! None of it changes the state by itself (BIL-7): a refund is a kindness or a correction, a dispute is a question, and whether
//! either ends the service is for a person or for the subscription to say. It is recorded so that "why" has an answer, and a
//! dispute and a failed refund are worth telling a person.
//!
//! The amounts paid back are cumulative at Stripe, so the greatest is the truth. A refund's and a dispute's register keeps the
//! greatest of its observations in an order that Stripe's own rules give, so that merging is commutative, associative and
//! idempotent:
//! - a refund goes forward only: pending, succeeded, and it can fail up to 30 days after it had succeeded;
//! - a dispute is what the newest event says. `charge.dispute.created` never overrides (it may arrive last, and it may say `lost`
//!   already); at the same second the status that comes later in a dispute's life wins. A lost one can still be won.

use super::subscription::Merged;
use crate::ids::{ChargeId, DisputeId, RefundId};
use crate::money::Currency;
use crate::time::UnixSeconds;
use crate::words::words;

/// What an event says of a charge, or of what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeFact {
    /// The charge.
    pub charge: ChargeId,
    /// What is said.
    pub kind: ChargeFactKind,
}

/// What is said of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeFactKind {
    /// The charge itself.
    Charge(Charge),
    /// One refund of it.
    Refund(RefundId, Refund),
    /// One dispute of it; there can be several.
    Dispute(DisputeId, Dispute),
}

/// A charge, and how much of it was paid back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Charge {
    /// Minor units that were paid back so far, over all refunds.
    pub refunded: i64,
    /// Minor units that were charged.
    pub amount: i64,
    /// The currency of both.
    pub currency: Currency,
}

impl Charge {
    /// A charge of which no amount counts: every observation of it is greater.
    #[must_use]
    pub const fn of_nothing(currency: Currency) -> Self {
        Self {
            refunded: 0,
            amount: 0,
            currency,
        }
    }
}

words! {
    /// The state of a refund, in the order of its life.
    RefundStatus {
        /// On its way.
        Pending => "pending",
        /// The customer has to do something for it.
        RequiresAction => "requires_action",
        /// Stripe has paid it out.
        Succeeded => "succeeded",
        /// Withdrawn before it was paid out.
        Canceled => "canceled",
        /// It did not arrive; the money is back in the platform's balance.
        Failed => "failed",
    }
}

/// A refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refund {
    /// How far it is.
    pub status: RefundStatus,
    /// Minor units of this refund alone.
    pub amount: i64,
    /// Their currency.
    pub currency: Currency,
}

words! {
    /// The state of a dispute, in the order of its life, which decides only between events of the same second.
    DisputeStatus {
        /// An inquiry that wants an answer; no money has moved.
        WarningNeedsResponse => "warning_needs_response",
        /// An inquiry that was answered.
        WarningUnderReview => "warning_under_review",
        /// An inquiry that came to nothing.
        WarningClosed => "warning_closed",
        /// The money was taken back; evidence is wanted.
        NeedsResponse => "needs_response",
        /// Evidence was given.
        UnderReview => "under_review",
        /// Settled by refunding the charge.
        ChargeRefunded => "charge_refunded",
        /// Settled before it became a dispute.
        Prevented => "prevented",
        /// The money is gone.
        Lost => "lost",
        /// Lost, and an appeal is possible.
        AppealNeedsResponse => "appeal_needs_response",
        /// Lost, and appealed.
        AppealUnderReview => "appeal_under_review",
        /// The money is back.
        Won => "won",
    }
}

impl DisputeStatus {
    /// Whether nothing is at stake any more and a person has nothing to do.
    #[must_use]
    pub const fn is_settled_well(self) -> bool {
        match self {
            Self::WarningClosed | Self::ChargeRefunded | Self::Prevented | Self::Won => true,
            Self::WarningNeedsResponse
            | Self::WarningUnderReview
            | Self::NeedsResponse
            | Self::UnderReview
            | Self::Lost
            | Self::AppealNeedsResponse
            | Self::AppealUnderReview => false,
        }
    }
}

/// Which event spoke of a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisputeWord {
    /// `charge.dispute.created`, which never overrides.
    Opened,
    /// Any later one.
    Later,
}

/// A dispute. The order of the fields is the order in which observations of one dispute compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dispute {
    /// Which event said so.
    pub word: DisputeWord,
    /// That event's `created`.
    pub at: UnixSeconds,
    /// How far it is.
    pub status: DisputeStatus,
    /// Minor units; may be below or above the charge.
    pub amount: i64,
    /// Their currency.
    pub currency: Currency,
    /// Until when evidence can be given.
    pub due_by: Option<UnixSeconds>,
}

/// Takes another observation of the same charge, refund or dispute in: the greater one counts.
pub fn merge<T: Ord + Copy>(known: &mut Option<T>, seen: T) -> Merged {
    match known {
        Some(own) if *own == seen => Merged::Known,
        Some(own) if *own > seen => Merged::Older,
        Some(_) | None => {
            *known = Some(seen);
            Merged::Changed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispute(word: DisputeWord, at: i64, status: DisputeStatus) -> Dispute {
        Dispute {
            word,
            at: UnixSeconds(at),
            status,
            amount: 100,
            currency: Currency::EUR,
            due_by: None,
        }
    }

    fn last(observations: &[Dispute]) -> Option<DisputeStatus> {
        let mut known = None;
        for observation in observations {
            merge(&mut known, *observation);
        }
        known.map(|dispute: Dispute| dispute.status)
    }

    #[test]
    fn a_dispute_that_was_lost_can_be_won_whatever_arrives_first() {
        let opened = dispute(DisputeWord::Opened, 10, DisputeStatus::NeedsResponse);
        let lost = dispute(DisputeWord::Later, 20, DisputeStatus::Lost);
        let won = dispute(DisputeWord::Later, 30, DisputeStatus::Won);
        for order in [
            [opened, lost, won],
            [won, lost, opened],
            [lost, won, opened],
            [won, opened, lost],
        ] {
            assert_eq!(last(&order), Some(DisputeStatus::Won));
        }
    }

    #[test]
    fn an_opening_that_arrives_last_changes_nothing_even_with_a_later_second() {
        let opened = dispute(DisputeWord::Opened, 50, DisputeStatus::NeedsResponse);
        let closed = dispute(DisputeWord::Later, 20, DisputeStatus::Lost);
        assert_eq!(last(&[closed, opened]), Some(DisputeStatus::Lost));
    }

    #[test]
    fn a_refund_that_succeeded_can_fail_and_never_the_other_way() {
        let refund = |status| Refund {
            status,
            amount: 5,
            currency: Currency::EUR,
        };
        let mut known = Some(refund(RefundStatus::Succeeded));
        assert_eq!(merge(&mut known, refund(RefundStatus::Failed)), Merged::Changed);
        assert_eq!(merge(&mut known, refund(RefundStatus::Succeeded)), Merged::Older);
        assert_eq!(merge(&mut known, refund(RefundStatus::Failed)), Merged::Known);
    }

    #[test]
    fn the_greatest_refunded_amount_counts() {
        let charge = |refunded| Charge {
            refunded,
            amount: 100,
            currency: Currency::EUR,
        };
        let mut known = None;
        for refunded in [30, 100, 70, 0] {
            merge(&mut known, charge(refunded));
        }
        assert_eq!(known, Some(charge(100)));
        let mut noted = Some(Charge::of_nothing(Currency::EUR));
        assert_eq!(merge(&mut noted, charge(0)), Merged::Changed);
    }
}
