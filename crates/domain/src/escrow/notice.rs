//! What a person is told of an escrow.

use super::facts::{DisputeStage, Readiness, Recipient};
use super::held::{Escrow, Standing, Task};
use super::input::{Fact, Input};
use super::terms::OnAuthorizationExpiry;
use crate::alert::{Alert, AlertKind};
use crate::ids::{AccountId, DisputeId, TransferId};
use crate::time::UnixSeconds;
use crate::words::words;

/// What a person is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// What is new of a dispute.
    Dispute(DisputeNews, DisputeId),
    /// A transfer was reversed, and not by a job of ours.
    ReversedOutside(TransferId),
    /// The charge was refunded, and not by a job of ours.
    RefundedOutside,
    /// A recipient has more than its part.
    Overpaid(AccountId),
    /// The account cannot receive; the recipient has to do something.
    RecipientNotReady(AccountId),
    /// The authorisation ends before the escrow does, and its creator did not ask for a capture in time. When it ends.
    AuthorizationEndsEarly(UnixSeconds),
    /// A job waits for a person.
    GaveUp(Task),
    /// What could not be taken back was booked as a loss.
    LossBooked(AccountId),
    /// `transfer.failed` or `payout.failed` came in.
    PayoutTrouble(AccountId),
}

impl Notice {
    /// The word in alerts and in the audit trail.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Dispute(news, _) => news.as_str(),
            Self::ReversedOutside(_) => "reversed_outside",
            Self::RefundedOutside => "refunded_outside",
            Self::Overpaid(_) => "overpaid",
            Self::RecipientNotReady(_) => "recipient_not_ready",
            Self::AuthorizationEndsEarly(_) => "authorization_ends_early",
            Self::GaveUp(_) => "gave_up",
            Self::LossBooked(_) => "loss_booked",
            Self::PayoutTrouble(_) => "payout_trouble",
        }
    }
}

words! {
    /// What is new of a dispute about an escrow.
    DisputeNews {
        /// The payer's bank asks about the payment; no money has moved.
        Inquiry => "dispute_inquiry",
        /// It was opened; nothing is paid out.
        Opened => "dispute_opened",
        /// It was lost; what can be is taken back.
        Lost => "dispute_lost",
        /// It was won before the money was released: it is held, and a person decides who has it.
        Won => "dispute_won",
        /// It was lost and has been won after all: the money is on the platform, and the recipients were taken from.
        WonLate => "dispute_won_late",
    }
}

impl DisputeNews {
    /// The alert. Whoever raises it for the same escrow raises the same one.
    #[must_use]
    pub fn alert(self, escrow: &str, dispute: &DisputeId) -> Alert {
        let summary = match self {
            Self::Inquiry => {
                format!("The bank asks about the payment of escrow {escrow} (dispute {dispute}); no money has moved.")
            }
            Self::Opened => format!("Dispute {dispute} was opened on escrow {escrow}; nothing of it is paid out."),
            Self::Lost => {
                format!("Dispute {dispute} on escrow {escrow} was lost; what the recipients have is taken back.")
            }
            Self::Won => format!(
                "Dispute {dispute} on escrow {escrow} was won; release the escrow or refund it: no run of time-outs does."
            ),
            Self::WonLate => {
                format!("Dispute {dispute} on escrow {escrow} was lost and is won after all; decide about the money.")
            }
        };
        Alert::new(AlertKind::EscrowAttention, format!("{escrow}/{self}"), summary)
    }
}

/// What a person is told once an escrow that was `before` is `next`.
pub(super) fn notices(before: &Escrow, next: &Escrow, input: &Input) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (id, dispute) in &next.disputes {
        let was = before.disputes.get(id).map(|known| known.stage);
        let news = match (was, dispute.stage) {
            (was, now) if was == Some(now) => continue,
            (Some(DisputeStage::Lost), DisputeStage::Won) => DisputeNews::WonLate,
            (_, DisputeStage::Open) => DisputeNews::Opened,
            (_, DisputeStage::Lost) => DisputeNews::Lost,
            (_, DisputeStage::Won) if !next.asked.release => DisputeNews::Won,
            (_, DisputeStage::Inquiry) => DisputeNews::Inquiry,
            (_, DisputeStage::Closed | DisputeStage::Won) => continue,
        };
        notices.push(Notice::Dispute(news, id.clone()));
    }
    notices.extend(ends_early(before, next));
    if next.refunded.outside > before.refunded.outside {
        notices.push(Notice::RefundedOutside);
    }
    for ((recipient, was), part) in next
        .recipients
        .iter()
        .zip(&before.recipients)
        .zip(next.terms.split.parts())
    {
        for (id, transfer) in &recipient.transfers {
            let known = was.transfers.get(id).map_or(0, |known| known.reversed.outside);
            if transfer.reversed.outside > known {
                notices.push(Notice::ReversedOutside(id.clone()));
            }
        }
        notices.extend(of_recipient(recipient, was, part.amount));
    }
    for (number, job) in &next.jobs {
        let stands = before.jobs.get(number).map(|known| known.standing);
        if matches!(job.standing, Standing::GivenUp(_)) && stands != Some(job.standing) {
            notices.push(Notice::GaveUp(job.task.clone()));
        }
    }
    if let Input::Fact(Fact::PayoutFailed(account) | Fact::TransferFailed { account, .. }) = input {
        notices.push(Notice::PayoutTrouble(account.clone()));
    }
    notices
}

fn ends_early(before: &Escrow, next: &Escrow) -> Option<Notice> {
    let ends = next.payment.authorized.flatten()?;
    let is_news = next.payment.authorized != before.payment.authorized;
    let is_held = next.payment.captured.is_none() && !next.payment.canceled;
    let is_lost = next.terms.on_authorization_expiry == OnAuthorizationExpiry::Refuse && ends < next.terms.expires_at;
    (is_news && is_held && is_lost).then_some(Notice::AuthorizationEndsEarly(ends))
}

fn of_recipient(recipient: &Recipient, was: &Recipient, part: i64) -> Vec<Notice> {
    let mut notices = Vec::new();
    if recipient.net() > part && recipient.net() > was.net() {
        notices.push(Notice::Overpaid(recipient.account.clone()));
    }
    let is_barred = matches!(recipient.readiness, Readiness::NotReady(_)) && recipient.readiness != was.readiness;
    if is_barred {
        notices.push(Notice::RecipientNotReady(recipient.account.clone()));
    }
    if recipient.written_off > was.written_off {
        notices.push(Notice::LossBooked(recipient.account.clone()));
    }
    notices
}
