//! Everything that is known of one subscription of a client, and how a fact is merged into it.

use super::decision::Reason;
use super::fact::{Fact, FactKind, KnownAct, Payment};
use super::payment::{Evidence, Standing};
use super::subscription::{Merged, Observation, Rank, Reading, Snapshot, Snapshots, read_newest};
use crate::time::UnixSeconds;

/// What is known of one subscription of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// What events said it is, at the price that was agreed when they came, or at any where none was; `None` before the first of them.
    pub snapshots: Option<Snapshots>,
    /// What they said it is at another price than was agreed (BIL-13): it takes nobody above what `snapshots` say, and may take below.
    pub at_other_prices: Option<Snapshots>,
    /// What payments say; counts while there is no snapshot, and where a price is agreed only with `paid_before_price`.
    pub evidence: Evidence,
    /// Whether it was paid for when a price came to be agreed: what its payments say counts on, so that this cuts nobody off.
    pub paid_before_price: bool,
    /// Payments that took effect, as far as a repeat of them could arrive.
    pub acts: Vec<KnownAct>,
}

/// What merging a fact came to, before the state is looked at.
pub(super) enum Taken {
    /// It counts.
    New,
    /// It was merged and is the same business act as one before, or was known.
    Repeat(Reason),
    /// Something newer is known.
    Old,
    /// It would bring back what has ended.
    AfterTheEnd,
    /// It was looked at and says nothing.
    Nothing(Reason),
}

/// Whether what a snapshot shows is borne out by the contract (BIL-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// It is the agreed one, or none was agreed.
    Agreed,
    /// It is another one.
    Another,
}

/// What a subscription is now, and what of it was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition<'s> {
    /// The last snapshot, whatever its price is.
    pub now: &'s Snapshot,
    /// The last one at the agreed price; none where no such was seen. The same as `now` where nothing is amiss.
    pub agreed: Option<&'s Snapshot>,
    /// Whether `now` cannot be told from another snapshot of the same second.
    pub undecided: bool,
}

impl Subscription {
    /// What it is now and what of it was agreed; `None` before the first snapshot.
    #[must_use]
    pub fn condition(&self) -> Option<Condition<'_>> {
        let last = self.last()?;
        let agreed = match (&self.snapshots, &self.at_other_prices) {
            (Some(agreed), others) if others.as_ref().is_none_or(|others| !others.is_newer_than(agreed)) => agreed
                .find(last.snapshot)
                .or_else(|| agreed.read().map(|reading| reading.snapshot)),
            (agreed, _) => agreed
                .as_ref()
                .and_then(Snapshots::read)
                .map(|reading| reading.snapshot),
        };
        Some(Condition {
            now: last.snapshot,
            agreed,
            undecided: last.undecided,
        })
    }

    /// What all its snapshots come to, whatever their price is.
    fn last(&self) -> Option<Reading<'_>> {
        read_newest([&self.snapshots, &self.at_other_prices].into_iter().flatten())
    }

    /// A price is agreed from now on, and none was.
    pub(super) fn is_to_be_priced(&mut self) {
        self.paid_before_price |= self.evidence.standing() != Standing::NeverPaid;
    }

    /// Takes over what was said at another price and is agreed now.
    pub(super) fn agree(&mut self, admits: impl Fn(&Snapshot) -> bool) {
        let Some(others) = &self.at_other_prices else { return };
        let Some(admitted) = others.those(admits) else { return };
        match &mut self.snapshots {
            Some(snapshots) => drop(snapshots.merge(&admitted)),
            None => self.snapshots = Some(admitted),
        }
    }

    /// Merges a fact that speaks of this subscription.
    pub(super) fn merge(&mut self, fact: &Fact, price: Price) -> Taken {
        match &fact.kind {
            FactKind::Snapshot { rank, observation, .. } => self.merge_snapshot(*rank, fact.at, observation, price),
            FactKind::Paid(payment) => self.merge_payment(payment, fact.at),
            FactKind::Failed(_) => self.merge_failure(fact.at),
        }
    }

    fn merge_snapshot(&mut self, rank: Rank, at: UnixSeconds, observation: &Observation, price: Price) -> Taken {
        let incoming = Snapshots::new(rank, at, observation.clone());
        let register = match price {
            Price::Agreed => &mut self.snapshots,
            Price::Another => &mut self.at_other_prices,
        };
        let Some(snapshots) = register else {
            *register = Some(incoming);
            return Taken::New;
        };
        match snapshots.merge(&incoming) {
            Merged::Changed => Taken::New,
            Merged::Known => Taken::Repeat(Reason::SnapshotKnown),
            Merged::Older => Taken::Old,
            Merged::AfterTheEnd => Taken::AfterTheEnd,
        }
    }

    /// Two events about a failure in one second are one failure: Stripe has ids for both and means the same.
    fn merge_failure(&mut self, at: UnixSeconds) -> Taken {
        if self.evidence.last_failed() == Some(at) {
            return Taken::Repeat(Reason::ActKnown);
        }
        self.evidence = self.evidence.merge(Evidence::of_failure(at));
        Taken::New
    }

    fn merge_payment(&mut self, payment: &Payment, at: UnixSeconds) -> Taken {
        if payment.amount.is_some_and(|amount| amount.minor == 0) {
            return Taken::Nothing(Reason::ZeroAmount);
        }
        self.evidence = self.evidence.merge(Evidence::of_payment(at));
        let known = self.acts.iter().any(|known| known.is_same_as(&payment.act, at));
        self.acts.push(KnownAct {
            act: payment.act.clone(),
            paid_at: at,
        });
        if known {
            Taken::Repeat(Reason::ActKnown)
        } else {
            Taken::New
        }
    }
}
