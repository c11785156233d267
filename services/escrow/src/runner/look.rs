//! Looking at Stripe: what has an operation really done.

use db::escrow::operations::Work;
use domain::escrow::held::Task;
use domain::escrow::operation::Found;
use domain::ids::StripeObjectId;
use domain::time::UnixSeconds;
use stripe_gateway::client::Client;
use stripe_gateway::client::read::{Place, ReadError};
use stripe_gateway::views::words::PaymentIntentStatus;

use super::Runner;
use crate::steps::Ask;

/// Clocks differ: payments are looked for from this much before their key was made, in seconds.
const CLOCK_MARGIN: i64 = 600;

/// What is looked for.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) operation: String,
    pub(crate) escrow: String,
    pub(crate) attempt: u32,
    pub(crate) work: Work,
    pub(crate) payment_intent: Option<String>,
    pub(crate) since: UnixSeconds,
}

impl Runner {
    /// What is there; none while Stripe cannot be asked.
    pub(super) async fn look(&self, search: &Search) -> Option<Found> {
        match self.stripe.ask(Ask::Look, |stripe| find(stripe, search)).await {
            Ok(found) => Some(found),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    operation = search.operation,
                    "Stripe cannot be asked what a call has done"
                );
                None
            }
        }
    }
}

async fn find(stripe: &Client, search: &Search) -> Result<Found, ReadError> {
    let payment = search.payment_intent.as_deref().unwrap_or_default();
    let place = match &search.work {
        Work::CreatePayment => Place::PaymentIntents {
            since: search.since.plus(-CLOCK_MARGIN),
        },
        Work::Job(Task::Capture) => return payment_is(stripe, payment, PaymentIntentStatus::Succeeded).await,
        Work::Job(Task::Cancel) => return payment_is(stripe, payment, PaymentIntentStatus::Canceled).await,
        Work::Job(Task::Transfer(_)) => Place::Transfers { group: &search.escrow },
        Work::Job(Task::Reverse(_, transfer)) => Place::Reversals {
            transfer: transfer.as_str(),
        },
        Work::Job(Task::Refund) => Place::Refunds {
            payment_intent: payment,
        },
    };
    let made = stripe.find_made(place, &search.operation).await?;
    Ok(match made.as_slice() {
        [] => Found::Nothing,
        [one] => one_of(one)?,
        [_, _, ..] => Found::Several,
    })
}

/// A payment is captured or canceled once, whoever did it.
async fn payment_is(stripe: &Client, id: &str, status: PaymentIntentStatus) -> Result<Found, ReadError> {
    let payment = stripe.read_payment_intent(id).await?.content;
    if payment.status == status {
        one_of(&payment.id)
    } else {
        Ok(Found::Nothing)
    }
}

fn one_of(id: &str) -> Result<Found, ReadError> {
    StripeObjectId::parse(id)
        .map(Found::One)
        .map_err(|_| ReadError::InvalidId)
}
