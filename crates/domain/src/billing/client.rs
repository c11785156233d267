//! A client with everything that its state is derived from, and the one function that takes a fact in.

use std::collections::BTreeMap;

use super::contract::Contract;
use super::decision::{Decision, Guard, Outcome, Reason, Transition};
use super::derive::{Derived, derive};
use super::fact::{Fact, FactKind};
use super::register::{Price, Subscription, Taken};
use super::state::{ClientState, Speaker, may_become};
use super::subscription::{Merged, Observation};
use crate::ids::SubscriptionId;
use crate::time::UnixSeconds;

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What our side agreed.
    pub contract: Contract,
    /// The state that was announced last.
    pub state: ClientState,
    /// One more with each change of state.
    pub version: i64,
    /// The subscription that speaks for the client.
    pub speaker: Option<SubscriptionId>,
    /// When the paid period ends.
    pub current_period_end: Option<UnixSeconds>,
    /// The facts.
    pub subscriptions: BTreeMap<SubscriptionId, Subscription>,
}

impl Client {
    /// Takes a fact in that passed guards 1 to 3: merges it, derives the state, and says which guard explains the result.
    ///
    /// The state after any set of facts does not depend on their order or on repeats; the decisions do, because they tell what
    /// this fact did at this moment.
    pub fn observe(&mut self, fact: &Fact) -> Decision {
        let price = if self.is_contracted(fact) {
            Price::Agreed
        } else {
            Price::Another
        };
        let taken = self
            .subscriptions
            .entry(fact.subscription.clone())
            .or_default()
            .merge(fact, price);
        let derived = derive(&self.contract, &self.subscriptions);
        let from = self.state;
        let changed = derived.state != from;
        let allowed = !changed || may_become(from, derived.state, self.speaker_of(&derived));
        let speaks = |speaker: &Option<SubscriptionId>| speaker.as_ref() == Some(&fact.subscription);
        let is_current = speaks(&self.speaker) || speaks(&derived.speaker);
        if allowed {
            self.adopt(derived);
        }
        let stays = Transition { from, to: self.state };
        let without = Decision::without_effect;
        match (taken, changed, allowed) {
            (_, true, true) => Decision {
                outcome: Outcome::Applied,
                guard: None,
                reason: Reason::StateChanged,
                transition: Some(stays),
            },
            (_, true, false) => without(Outcome::Rejected, Some(Guard::Transition), Reason::NoSuchTransition),
            (_, false, _) if price == Price::Another => Decision::unauthorised(Reason::PriceNotContracted),
            (Taken::Nothing(reason), false, _) => without(Outcome::Ignored, None, reason),
            (Taken::New | Taken::Repeat(_) | Taken::Old | Taken::AfterTheEnd, false, _) if !is_current => without(
                Outcome::Ignored,
                Some(Guard::Identity),
                Reason::NotTheCurrentSubscription,
            ),
            (Taken::AfterTheEnd, false, _) => {
                without(Outcome::Rejected, Some(Guard::Transition), Reason::SubscriptionHasEnded)
            }
            (Taken::Old, false, _) => without(Outcome::Stale, Some(Guard::Order), Reason::NewerSnapshotKnown),
            (Taken::Repeat(reason), false, _) => without(Outcome::SemanticDuplicate, Some(Guard::Intent), reason),
            (Taken::New, false, _) => Decision {
                outcome: Outcome::Applied,
                guard: None,
                reason: Reason::FactsRecorded,
                transition: Some(stays),
            },
        }
    }

    /// Says what became of a fact about one of the client's charges, which never changes the state ([`super::charge`]).
    #[must_use]
    pub fn record(&self, merged: Merged) -> Decision {
        match merged {
            Merged::Changed => Decision {
                outcome: Outcome::Applied,
                guard: None,
                reason: Reason::FactsRecorded,
                transition: Some(Transition {
                    from: self.state,
                    to: self.state,
                }),
            },
            Merged::Known => {
                Decision::without_effect(Outcome::SemanticDuplicate, Some(Guard::Intent), Reason::SnapshotKnown)
            }
            Merged::Older | Merged::AfterTheEnd => {
                Decision::without_effect(Outcome::Stale, Some(Guard::Order), Reason::NewerSnapshotKnown)
            }
        }
    }

    /// Takes over another contract, and what is known at a price that was not agreed before and is now. What had been agreed stays: a
    /// contract that changes before Stripe does, or after, cuts nobody off. Answers how the state changed.
    pub fn agree(&mut self, contract: Contract) -> Option<Transition> {
        let is_priced_now = self.contract.price.is_none() && contract.price.is_some();
        self.contract = contract;
        for (id, subscription) in &mut self.subscriptions {
            // Also the one that is heard although a price is agreed already: whoever agreed on it did not mark it.
            let is_heard = self.contract.price.is_some() && self.speaker.as_ref() == Some(id);
            if is_priced_now || (is_heard && subscription.condition().is_none()) {
                subscription.is_to_be_priced();
            }
            subscription.agree(&self.contract);
        }
        let derived = derive(&self.contract, &self.subscriptions);
        let from = self.state;
        if derived.state != from && !may_become(from, derived.state, self.speaker_of(&derived)) {
            return None;
        }
        self.adopt(derived);
        (self.state != from).then_some(Transition { from, to: self.state })
    }

    /// Whether price and currency are the agreed ones, as far as the fact shows them (BIL-13). An ended subscription activates nothing,
    /// whatever it cost.
    #[must_use]
    pub fn is_contracted(&self, fact: &Fact) -> bool {
        match &fact.kind {
            FactKind::Snapshot {
                observation: Observation { snapshot, .. },
                other_prices,
                ..
            } => {
                let prices = snapshot.price.iter().chain(other_prices);
                snapshot.status.is_final() || self.contract.admits(prices, snapshot.currency)
            }
            FactKind::Paid(payment) | FactKind::Failed(payment) => self.contract.allows(&payment.billed()),
        }
    }

    fn speaker_of(&self, derived: &Derived) -> Speaker {
        if derived.speaker == self.speaker {
            Speaker::Same
        } else {
            Speaker::Another
        }
    }

    fn adopt(&mut self, derived: Derived) {
        if derived.state != self.state {
            self.version = self.version.saturating_add(1);
        }
        self.state = derived.state;
        self.speaker = derived.speaker;
        self.current_period_end = derived.current_period_end;
    }
}
