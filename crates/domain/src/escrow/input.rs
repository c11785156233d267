//! What can happen to an escrow: commands of ours, and facts of Stripe's.

use super::facts::{DisputeStage, Readiness};
use super::failure::Failure;
use crate::ids::{AccountId, DisputeId, TransferId};
use crate::money::Money;
use crate::time::UnixSeconds;

/// What can happen to an escrow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// Somebody wants something.
    Command(Command),
    /// Something is so.
    Fact(Fact),
}

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Pay the recipients.
    Release,
    /// Give this much back, in minor units; all that is left where nothing is said.
    Refund(Option<i64>),
    /// Give it back if its time is over. The sweeper asks, under the breaker.
    Expire,
    /// Capture it if its authorisation is about to end. The sweeper asks.
    SecureAuthorization,
    /// Make a refused job's call again. The retry service asks, or a person.
    Retry {
        /// The job's number.
        job: u32,
    },
    /// Do not refund what Stripe does not refund; the payer gets it another way, or not at all. Only a person asks.
    WithdrawRefund,
    /// Stop trying to take money back from this recipient; the platform bears the loss. Only a person asks.
    BearLoss(AccountId),
}

/// What is so, from a webhook, an answer or a look at Stripe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    /// An attempt to pay failed.
    PaymentFailed,
    /// The payment is authorised.
    Authorized {
        /// Until when it can be captured, where Stripe says.
        capture_before: Option<UnixSeconds>,
    },
    /// The payment was captured: `amount_received`.
    Captured(Money),
    /// The payment was canceled, by us, by somebody, or because its authorisation ended.
    PaymentCanceled,
    /// The charge's `amount_refunded`, a total.
    Refunded(Money),
    /// A dispute was opened, updated or closed.
    Disputed {
        /// Which.
        dispute: DisputeId,
        /// How far it has gone.
        stage: DisputeStage,
        /// How much it is about.
        amount: Money,
    },
    /// A transfer to a recipient exists.
    Transferred {
        /// The recipient.
        account: AccountId,
        /// The transfer.
        transfer: TransferId,
        /// Its amount.
        amount: Money,
    },
    /// A transfer's `amount_reversed`, a total.
    TransferReversed {
        /// The recipient.
        account: AccountId,
        /// The transfer.
        transfer: TransferId,
        /// The transfer's amount, which the same event tells.
        amount: Money,
        /// How much of it was taken back.
        total: Money,
    },
    /// A snapshot of a recipient's account.
    AccountSeen {
        /// Whose.
        account: AccountId,
        /// Whether it can receive.
        readiness: Readiness,
        /// When the snapshot was made, by Stripe's clock.
        at: UnixSeconds,
    },
    /// `transfer.failed`, which only old accounts send: the money is back on the platform.
    TransferFailed {
        /// The recipient.
        account: AccountId,
        /// The transfer.
        transfer: TransferId,
        /// Its amount.
        amount: Money,
    },
    /// `payout.failed` of a recipient's account: its own affair, and worth knowing.
    PayoutFailed(AccountId),
    /// What became of a job's call.
    JobDone {
        /// The job's number.
        job: u32,
        /// What became of it.
        outcome: JobOutcome,
    },
}

/// What became of a job's call, as [`super::operation::Outcome`] says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JobOutcome {
    /// It happened. For a transfer with its id.
    Done(Option<TransferId>),
    /// It definitely did not, and can be tried again.
    Refused(Failure),
    /// It definitely did not, and waits for a person.
    GivenUp(Option<Failure>),
    /// It was withdrawn before it was ever tried.
    Dropped,
    /// It was tried, definitely did not happen, and is not wanted any more.
    Abandoned,
}
