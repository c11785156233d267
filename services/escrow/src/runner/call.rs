//! A call: from what the database says to Stripe's parameters, and from Stripe's answer to what the protocol knows.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use domain::escrow::failure::{ErrorClass, ErrorCode, Failure};
use domain::escrow::operation::{Answer, Call as Numbered, Unclear};
use domain::escrow::terms::CaptureMethod;
use domain::ids::StripeObjectId;
use domain::money::Money;
use domain::time::UnixSeconds;
use secrecy::SecretString;
use serde_json::Value;
use stripe_gateway::client::requests::connect::transfer::CreateTransfer;
use stripe_gateway::client::requests::connect::transfer_reversal::CreateIdTransferReversal;
use stripe_gateway::client::requests::core::payment_intent::{
    CancelPaymentIntent, CapturePaymentIntent, CreatePaymentIntent, CreatePaymentIntentAutomaticPaymentMethods,
};
use stripe_gateway::client::requests::core::refund::CreateRefund;
use stripe_gateway::client::requests::{Currency, PaymentIntentCaptureMethod};
use stripe_gateway::client::{Call, IdempotencyKey, NotSent, Outcome, Receipt, Refusal, UnknownCause};
use stripe_gateway::views::words::{PaymentIntentStatus, RefundStatus};
use stripe_gateway::views::{ObjectView, Problem, ViewError};

use super::Runner;
use crate::change::Learned;
use crate::steps::Ask;

/// Of a lease this much is kept for writing the outcome down.
const MARGIN: Duration = Duration::from_secs(60);

/// A call that is to be made.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) operation: String,
    pub(crate) escrow: String,
    pub(crate) key: String,
    pub(crate) call: Numbered,
    /// When another worker may take it.
    pub(crate) lease_until: UnixSeconds,
    pub(crate) amount: Money,
    pub(crate) params: Params,
    pub(crate) ask: Ask,
    pub(crate) metadata: Value,
}

/// What a call is made of. Its text is kept beside the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Params {
    /// Makes the payment.
    CreatePayment { amount: Money, capture: CaptureMethod },
    /// Captures it.
    Capture { payment_intent: String, amount: Money },
    /// Gives it up.
    Cancel { payment_intent: String },
    /// Pays a recipient out of the charge.
    Transfer {
        account: String,
        charge: String,
        amount: Money,
    },
    /// Takes a transfer back.
    Reverse { transfer: String, amount: Money },
    /// Pays the payer back.
    Refund { payment_intent: String, amount: Money },
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minor = |money: &Money| format!("{} {}", money.minor, money.currency);
        match self {
            Self::CreatePayment { amount, capture } => write!(f, "create {} {capture}", minor(amount)),
            Self::Capture { payment_intent, amount } => write!(f, "capture {} of {payment_intent}", minor(amount)),
            Self::Cancel { payment_intent } => write!(f, "cancel {payment_intent}"),
            Self::Transfer {
                account,
                charge,
                amount,
            } => write!(f, "transfer {} of {charge} to {account}", minor(amount)),
            Self::Reverse { transfer, amount } => write!(f, "reverse {} of {transfer}", minor(amount)),
            Self::Refund { payment_intent, amount } => write!(f, "refund {} of {payment_intent}", minor(amount)),
        }
    }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) answer: Answer,
    pub(crate) learned: Learned,
    pub(crate) request_id: Option<String>,
    pub(crate) client_secret: Option<SecretString>,
    /// Stripe's words for a refusal.
    pub(crate) reason: Option<String>,
    /// Why Stripe could not be asked, in a word.
    pub(crate) trouble: Option<&'static str>,
}

/// What an answer says that could be read.
enum Effect {
    /// It was done.
    Made {
        object: String,
        learned: Learned,
        client_secret: Option<SecretString>,
    },
    /// It was made, and came to nothing: a refund that failed at once. No money has moved.
    CameToNothing { reason: Option<String> },
}

impl Runner {
    /// Makes the call, within what is left of its lease; `None` where the process was held up for so long that nothing is left, and
    /// another worker may have it.
    pub(super) async fn make(&self, errand: &Errand) -> Option<Made> {
        let Some(call) = encode(errand) else {
            return Some(refused(ErrorCode::Unknown, 400, None));
        };
        // Looked at last of all: whatever held the process up came before.
        let outcome = self.stripe.ask(errand.ask, |stripe| async {
            let left = u64::try_from(errand.lease_until.since(self.seconds())).unwrap_or_default();
            let time = Duration::from_secs(left).saturating_sub(MARGIN);
            if time.is_zero() {
                return None;
            }
            Some(stripe.send(call.within(time)).await)
        });
        let Some(outcome) = outcome.await else {
            tracing::warn!(
                operation = errand.operation,
                "a call's lease ended before it was made; whoever is next makes it"
            );
            return None;
        };
        let params = &errand.params;
        Some(answered(outcome.read(|body| effect(body, params))))
    }
}

fn encode(errand: &Errand) -> Option<Call> {
    let key = IdempotencyKey::parse(errand.key.as_str()).ok()?;
    let currency: Currency = errand.amount.currency.as_str().parse().ok()?;
    let ours = || {
        HashMap::from([
            ("escrow_id".to_owned(), errand.escrow.clone()),
            ("operation_id".to_owned(), errand.operation.clone()),
        ])
    };
    let group = errand.escrow.as_str();
    Some(match &errand.params {
        Params::CreatePayment { amount, capture } => {
            let method = match capture {
                CaptureMethod::Manual => PaymentIntentCaptureMethod::Manual,
                CaptureMethod::Automatic => PaymentIntentCaptureMethod::Automatic,
            };
            let request = CreatePaymentIntent::new(amount.minor, currency)
                .capture_method(method)
                .automatic_payment_methods(CreatePaymentIntentAutomaticPaymentMethods::new(true))
                .transfer_group(group)
                .metadata(with_metadata(ours(), &errand.metadata));
            Call::post(&request, key)
        }
        Params::Capture { payment_intent, amount } => {
            let request = CapturePaymentIntent::new(payment_intent.as_str()).amount_to_capture(amount.minor);
            Call::post(&request, key)
        }
        Params::Cancel { payment_intent } => Call::post(&CancelPaymentIntent::new(payment_intent.as_str()), key),
        Params::Transfer {
            account,
            charge,
            amount,
        } => {
            let request = CreateTransfer::new(currency, account.as_str())
                .amount(amount.minor)
                .source_transaction(charge.as_str())
                .transfer_group(group)
                .metadata(ours());
            Call::post(&request, key)
        }
        Params::Reverse { transfer, amount } => {
            let request = CreateIdTransferReversal::new(transfer.as_str())
                .amount(amount.minor)
                .metadata(ours());
            Call::post(&request, key)
        }
        Params::Refund { payment_intent, amount } => {
            let request = CreateRefund::new()
                .payment_intent(payment_intent.as_str())
                .amount(amount.minor)
                .metadata(ours());
            Call::post(&request, key)
        }
    })
}

/// The creator's own words go to the payment as well; ours have the last word.
fn with_metadata(ours: HashMap<String, String>, creators: &Value) -> HashMap<String, String> {
    let texts = creators.as_object().into_iter().flatten();
    let texts = texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let mut all: HashMap<String, String> = texts.collect();
    all.extend(ours);
    all
}

/// What an answer says. An answer that is not what was asked for is unreadable, and so unknown.
fn effect(body: &[u8], params: &Params) -> Result<Effect, ViewError> {
    let object = ObjectView::parse(body)?;
    match params {
        Params::CreatePayment { .. } => {
            let payment = object.payment_intent()?;
            Ok(Effect::Made {
                learned: Learned {
                    payment_intent: Some(payment.id.clone()),
                    ..Learned::default()
                },
                object: payment.id,
                client_secret: object.client_secret()?,
            })
        }
        Params::Capture { .. } => of_payment(&object, &PaymentIntentStatus::Succeeded),
        Params::Cancel { .. } => of_payment(&object, &PaymentIntentStatus::Canceled),
        Params::Transfer { account, amount, .. } => {
            let transfer = object.transfer()?;
            let is_ours = transfer.destination.as_deref() == Some(account) && transfer.amount == amount.minor;
            if is_ours {
                made(transfer.id)
            } else {
                Err(unexpected("transfer"))
            }
        }
        Params::Reverse { .. } => made(object.required_id()?),
        Params::Refund { .. } => {
            let refund = object.refund()?;
            match refund.status {
                Some(RefundStatus::Failed | RefundStatus::Canceled) => Ok(Effect::CameToNothing {
                    reason: refund.failure_reason,
                }),
                Some(
                    RefundStatus::Pending
                    | RefundStatus::RequiresAction
                    | RefundStatus::Succeeded
                    | RefundStatus::Unknown(_),
                )
                | None => made(refund.id),
            }
        }
    }
}

fn of_payment(object: &ObjectView<'_>, expected: &PaymentIntentStatus) -> Result<Effect, ViewError> {
    let payment = object.payment_intent()?;
    if payment.status != *expected {
        return Err(unexpected("payment_intent.status"));
    }
    Ok(Effect::Made {
        object: payment.id,
        learned: Learned {
            charge: payment.latest_charge,
            ..Learned::default()
        },
        client_secret: None,
    })
}

fn made(object: String) -> Result<Effect, ViewError> {
    Ok(Effect::Made {
        object,
        learned: Learned::default(),
        client_secret: None,
    })
}

fn unexpected(path: &str) -> ViewError {
    ViewError::Field {
        path: path.to_owned(),
        problem: Problem::Missing,
    }
}

fn answered(outcome: Outcome<Effect>) -> Made {
    match outcome {
        Outcome::Answered(answer) => of_effect(answer.content, answer.receipt),
        Outcome::Refused(refusal) => of_refusal(refusal),
        Outcome::Unknown(unknown) => {
            let is_replayed = unknown.receipt.as_ref().is_some_and(|receipt| receipt.replayed);
            let how = match unknown.cause {
                UnknownCause::ServerError if is_replayed => Unclear::StoredServerError,
                UnknownCause::ServerError => Unclear::ServerError,
                // Something was done under the key: the key will not tell what.
                UnknownCause::KeyReused => Unclear::StoredServerError,
                UnknownCause::TimedOut
                | UnknownCause::ConnectionLost
                | UnknownCause::KeyInUse
                | UnknownCause::Locked
                | UnknownCause::NotStripes
                | UnknownCause::TooLarge
                | UnknownCause::Unreadable(_) => Unclear::NoAnswer,
            };
            let trouble = unknown.cause.code();
            unclear(how, unknown.receipt.and_then(|receipt| receipt.request_id), trouble)
        }
        Outcome::NotSent(NotSent::BadRequest) => refused(ErrorCode::Unknown, 400, None),
        Outcome::NotSent(not_sent @ (NotSent::NoConnection | NotSent::RateLimited(_))) => {
            unclear(Unclear::NoAnswer, None, not_sent.code())
        }
    }
}

fn of_effect(effect: Effect, receipt: Receipt) -> Made {
    match effect {
        Effect::Made {
            object,
            learned,
            client_secret,
        } => match StripeObjectId::parse(object) {
            Ok(object) => Made {
                answer: Answer::Made(object),
                learned,
                request_id: receipt.request_id,
                client_secret,
                reason: None,
                trouble: None,
            },
            Err(_) => unclear(Unclear::NoAnswer, receipt.request_id, "unreadable"),
        },
        Effect::CameToNothing { reason } => {
            let code = reason.as_deref().map_or(ErrorCode::Unknown, ErrorCode::read);
            Made {
                reason,
                ..refused(code, receipt.status, receipt.request_id)
            }
        }
    }
}

fn unclear(how: Unclear, request_id: Option<String>, trouble: &'static str) -> Made {
    Made {
        answer: Answer::Unclear(how),
        learned: Learned::default(),
        request_id,
        client_secret: None,
        reason: None,
        trouble: Some(trouble),
    }
}

fn of_refusal(refusal: Refusal) -> Made {
    let text = refusal.code.as_deref().or(refusal.decline_code.as_deref());
    let code = ErrorCode::read(text.unwrap_or(&refusal.kind));
    let is_about_the_key = is_about_the_key(&refusal, code);
    let made = refused(code, refusal.receipt.status, refusal.receipt.request_id);
    let reason = refusal.message.or(refusal.code).or(Some(refusal.kind));
    if is_about_the_key {
        // Our key is not accepted, which is decided before anything else: the call did not begin, and is made when a key is.
        let failure = Failure {
            code,
            class: ErrorClass::NotStarted,
        };
        return Made {
            answer: Answer::Refused(failure),
            reason,
            trouble: Some("key_not_accepted"),
            ..made
        };
    }
    Made { reason, ..made }
}

/// `401` is, whatever Stripe calls it: a key that was rolled says `api_key_expired`. `403` says by its code what it is about, if anything
/// but the key: an account that is not connected any more stays a refusal of this one call.
fn is_about_the_key(refusal: &Refusal, code: ErrorCode) -> bool {
    refusal.is_about_the_key() && (refusal.receipt.status == 401 || code == ErrorCode::Unknown)
}

fn refused(code: ErrorCode, status: u16, request_id: Option<String>) -> Made {
    Made {
        answer: Answer::Refused(Failure::new(code, status)),
        learned: Learned::default(),
        request_id,
        client_secret: None,
        reason: None,
        trouble: None,
    }
}
