//! The protocol of one call that moves money (ESC-4).
//!
//! A call is written down before it is made (`intended`), marked while somebody makes it (`in_flight`, with a lease), and its outcome
//! is written down after. Between these three commits anything can stop, and any answer can be lost. What keeps money from moving
//! twice, or from being forgotten:
//!
//! - **One key per attempt.** [`Operation::key`] is made of our own id and the number of the attempt. A new attempt, and so a new
//!   key, only ever follows a *definite* end of the one before: Stripe's own refusal of its only call, or having looked at Stripe and
//!   found nothing, when no call can be under way any longer.
//! - **Unknown is a state.** A time-out, a lost connection, a 5xx, a 2xx that cannot be read, a lease that ran out: none of them says
//!   that nothing happened. While the key is young ([`Rules::key_lifetime`], Stripe keeps keys for 24 hours) the same call is made
//!   again under the same key, and Stripe answers with what it did the first time. Later, Stripe is looked at first.
//! - **A stored 5xx is not asked again.** Stripe replays it for a day, so the outcome is looked up.
//! - **"Nothing found" counts late.** A call that was sent may still be travelling; only after [`Rules::settle`] since the last call
//!   does an empty list mean that nothing happened.
//! - **A refusal counts when it is the only call's.** If an earlier call under the same key is unaccounted for, the refusal is kept
//!   and Stripe is looked at, because not every refusal is stored under the key.
//! - **Success counts always.** An answer, a look and a webhook may bring it, in any order and however late; a second object for the
//!   same operation is refused loudly.
//!
//! Assumed, and to be kept by whoever makes the calls: a call is sent within its lease or not at all, and its time-out is far below
//! [`Rules::settle`]. `tests/protocol.rs` explores all of this exhaustively over these same functions.

mod decide;

pub use decide::decide;

use super::decision::Decision;
use super::failure::Failure;
use super::retry::{Jitter, Schedule};
use crate::ids::{OperationId, StripeObjectId};
use crate::time::UnixSeconds;

/// The limits of the protocol, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How long one worker has an operation to itself.
    pub lease: i64,
    /// How old a key may be and still be used again. Stripe may forget it after 24 hours.
    pub key_lifetime: i64,
    /// How long after the last call nothing of it can be under way any longer.
    pub settle: i64,
    /// When to try again after a refusal.
    pub refused: Schedule,
    /// When to ask again after an unknown outcome.
    pub unknown: Schedule,
}

impl Rules {
    /// Five minutes of lease, keys for 20 of their 24 hours, an hour to settle.
    pub const STANDARD: Self = Self {
        lease: 300,
        key_lifetime: 20 * 3_600,
        settle: 3_600,
        refused: Schedule::REFUSED,
        unknown: Schedule::UNKNOWN,
    };
}

/// One intended call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Our id, also sent as metadata.
    pub id: OperationId,
    /// Where it stands.
    pub status: Status,
    /// Which key is in use, counted from 1; 0 before the first call.
    pub attempt: u32,
    /// How many calls were made under it.
    pub calls: u32,
    /// When the first of them was begun. Wrong here means a key that Stripe has forgotten, and a second payment.
    pub key_since: UnixSeconds,
    /// When the last of them was begun.
    pub last_call: UnixSeconds,
    /// How often it failed since it was intended, or since a person sent it on.
    pub failures: u32,
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Status {
    /// Written down, not begun.
    Intended,
    /// Somebody makes the call.
    InFlight {
        /// Until when it is theirs alone.
        lease_until: UnixSeconds,
    },
    /// It happened.
    Succeeded {
        /// The object that Stripe made or changed.
        object: StripeObjectId,
    },
    /// It definitely did not happen and will be tried again under a new key.
    FailedTransient {
        /// Why not.
        cause: Cause,
        /// Not before this.
        next: UnixSeconds,
    },
    /// It definitely did not happen and waits for a person.
    FailedPermanent {
        /// Why not.
        cause: Cause,
    },
    /// Nobody knows whether it happened.
    Unknown {
        /// How to find out.
        resolve: Resolve,
        /// Not before this.
        next: UnixSeconds,
    },
}

impl Status {
    /// The word in the database, in answers and in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::InFlight { .. } => "in_flight",
            Self::Succeeded { .. } => "succeeded",
            Self::FailedTransient { .. } => "failed_transient",
            Self::FailedPermanent { .. } => "failed_permanent",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// How an unknown outcome is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolve {
    /// By the same call under the same key, while the key is young.
    SameKey,
    /// By looking at Stripe.
    Look {
        /// A refusal that holds if nothing is found.
        refusal: Option<Failure>,
    },
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Stripe refused.
    Refused(Failure),
    /// Stripe was looked at and has nothing of it.
    NeverHappened,
    /// Stripe has more than one object of it. A person has to undo one.
    HappenedTwice,
    /// It was not wanted any longer before it had been made.
    Withdrawn,
}

/// Whether the escrow wants the operation at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// It is to be made.
    Wanted,
    /// Not now: a dispute freezes the escrow, or the recipient is not ready.
    OnHold,
    /// Never again.
    Withdrawn,
}

/// One call under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The attempt, which names the key.
    pub attempt: u32,
    /// Which call under this key, from 1.
    pub number: u32,
}

/// What somebody saw of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Observation {
    /// A worker has time for it.
    Due(Wish),
    /// A call came to this.
    Answered {
        /// Which call.
        call: Call,
        /// What it came to.
        answer: Answer,
    },
    /// Stripe was looked at (by `transfer_group` and metadata, or at the object itself).
    Looked {
        /// The attempt at the time.
        attempt: u32,
        /// When the look was begun.
        began: UnixSeconds,
        /// What was there.
        found: Found,
    },
    /// A webhook carries an object with the operation's id in its metadata.
    Seen(StripeObjectId),
    /// A person sends a failed operation on, having removed what was in its way, or has undone one of two.
    SentOn,
    /// A person says which of two objects counts, because neither can be undone.
    Chosen(StripeObjectId),
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A 2xx that could be read.
    Made(StripeObjectId),
    /// A 4xx that could be read.
    Refused(Failure),
    /// Everything else.
    Unclear(Unclear),
}

/// Why an answer says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unclear {
    /// No answer in time, a lost connection, a 2xx or 4xx that cannot be read, a proxy's page.
    NoAnswer,
    /// A 5xx.
    ServerError,
    /// A 5xx that Stripe marked as replayed (`Idempotent-Replayed`): the same key will not say more.
    StoredServerError,
}

/// What looking at Stripe found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Found {
    /// Nothing of this operation.
    Nothing,
    /// Its object.
    One(StripeObjectId),
    /// More than one object of it.
    Several,
}

/// What has to be done next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// Make the call, within the lease.
    Send {
        /// The value of `Idempotency-Key`.
        key: String,
        /// To be named with the answer.
        call: Call,
        /// The lease's end. From then on another worker may make it.
        until: UnixSeconds,
    },
    /// Look at Stripe.
    Look {
        /// To be named with what was found.
        attempt: u32,
    },
    /// Tell the escrow, in the same transaction.
    Report(Outcome),
    /// Tell a person.
    AskPerson(Cause),
}

/// What the escrow is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened.
    Succeeded(StripeObjectId),
    /// It definitely did not, and will be tried again when the escrow wants it.
    Refused(Failure),
    /// It definitely did not, and only a person can send it on. Without a refusal: it never arrived, too often.
    GivenUp(Option<Failure>),
    /// It was withdrawn before it was ever tried.
    Dropped,
    /// It was tried, definitely did not happen, and is not wanted any more.
    Abandoned,
}

/// Why an observation changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Another worker has it.
    #[error("another worker has the operation")]
    Leased,
    /// Its time has not come.
    #[error("the operation is not due")]
    NotDue,
    /// The escrow does not want it now.
    #[error("the operation is on hold")]
    OnHold,
    /// A person has to decide.
    #[error("the operation waits for a person")]
    WaitsForPerson,
    /// The answer is of a call that is not the last one, and does not say that it happened.
    #[error("a later call has the word")]
    LateAnswer,
    /// There is an object of this operation already, another one: money may have moved twice.
    #[error("the operation has another object, {known}, already")]
    SecondObject {
        /// The one that is known.
        known: StripeObjectId,
    },
    /// There is nothing to send on.
    #[error("the operation does not wait for a person, or must not be made again")]
    NotToBeSentOn,
}

/// A decision about an operation.
pub type OperationDecision = Decision<Operation, Instruction, Reason>;

/// When something is decided, and with which luck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moment {
    /// The time.
    pub now: UnixSeconds,
    /// For the delay, where one is set.
    pub jitter: Jitter,
}

impl Operation {
    /// A call that is about to be written down.
    #[must_use]
    pub const fn intended(id: OperationId, now: UnixSeconds) -> Self {
        Self {
            id,
            status: Status::Intended,
            attempt: 0,
            calls: 0,
            key_since: now,
            last_call: now,
            failures: 0,
        }
    }

    /// The idempotency key of the attempt: at most 255 characters for ids of up to 230, and ours are UUIDs.
    #[must_use]
    pub fn key(&self) -> String {
        format!("holdfast-{}-{}", self.id, self.attempt)
    }

    /// Whether nothing will happen any more by itself.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        match self.status {
            Status::Succeeded { .. } | Status::FailedPermanent { .. } => true,
            Status::Intended | Status::InFlight { .. } | Status::FailedTransient { .. } | Status::Unknown { .. } => {
                false
            }
        }
    }

    /// From when on an empty list means that nothing happened.
    #[must_use]
    pub const fn settled_at(&self, rules: &Rules) -> UnixSeconds {
        self.last_call.plus(rules.settle)
    }

    pub(super) const fn current_call(&self) -> Call {
        Call {
            attempt: self.attempt,
            number: self.calls,
        }
    }
}
