//! The state of a client as a function of its contract and its subscriptions, and of nothing else.

use std::collections::BTreeMap;

use super::contract::Contract;
use super::payment::Standing;
use super::register::{Condition, Subscription};
use super::state::ClientState;
use super::subscription::{Snapshot, Voice};
use crate::ids::SubscriptionId;
use crate::time::UnixSeconds;

/// What contract and facts come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// The client's state.
    pub state: ClientState,
    /// The subscription that speaks for the client; `None` while no fact speaks and the contract does.
    pub speaker: Option<SubscriptionId>,
    /// When the speaker's paid period ends.
    pub current_period_end: Option<UnixSeconds>,
    /// Whether the speaker's last snapshot cannot be told from another of the same second.
    pub undecided: bool,
}

/// What one subscription says about its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// How strongly it speaks.
    pub voice: Voice,
    /// Since when: among equal voices the latest is heard.
    pub since: UnixSeconds,
    /// The state that it asks for.
    pub state: ClientState,
    /// When its paid period ends.
    pub current_period_end: Option<UnixSeconds>,
    /// Whether its last snapshot cannot be told from another of the same second.
    pub undecided: bool,
    /// What it rests on.
    pub basis: Basis,
}

/// What a subscription's word rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A snapshot of the subscription.
    Snapshot,
    /// Payments alone; no snapshot was seen yet.
    Payments,
}

impl Basis {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Payments => "payments",
        }
    }
}

/// What each subscription says, the one that is heard first: why the state is what it is. Those that say nothing (never paid, or
/// not seen at the price that was agreed) are left out.
#[must_use]
pub fn explain<'s>(
    contract: &Contract,
    subscriptions: &'s BTreeMap<SubscriptionId, Subscription>,
) -> Vec<(&'s SubscriptionId, Word)> {
    let said = |(id, subscription)| Some((id, word(contract, subscription)?));
    let mut words: Vec<_> = subscriptions.iter().filter_map(said).collect();
    words.sort_by(|a, b| rank(b).cmp(&rank(a)));
    words
}

/// The strongest voice is heard; among equals the one that started last, then (so that the answer never depends on order) the
/// greater id.
fn rank<'s>((id, word): &(&'s SubscriptionId, Word)) -> (Voice, UnixSeconds, &'s SubscriptionId) {
    (word.voice, word.since, *id)
}

/// Derives the state: that of the subscription that is heard, or the contract's own where none speaks.
#[must_use]
pub fn derive(contract: &Contract, subscriptions: &BTreeMap<SubscriptionId, Subscription>) -> Derived {
    subscriptions
        .iter()
        .filter_map(|(id, subscription)| Some((id, word(contract, subscription)?)))
        .max_by_key(rank)
        .map_or_else(
            || Derived {
                state: contract.initial,
                speaker: None,
                current_period_end: None,
                undecided: false,
            },
            |(id, word)| Derived {
                state: word.state,
                speaker: Some(id.clone()),
                current_period_end: word.current_period_end,
                undecided: word.undecided,
            },
        )
}

/// What one subscription says. A snapshot, once seen, outranks what was paid. Where the contract names a price, payments count once one of
/// them named it, or where the subscription had been paid for before: those that name none activate nobody (BIL-13).
///
/// At another price than was agreed a subscription says what it was at the agreed one, or what it is now where that is less: it takes
/// nobody up (BIL-13), and who does not pay is not heard as one who does. One that was never seen at the agreed price says what was paid at
/// it, or less; where that was nothing, it says nothing.
fn word(contract: &Contract, subscription: &Subscription) -> Option<Word> {
    let Some(Condition { now, agreed, undecided }) = subscription.condition() else {
        return by_payments(contract, subscription, subscription.standing());
    };
    let shown = Word {
        undecided,
        ..by_snapshot(now)
    };
    let agreed = agreed.map_or_else(
        || by_payments(contract, subscription, subscription.evidence.standing()),
        |agreed| Some(by_snapshot(agreed)),
    )?;
    Some(if agreed.voice < shown.voice {
        Word { undecided, ..agreed }
    } else {
        shown
    })
}

const fn by_snapshot(snapshot: &Snapshot) -> Word {
    Word {
        voice: snapshot.voice(),
        since: snapshot.start,
        state: snapshot.state(),
        current_period_end: snapshot.current_period_end,
        undecided: false,
        basis: Basis::Snapshot,
    }
}

/// What its payments say, where they count.
fn by_payments(contract: &Contract, subscription: &Subscription, standing: Standing) -> Option<Word> {
    if contract.price.is_some() && !subscription.paid_as_agreed {
        return None;
    }
    let paid = |voice, state, since| Word {
        voice,
        since,
        state,
        current_period_end: None,
        undecided: false,
        basis: Basis::Payments,
    };
    match standing {
        Standing::NeverPaid => None,
        Standing::Paid { since } => Some(paid(Voice::Active, ClientState::Active, since)),
        Standing::Behind { since } => Some(paid(Voice::PastDue, ClientState::PastDue, since)),
    }
}
