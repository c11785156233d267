//! An escrow: its terms, what is known of its money, what was asked of it, and the jobs that are under way.
//!
//! As in billing, the status is *derived*: from the facts, which are merged without regard to order, and from what was asked. What
//! has to be done next is derived as well ([`Escrow::plan`]): the difference between what each recipient has and what it is to have.
//! So no order of webhooks and answers leads anywhere else, and a fact that nobody foresaw (a refund made in the dashboard) leads to
//! the right corrections by itself.
//!
//! What is to be, for each recipient, is its part of the split less its part of everything that went back or is to go back to the
//! payer, by refund or lost dispute ([`Split::returned`]).

use std::collections::BTreeMap;

use super::facts::{Cumulative, Dispute, DisputeStage, Payment, Readiness, Recipient};
use super::failure::Failure;
use super::operation::Wish;
#[cfg(doc)]
use super::split::Split;
use super::state::EscrowStatus;
use super::terms::Terms;
use crate::ids::{AccountId, DisputeId, TransferId};
use crate::words::words;

/// An escrow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Escrow {
    /// What it was created with.
    pub terms: Terms,
    /// The status that was announced last.
    pub status: EscrowStatus,
    /// The payment.
    pub payment: Payment,
    /// What was refunded, in minor units.
    pub refunded: Cumulative,
    /// Its disputes.
    pub disputes: BTreeMap<DisputeId, Dispute>,
    /// Its recipients, in the order of the split.
    pub recipients: Vec<Recipient>,
    /// What was asked of it.
    pub asked: Asked,
    /// The jobs that are not done, by number. A job's operation has the same life.
    pub jobs: BTreeMap<u32, Job>,
    /// How many jobs were begun; the number of the last one.
    pub jobs_begun: u32,
}

/// What was asked of an escrow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// It was released.
    pub release: bool,
    /// How much our own jobs are to refund, all together, in minor units. What others refund is not part of it, unless it was refunded
    /// while ours stood refused: then it is taken for the same refund, made by hand, and is asked for no longer.
    pub refund: i64,
    /// It is to be canceled before it is captured. Where it is captured first, only what was asked to be refunded goes back by itself;
    /// one that has expired waits for the next time-out run and its breaker.
    pub cancel: bool,
    /// It is to be captured before its authorisation ends.
    pub secure: bool,
}

/// A call that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    /// On what.
    pub task: Task,
    /// How much, in minor units.
    pub amount: i64,
    /// How it stands.
    pub standing: Standing,
}

words! {
    /// The kind of a job, and of its operation.
    TaskKind {
        /// Capture the payment.
        Capture => "capture",
        /// Cancel the payment.
        Cancel => "cancel",
        /// Pay a recipient.
        Transfer => "transfer",
        /// Take a transfer back.
        Reverse => "reverse",
        /// Refund the charge.
        Refund => "refund",
    }
}

/// What a job works on. There is at most one job on each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// The payment, to capture it.
    Capture,
    /// The payment, to cancel it.
    Cancel,
    /// A recipient, to pay it.
    Transfer(AccountId),
    /// A transfer, to take it back.
    Reverse(AccountId, TransferId),
    /// The charge, to refund it.
    Refund,
}

impl Task {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::Capture => TaskKind::Capture,
            Self::Cancel => TaskKind::Cancel,
            Self::Transfer(_) => TaskKind::Transfer,
            Self::Reverse(..) => TaskKind::Reverse,
            Self::Refund => TaskKind::Refund,
        }
    }
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its call is to be made, is being made, or was made and nobody knows.
    Open,
    /// Its call was refused and can be made again.
    Refused(Failure),
    /// Its call waits for a person.
    GivenUp(Option<Failure>),
}

impl Escrow {
    /// An escrow that was just created.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        let recipients = terms.split.parts().iter();
        Self {
            recipients: recipients.map(|part| Recipient::new(part.account.clone())).collect(),
            terms,
            status: EscrowStatus::AwaitingPayment,
            payment: Payment::default(),
            refunded: Cumulative::default(),
            disputes: BTreeMap::new(),
            asked: Asked::default(),
            jobs: BTreeMap::new(),
            jobs_begun: 0,
        }
    }

    /// What was captured, in minor units.
    #[must_use]
    pub fn captured(&self) -> i64 {
        self.payment.captured.unwrap_or_default()
    }

    /// What the payer's banks have taken for good.
    #[must_use]
    pub fn lost(&self) -> i64 {
        self.in_stage(DisputeStage::Lost)
    }

    /// What is disputed and not decided.
    #[must_use]
    pub fn in_dispute(&self) -> i64 {
        self.in_stage(DisputeStage::Open)
    }

    fn in_stage(&self, stage: DisputeStage) -> i64 {
        let there = self.disputes.values().filter(|dispute| dispute.stage == stage);
        there.map(|dispute| dispute.amount).fold(0, i64::saturating_add)
    }

    /// Whether a dispute is open.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.disputes
            .values()
            .any(|dispute| dispute.stage == DisputeStage::Open)
    }

    /// What has gone back to the payer: refunded, lost, or never taken although it was authorised.
    #[must_use]
    pub fn given_back(&self) -> i64 {
        let never_taken = self.payment.captured.map_or(0, |captured| {
            self.terms.split.amount().minor.saturating_sub(captured).max(0)
        });
        never_taken
            .saturating_add(self.refunded.total())
            .saturating_add(self.lost())
    }

    /// What is left that could still be refunded, in minor units.
    #[must_use]
    pub fn refundable(&self) -> i64 {
        let left = self.captured().saturating_sub(self.refunded.total());
        left.saturating_sub(self.lost()).max(0)
    }

    /// What was asked to be refunded and was not yet, in minor units: never more than was asked of us, whatever others refund, and never
    /// more than there is.
    #[must_use]
    pub fn refund_due(&self) -> i64 {
        let due = self.asked.refund.saturating_sub(self.refunded.of_ours());
        due.min(self.refundable()).max(0)
    }

    /// Whether others have made a part of our refund, so that only the rest of it is asked for any more. It is not less for want of money.
    #[must_use]
    pub(super) fn is_made_in_parts_by_hand(&self, refund: &Job) -> bool {
        let still_asked = self.asked.refund.saturating_sub(self.refunded.of_ours());
        let due = self.refund_due();
        refund.task == Task::Refund && due > 0 && due == still_asked && due < refund.amount
    }

    /// What will have gone back to the payer once everything that was asked for is done. A refund that Stripe tells of before our call's
    /// answer is known is taken for that call's and counted once: recipients are not taken from for a second one until it is certain. A
    /// call is made whole or not at all, so that what is less than its amount is not its.
    fn to_be_given_back(&self) -> i64 {
        let under_way = self.under_way(&Task::Refund);
        let perhaps_ours = if self.refunded.in_doubt() >= under_way {
            under_way
        } else {
            0
        };
        let still_to_come = self.refund_due().saturating_sub(perhaps_ours).max(0);
        self.given_back().saturating_add(still_to_come)
    }

    /// What each recipient is to have once everything that was asked for is done, in the order of the recipients.
    #[must_use]
    pub fn targets(&self) -> Vec<i64> {
        let returned = self.terms.split.returned(self.to_be_given_back());
        let parts = self.terms.split.parts().iter();
        parts
            .zip(returned.parts)
            .map(|(part, back)| part.amount.saturating_sub(back))
            .collect()
    }

    /// Everything that is to be done now. The same facts always give the same plan; jobs that are open already are in it as well, and
    /// transfers to recipients that cannot receive yet ([`Self::is_barred`]).
    #[must_use]
    pub fn plan(&self) -> Vec<(Task, i64)> {
        if self.is_frozen() {
            return Vec::new();
        }
        if self.payment.captured.is_none() {
            return self.before_capture();
        }
        let reversals = self.reversals();
        if !reversals.is_empty() {
            return reversals;
        }
        if self.refund_due() > 0 {
            return vec![(Task::Refund, self.refund_due())];
        }
        self.transfers()
    }

    fn before_capture(&self) -> Vec<(Task, i64)> {
        let amount = self.terms.split.amount().minor;
        let can_be_captured = self.payment.authorized.is_some() && !self.shows_its_capture();
        if self.payment.canceled {
            Vec::new()
        } else if self.asked.cancel {
            vec![(Task::Cancel, amount)]
        } else if can_be_captured && (self.asked.release || self.asked.secure) {
            vec![(Task::Capture, amount)]
        } else {
            Vec::new()
        }
    }

    /// What recipients have beyond their targets because it went back to the payer, or is to go back. The newest transfer is taken
    /// back first.
    pub(super) fn reversals(&self) -> Vec<(Task, i64)> {
        if self.to_be_given_back() == 0 {
            return Vec::new();
        }
        let mut reversals = Vec::new();
        for (recipient, target) in self.recipients.iter().zip(self.targets()) {
            let mut over = recipient
                .net()
                .saturating_sub(target)
                .saturating_sub(recipient.written_off);
            for (id, transfer) in recipient.transfers.iter().rev() {
                let amount = over.min(transfer.net());
                if amount > 0 {
                    reversals.push((Task::Reverse(recipient.account.clone(), id.clone()), amount));
                    over = over.saturating_sub(amount);
                }
            }
        }
        reversals
    }

    fn transfers(&self) -> Vec<(Task, i64)> {
        let with_targets = self.recipients.iter().zip(self.targets());
        with_targets
            .filter(|(recipient, _)| recipient.is_owed())
            .map(|(recipient, target)| {
                let amount = target.saturating_sub(recipient.net());
                (Task::Transfer(recipient.account.clone()), amount)
            })
            .filter(|(_, amount)| *amount > 0)
            .collect()
    }

    /// Whether a task has to wait for its recipient to be able to receive.
    #[must_use]
    pub fn is_barred(&self, task: &Task) -> bool {
        let cannot = |account: &AccountId| {
            let mut recipients = self.recipients.iter().filter(|recipient| recipient.account == *account);
            recipients.any(|recipient| matches!(recipient.readiness, Readiness::NotReady(_)))
        };
        match task {
            Task::Transfer(account) => cannot(account),
            Task::Capture | Task::Cancel | Task::Reverse(..) | Task::Refund => false,
        }
    }

    /// The job on a task.
    #[must_use]
    pub fn job_on(&self, task: &Task) -> Option<(u32, &Job)> {
        self.jobs
            .iter()
            .find(|(_, job)| job.task == *task)
            .map(|(number, job)| (*number, job))
    }

    /// Whether any call is to be made, is being made, or has an unknown outcome. A cancellation of what is captured has none: it did not
    /// happen, and what comes next need not wait until its call is settled.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let is_vain = |job: &Job| job.task == Task::Cancel && self.payment.captured.is_some();
        let mut jobs = self.jobs.values();
        jobs.any(|job| job.standing == Standing::Open && !is_vain(job))
    }

    /// What the escrow wants of a job's operation at this moment: to be asked in the transaction that picks it up.
    #[must_use]
    pub fn wish(&self, number: u32) -> Wish {
        let Some(job) = self.jobs.get(&number) else {
            return Wish::Withdrawn;
        };
        match job.standing {
            Standing::Refused(_) | Standing::GivenUp(_) => Wish::OnHold,
            Standing::Open if self.is_barred(&job.task) => Wish::Withdrawn,
            Standing::Open if self.is_frozen() => Wish::OnHold,
            // What Stripe tells of may be this very one, or made by a person who gave up waiting for it: it is looked for, and not sent again.
            Standing::Open if job.task == Task::Refund && self.refunded.in_doubt() >= job.amount => Wish::Withdrawn,
            Standing::Open if self.plan().contains(&(job.task.clone(), job.amount)) => Wish::Wanted,
            Standing::Open => Wish::Withdrawn,
        }
    }

    /// Whether the payment was captured although the webhook that says so is still on its way: what is disputed or refunded was.
    pub(super) fn shows_its_capture(&self) -> bool {
        let is_disputed = self.disputes.values().any(|dispute| dispute.stage.moved_money());
        is_disputed || self.refunded.total() > 0
    }

    /// Whether a dispute was won: the money that it was about is there again.
    #[must_use]
    pub fn has_won_a_dispute(&self) -> bool {
        self.disputes.values().any(|dispute| dispute.stage == DisputeStage::Won)
    }

    /// What our job on a task might just be doing, in minor units. One that was refused or given up did nothing.
    pub(super) fn under_way(&self, task: &Task) -> i64 {
        let open = self.job_on(task).filter(|(_, job)| job.standing == Standing::Open);
        open.map_or(0, |(_, job)| job.amount)
    }
}
