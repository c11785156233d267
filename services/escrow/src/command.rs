//! The use cases behind release, refund and retry: a command, decided and committed with the intents that follow from it. The pool
//! makes the calls.

use chrono::{DateTime, Utc};
use db::escrow::accounts::mark_news_in_txn;
use db::escrow::held::{HeldEscrow, Lock, lock_escrow_in_txn};
use db::escrow::idempotency::{Claim, Keyed, claim_key_in_txn, store_answer_in_txn};
use db::escrow::operations::{Work, list_operations_in_txn};
use db::{Transaction, in_txn};
use domain::escrow::decide::Reason;
use domain::escrow::facts::Readiness;
use domain::escrow::held::Task;
use domain::escrow::input::{Command, Input};
use domain::escrow::operation::{Cause as Why, Observation, Status};
use domain::ids::StripeObjectId;
use serde_json::Value;

use crate::accounts::hear_news_in_txn;
use crate::answer::show_in_txn;
use crate::change::{Applied, Cause, Learned, apply_in_txn, lock_in_txn, write_call_in_txn};
use crate::create::KEY_LIFETIME;
use crate::error::EscrowError;
use crate::runner::{Observed, Runner, observe_in_txn};
use crate::steps::{Commit, Store};

/// Whose wish a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A person, or a system of theirs: need not sit a delay out, and decides where calls were given up.
    Person,
    /// The retry service, for calls whose delay is over.
    RetryService,
}

/// Who commands, and under which key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) escrow: &'a str,
    pub(crate) by: By,
    pub(crate) actor: &'a str,
    /// The word in the audit trail.
    pub(crate) action: &'a str,
    /// Of a call that happened twice: the object that counts, where a person says so.
    pub(crate) counts: Option<&'a StripeObjectId>,
    pub(crate) keyed: Option<Keyed<'a>>,
}

/// The escrow as the API shows it.
pub(crate) async fn find(store: &Store, id: &str) -> Result<Value, EscrowError> {
    store
        .read(|txn| {
            in_txn(async move {
                let held = lock_escrow_in_txn(txn, id, Lock::Shared)
                    .await?
                    .ok_or(EscrowError::Missing)?;
                show_in_txn(txn, &held).await
            })
        })
        .await
}

/// What became of an order.
pub(crate) struct Ordered {
    pub(crate) answer: Value,
    /// The request has been carried out before, under its key.
    pub(crate) is_repeat: bool,
}

/// Whether an order is to be carried out.
pub(crate) enum Claimed {
    /// It is.
    Now,
    /// It was, and this was the answer.
    Before(Value),
}

/// Claims the key that an order came under, if it has one.
pub(crate) async fn claim_in_txn(
    txn: &Transaction<'_>,
    order: Order<'_>,
    now: DateTime<Utc>,
) -> Result<Claimed, EscrowError> {
    let Some(keyed) = &order.keyed else {
        return Ok(Claimed::Now);
    };
    match claim_key_in_txn(txn, keyed, order.escrow, now, now + KEY_LIFETIME).await? {
        Claim::OtherRequest => Err(EscrowError::KeyReused),
        Claim::Repeat {
            answer: Some((_, answer)),
            ..
        } => Ok(Claimed::Before(answer)),
        Claim::Repeat { answer: None, .. } | Claim::New => Ok(Claimed::Now),
    }
}

/// Carries a command out, or gives the answer of the request that has done so under the same key.
pub(crate) async fn order(runner: &Runner, order: Order<'_>, command: &Command) -> Result<Value, EscrowError> {
    let now = runner.clock.now();
    let Ordered { answer, .. } = runner
        .store
        .commit_if(
            Commit::Commanded,
            |ordered: &Ordered| !ordered.is_repeat,
            |txn| in_txn(order_in_txn(txn, runner, order, command, now)),
        )
        .await?;
    runner.pool.notify_one();
    runner.relay.notify_one();
    Ok(answer)
}

async fn order_in_txn(
    txn: &Transaction<'_>,
    runner: &Runner,
    order: Order<'_>,
    command: &Command,
    now: DateTime<Utc>,
) -> Result<Ordered, EscrowError> {
    if let Claimed::Before(answer) = claim_in_txn(txn, order, now).await? {
        return Ok(Ordered {
            answer,
            is_repeat: true,
        });
    }
    // A recipient that is known not to be able to receive is not tried.
    let held = lock_in_txn(txn, order.escrow).await?;
    if has_barred(&held) {
        // It may have heard nothing since it was paid out.
        mark_news_in_txn(txn, order.escrow).await?;
    }
    let held = hear_news_in_txn(txn, held, now).await?;
    let cause = Cause {
        actor: order.actor,
        action: order.action,
        operation: None,
        reason: None,
        at: now,
    };
    let sent_on = match command {
        Command::Retry { job } => sent_on_in_txn(txn, runner, &held, order, *job, cause).await?,
        Command::Release
        | Command::Refund(_)
        | Command::Expire
        | Command::SecureAuthorization
        | Command::WithdrawRefund
        | Command::BearLoss(_) => SentOn::Call(held),
    };
    let next = match sent_on {
        SentOn::Settled(held) => held,
        SentOn::Call(held) => commanded_in_txn(txn, &held, command, cause).await?,
    };
    let answer = show_in_txn(txn, &next).await?;
    if let Some(keyed) = &order.keyed {
        store_answer_in_txn(txn, keyed, 202, &answer).await?;
    }
    Ok(Ordered {
        answer,
        is_repeat: false,
    })
}

fn has_barred(held: &HeldEscrow) -> bool {
    let mut recipients = held.escrow.recipients.iter();
    recipients.any(|recipient| matches!(recipient.readiness, Readiness::NotReady(_)))
}

async fn commanded_in_txn(
    txn: &Transaction<'_>,
    held: &HeldEscrow,
    command: &Command,
    cause: Cause<'_>,
) -> Result<HeldEscrow, EscrowError> {
    let input = Input::Command(command.clone());
    match apply_in_txn(txn, held, &input, &Learned::default(), cause).await? {
        Applied::Changed(next) | Applied::Known(next) => Ok(*next),
        Applied::Refused(reason) => Err(EscrowError::Refused {
            reason,
            status: held.escrow.status,
        }),
    }
}

/// What is next about a call that was sent on.
enum SentOn {
    /// It is to be made, if the escrow's rules want it.
    Call(HeldEscrow),
    /// It happened twice, and is looked at again, or is settled by a person's word. To the escrow it has been under way all the time.
    Settled(HeldEscrow),
}

/// A call that waits, for a delay to end or for a person, is sent on by a person; the retry service leaves one alone that was given up.
async fn sent_on_in_txn(
    txn: &Transaction<'_>,
    runner: &Runner,
    held: &HeldEscrow,
    order: Order<'_>,
    job: u32,
    cause: Cause<'_>,
) -> Result<SentOn, EscrowError> {
    let nothing = || EscrowError::Refused {
        reason: Reason::NothingToRetry,
        status: held.escrow.status,
    };
    let operations = list_operations_in_txn(txn, held.escrow.terms.id.as_str()).await?;
    let Some(row) = operations.iter().find(|row| row.number == job) else {
        return Ok(SentOn::Call(held.clone()));
    };
    let operation = row.operation.id.as_str();
    let rules = (runner.rules, runner.moment(), cause.at);
    let none = Observed::default();
    let happened_twice = Status::FailedPermanent {
        cause: Why::HappenedTwice,
    };
    if row.operation.status == happened_twice && order.by == By::Person {
        if order.counts.is_some_and(|object| !makes(&row.work, object)) {
            return Err(EscrowError::WrongObject);
        }
        let observation = order
            .counts
            .map_or(Observation::SentOn, |object| Observation::Chosen(object.clone()));
        let held = observe_in_txn(txn, held, operation, &observation, &none, rules).await?;
        let cause = Cause {
            operation: Some(operation),
            reason: order.counts.map(StripeObjectId::as_str),
            ..cause
        };
        write_call_in_txn(txn, &row.escrow, cause).await?;
        return Ok(SentOn::Settled(held));
    }
    if order.counts.is_some() {
        return Err(nothing());
    }
    if row.job.is_none() {
        return Ok(SentOn::Call(held.clone()));
    }
    match (&row.operation.status, order.by) {
        (Status::FailedPermanent { .. } | Status::FailedTransient { .. }, By::Person) => {
            let held = observe_in_txn(txn, held, operation, &Observation::SentOn, &none, rules).await?;
            Ok(SentOn::Call(held))
        }
        (Status::FailedPermanent { .. }, By::RetryService) => Err(nothing()),
        (Status::FailedTransient { .. }, By::RetryService)
        | (
            Status::Intended | Status::InFlight { .. } | Status::Succeeded { .. } | Status::Unknown { .. },
            By::Person | By::RetryService,
        ) => Ok(SentOn::Call(held.clone())),
    }
}

/// Whether an object at Stripe can be what a call makes, or changes.
fn makes(work: &Work, object: &StripeObjectId) -> bool {
    let begins: &[&str] = match work {
        Work::CreatePayment | Work::Job(Task::Capture | Task::Cancel) => &["pi_"],
        Work::Job(Task::Transfer(_)) => &["tr_"],
        Work::Job(Task::Reverse(..)) => &["trr_"],
        Work::Job(Task::Refund) => &["re_", "pyr_"],
    };
    begins.iter().any(|begins| object.as_str().starts_with(begins))
}
