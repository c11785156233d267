//! What is known of an escrow's money, merged by rules that do not care about order.
//!
//! Stripe tells amounts that only grow (`amount_refunded`, `amount_reversed`) as totals; our own calls tell what each of them did; and
//! whatever was told beyond these is what others did. The truth is at least either of the first, and at least the sum of the last two,
//! so [`Cumulative`] takes the larger one: maxima and a union, in whatever order they come. Disputes and
//! the payment keep the furthest stage that they were seen in. Only an account's readiness goes up and down: the newest snapshot
//! counts, and a refusal by Stripe counts until a snapshot says otherwise.

use std::collections::BTreeMap;

use super::failure::ErrorCode;
use crate::ids::{AccountId, TransferId};
use crate::time::UnixSeconds;
use crate::words::words;

/// What Stripe knows of the payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Payment {
    /// An attempt to pay failed.
    pub failed: bool,
    /// It was authorised; until when it can be captured, where that is known.
    pub authorized: Option<Option<UnixSeconds>>,
    /// How much was captured, in minor units.
    pub captured: Option<i64>,
    /// It was canceled. A capture outranks it: money that is there is never forgotten.
    pub canceled: bool,
}

impl Payment {
    /// Both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            failed: self.failed || other.failed,
            authorized: self.authorized.max(other.authorized),
            captured: self.captured.max(other.captured),
            canceled: self.canceled || other.canceled,
        }
    }
}

/// An amount that only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Cumulative {
    /// The largest total that Stripe told.
    pub told: i64,
    /// What others did, in a dashboard for example, as far as it is certain: the most by which a total exceeded what our own jobs had
    /// done or might just have been doing.
    pub outside: i64,
    /// What our own jobs did, by their number.
    pub ours: BTreeMap<u32, i64>,
}

impl Cumulative {
    /// The least that it can be.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.told.max(self.outside.saturating_add(self.of_ours()))
    }

    /// What our own jobs came to.
    #[must_use]
    pub fn of_ours(&self) -> i64 {
        self.ours.values().copied().fold(0, i64::saturating_add)
    }

    /// What was told and is neither certainly others' nor known to be ours.
    #[must_use]
    pub fn in_doubt(&self) -> i64 {
        let certain = self.outside.saturating_add(self.of_ours());
        self.told.saturating_sub(certain).max(0)
    }

    /// A total that Stripe told, while a job of ours for `under_way` might be in it already.
    pub(super) fn tell(&mut self, total: i64, under_way: i64) {
        let ours_at_most = self.of_ours().saturating_add(under_way);
        self.told = self.told.max(total);
        self.outside = self.outside.max(total.saturating_sub(ours_at_most));
    }

    /// What was told is told again, now that it is certain that no job of ours was in it but those that are done.
    pub(super) fn tell_without_ours(&mut self) {
        self.tell(self.told, 0);
    }
}

words! {
    /// How far a dispute has gone; the furthest counts. A dispute can be lost and won later, never the other way round.
    DisputeStage {
        /// A question of the bank's, no money has moved.
        Inquiry => "inquiry",
        /// An inquiry that came to nothing, or a dispute that was prevented.
        Closed => "closed",
        /// The bank has taken the money for now.
        Open => "open",
        /// The bank keeps it.
        Lost => "lost",
        /// The money has come back.
        Won => "won",
    }
}

impl DisputeStage {
    /// Whether money was taken in it, at least for a while, so that there was some to be taken.
    #[must_use]
    pub const fn moved_money(self) -> bool {
        match self {
            Self::Open | Self::Lost | Self::Won => true,
            Self::Inquiry | Self::Closed => false,
        }
    }
}

/// One dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dispute {
    /// How far it has gone.
    pub stage: DisputeStage,
    /// Minor units; can be less or more than the charge.
    pub amount: i64,
}

impl Dispute {
    /// Both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            stage: self.stage.max(other.stage),
            amount: self.amount.max(other.amount),
        }
    }
}

/// One transfer to a recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Minor units.
    pub amount: i64,
    /// How much of it was taken back.
    pub reversed: Cumulative,
    /// It failed by itself (`transfer.failed`): its share is paid again without a person.
    pub failed: bool,
}

impl Transfer {
    /// What the recipient still has of it.
    #[must_use]
    pub fn net(&self) -> i64 {
        self.amount.saturating_sub(self.reversed.total()).max(0)
    }
}

/// Whether an account can receive transfers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// Not known; Stripe will say when it is asked to transfer.
    #[default]
    Unknown,
    /// It can.
    Ready,
    /// It cannot (yet, or any longer).
    NotReady(ErrorCode),
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipient {
    /// The connected account.
    pub account: AccountId,
    /// What it was paid, by Stripe's id.
    pub transfers: BTreeMap<TransferId, Transfer>,
    /// How many transfers it may have had. A release allows one more than it had; what was taken back from it is paid again only when
    /// a person releases again.
    pub entitled: u32,
    /// Whether it can receive.
    pub readiness: Readiness,
    /// When the newest snapshot of the account was made, by Stripe's clock.
    pub seen_at: Option<UnixSeconds>,
    /// What was to be taken back, could not be, and is booked as a loss; minor units. Never more than the recipient has beyond what it
    /// is to have: what becomes its own again, by a dispute that is won late, is no loss any longer.
    pub written_off: i64,
}

impl Recipient {
    /// A recipient of whom nothing is known.
    #[must_use]
    pub const fn new(account: AccountId) -> Self {
        Self {
            account,
            transfers: BTreeMap::new(),
            entitled: 0,
            readiness: Readiness::Unknown,
            seen_at: None,
            written_off: 0,
        }
    }

    /// What it has, after reversals.
    #[must_use]
    pub fn net(&self) -> i64 {
        self.transfers.values().map(Transfer::net).fold(0, i64::saturating_add)
    }

    /// Whether a release has not been followed by its transfer yet.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.had() < self.entitled
    }

    /// How many transfers it had, not counting those that failed by themselves.
    pub(super) fn had(&self) -> u32 {
        let had = self.transfers.values().filter(|transfer| !transfer.failed).count();
        u32::try_from(had).unwrap_or(u32::MAX)
    }

    /// Takes a snapshot of the account in. The newest counts; of one second, the one that is ready: if that is wrong, Stripe's
    /// refusal of the next transfer corrects it, whereas a recipient that waits for nothing would wait for ever.
    pub(super) fn see(&mut self, readiness: Readiness, at: UnixSeconds) {
        let is_newer = self.seen_at.is_none_or(|seen| at > seen);
        let is_ready_now = self.seen_at == Some(at) && readiness == Readiness::Ready;
        if is_newer || is_ready_now {
            self.readiness = readiness;
            self.seen_at = Some(at);
        }
    }
}
