//! Looking at Stripe: what has an operation really done.

use db::escrow::operations::Work;
use domain::escrow::held::Task;
use domain::escrow::input::Fact;
use domain::escrow::operation::Found;
use domain::ids::StripeObjectId;
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use stripe_gateway::client::Client;
use stripe_gateway::client::read::{Fate, Found as Made, Place, ReadError};
use stripe_gateway::views::PaymentIntent;
use stripe_gateway::views::words::PaymentIntentStatus;

use super::Runner;
use crate::steps::Ask;

/// Clocks differ: payments are looked for from this much before their key was made to this much after the last call has settled, in seconds.
const CLOCK_MARGIN: i64 = 600;

/// What is looked for.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) operation: String,
    pub(crate) escrow: String,
    pub(crate) attempt: u32,
    pub(crate) work: Work,
    pub(crate) payment_intent: Option<String>,
    /// When its key was made.
    pub(crate) since: UnixSeconds,
    /// When its last call has settled.
    pub(crate) until: UnixSeconds,
    /// Whether Stripe has told of as much as this refund, and it is not known whose that was.
    pub(crate) was_told: bool,
}

/// What was found, and what it says of the payment.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) found: Found,
    pub(crate) fact: Option<Fact>,
}

impl Runner {
    /// What is there.
    ///
    /// # Errors
    /// When Stripe cannot be asked, or may not be: then nothing is known.
    pub(super) async fn look(&self, search: &Search) -> Result<Sight, ReadError> {
        self.stripe.ask(Ask::Look, |stripe| find(stripe, search)).await
    }
}

async fn find(stripe: &Client, search: &Search) -> Result<Sight, ReadError> {
    let payment = search.payment_intent.as_deref().unwrap_or_default();
    let place = match &search.work {
        Work::CreatePayment => Place::PaymentIntents {
            since: search.since.plus(-CLOCK_MARGIN),
            until: search.until.plus(CLOCK_MARGIN),
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
    let found = match found(&made)? {
        // It was in `amount_refunded`: it was made, and has come back since, which `refund.failed` tells.
        Found::Nothing if search.was_told => made.first().map_or(Ok(Found::Nothing), |made| one_of(&made.id))?,
        found => found,
    };
    Ok(Sight { found, fact: None })
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

/// A payment is captured or canceled once, whoever did it; and whoever did may have captured less.
async fn payment_is(stripe: &Client, id: &str, expected: PaymentIntentStatus) -> Result<Sight, ReadError> {
    let payment = stripe.read_payment_intent(id).await?.content;
    let found = if payment.status == expected {
        one_of(&payment.id)?
    } else {
        Found::Nothing
    };
    let fact = end_of(&payment, &expected);
    Ok(Sight { found, fact })
}

/// How the payment has ended, as far as the outcome does not say it. The end that was not looked for is told as well: its webhook may be
/// lost, and without it nobody would know of money that is there, or that is not.
fn end_of(payment: &PaymentIntent, expected: &PaymentIntentStatus) -> Option<Fact> {
    match payment.status {
        PaymentIntentStatus::Succeeded => {
            let currency = Currency::parse(&payment.currency).ok()?;
            Some(Fact::Captured(Money::new(payment.amount_received, currency)))
        }
        PaymentIntentStatus::Canceled if *expected != PaymentIntentStatus::Canceled => Some(Fact::PaymentCanceled),
        PaymentIntentStatus::Canceled
        | PaymentIntentStatus::RequiresCapture
        | PaymentIntentStatus::RequiresPaymentMethod
        | PaymentIntentStatus::RequiresConfirmation
        | PaymentIntentStatus::RequiresAction
        | PaymentIntentStatus::Processing
        | PaymentIntentStatus::Unknown(_) => None,
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
