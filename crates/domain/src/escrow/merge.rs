//! How a fact is merged into an escrow. Nothing here looks at the status: a fact is true whatever it is.

use super::decide::Reason;
use super::facts::{Dispute, Payment, Readiness, Recipient, Transfer};
use super::failure::{ErrorClass, Failure};
use super::held::{Asked, Escrow, Job, Standing, Task};
use super::input::{Fact, JobOutcome};
use crate::ids::{AccountId, TransferId};
use crate::money::Money;

/// The escrow with the fact merged in.
///
/// # Errors
/// When the fact cannot be about this escrow: another currency, a negative amount, an account that is no recipient, or a payment both
/// captured and canceled.
pub(super) fn merge(escrow: &Escrow, fact: &Fact) -> Result<Escrow, Reason> {
    let mut next = escrow.clone();
    match fact {
        Fact::PaymentFailed => pay(
            &mut next,
            Payment {
                failed: true,
                ..Payment::default()
            },
        )?,
        Fact::Authorized { capture_before } => {
            pay(
                &mut next,
                Payment {
                    authorized: Some(*capture_before),
                    ..Payment::default()
                },
            )?;
        }
        Fact::Captured(amount) => {
            let captured = Some(minor(escrow, *amount)?);
            pay(
                &mut next,
                Payment {
                    captured,
                    ..Payment::default()
                },
            )?;
        }
        Fact::PaymentCanceled => pay(
            &mut next,
            Payment {
                canceled: true,
                ..Payment::default()
            },
        )?,
        Fact::Refunded(total) => {
            let total = minor(escrow, *total)?;
            next.refunded.tell(total, escrow.under_way(&Task::Refund));
            if stands_refused(escrow) {
                replaced_by_hand(escrow, &mut next);
            }
            if total > 0 {
                was_authorized(&mut next);
            }
        }
        Fact::Disputed { dispute, stage, amount } => {
            let told = Dispute {
                stage: *stage,
                amount: minor(escrow, *amount)?,
            };
            next.disputes
                .entry(dispute.clone())
                .and_modify(|known| *known = known.merge(told))
                .or_insert(told);
            if stage.moved_money() {
                was_authorized(&mut next);
            }
        }
        Fact::Transferred {
            account,
            transfer,
            amount,
        } => {
            transferred(&mut next, account, transfer, minor(escrow, *amount)?)?;
        }
        Fact::TransferReversed {
            account,
            transfer,
            amount,
            total,
        } => {
            let total = minor(escrow, *total)?;
            let ours = escrow.under_way(&Task::Reverse(account.clone(), transfer.clone()));
            transferred(&mut next, account, transfer, minor(escrow, *amount)?)?
                .reversed
                .tell(total, ours);
        }
        Fact::TransferFailed {
            account,
            transfer,
            amount,
        } => {
            let amount = minor(escrow, *amount)?;
            let ours = escrow.under_way(&Task::Reverse(account.clone(), transfer.clone()));
            let known = transferred(&mut next, account, transfer, amount)?;
            known.reversed.tell(amount, ours);
            known.failed = true;
        }
        Fact::AccountSeen { account, readiness, at } => {
            recipient(&mut next, account)?.see(*readiness, *at);
            reopen_when_ready(&mut next, account);
        }
        Fact::PayoutFailed(account) => {
            recipient(&mut next, account)?;
        }
        Fact::JobDone { job, outcome } => job_done(&mut next, *job, outcome)?,
    }
    Ok(next)
}

fn minor(escrow: &Escrow, amount: Money) -> Result<i64, Reason> {
    if amount.currency != escrow.terms.split.amount().currency {
        return Err(Reason::CurrencyMismatch);
    }
    if amount.minor < 0 {
        return Err(Reason::NegativeAmount);
    }
    Ok(amount.minor)
}

fn pay(escrow: &mut Escrow, told: Payment) -> Result<(), Reason> {
    let merged = escrow.payment.merge(told);
    if merged.captured.is_some() && merged.canceled {
        return Err(Reason::Contradiction);
    }
    escrow.payment = merged;
    Ok(())
}

/// What went back to the payer was authorised before.
fn was_authorized(escrow: &mut Escrow) {
    escrow.payment.authorized = escrow.payment.authorized.max(Some(None));
}

fn recipient<'e>(escrow: &'e mut Escrow, account: &AccountId) -> Result<&'e mut Recipient, Reason> {
    let mut recipients = escrow.recipients.iter_mut();
    recipients
        .find(|recipient| recipient.account == *account)
        .ok_or(Reason::UnknownRecipient)
}

fn transferred<'e>(
    escrow: &'e mut Escrow,
    account: &AccountId,
    transfer: &TransferId,
    amount: i64,
) -> Result<&'e mut Transfer, Reason> {
    let known = recipient(escrow, account)?
        .transfers
        .entry(transfer.clone())
        .or_default();
    known.amount = known.amount.max(amount);
    Ok(known)
}

/// A recipient that can receive again is paid by itself: the refusal that its readiness answers is forgotten.
fn reopen_when_ready(escrow: &mut Escrow, account: &AccountId) {
    let is_ready = escrow
        .recipients
        .iter()
        .any(|recipient| recipient.account == *account && recipient.readiness == Readiness::Ready);
    for job in escrow.jobs.values_mut() {
        let is_barred = matches!(job.standing, Standing::Refused(failure) if bars_the_recipient(failure));
        if is_ready && is_barred && job.task == Task::Transfer(account.clone()) {
            job.standing = Standing::Open;
        }
    }
}

fn job_done(escrow: &mut Escrow, number: u32, outcome: &JobOutcome) -> Result<(), Reason> {
    let Some(job) = escrow.jobs.get(&number).cloned() else {
        // It was let go, or its outcome is known.
        return Ok(());
    };
    if let JobOutcome::Done(made) = outcome {
        escrow.jobs.remove(&number);
        return done(escrow, number, &job, made.as_ref());
    }
    let before = escrow.clone();
    did_not_happen(escrow, &job)?;
    if job.task == Task::Refund && !matches!(outcome, JobOutcome::Dropped) {
        replaced_by_hand(&before, escrow);
    }
    match outcome {
        JobOutcome::Refused(failure) => refused(escrow, number, &job, Standing::Refused(*failure)),
        JobOutcome::GivenUp(failure) => refused(escrow, number, &job, Standing::GivenUp(*failure)),
        JobOutcome::Dropped | JobOutcome::Abandoned | JobOutcome::Done(_) => {
            escrow.jobs.remove(&number);
            Ok(())
        }
    }
}

/// Whether a refund of ours was refused and waits, for its next attempt or for a person.
fn stands_refused(escrow: &Escrow) -> bool {
    let refund = escrow.job_on(&Task::Refund);
    refund.is_some_and(|(_, job)| job.standing != Standing::Open)
}

/// What others have refunded while ours does not come through is the same refund, made by hand: asked for a second time, the payer would
/// have it twice. Where it was meant as another one, whoever wants ours as well asks again. Beside one that was never tried it is another one.
fn replaced_by_hand(before: &Escrow, next: &mut Escrow) {
    let by_hand = next.refunded.outside.saturating_sub(before.refunded.outside);
    let still_asked = next.asked.refund.saturating_sub(next.refunded.of_ours()).max(0);
    next.asked.refund = next.asked.refund.saturating_sub(by_hand.min(still_asked));
}

/// What was told meanwhile, and might have been this job, was done by others.
fn did_not_happen(escrow: &mut Escrow, job: &Job) -> Result<(), Reason> {
    match &job.task {
        Task::Refund => escrow.refunded.tell_without_ours(),
        Task::Reverse(account, transfer) => transferred(escrow, account, transfer, 0)?.reversed.tell_without_ours(),
        Task::Capture | Task::Cancel | Task::Transfer(_) => {}
    }
    Ok(())
}

fn done(escrow: &mut Escrow, number: u32, job: &Job, made: Option<&TransferId>) -> Result<(), Reason> {
    match &job.task {
        // Whoever captured it: what Stripe has told of the amount counts, which can be less.
        Task::Capture => pay(
            escrow,
            Payment {
                captured: escrow.payment.captured.or(Some(job.amount)),
                ..Payment::default()
            },
        ),
        Task::Cancel => pay(
            escrow,
            Payment {
                canceled: true,
                ..Payment::default()
            },
        ),
        Task::Refund => {
            escrow.refunded.ours.insert(number, job.amount);
            Ok(())
        }
        Task::Transfer(account) => {
            let made = made.ok_or(Reason::Contradiction)?;
            transferred(escrow, account, made, job.amount).map(|_| ())
        }
        Task::Reverse(account, transfer) => {
            let known = transferred(escrow, account, transfer, 0)?;
            known.reversed.ours.insert(number, job.amount);
            Ok(())
        }
    }
}

fn refused(escrow: &mut Escrow, number: u32, job: &Job, standing: Standing) -> Result<(), Reason> {
    match &job.task {
        // Back to held: whoever releases again asks for a new capture (ESC-5).
        Task::Capture if escrow.asked.release => {
            escrow.jobs.remove(&number);
            if escrow.payment.captured.is_none() {
                escrow.asked = Asked {
                    release: false,
                    secure: false,
                    ..escrow.asked
                };
                escrow
                    .recipients
                    .iter_mut()
                    .for_each(|recipient| recipient.entitled = 0);
            }
            return Ok(());
        }
        Task::Transfer(account) => {
            if let Standing::Refused(failure) = standing
                && bars_the_recipient(failure)
            {
                recipient(escrow, account)?.readiness = Readiness::NotReady(failure.code);
            }
        }
        // What a lost dispute took and the recipient no longer has is a loss at once: nobody can decide otherwise. A reversal that was
        // refused for another reason (a key that has expired) is no loss yet, and waits for a person; so does one for a refund, which a
        // person may withdraw, whatever was lost earlier.
        Task::Reverse(account, _)
            if escrow.lost() > 0 && escrow.refund_due() == 0 && is_for_want_of_money(standing) =>
        {
            escrow.jobs.remove(&number);
            write_off(escrow, account, job.amount);
            return Ok(());
        }
        // A capture in time is tried again with everything else that was refused.
        Task::Capture | Task::Reverse(..) | Task::Cancel | Task::Refund => {}
    }
    if let Some(job) = escrow.jobs.get_mut(&number) {
        job.standing = standing;
    }
    Ok(())
}

/// Whether attempts ended because the money was not there whenever it was asked for.
fn is_for_want_of_money(standing: Standing) -> bool {
    match standing {
        Standing::GivenUp(Some(failure)) => failure.class == ErrorClass::Transient,
        Standing::GivenUp(None) | Standing::Refused(_) | Standing::Open => false,
    }
}

/// What is the recipient's own again was no loss: a later refund takes it back as it takes any other money.
pub(super) fn no_longer_lost(escrow: &mut Escrow) {
    let targets = escrow.targets();
    for (recipient, target) in escrow.recipients.iter_mut().zip(targets) {
        let beyond = recipient.net().saturating_sub(target).max(0);
        recipient.written_off = recipient.written_off.min(beyond);
    }
}

/// Books that this much will not be taken back.
pub(super) fn write_off(escrow: &mut Escrow, account: &AccountId, amount: i64) {
    for recipient in escrow
        .recipients
        .iter_mut()
        .filter(|recipient| recipient.account == *account)
    {
        recipient.written_off = recipient.written_off.saturating_add(amount);
    }
}

/// Whether a refusal bars the recipient, rather than this one call.
const fn bars_the_recipient(failure: Failure) -> bool {
    match failure.class {
        ErrorClass::RecipientNotReady => true,
        ErrorClass::Transient
        | ErrorClass::Permanent
        | ErrorClass::MayBeDone
        | ErrorClass::NotStarted
        | ErrorClass::InProgress => false,
    }
}
