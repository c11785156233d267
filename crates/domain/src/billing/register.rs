//! Everything that is known of one subscription of a client, and how a fact is merged into it.

use super::decision::Reason;
use super::fact::{Fact, FactKind, KnownAct, Payment};
use super::payment::Evidence;
use super::subscription::{Merged, Observation, Rank, Snapshots};
use crate::time::UnixSeconds;

/// What is known of one subscription of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// What events said it is; `None` before the first snapshot.
    pub snapshots: Option<Snapshots>,
    /// What payments say; counts while there is no snapshot.
    pub evidence: Evidence,
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

impl Subscription {
    /// Merges a fact that speaks of this subscription.
    pub(super) fn merge(&mut self, fact: &Fact) -> Taken {
        match &fact.kind {
            FactKind::Snapshot { rank, observation, .. } => self.merge_snapshot(*rank, fact.at, observation),
            FactKind::Paid(payment) => self.merge_payment(payment, fact.at),
            FactKind::Failed(_) => self.merge_failure(fact.at),
        }
    }

    fn merge_snapshot(&mut self, rank: Rank, at: UnixSeconds, observation: &Observation) -> Taken {
        let incoming = Snapshots::new(rank, at, observation.clone());
        let Some(snapshots) = &mut self.snapshots else {
            self.snapshots = Some(incoming);
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
