//! The use case behind `PUT /api/clients/{client_id}`: our side says what was agreed with a client.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use db::billing::clients::{ClientRow, find_client, update_clients_in_txn};
use db::billing::decisions::{NewDecision, insert_decisions_in_txn};
use db::billing::owners::{client_name, customer_name, lock_names_in_txn, session_name};
use db::billing::registers::update_subscriptions_in_txn;
use db::billing::registration::{Registered, Registration, register_client_in_txn};
use db::billing::subscriptions::{SubscriptionRow, load_subscriptions_in_txn};
use db::billing::waiting::{
    release_waiting_events_in_txn, reopen_price_rejections_in_txn, reopen_source_rejections_in_txn,
    take_released_events_in_txn,
};
use db::outbox::insert_outbox_in_txn;
use db::{Database, DbError, TransactError, Transaction, in_txn};
use domain::billing::contract::PaymentSource;
use domain::billing::decision::Outcome::Applied;
use domain::billing::decision::{Reason, Transition};
use domain::ids::{PriceId, SubscriptionId};
use domain::money::Currency;
use serde_json::json;
use uuid::Uuid;

use crate::announcement::{self, Cause, StateChange};
use crate::releases::AT_ONCE;

/// What a registration is called where a change of state names its cause.
const CAUSE: &str = "registration";

/// Why a registration was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// The database.
    #[error("the database did not take the registration")]
    Database(#[from] DbError),
    /// Something of it belongs to somebody else.
    #[error("the registration conflicts")]
    Conflict(Registered),
}

impl TransactError for RegisterError {
    fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Conflict(_) => None,
        }
    }
}

/// A registered client, and whether it is new.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) client: ClientRow,
    pub(crate) is_new: bool,
    /// Events that waited for it are on their way to be decided.
    pub(crate) released: u64,
    /// Its state is another one now.
    pub(crate) changed: Option<Transition>,
}

/// Registers a client, and sends what waited for it back to be decided: in one transaction, under the locks that the consumer
/// takes before it sets an event aside. Where something else is agreed now, events that were rejected for it are decided
/// again as well, and what is known of the client is derived again at once: no later event is told to have changed what this did.
pub(crate) async fn register(
    database: &Database,
    registration: &Registration<'_>,
    now: DateTime<Utc>,
) -> Result<Outcome, RegisterError> {
    database
        .transact(|txn| {
            in_txn(async move {
                let mut names = vec![client_name(registration.client)];
                names.extend(registration.customer.map(customer_name));
                names.extend(registration.checkout_session.map(session_name));
                lock_names_in_txn(txn, &mut names).await?;
                let before = find_client(txn, registration.client).await?;
                let is_new = match register_client_in_txn(txn, registration).await? {
                    Registered::New => true,
                    Registered::Known => false,
                    conflict => return Err(RegisterError::Conflict(conflict)),
                };
                let mut client = find_client(txn, registration.client)
                    .await?
                    .ok_or_else(|| DbError::Value {
                        operation: "register_client",
                        detail: "the client that was just registered is not there".to_owned(),
                    })?;
                let mut changed = None;
                if !is_new {
                    reopen_source_rejections_in_txn(txn, &[registration.client]).await?;
                }
                if let Some(before) = before.filter(|before| agreed(before) != agreed(&client)) {
                    reopen_price_rejections_in_txn(txn, registration.client).await?;
                    if client.payment_source == PaymentSource::Stripe {
                        changed = derive_again_in_txn(txn, &before, &mut client, now).await?;
                    }
                }
                let released = release_waiting_events_in_txn(txn, &names).await?;
                let first = take_released_events_in_txn(txn, AT_ONCE).await?;
                let rows: Vec<_> = first.into_iter().map(announcement::decide_again).collect();
                insert_outbox_in_txn(txn, &rows).await?;
                Ok(Outcome {
                    client,
                    is_new,
                    released,
                    changed,
                })
            })
        })
        .await
}

/// Derives the state of a client from what is known and is agreed now. Its row is locked: the registration has written to it. What changes is
/// told as an event's change is, with the registration as its cause.
async fn derive_again_in_txn(
    txn: &Transaction<'_>,
    before: &ClientRow,
    row: &mut ClientRow,
    now: DateTime<Utc>,
) -> Result<Option<Transition>, DbError> {
    let known = load_subscriptions_in_txn(txn, &[row.client_id.as_str()], &[]).await?;
    let stored: BTreeMap<SubscriptionId, SubscriptionRow> =
        known.into_iter().map(|row| (row.id.clone(), row)).collect();
    let subscriptions = stored.iter().map(|(id, row)| (id.clone(), row.subscription.clone()));
    let mut client = row.client(subscriptions.collect());
    client.contract = before.contract();
    let changed = client.agree(row.contract());
    let registers: Vec<SubscriptionRow> = stored
        .into_iter()
        .filter_map(|(id, row)| {
            let subscription = client.subscriptions.get(&id)?.clone();
            (subscription != row.subscription).then_some(SubscriptionRow { subscription, ..row })
        })
        .collect();
    if !registers.is_empty() {
        update_subscriptions_in_txn(txn, &registers).await?;
    }
    row.take_over(&client);
    update_clients_in_txn(txn, &[row]).await?;
    let Some(transition) = changed else {
        return Ok(None);
    };
    let id = format!("{CAUSE}:{}", Uuid::now_v7());
    let decision = NewDecision {
        id: Uuid::now_v7(),
        decided_at: now,
        event_id: &id,
        event_type: CAUSE,
        created: now,
        received_at: now,
        client: Some(row.client_id.as_str()),
        org: Some(&row.org_id),
        outcome: Applied.as_str(),
        guard: None,
        reason: Reason::StateChanged.as_str(),
        transition: Some((transition.from.as_str(), transition.to.as_str())),
        details: &json!({}),
    };
    insert_decisions_in_txn(txn, &[decision]).await?;
    let change = StateChange {
        client: row.client_id.as_str(),
        org: &row.org_id,
        transition,
        version: row.version,
        subscription: row.stripe_subscription_id.as_ref().map(AsRef::as_ref),
        cause: Cause {
            id: &id,
            kind: CAUSE,
            created: now,
        },
        decided_at: now,
        traceparent: None,
    };
    insert_outbox_in_txn(txn, &[announcement::state_changed(&change)]).await?;
    Ok(changed)
}

/// What an event may be rejected for.
fn agreed(client: &ClientRow) -> (PaymentSource, Option<&PriceId>, Option<Currency>) {
    (
        client.payment_source,
        client.contracted_price_id.as_ref(),
        client.contracted_currency,
    )
}
