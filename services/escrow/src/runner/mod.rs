//! One operation: picked up, called, settled (ESC-4).
//!
//! Three commits with a call between them, and anything can stop in between. The intent was committed by whoever began the job. Here it
//! is marked as being made and leased; then the call is made, or Stripe is looked at; then the outcome is committed together with the
//! ledger's postings and the escrow's next status. Normal work, repair after a crash, and the answer to an unknown outcome are this one
//! path: [`domain::escrow::operation::decide`] says what is next, whoever asks.
//!
//! No call is made within a transaction, and none that was not written down before.

mod call;
mod look;
mod pick;
mod settle;

use std::sync::Arc;

use db::escrow::operations::hold_operation_in_txn;
use domain::alert::{Alert, AlertKind};
use domain::escrow::operation::{Moment, Observation, Rules};
use domain::escrow::retry::Jitter;
use domain::time::UnixSeconds;
use rand::Rng as _;
use secrecy::SecretString;
use service_kit::clock::Clock;
use stripe_gateway::client::read::ReadError;
use tokio::sync::Notify;

use crate::change::Learned;
use crate::error::EscrowError;
use crate::notices::tell_more_rarely_in_txn;
use crate::steps::{Ask, Commit, Store, Stripe};

use look::Sight;

pub(crate) use pick::Picked;
pub(crate) use settle::{Observed, observe_in_txn};

/// Makes calls. Clones are the same runner.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) stripe: Stripe,
    pub(crate) rules: Rules,
    /// Wakes the relay, which sends the alerts that were written.
    pub(crate) relay: Arc<Notify>,
    /// Wakes the pool, for operations that were begun.
    pub(crate) pool: Arc<Notify>,
}

/// What a call told that is kept nowhere.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// For whoever pays, of a payment that was just made.
    pub(crate) client_secret: Option<SecretString>,
}

impl Runner {
    /// Does what is to be done next about an operation of an escrow, if anything is.
    pub(crate) async fn work(&self, operation: &str, escrow: &str) -> Result<Told, EscrowError> {
        let picked = self.pick_up(operation, escrow).await?;
        match picked {
            Picked::Nothing | Picked::Over => Ok(Told::default()),
            Picked::NeedsCharge { payment_intent } => {
                self.learn_charge(operation, escrow, &payment_intent).await?;
                Ok(Told::default())
            }
            Picked::Call(errand) => {
                let Some(made) = self.make(&errand).await else {
                    return Ok(Told::default());
                };
                let observation = Observation::Answered {
                    call: errand.call,
                    answer: made.answer,
                };
                let observed = Observed {
                    learned: made.learned,
                    request_id: made.request_id,
                    reason: made.reason,
                    trouble: made.trouble,
                    fact: None,
                };
                self.settle(operation, escrow, &observation, &observed).await?;
                Ok(Told {
                    client_secret: made.client_secret,
                })
            }
            Picked::Look(search) => {
                let began = self.seconds();
                match self.look(&search).await {
                    Ok(Sight { found, fact }) => {
                        let observation = Observation::Looked {
                            attempt: search.attempt,
                            began,
                            found,
                        };
                        let observed = Observed {
                            fact,
                            ..Observed::default()
                        };
                        self.settle(operation, escrow, &observation, &observed).await?;
                    }
                    Err(error) => self.tell_of_blindness(operation, escrow, &error).await?,
                }
                Ok(Told::default())
            }
        }
    }

    /// What a call has done cannot be looked up. It is looked up again when the lease of the look is over; a key that may not read would
    /// keep it unknown for ever, so a person is told.
    async fn tell_of_blindness(&self, operation: &str, escrow: &str, error: &ReadError) -> Result<(), EscrowError> {
        let (now, alert) = (self.clock.now(), blindness(Unseen::Outcome, operation, error));
        self.store
            .commit_as(
                |()| None,
                |txn| {
                    let alert = alert.clone();
                    db::in_txn(async move { tell_more_rarely_in_txn(txn, escrow, alert, now).await })
                },
            )
            .await?;
        self.relay.notify_one();
        Ok(())
    }

    /// Reads what a payment's charge is called at Stripe and keeps it. While Stripe does not say, the operation rests.
    async fn learn_charge(&self, operation: &str, escrow: &str, payment_intent: &str) -> Result<(), EscrowError> {
        let read = self
            .stripe
            .ask(Ask::Charge, |stripe| stripe.read_payment_intent(payment_intent));
        let (charge, alert) = match read.await {
            Ok(answer) => (answer.content.latest_charge, None),
            Err(error) => (None, Some(blindness(Unseen::Charge, escrow, &error))),
        };
        let Some(charge) = charge else {
            return self.rest(operation, escrow, alert).await;
        };
        let now = self.clock.now();
        let learned = Learned {
            charge: Some(charge),
            ..Learned::default()
        };
        self.store
            .commit(Commit::ChargeLearned, |txn| {
                let learned = learned.clone();
                db::in_txn(async move {
                    let held = crate::change::lock_in_txn(txn, escrow).await?;
                    crate::change::learn_in_txn(txn, &held, &learned, now).await.map(drop)
                })
            })
            .await
    }

    /// Lets an operation rest whose payment's charge is not known, and tells why. Another one may have learned it meanwhile and have begun
    /// the call, whose lease is then left as it is.
    async fn rest(&self, operation: &str, escrow: &str, alert: Option<Alert>) -> Result<(), EscrowError> {
        tracing::warn!(
            escrow,
            "Stripe does not say what the payment's charge is; its transfers wait"
        );
        let now = self.clock.now();
        self.store
            .commit_as(
                |()| None,
                |txn| {
                    let alert = alert.clone();
                    db::in_txn(async move {
                        let held = crate::change::lock_in_txn(txn, escrow).await?;
                        if held.charge.is_none() {
                            hold_operation_in_txn(txn, operation, now).await?;
                            if let Some(alert) = alert {
                                tell_more_rarely_in_txn(txn, escrow, alert, now).await?;
                            }
                        }
                        Ok::<_, EscrowError>(())
                    })
                },
            )
            .await?;
        self.relay.notify_one();
        Ok(())
    }

    pub(crate) fn seconds(&self) -> UnixSeconds {
        UnixSeconds(self.clock.unix_seconds())
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment {
            now: self.seconds(),
            jitter: Jitter(rand::rng().random()),
        }
    }
}

/// What cannot be read at Stripe, although money waits for it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unseen {
    /// What a call has done.
    Outcome,
    /// What a payment's charge is called.
    Charge,
    /// When an authorisation ends.
    AuthorizationEnd,
}

/// Tells a person that Stripe does not say what it has to: a key that may not read would have money wait for ever. `subject` is the
/// operation or the escrow.
pub(crate) fn blindness(unseen: Unseen, subject: &str, error: &ReadError) -> Alert {
    let (word, summary) = match unseen {
        Unseen::Outcome => (
            "look",
            "What calls that move money have done cannot be looked up at Stripe; they stay unknown until it can.",
        ),
        Unseen::Charge => (
            "charge",
            "What a payment's charge is called cannot be read at Stripe; its transfers wait until it can.",
        ),
        Unseen::AuthorizationEnd => (
            "authorization_end",
            "When an authorisation ends cannot be read at Stripe; it is not captured in time until it can.",
        ),
    };
    let told: &dyn std::error::Error = error;
    tracing::warn!(error = told, subject, "{summary}");
    Alert::new(AlertKind::StripeApiFailure, format!("{}/{word}", crate::NAME), summary)
        .with("for", subject)
        .with("error", error.to_string())
}
