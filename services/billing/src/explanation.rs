//! Why a client is in its state: what each of its subscriptions says, the one that is heard first, and what else was recorded.
//!
//! The same functions that decide are asked here, over the same rows; nothing is explained by another rule than it was decided by.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use db::billing::clients::ClientRow;
use db::billing::evidence::{self, ChargeEvidence, gather_evidence};
use db::billing::subscriptions::list_subscriptions;
use db::{DbError, GenericClient};
use domain::billing::derive::{Word, explain};
use domain::billing::payment::Evidence;
use domain::billing::register::Subscription;
use domain::billing::subscription::Snapshots;
use domain::ids::SubscriptionId;
use domain::money::Currency;
use serde::Serialize;

/// Payments, refunds, disputes and waiting events that are shown, of each.
const SHOWN: i64 = 50;

/// Why a client is in its state.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// One sentence.
    pub why: String,
    /// What the subscriptions say; the first one is heard.
    pub subscriptions: Vec<SubscriptionWord>,
    /// Invoices and checkouts, the newest first.
    pub payments: Vec<Payment>,
    /// Refunds, which change no state.
    pub refunds: Vec<OfCharge>,
    /// Disputes, which change no state.
    pub disputes: Vec<OfCharge>,
    /// Events that name this client and wait for something to become known.
    pub waiting: Vec<Waiting>,
}

/// What is known of one subscription.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionWord {
    /// `sub_...`.
    pub stripe_subscription_id: String,
    /// Whether it speaks for the client.
    pub speaks: bool,
    /// How strongly it speaks; absent where it says nothing.
    pub voice: Option<&'static str>,
    /// The state that it asks for.
    pub state: Option<&'static str>,
    /// `snapshot` or `payments`.
    pub basis: Option<&'static str>,
    /// Stripe's status by the last snapshot.
    pub status: Option<&'static str>,
    /// When that snapshot was made.
    pub snapshot_at: Option<DateTime<Utc>>,
    /// When it started.
    pub since: Option<DateTime<Utc>>,
    /// When its paid period ends.
    pub current_period_end: Option<DateTime<Utc>>,
    /// Its price.
    pub price: Option<String>,
    /// Several snapshots of one second differ, and it is still to be read from Stripe.
    pub undecided: bool,
    /// When the first invoice that was paid was made.
    pub first_paid_at: Option<DateTime<Utc>>,
    /// When the last invoice that was paid was made.
    pub last_paid_at: Option<DateTime<Utc>>,
    /// When the last invoice that failed was made.
    pub last_failed_at: Option<DateTime<Utc>>,
}

/// An invoice or a checkout session.
#[derive(Debug, Clone, Serialize)]
pub struct Payment {
    /// `in_...` or `cs_...`.
    pub id: String,
    /// The subscription that it was for.
    pub stripe_subscription_id: Option<String>,
    /// Minor units.
    pub amount: i64,
    /// Their currency in lower case.
    pub currency: Option<String>,
    /// When it was paid first.
    pub paid_at: Option<DateTime<Utc>>,
    /// When it failed last.
    pub failed_at: Option<DateTime<Utc>>,
}

/// A refund or a dispute.
#[derive(Debug, Clone, Serialize)]
pub struct OfCharge {
    /// `re_...` or `du_...`.
    pub id: String,
    /// The charge.
    pub charge: String,
    /// Stripe's word.
    pub status: String,
    /// Minor units.
    pub amount: i64,
    /// Their currency in lower case.
    pub currency: String,
}

/// An event that waits.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// Stripe's id.
    pub event_id: String,
    /// Its type.
    pub r#type: String,
    /// When Stripe made it.
    pub created: DateTime<Utc>,
    /// What it waits for, such as `customer:cus_1`.
    pub waiting_for: Vec<String>,
}

/// Explains the state of a client whose row was just read.
///
/// # Errors
/// When the database does not answer or a row cannot be read.
pub async fn explain_client(conn: &impl GenericClient, client: &ClientRow) -> Result<Explanation, DbError> {
    let id = client.client_id.as_str();
    let rows = list_subscriptions(conn, id).await?;
    let known: BTreeMap<SubscriptionId, Subscription> =
        rows.into_iter().map(|row| (row.id, row.subscription)).collect();
    let words = explain(&client.contract(), &known);
    let silent = known.iter().filter(|(id, _)| words.iter().all(|(said, _)| said != id));
    let speaking = words.iter().enumerate();
    let subscriptions = speaking
        .map(|(place, (id, word))| SubscriptionWord::of(id, known.get(*id), Some(word), place == 0))
        .chain(silent.map(|(id, subscription)| SubscriptionWord::of(id, Some(subscription), None, false)))
        .collect();
    let evidence::Evidence {
        payments,
        refunds,
        disputes,
        waiting,
    } = gather_evidence(conn, id, SHOWN).await?;
    Ok(Explanation {
        why: why(client, words.first(), &known),
        subscriptions,
        payments: payments
            .into_iter()
            .map(|row| Payment {
                id: row.object_id,
                stripe_subscription_id: row.subscription,
                amount: row.amount,
                currency: row.currency,
                paid_at: row.paid_at.and_then(time),
                failed_at: row.failed_at.and_then(time),
            })
            .collect(),
        refunds: refunds.into_iter().map(OfCharge::of).collect(),
        disputes: disputes.into_iter().map(OfCharge::of).collect(),
        waiting: waiting
            .into_iter()
            .map(|row| Waiting {
                event_id: row.event_id,
                r#type: row.kind,
                created: row.created,
                waiting_for: row.waiting_for,
            })
            .collect(),
    })
}

fn why(
    client: &ClientRow,
    heard: Option<&(&SubscriptionId, Word)>,
    known: &BTreeMap<SubscriptionId, Subscription>,
) -> String {
    let state = client.state;
    match heard {
        None => {
            let unagreed = known.iter().find_map(|(id, known)| unagreed(client, id, known));
            format!(
                "{state}, because no subscription speaks and the contract begins so.{}",
                unagreed.unwrap_or_default()
            )
        }
        Some((id, word)) if word.state == state => format!(
            "{state}, because subscription {id} is {} by its {}, and no other speaks more strongly.",
            word.voice.as_str(),
            word.basis.as_str()
        ),
        // The graph has no such step.
        Some((id, word)) => format!(
            "{state}; subscription {id} asks for {}, which its next event decides.",
            word.state
        ),
    }
}

/// That a subscription is silent for its price.
fn unagreed(client: &ClientRow, id: &SubscriptionId, known: &Subscription) -> Option<String> {
    let (price, currency) = match known.condition() {
        Some(condition) if condition.agreed.is_some() => return None,
        Some(condition) => (
            condition.now.price.as_ref().map(ToString::to_string),
            condition.now.currency,
        ),
        None => last_billed(known)?,
    };
    let or = |text: Option<&str>, none: &str| text.unwrap_or(none).to_owned();
    let price = or(price.as_deref(), "an unknown price");
    let currency = or(currency.as_ref().map(Currency::as_str), "an unknown currency");
    let agreed = or(client.contracted_price_id.as_ref().map(AsRef::as_ref), "any price");
    let agreed_currency = or(
        client.contracted_currency.as_ref().map(Currency::as_str),
        "any currency",
    );
    Some(format!(
        " Subscription {id} is at {price} in {currency}; agreed is {agreed} in {agreed_currency}."
    ))
}

/// The prices and the currency of the last payment that was billed otherwise than agreed.
fn last_billed(known: &Subscription) -> Option<(Option<String>, Option<Currency>)> {
    let last = |said: &Evidence| said.last_paid().max(said.last_failed());
    let (billed, _) = known.billed_otherwise.iter().max_by_key(|(_, said)| last(said))?;
    let prices: Vec<&str> = billed.prices.iter().map(AsRef::as_ref).collect();
    Some(((!prices.is_empty()).then(|| prices.join(", ")), billed.currency))
}

fn time(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

impl SubscriptionWord {
    fn of(id: &SubscriptionId, known: Option<&Subscription>, word: Option<&Word>, speaks: bool) -> Self {
        let registers = known.map(|known| [&known.snapshots, &known.at_other_prices]);
        let snapshot_at = registers
            .into_iter()
            .flatten()
            .flatten()
            .max_by_key(|register| (register.rank(), register.at()));
        let snapshot = known.and_then(Subscription::condition).map(|condition| condition.now);
        let evidence = known.map(Subscription::all_evidence).unwrap_or_default();
        let seconds = |at: Option<domain::time::UnixSeconds>| at.and_then(|at| time(at.0));
        Self {
            stripe_subscription_id: id.to_string(),
            speaks,
            voice: word.map(|word| word.voice.as_str()),
            state: word.map(|word| word.state.as_str()),
            basis: word.map(|word| word.basis.as_str()),
            status: snapshot.map(|snapshot| snapshot.status.as_str()),
            snapshot_at: seconds(snapshot_at.map(Snapshots::at)),
            since: seconds(word.map(|word| word.since)),
            current_period_end: seconds(snapshot.and_then(|snapshot| snapshot.current_period_end)),
            price: snapshot.and_then(|snapshot| snapshot.price.as_ref().map(ToString::to_string)),
            undecided: word.is_some_and(|word| word.undecided),
            first_paid_at: seconds(evidence.first_paid()),
            last_paid_at: seconds(evidence.last_paid()),
            last_failed_at: seconds(evidence.last_failed()),
        }
    }
}

impl OfCharge {
    fn of(row: ChargeEvidence) -> Self {
        Self {
            id: row.object_id,
            charge: row.charge,
            status: row.status,
            amount: row.amount,
            currency: row.currency,
        }
    }
}
