//! The status of an escrow and of its recipients, as the facts and what was asked come to.

use super::facts::{Readiness, Recipient};
use super::held::{Escrow, Standing, Task};
use super::state::{EscrowStatus, RecipientStatus};

impl Escrow {
    /// Where the share of each recipient stands, in the order of the recipients.
    #[must_use]
    pub fn recipient_statuses(&self) -> Vec<RecipientStatus> {
        let with_targets = self.recipients.iter().zip(self.targets());
        with_targets
            .map(|(recipient, target)| self.recipient_status(recipient, target))
            .collect()
    }

    fn recipient_status(&self, recipient: &Recipient, target: i64) -> RecipientStatus {
        let mut reversal = None;
        for job in self.jobs.values() {
            match &job.task {
                Task::Transfer(account) if *account == recipient.account && job.standing == Standing::Open => {
                    return RecipientStatus::Paying;
                }
                Task::Reverse(account, _) if *account == recipient.account => {
                    reversal = reversal.max(Some(job.standing));
                }
                Task::Transfer(_) | Task::Reverse(..) | Task::Capture | Task::Cancel | Task::Refund => {}
            }
        }
        match reversal {
            Some(Standing::Open) => return RecipientStatus::Reversing,
            Some(Standing::Refused(_) | Standing::GivenUp(_)) => return RecipientStatus::ReversalFailed,
            None => {}
        }
        if self.payment.canceled && self.payment.captured.is_none() {
            // Nothing was ever there for it.
            return RecipientStatus::Returned;
        }
        let net = recipient.net();
        let was_refused = self.job_on(&Task::Transfer(recipient.account.clone())).is_some();
        if net < target {
            match (recipient.is_owed(), recipient.readiness) {
                (true, Readiness::NotReady(_)) => RecipientStatus::PendingUserSetup,
                (true, Readiness::Unknown | Readiness::Ready) if was_refused => RecipientStatus::TransferFailed,
                (true, Readiness::Unknown | Readiness::Ready) => RecipientStatus::Waiting,
                // It had its release, and what it got or was to get was taken back.
                (false, Readiness::Unknown | Readiness::Ready | Readiness::NotReady(_)) if self.asked.release => {
                    RecipientStatus::Reversed
                }
                (false, Readiness::Unknown | Readiness::Ready | Readiness::NotReady(_)) => RecipientStatus::Waiting,
            }
        } else if net > 0 {
            RecipientStatus::Paid
        } else if recipient.transfers.is_empty() {
            RecipientStatus::Returned
        } else {
            RecipientStatus::Reversed
        }
    }

    /// The status that the facts and what was asked come to.
    #[must_use]
    pub fn derive_status(&self) -> EscrowStatus {
        match self.payment.captured {
            None => self.status_before_capture(),
            Some(captured) => self.status_after_capture(captured),
        }
    }

    fn status_before_capture(&self) -> EscrowStatus {
        if self.payment.canceled {
            EscrowStatus::Canceled
        } else if self.is_frozen() {
            EscrowStatus::Disputed
        } else if self.asked.cancel {
            EscrowStatus::Refunding
        } else if self.payment.authorized.is_some() || self.shows_its_capture() {
            if self.asked.release {
                EscrowStatus::Processing
            } else {
                EscrowStatus::Held
            }
        } else if self.payment.failed {
            EscrowStatus::PaymentFailed
        } else {
            EscrowStatus::AwaitingPayment
        }
    }

    fn status_after_capture(&self, captured: i64) -> EscrowStatus {
        let lost = self.lost();
        let is_taking_back = !self.reversals().is_empty();
        let back = self.refunded.total().saturating_add(lost);
        if self.is_frozen() || (is_taking_back && lost > 0) {
            EscrowStatus::Disputed
        } else if is_taking_back || self.refund_due() > 0 {
            EscrowStatus::Refunding
        } else if back >= captured {
            if lost > 0 {
                EscrowStatus::Reversed
            } else {
                EscrowStatus::Refunded
            }
        } else if !self.asked.release {
            EscrowStatus::Held
        } else {
            self.status_of_release()
        }
    }

    /// What concerns one recipient only does not hide what concerns another: whatever is still moving comes first, then what failed.
    fn status_of_release(&self) -> EscrowStatus {
        let statuses = self.recipient_statuses();
        let any = |status| statuses.contains(&status);
        if any(RecipientStatus::Paying) || any(RecipientStatus::Waiting) {
            EscrowStatus::Processing
        } else if any(RecipientStatus::TransferFailed) {
            EscrowStatus::TransferFailed
        } else if any(RecipientStatus::PendingUserSetup) {
            EscrowStatus::PendingUserSetup
        } else if statuses
            .iter()
            .any(|status| matches!(status, RecipientStatus::Reversed))
            && !self.is_settled()
        {
            EscrowStatus::Reversed
        } else {
            EscrowStatus::Distributed
        }
    }

    /// Whether every recipient has what it is to have.
    fn is_settled(&self) -> bool {
        self.recipients
            .iter()
            .zip(self.targets())
            .all(|(recipient, target)| recipient.net() >= target)
    }
}
