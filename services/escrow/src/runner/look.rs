//! Looking at Stripe: what has an operation really done.

use db::escrow::operations::Work;
use domain::escrow::held::Task;
use domain::escrow::operation::Found;
use domain::ids::StripeObjectId;
use domain::time::UnixSeconds;
use stripe_gateway::client::Client;
use stripe_gateway::client::read::{Fate, Found as Made, Place, ReadError};
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
    found(&stripe.find_made(place, &search.operation).await?)
}

/// What came to nothing was not made. Of several the one counts that a person has left standing; a single one counts whatever became of
/// it since, or it would be made again.
fn found(made: &[Made]) -> Result<Found, ReadError> {
    let made: Vec<&Made> = made.iter().filter(|made| made.fate != Fate::CameToNothing).collect();
    let standing: Vec<&Made> = made.iter().copied().filter(|made| made.fate == Fate::Stands).collect();
    match (made.as_slice(), standing.as_slice()) {
        ([], _) => Ok(Found::Nothing),
        ([one], _) | (_, [one]) => one_of(&one.id),
        ([_, _, ..], [] | [_, _, ..]) => Ok(Found::Several),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_undone_counts_only_beside_one_that_stands() {
        use Fate::{CameToNothing, Stands, Undone};
        let id = |number: usize| StripeObjectId::parse(format!("re_{number}")).unwrap();
        let cases: [(&[Fate], Found); 9] = [
            (&[], Found::Nothing),
            (&[Stands], Found::One(id(0))),
            (&[Undone], Found::One(id(0))),
            (&[CameToNothing], Found::Nothing),
            (&[CameToNothing, Stands], Found::One(id(1))),
            (&[Undone, Stands], Found::One(id(1))),
            (&[Stands, Stands], Found::Several),
            (&[Undone, Undone], Found::Several),
            (&[Stands, Undone, Stands], Found::Several),
        ];
        for (fates, expected) in cases {
            let made = fates.iter().enumerate().map(|(number, fate)| Made {
                id: format!("re_{number}"),
                fate: *fate,
            });
            let made: Vec<Made> = made.collect();
            assert_eq!(found(&made).unwrap(), expected, "{fates:?}");
        }
    }
}
