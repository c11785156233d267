//! The use case behind `POST /api/escrows`.
//!
//! The key, the escrow and the intent to make its payment are committed together; then the payment is made, by whoever is first: this
//! request or the pool. A repeat of the request finds the key, and gets the same escrow and the same payment, whatever became of the
//! first one. The payer's secret is never stored: a repeat reads it from Stripe.

use chrono::{DateTime, TimeDelta, Utc};
use db::escrow::actions::{NewAction, insert_action_in_txn};
use db::escrow::held::{HeldEscrow, Lock, NewEscrow, insert_escrow_in_txn, lock_escrow_in_txn};
use db::escrow::idempotency::{Claim, Keyed, claim_key_in_txn, is_key_claimed, store_answer_in_txn};
use db::escrow::operations::{OperationRow, Work, insert_operation_in_txn, list_operations_in_txn};
use db::{Transaction, in_txn};
use domain::escrow::failure::ErrorCode;
use domain::escrow::held::Escrow;
use domain::escrow::operation::{Cause, Status};
use domain::escrow::terms::Settlement;
use domain::time::UnixSeconds;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use service_kit::trace::TraceContext;

use crate::answer::show_in_txn;
use crate::change::summary;
use crate::error::EscrowError;
use crate::request::EscrowRequest;
use crate::runner::Runner;
use crate::steps::{Ask, Commit};

/// How long a caller's key is remembered; Stripe remembers ours as long.
pub(crate) const KEY_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// What became of a request for an escrow.
#[derive(Debug)]
pub(crate) enum Created {
    /// This is the escrow; the payer's secret is in it.
    Escrow(Value),
    /// Stripe refused to make the payment, for this reason.
    Refused(ErrorCode),
    /// Stripe cannot be asked at present. The same request gets the escrow later.
    Later,
}

/// Whether the key is in use. What is asked of a new escrow alone is then not asked.
pub(crate) async fn is_repeat(runner: &Runner, keyed: &Keyed<'_>) -> Result<bool, EscrowError> {
    Ok(is_key_claimed(&runner.store.reader().await?, keyed, runner.clock.now()).await?)
}

/// Creates an escrow, or finds the one that the same request has created.
pub(crate) async fn create(
    runner: &Runner,
    request: &EscrowRequest,
    settlement: &Settlement,
    keyed: &Keyed<'_>,
    actor: &str,
) -> Result<Created, EscrowError> {
    let now = runner.clock.now();
    let begun = runner
        .store
        .commit_if(
            Commit::Created,
            |begun| matches!(begun, Begun::New { .. }),
            |txn| in_txn(begin_in_txn(txn, request, settlement, keyed, actor, now)),
        )
        .await?;
    let (id, operation) = match begun {
        Begun::New { id, operation } => (id, operation),
        Begun::Known {
            answer: Some(answer),
            id,
        } => return with_secret(runner, id, answer, None).await,
        Begun::Known { id, answer: None } => {
            let operation = payment_of(runner, &id).await?.operation.id.to_string();
            (id, operation)
        }
    };
    let told = runner.work(&operation, &id).await?;
    let (held, payment, answer) = runner
        .store
        .commit_if(
            Commit::AnswerKept,
            |(held, ..): &(HeldEscrow, _, _)| held.payment_intent.is_some(),
            |txn| in_txn(finish_in_txn(txn, keyed, &id)),
        )
        .await?;
    if held.payment_intent.is_some() {
        return with_secret(runner, id, answer, told.client_secret).await;
    }
    Ok(match payment.operation.status {
        Status::FailedPermanent {
            cause: Cause::Refused(failure),
        } => Created::Refused(failure.code),
        Status::FailedPermanent {
            cause: Cause::NeverHappened | Cause::Withdrawn,
        } => Created::Refused(ErrorCode::Unknown),
        // Two payments are there, of which a person undoes one.
        Status::FailedPermanent {
            cause: Cause::HappenedTwice,
        }
        | Status::Intended
        | Status::InFlight { .. }
        | Status::Succeeded { .. }
        | Status::FailedTransient { .. }
        | Status::Unknown { .. } => Created::Later,
    })
}

enum Begun {
    New { id: String, operation: String },
    Known { id: String, answer: Option<Value> },
}

async fn begin_in_txn(
    txn: &Transaction<'_>,
    request: &EscrowRequest,
    settlement: &Settlement,
    keyed: &Keyed<'_>,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<Begun, EscrowError> {
    let id = request.terms.id.as_str();
    match claim_key_in_txn(txn, keyed, id, now, now + KEY_LIFETIME).await? {
        Claim::OtherRequest => return Err(EscrowError::KeyReused),
        Claim::Repeat { subject, answer } => {
            return Ok(Begun::Known {
                id: subject.ok_or(EscrowError::Missing)?,
                answer: answer.map(|(_, body)| body),
            });
        }
        Claim::New => request.terms.check(UnixSeconds(now.timestamp()), settlement)?,
    }
    let escrow = Escrow::new(request.terms.clone());
    let new = NewEscrow {
        escrow: &escrow,
        metadata: &request.metadata,
        created_by: actor,
        now,
    };
    insert_escrow_in_txn(txn, &new).await?;
    let amount = request.terms.split.amount();
    let trace = TraceContext::current_header();
    let operation = insert_operation_in_txn(txn, id, 0, &Work::CreatePayment, amount, now, trace.as_deref()).await?;
    let action = NewAction {
        at: now,
        actor,
        action: "create",
        escrow: Some(id),
        operation: Some(&operation),
        reason: None,
        before: None,
        after: Some(&summary(&escrow)),
    };
    insert_action_in_txn(txn, &action).await?;
    Ok(Begun::New {
        id: id.to_owned(),
        operation,
    })
}

async fn finish_in_txn(
    txn: &Transaction<'_>,
    keyed: &Keyed<'_>,
    id: &str,
) -> Result<(HeldEscrow, OperationRow, Value), EscrowError> {
    let held = lock_escrow_in_txn(txn, id, Lock::Shared)
        .await?
        .ok_or(EscrowError::Missing)?;
    let answer = show_in_txn(txn, &held).await?;
    if held.payment_intent.is_some() {
        store_answer_in_txn(txn, keyed, 201, &answer).await?;
    }
    let operations = list_operations_in_txn(txn, id).await?;
    let payment = operations.into_iter().next().ok_or(EscrowError::Missing)?;
    Ok((held, payment, answer))
}

async fn payment_of(runner: &Runner, id: &str) -> Result<OperationRow, EscrowError> {
    let operations = runner
        .store
        .read(|txn| in_txn(async move { Ok::<_, EscrowError>(list_operations_in_txn(txn, id).await?) }))
        .await?;
    operations.into_iter().next().ok_or(EscrowError::Missing)
}

/// Adds the payer's secret: as it was just told, or as Stripe has it.
async fn with_secret(
    runner: &Runner,
    id: String,
    mut answer: Value,
    told: Option<SecretString>,
) -> Result<Created, EscrowError> {
    let secret = match told {
        Some(secret) => Some(secret),
        None => {
            let payment = answer
                .get("payment_intent_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let read = runner
                .stripe
                .ask(Ask::Secret, |stripe| stripe.read_payment_intent(payment));
            let Ok(read) = read.await else {
                tracing::warn!(escrow = id, "the payment cannot be read at Stripe");
                return Ok(Created::Later);
            };
            let object = stripe_gateway::views::ObjectView::parse(read.body.as_bytes());
            object.and_then(|object| object.client_secret()).ok().flatten()
        }
    };
    if let Some(fields) = answer.as_object_mut() {
        let secret = secret.map_or(Value::Null, |secret| secret.expose_secret().into());
        fields.insert("client_secret".to_owned(), secret);
    }
    Ok(Created::Escrow(answer))
}
