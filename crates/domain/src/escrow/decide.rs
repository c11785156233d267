//! What a command or a fact does to an escrow.
//!
//! A command is checked against the status, in one exhaustive match. A fact is merged. Then the plan is looked at: jobs that are
//! wanted and not there are begun, and refused jobs that nobody wants any longer are let go. What was not changed by that was known.

use super::decision::Decision;
use super::held::{Asked, Escrow, Job, Standing, Task};
use super::input::{Command, Fact, Input};
use super::ledger::{self, Posting};
use super::merge;
use super::notice::{Notice, notices};
use super::state::EscrowStatus;
use super::terms::{CAPTURE_MARGIN, OnAuthorizationExpiry};
use crate::ids::AccountId;
use crate::money::Money;
use crate::time::UnixSeconds;

/// What follows from a decision, to be written down in its transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write an operation down, intended, under this number.
    Begin {
        /// The job's number.
        number: u32,
        /// On what.
        task: Task,
        /// How much.
        amount: Money,
    },
    /// Write into the ledger.
    Post(Posting),
    /// Read the account at Stripe and take what it says in as a fact, stamped with the time of the reading. A refusal that comes in
    /// late may be older than the last snapshot; without a fresh one the recipient could wait for ever.
    ReadAccount(AccountId),
    /// Tell a person.
    Notify(Notice),
}

/// Why something may not happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Not in this status.
    #[error("the escrow is {0}")]
    WrongStatus(EscrowStatus),
    /// A call is under way whose outcome has to be known first.
    #[error("a call is under way")]
    Busy,
    /// Its time is over; it is given back.
    #[error("the escrow has expired")]
    Expired,
    /// Its time is not over.
    #[error("the escrow has not expired")]
    NotExpired,
    /// Its time went on while it was disputed, and the dispute was won: a person decides who has the money.
    #[error("a dispute about the escrow was won; a person decides who has the money")]
    WaitsForPerson,
    /// The authorisation has ended; there is nothing to capture.
    #[error("the authorisation has ended")]
    AuthorizationEnded,
    /// Its authorisation needs no capture now.
    #[error("the authorisation needs no capture now")]
    NothingToSecure,
    /// Zero or less.
    #[error("amount must be more than zero")]
    NotPositive,
    /// More than is left.
    #[error("amount is more than the {refundable} minor units that are left")]
    OverRefundable {
        /// What is left, in minor units.
        refundable: i64,
    },
    /// Not a multiple of what the currency can be refunded in.
    #[error("amount must be a multiple of {unit} minor units in this currency")]
    Granularity {
        /// What it must be a multiple of.
        unit: i64,
    },
    /// Before its capture a payment can only be given up as a whole.
    #[error("part of a payment can be refunded only after its capture")]
    PartBeforeCapture,
    /// There is no such job, or its call was not refused.
    #[error("there is no refused call to make again")]
    NothingToRetry,
    /// There is no refund that was refused.
    #[error("there is no refused refund to withdraw")]
    NothingToWithdraw,
    /// There is no reversal that was refused.
    #[error("there is no refused reversal of this recipient's")]
    NoLossToBear,
    /// The fact is in another currency.
    #[error("the currency is not the escrow's")]
    CurrencyMismatch,
    /// The fact's amount is negative.
    #[error("the amount is negative")]
    NegativeAmount,
    /// The account is none of the escrow's recipients.
    #[error("the account is no recipient of this escrow")]
    UnknownRecipient,
    /// Captured and canceled both.
    #[error("a payment cannot be both captured and canceled")]
    Contradiction,
}

/// A decision about an escrow.
pub type EscrowDecision = Decision<Escrow, Effect, Reason>;

/// Decides what a command or a fact does.
#[must_use]
pub fn decide(escrow: &Escrow, input: &Input, now: UnixSeconds) -> EscrowDecision {
    let next = match input {
        Input::Command(command) => commanded(escrow, command, now),
        Input::Fact(fact) => merge::merge(escrow, fact),
    };
    match next {
        Ok(next) => settle(escrow, next, input),
        Err(reason) => Decision::Refused(reason),
    }
}

/// Begins and drops jobs until plan and jobs agree, and collects what follows from the difference.
fn settle(before: &Escrow, mut next: Escrow, input: &Input) -> EscrowDecision {
    merge::no_longer_lost(&mut next);
    let plan = next.plan();
    if !next.is_frozen() {
        let mut jobs = std::mem::take(&mut next.jobs);
        // Whoever makes a refund by hand may do so in parts: the rest waits where ours waited, and is not made at once.
        jobs.retain(|_, job| {
            job.standing == Standing::Open
                || plan.contains(&(job.task.clone(), job.amount))
                || next.is_made_in_parts_by_hand(job)
        });
        next.jobs = jobs;
    }
    let mut begun = Vec::new();
    for (task, amount) in plan {
        if next.job_on(&task).is_some() || next.is_barred(&task) {
            continue;
        }
        next.jobs_begun = next.jobs_begun.saturating_add(1);
        let job = Job {
            task: task.clone(),
            amount,
            standing: Standing::Open,
        };
        next.jobs.insert(next.jobs_begun, job);
        begun.push(Effect::Begin {
            number: next.jobs_begun,
            task,
            amount: Money::new(amount, next.terms.split.amount().currency),
        });
    }
    next.status = next.derive_status();
    let told = matches!(input, Input::Fact(Fact::PayoutFailed(_) | Fact::TransferFailed { .. }));
    if next == *before && !told {
        return Decision::AlreadyApplied;
    }
    let mut effects: Vec<Effect> = ledger::postings(before, &next).into_iter().map(Effect::Post).collect();
    effects.extend(begun);
    effects.extend(accounts_to_read(before, &next, input));
    effects.extend(notices(before, &next, input).into_iter().map(Effect::Notify));
    Decision::Apply { next, effects }
}

fn commanded(escrow: &Escrow, command: &Command, now: UnixSeconds) -> Result<Escrow, Reason> {
    use EscrowStatus::{
        AwaitingPayment, Canceled, Disputed, Distributed, Held, PaymentFailed, PendingUserSetup, Processing, Refunded,
        Refunding, Reversed, TransferFailed,
    };
    let wrong = Err(Reason::WrongStatus(escrow.status));
    match (escrow.status, command) {
        (Held, Command::Release) => release(escrow, now),
        // Of one recipient the money was taken back, and another one's may wait for what only that one can do.
        (Reversed | TransferFailed | PendingUserSetup, Command::Release) => release_again(escrow),
        (
            AwaitingPayment | Processing | Distributed | Refunding | Refunded | PaymentFailed | Canceled | Disputed,
            Command::Release,
        ) => wrong,
        (
            AwaitingPayment | PaymentFailed | Held | Distributed | TransferFailed | PendingUserSetup | Reversed,
            Command::Refund(amount),
        ) => refund(escrow, *amount),
        (Processing | Refunding | Refunded | Canceled | Disputed, Command::Refund(_)) => wrong,
        (AwaitingPayment | PaymentFailed | Held, Command::Expire) if now < escrow.terms.expires_at => {
            Err(Reason::NotExpired)
        }
        (AwaitingPayment | PaymentFailed | Held, Command::Expire) if escrow.has_won_a_dispute() => {
            Err(Reason::WaitsForPerson)
        }
        (AwaitingPayment | PaymentFailed | Held, Command::Expire) if escrow.payment.captured.is_none() => {
            cancel(escrow)
        }
        (AwaitingPayment | PaymentFailed | Held, Command::Expire) => refund(escrow, None),
        (
            Processing | Distributed | TransferFailed | PendingUserSetup | Refunding | Refunded | Canceled | Reversed
            | Disputed,
            Command::Expire,
        ) => wrong,
        (Held, Command::SecureAuthorization) => secure(escrow, now),
        (
            AwaitingPayment | Processing | Distributed | TransferFailed | PendingUserSetup | Refunding | Refunded
            | PaymentFailed | Canceled | Reversed | Disputed,
            Command::SecureAuthorization,
        ) => wrong,
        (
            Canceled | Refunded | Distributed | AwaitingPayment | PaymentFailed,
            Command::Retry { .. } | Command::WithdrawRefund | Command::BearLoss(_),
        ) => wrong,
        (
            Held | Processing | TransferFailed | PendingUserSetup | Refunding | Reversed | Disputed,
            Command::Retry { job },
        ) => retry(escrow, *job),
        (
            Held | Processing | TransferFailed | PendingUserSetup | Refunding | Reversed | Disputed,
            Command::BearLoss(account),
        ) => bear_loss(escrow, account),
        (
            Held | Processing | TransferFailed | PendingUserSetup | Refunding | Reversed | Disputed,
            Command::WithdrawRefund,
        ) => withdraw_refund(escrow),
    }
}

fn asking(escrow: &Escrow, asked: Asked) -> Escrow {
    Escrow {
        asked,
        ..escrow.clone()
    }
}

fn release(escrow: &Escrow, now: UnixSeconds) -> Result<Escrow, Reason> {
    let ends = escrow.payment.authorized.flatten();
    // A dispute stops the release and not the clock: a seller who has won it need not have won it in time.
    if now >= escrow.terms.expires_at && !escrow.has_won_a_dispute() {
        return Err(Reason::Expired);
    }
    if escrow.payment.captured.is_none() && ends.is_some_and(|ends| now >= ends) {
        return Err(Reason::AuthorizationEnded);
    }
    let mut next = escrow.clone();
    next.asked.release = true;
    // A capture in time that was refused is made anew, and not when its backoff is over.
    next.jobs
        .retain(|_, job| job.task != Task::Capture || job.standing == Standing::Open);
    entitle(&mut next);
    Ok(next)
}

/// After a reversal from outside, or a dispute that was won late: pays again what was taken back. Whoever is owed a transfer already is
/// owed no second one.
fn release_again(escrow: &Escrow) -> Result<Escrow, Reason> {
    let mut next = escrow.clone();
    entitle(&mut next);
    if !escrow.asked.release || escrow.is_busy() || next == *escrow {
        return Err(Reason::WrongStatus(escrow.status));
    }
    Ok(next)
}

/// Allows one transfer to everybody who has less than it is to have.
fn entitle(escrow: &mut Escrow) {
    let targets = escrow.targets();
    for (recipient, target) in escrow.recipients.iter_mut().zip(targets) {
        if recipient.net() < target {
            recipient.entitled = recipient.had().saturating_add(1);
        }
    }
}

fn refund(escrow: &Escrow, amount: Option<i64>) -> Result<Escrow, Reason> {
    if escrow.is_busy() {
        return Err(Reason::Busy);
    }
    let whole = escrow.terms.split.amount();
    let refundable = if escrow.payment.captured.is_some() {
        escrow.refundable()
    } else {
        whole.minor
    };
    let amount = amount.unwrap_or(refundable);
    if amount <= 0 {
        return Err(Reason::NotPositive);
    }
    if amount > refundable {
        return Err(Reason::OverRefundable { refundable });
    }
    // Of the payout's unit, so that what is left of each share can be paid out.
    let unit = whole.currency.payout_unit();
    if amount.checked_rem(unit) != Some(0) && amount != refundable {
        return Err(Reason::Granularity { unit });
    }
    let asked = if escrow.payment.captured.is_some() {
        Asked {
            refund: escrow.refunded.of_ours().saturating_add(amount),
            ..escrow.asked
        }
    } else if amount == whole.minor {
        Asked {
            cancel: true,
            refund: amount,
            ..escrow.asked
        }
    } else {
        return Err(Reason::PartBeforeCapture);
    };
    Ok(asking(escrow, asked))
}

/// Its time is over before it was captured. If it turns out that it was, it is refunded by a later run: a breaker that lets every
/// cancellation pass has not been asked for its amount.
fn cancel(escrow: &Escrow) -> Result<Escrow, Reason> {
    if escrow.is_busy() {
        return Err(Reason::Busy);
    }
    Ok(asking(
        escrow,
        Asked {
            cancel: true,
            ..escrow.asked
        },
    ))
}

fn secure(escrow: &Escrow, now: UnixSeconds) -> Result<Escrow, Reason> {
    let is_near = |ends: UnixSeconds| now >= ends.plus(CAPTURE_MARGIN.saturating_neg());
    let ends = escrow.payment.authorized.flatten();
    let is_due = escrow.payment.captured.is_none() && ends.is_some_and(is_near);
    match escrow.terms.on_authorization_expiry {
        OnAuthorizationExpiry::Capture if is_due => Ok(asking(
            escrow,
            Asked {
                secure: true,
                ..escrow.asked
            },
        )),
        OnAuthorizationExpiry::Capture | OnAuthorizationExpiry::Refuse => Err(Reason::NothingToSecure),
    }
}

fn retry(escrow: &Escrow, number: u32) -> Result<Escrow, Reason> {
    if escrow.is_frozen() {
        return Err(Reason::WrongStatus(escrow.status));
    }
    let mut next = escrow.clone();
    let job = next.jobs.get_mut(&number).ok_or(Reason::NothingToRetry)?;
    match job.standing {
        Standing::Open => Err(Reason::NothingToRetry),
        Standing::Refused(_) | Standing::GivenUp(_) => {
            job.standing = Standing::Open;
            Ok(next)
        }
    }
}

/// What was taken back from recipients for it is theirs again once it is released again.
fn withdraw_refund(escrow: &Escrow) -> Result<Escrow, Reason> {
    match escrow.job_on(&Task::Refund) {
        Some((_, job)) if job.standing != Standing::Open => {
            let asked = Asked {
                refund: escrow.refunded.of_ours(),
                ..escrow.asked
            };
            Ok(asking(escrow, asked))
        }
        Some(_) | None => Err(Reason::NothingToWithdraw),
    }
}

fn bear_loss(escrow: &Escrow, account: &AccountId) -> Result<Escrow, Reason> {
    let mut next = escrow.clone();
    let is_given_up =
        |job: &Job| matches!(&job.task, Task::Reverse(of, _) if of == account) && job.standing != Standing::Open;
    let lost: i64 = next
        .jobs
        .values()
        .filter(|job| is_given_up(job))
        .map(|job| job.amount)
        .sum();
    if lost == 0 {
        return Err(Reason::NoLossToBear);
    }
    merge::write_off(&mut next, account, lost);
    Ok(next)
}

/// The accounts that a refusal, and no snapshot of them, says cannot receive.
fn accounts_to_read(before: &Escrow, next: &Escrow, input: &Input) -> Vec<Effect> {
    let Input::Fact(Fact::JobDone { .. }) = input else {
        return Vec::new();
    };
    let both = next.recipients.iter().zip(&before.recipients);
    let changed = both.filter(|(recipient, was)| recipient.readiness != was.readiness);
    changed
        .map(|(recipient, _)| Effect::ReadAccount(recipient.account.clone()))
        .collect()
}
