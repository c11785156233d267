//! The register of one subscription: what all events about it come to, in whatever order they arrived.
//!
//! Each event gives an [`Observation`]: the snapshot that it carries and what it says the snapshot was before. The register
//! keeps the observations of the highest (rank, second):
//! - an ended subscription outranks everything, because `canceled` and `incomplete_expired` are final at Stripe;
//! - `customer.subscription.created` is outranked by every later kind of event, whatever their `created` say;
//! - among equals of rank the newer second wins, and observations of one second are all kept, as a set.
//!
//! A maximum with set union at ties is commutative, associative and idempotent by construction. Which observation of a tied set
//! is the last one is read off at the end: one that another's "before" describes came earlier. Where that leaves several that
//! differ, the register is undecided; until it is settled by reading the subscription, the reading that cuts nobody off counts.
//!
//! A subscription that was read from Stripe is one more observation, with nothing to say about before. It speaks for the second
//! that [`observed_at`] gives it, and then competes like any other.

use std::collections::BTreeSet;

use super::state::ClientState;
use crate::ids::PriceId;
use crate::money::Currency;
use crate::time::UnixSeconds;

/// The status of a subscription, as Stripe has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The first invoice is unpaid.
    Incomplete,
    /// The first invoice was not paid in time. Final.
    IncompleteExpired,
    /// In a trial.
    Trialing,
    /// Paid.
    Active,
    /// A renewal is unpaid and is being retried.
    PastDue,
    /// Ended. Final.
    Canceled,
    /// Retries are over, the subscription goes on unpaid.
    Unpaid,
    /// Paused by Stripe, for instance at the end of a trial without a payment method.
    Paused,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Canceled,
        Self::Unpaid,
        Self::Paused,
    ];

    /// Stripe's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
        }
    }

    /// Reads Stripe's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether Stripe ever changes it again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Canceled | Self::IncompleteExpired => true,
            Self::Incomplete | Self::Trialing | Self::Active | Self::PastDue | Self::Unpaid | Self::Paused => false,
        }
    }
}

/// What one event says that the subscription is. Only what the rules need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// Stripe's status.
    pub status: Status,
    /// Whether collection is paused.
    pub collection_paused: bool,
    /// Whether it ends with the current period.
    pub cancel_at_period_end: bool,
    /// When it started.
    pub start: UnixSeconds,
    /// When the paid period ends.
    pub current_period_end: Option<UnixSeconds>,
    /// When its trial ends or ended.
    pub trial_end: Option<UnixSeconds>,
    /// The price of its first item.
    pub price: Option<PriceId>,
    /// Its currency.
    pub currency: Option<Currency>,
}

impl Snapshot {
    /// The state of a client for whom this snapshot speaks (BIL-1).
    #[must_use]
    pub const fn state(&self) -> ClientState {
        match (self.status, self.collection_paused) {
            (Status::Incomplete, _) => ClientState::TrialPending,
            (Status::Canceled | Status::IncompleteExpired, _) => ClientState::Canceled,
            (Status::Paused, _) | (Status::Trialing | Status::Active | Status::PastDue | Status::Unpaid, true) => {
                ClientState::Paused
            }
            (Status::Trialing, false) => ClientState::TrialActive,
            (Status::Active, false) => ClientState::Active,
            (Status::PastDue | Status::Unpaid, false) => ClientState::PastDue,
        }
    }

    /// How strongly a subscription in this condition speaks for its client: live ones first (active, trialing, past due, unpaid,
    /// paused), then an incomplete one, then an ended one.
    #[must_use]
    pub const fn voice(&self) -> Voice {
        match (self.status, self.collection_paused) {
            (Status::Canceled | Status::IncompleteExpired, _) => Voice::Ended,
            (Status::Incomplete, _) => Voice::Incomplete,
            (Status::Paused, _) | (Status::Trialing | Status::Active | Status::PastDue | Status::Unpaid, true) => {
                Voice::Paused
            }
            (Status::Unpaid, false) => Voice::Unpaid,
            (Status::PastDue, false) => Voice::PastDue,
            (Status::Trialing, false) => Voice::Trialing,
            (Status::Active, false) => Voice::Active,
        }
    }
}

/// How strongly a subscription speaks for its client; the greater one is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// It has ended.
    Ended,
    /// It was never paid.
    Incomplete,
    /// Paused.
    Paused,
    /// Unpaid after all retries.
    Unpaid,
    /// Past due.
    PastDue,
    /// In a trial.
    Trialing,
    /// Paid.
    Active,
}

impl Voice {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Incomplete => "incomplete",
            Self::Paused => "paused",
            Self::Unpaid => "unpaid",
            Self::PastDue => "past_due",
            Self::Trialing => "trialing",
            Self::Active => "active",
        }
    }
}

/// What an event says that the fields were before it; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Before {
    /// [`Snapshot::status`].
    pub status: Option<Status>,
    /// [`Snapshot::collection_paused`].
    pub collection_paused: Option<bool>,
    /// [`Snapshot::cancel_at_period_end`].
    pub cancel_at_period_end: Option<bool>,
    /// [`Snapshot::current_period_end`].
    pub current_period_end: Option<Option<UnixSeconds>>,
    /// [`Snapshot::trial_end`].
    pub trial_end: Option<Option<UnixSeconds>>,
    /// [`Snapshot::price`].
    pub price: Option<Option<PriceId>>,
}

impl Before {
    fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// One event's word on a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observation {
    /// What it is now.
    pub snapshot: Snapshot,
    /// What it was before.
    pub before: Before,
}

impl Observation {
    /// Whether this event found `earlier` and made something else of it. What it does not say to be different before was the
    /// same before, so this compares every field that [`Before`] has, not only those that it tells.
    fn follows(&self, earlier: &Snapshot) -> bool {
        fn was<T: PartialEq>(told: Option<&T>, now: &T, earlier: &T) -> bool {
            told.unwrap_or(now) == earlier
        }
        let (before, now) = (&self.before, &self.snapshot);
        !before.says_nothing()
            && now != earlier
            && was(before.status.as_ref(), &now.status, &earlier.status)
            && was(
                before.collection_paused.as_ref(),
                &now.collection_paused,
                &earlier.collection_paused,
            )
            && was(
                before.cancel_at_period_end.as_ref(),
                &now.cancel_at_period_end,
                &earlier.cancel_at_period_end,
            )
            && was(
                before.current_period_end.as_ref(),
                &now.current_period_end,
                &earlier.current_period_end,
            )
            && was(before.trial_end.as_ref(), &now.trial_end, &earlier.trial_end)
            && was(before.price.as_ref(), &now.price, &earlier.price)
    }
}

/// How an observation competes with others, before time is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// From `customer.subscription.created`: never overrides.
    Created,
    /// From any later event.
    Updated,
    /// The subscription has ended: absorbs.
    Ended,
}

impl Rank {
    /// The number in the database.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Created => 0,
            Self::Updated => 1,
            Self::Ended => 2,
        }
    }

    /// Reads the number back.
    #[must_use]
    pub const fn from_number(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::Created),
            1 => Some(Self::Updated),
            2 => Some(Self::Ended),
            _ => None,
        }
    }
}

/// The observations that count: those of the highest rank and, within it, the newest second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    rank: Rank,
    at: UnixSeconds,
    tied: BTreeSet<Observation>,
}

/// How far Stripe's clocks may be apart, in seconds: the one that stamps answers and those that stamp events.
pub const CLOCKS_APART: i64 = 2;

/// The second for which an object speaks that was read from Stripe: a little before Stripe's own clock when it answered, so that
/// no event that came to be after the answer can seem older than it. An event that made us read happened before the answer, so
/// the object speaks at least for that event's second.
///
/// Dating an observation too early is harmless: what then outranks it, wrongly, is an event that Stripe delivers as well, and the
/// last of those is the truth. Dating it too late would hide a later event for good.
#[must_use]
pub fn observed_at(answered: UnixSeconds, because_of: Option<UnixSeconds>) -> UnixSeconds {
    let safe = UnixSeconds(answered.0.saturating_sub(CLOCKS_APART));
    because_of.map_or(safe, |event| event.max(safe))
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The register holds something new.
    Changed,
    /// It knew this already.
    Known,
    /// It holds something newer.
    Older,
    /// The subscription has ended, and this would bring it back.
    AfterTheEnd,
}

/// What the tied observations come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<'a> {
    /// The last snapshot, or the kindest of those that could be.
    pub snapshot: &'a Snapshot,
    /// Whether several that differ could be the last.
    pub undecided: bool,
}

impl Snapshots {
    /// A register with one observation, made at `at` (the event's `created`) by an event of `rank`. An observation whose status
    /// is final has the rank [`Rank::Ended`], whatever the event was.
    #[must_use]
    pub fn new(rank: Rank, at: UnixSeconds, observation: Observation) -> Self {
        let rank = if observation.snapshot.status.is_final() {
            Rank::Ended
        } else {
            rank
        };
        Self {
            rank,
            at,
            tied: BTreeSet::from([observation]),
        }
    }

    /// A register as it was stored; `None` when there is no observation in it.
    #[must_use]
    pub fn restore(rank: Rank, at: UnixSeconds, tied: BTreeSet<Observation>) -> Option<Self> {
        (!tied.is_empty()).then_some(Self { rank, at, tied })
    }

    /// The rank that counts.
    #[must_use]
    pub const fn rank(&self) -> Rank {
        self.rank
    }

    /// The second that counts.
    #[must_use]
    pub const fn at(&self) -> UnixSeconds {
        self.at
    }

    /// The observations that count.
    #[must_use]
    pub const fn tied(&self) -> &BTreeSet<Observation> {
        &self.tied
    }

    /// Takes another register's observations in.
    pub fn merge(&mut self, other: &Self) -> Merged {
        match (self.rank, self.at).cmp(&(other.rank, other.at)) {
            std::cmp::Ordering::Less => {
                *self = other.clone();
                Merged::Changed
            }
            std::cmp::Ordering::Equal => {
                let known = self.tied.len();
                self.tied.extend(other.tied.iter().cloned());
                if self.tied.len() > known {
                    Merged::Changed
                } else {
                    Merged::Known
                }
            }
            std::cmp::Ordering::Greater
                if self.rank == Rank::Ended && other.rank < Rank::Ended && other.at > self.at =>
            {
                Merged::AfterTheEnd
            }
            std::cmp::Ordering::Greater => Merged::Older,
        }
    }

    /// What the register says, or `None` for an empty one, which [`Self::restore`] never makes.
    #[must_use]
    pub fn read(&self) -> Option<Reading<'_>> {
        read_newest([self])
    }

    /// Whether what counts here goes before what counts there.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.rank, self.at) > (other.rank, other.at)
    }

    /// This snapshot, where it is among those that count.
    #[must_use]
    pub fn find(&self, snapshot: &Snapshot) -> Option<&Snapshot> {
        let mut shown = self.tied.iter().map(|observation| &observation.snapshot);
        shown.find(|shown| *shown == snapshot)
    }

    /// A register of those that count and fit; `None` where none does.
    #[must_use]
    pub fn those(&self, fit: impl Fn(&Snapshot) -> bool) -> Option<Self> {
        let tied = self.tied.iter().filter(|observation| fit(&observation.snapshot));
        Self::restore(self.rank, self.at, tied.cloned().collect())
    }
}

/// What several registers of one subscription say, as one of all their observations would.
pub fn read_newest<'r>(registers: impl IntoIterator<Item = &'r Snapshots>) -> Option<Reading<'r>> {
    let registers: Vec<&Snapshots> = registers.into_iter().collect();
    let newest = registers.iter().map(|register| (register.rank, register.at)).max()?;
    let tied = || {
        let counts = registers
            .iter()
            .filter(|register| (register.rank, register.at) == newest);
        counts.flat_map(|register| &register.tied)
    };
    let last: BTreeSet<&Snapshot> = tied()
        .filter(|earlier| !tied().any(|later| later.follows(&earlier.snapshot)))
        .map(|observation| &observation.snapshot)
        .collect();
    // In a circle (there and back within a second) every observation has a follower: all of them could be the last.
    let candidates: BTreeSet<&Snapshot> = if last.is_empty() {
        tied().map(|observation| &observation.snapshot).collect()
    } else {
        last
    };
    let undecided = candidates.len() > 1;
    let snapshot = candidates
        .into_iter()
        .max_by_key(|snapshot| (snapshot.voice(), *snapshot))?;
    Some(Reading { snapshot, undecided })
}
