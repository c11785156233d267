//! Everything that is known of one subscription of a client, and how a fact is merged into it.

use std::collections::BTreeMap;

use super::contract::Contract;
use super::decision::Reason;
use super::fact::{Fact, FactKind, KnownAct, Payment};
use super::payment::{Billed, Evidence, Standing};
use super::subscription::{Merged, Observation, Rank, Reading, Snapshot, Snapshots, read_newest};
use crate::time::UnixSeconds;

/// What is known of one subscription of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// What events said it is, at the price that was agreed when they came, or at any where none was; `None` before the first of them.
    pub snapshots: Option<Snapshots>,
    /// What they said it is at another price than was agreed (BIL-13): it takes nobody above what `snapshots` say, and may take below.
    pub at_other_prices: Option<Snapshots>,
    /// What payments say that name the price which was agreed when they came, or none; counts while there is no snapshot, and where a price
    /// is agreed only with `paid_as_agreed`.
    pub evidence: Evidence,
    /// What payments say that name another price or currency than was agreed, by what they were billed (BIL-13): they take nobody above what
    /// `evidence` says, and may take below.
    pub billed_otherwise: BTreeMap<Billed, Evidence>,
    /// Whether a payment named the agreed price, or was made before one was agreed. Without it nobody is taken up by payments that name
    /// none; and a price that comes to be agreed would cut off whoever pays.
    pub paid_as_agreed: bool,
    /// Payments that succeeded, as far as a repeat of them could arrive.
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

/// Whether what a fact shows is borne out by the contract (BIL-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// It is the agreed one, or none was agreed; or it is a payment that names none.
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

    /// What all its payments come to, at whatever price. At another one than was agreed a failure lowers, and a payment takes back up to what
    /// was agreed.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.evidence.standing(), self.all_evidence().standing()) {
            (Standing::Paid { since }, Standing::Behind { .. }) => Standing::Behind { since },
            (agreed, _) => agreed,
        }
    }

    /// What all its payments say, at whatever price.
    #[must_use]
    pub fn all_evidence(&self) -> Evidence {
        let others = self.billed_otherwise.values().copied();
        others.fold(self.evidence, Evidence::merge)
    }

    /// A price is agreed from now on, and none was.
    pub(super) fn is_to_be_priced(&mut self) {
        self.paid_as_agreed |= self.evidence.standing() != Standing::NeverPaid;
    }

    /// Takes over what was said at another price and is agreed now.
    pub(super) fn agree(&mut self, contract: &Contract) {
        self.agree_on_payments(contract);
        let admits = |snapshot: &Snapshot| contract.admits(&snapshot.price, snapshot.currency);
        let Some(others) = &self.at_other_prices else { return };
        let Some(admitted) = others.those(admits) else { return };
        match &mut self.snapshots {
            Some(snapshots) => drop(snapshots.merge(&admitted)),
            None => self.snapshots = Some(admitted),
        }
    }

    fn agree_on_payments(&mut self, contract: &Contract) {
        for (billed, said) in std::mem::take(&mut self.billed_otherwise) {
            if contract.allows(&billed) {
                self.evidence = self.evidence.merge(said);
                self.paid_as_agreed |= !billed.prices.is_empty() && said.standing() != Standing::NeverPaid;
            } else {
                self.billed_otherwise.insert(billed, said);
            }
        }
    }

    /// Merges a fact that speaks of this subscription.
    pub(super) fn merge(&mut self, fact: &Fact, price: Price) -> Taken {
        match &fact.kind {
            FactKind::Snapshot { rank, observation, .. } => self.merge_snapshot(*rank, fact.at, observation, price),
            FactKind::Paid(payment) => self.merge_payment(payment, fact.at, price),
            FactKind::Failed(payment) => self.merge_failure(payment, fact.at, price),
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

    /// What payments that were billed like this one say.
    fn evidence_of(&mut self, payment: &Payment, price: Price) -> &mut Evidence {
        match price {
            Price::Agreed => &mut self.evidence,
            Price::Another => self.billed_otherwise.entry(payment.billed()).or_default(),
        }
    }

    /// That the newest invoice fails again says nothing new, be it an event of the same second with another id or the next attempt. That the
    /// purchase itself fails says nothing at all: who has paid for anything has paid for that one or a newer one, and its checkout began
    /// before the invoice on which a first card may fail.
    fn merge_failure(&mut self, payment: &Payment, at: UnixSeconds, price: Price) -> Taken {
        if payment.act.is_purchase() {
            return Taken::Nothing(Reason::FirstInvoiceFailed);
        }
        let made = payment.speaks_for(at);
        let evidence = self.evidence_of(payment, price);
        if evidence.last_failed() == Some(made) {
            return Taken::Repeat(Reason::ActKnown);
        }
        *evidence = evidence.merge(Evidence::of_failure(made));
        Taken::New
    }

    fn merge_payment(&mut self, payment: &Payment, at: UnixSeconds, price: Price) -> Taken {
        if payment.amount.is_some_and(|amount| amount.minor == 0) {
            return Taken::Nothing(Reason::ZeroAmount);
        }
        let evidence = self.evidence_of(payment, price);
        *evidence = evidence.merge(Evidence::of_payment(payment.speaks_for(at)));
        self.paid_as_agreed |= price == Price::Agreed && !payment.prices.is_empty();
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
