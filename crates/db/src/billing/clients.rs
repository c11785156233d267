//! Clients: locked and loaded for a batch, written back, and found for an answer.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use domain::billing::client::Client;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::register::Subscription;
use domain::billing::state::ClientState;
use domain::ids::{ClientId, PriceId, SubscriptionId};
use domain::money::Currency;
use domain::time::UnixSeconds;
use tokio_postgres::Row;

use super::{corrupt, execute, query};
use crate::DbError;
use crate::error::During as _;

/// A row of `client_billing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Whose.
    pub client_id: ClientId,
    /// The organisation.
    pub org_id: String,
    /// How the client pays.
    pub payment_source: PaymentSource,
    /// The state while no fact speaks.
    pub initial_state: ClientState,
    /// The state.
    pub state: ClientState,
    /// The newest customer.
    pub stripe_customer_id: Option<String>,
    /// The subscription that speaks.
    pub stripe_subscription_id: Option<SubscriptionId>,
    /// The end of its paid period.
    pub current_period_end: Option<DateTime<Utc>>,
    /// The checkout session that our side registered.
    pub checkout_session_id: Option<String>,
    /// The agreed price.
    pub contracted_price_id: Option<PriceId>,
    /// The agreed currency.
    pub contracted_currency: Option<Currency>,
    /// The event that was applied last.
    pub last_event: Option<LastEvent>,
    /// One more with each change of state.
    pub version: i64,
}

/// The event that was applied to a client last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// When Stripe made it.
    pub created: DateTime<Utc>,
}

const COLUMNS: &str = "client_id, org_id, payment_source, initial_state, state, stripe_customer_id, stripe_subscription_id, \
     current_period_end, checkout_session_id, contracted_price_id, contracted_currency, last_event_id, last_event_type, \
     last_event_created, version";

impl ClientRow {
    fn read(row: &Row) -> Result<Self, DbError> {
        let corrupt = |column: &'static str| corrupt("read_client", column);
        let id: String = row.get("client_id");
        let subscription: Option<String> = row.get("stripe_subscription_id");
        let price: Option<String> = row.get("contracted_price_id");
        let currency: Option<String> = row.get("contracted_currency");
        let event: (Option<String>, Option<String>, Option<DateTime<Utc>>) = (
            row.get("last_event_id"),
            row.get("last_event_type"),
            row.get("last_event_created"),
        );
        Ok(Self {
            client_id: ClientId::parse(id).map_err(|_| corrupt("client_id"))?,
            org_id: row.get("org_id"),
            payment_source: PaymentSource::parse(row.get("payment_source")).ok_or_else(|| corrupt("payment_source"))?,
            initial_state: ClientState::parse(row.get("initial_state")).ok_or_else(|| corrupt("initial_state"))?,
            state: ClientState::parse(row.get("state")).ok_or_else(|| corrupt("state"))?,
            stripe_customer_id: row.get("stripe_customer_id"),
            stripe_subscription_id: subscription
                .map(SubscriptionId::parse)
                .transpose()
                .map_err(|_| corrupt("stripe_subscription_id"))?,
            current_period_end: row.get("current_period_end"),
            checkout_session_id: row.get("checkout_session_id"),
            contracted_price_id: price
                .map(PriceId::parse)
                .transpose()
                .map_err(|_| corrupt("contracted_price_id"))?,
            contracted_currency: currency
                .map(|code| Currency::parse(&code))
                .transpose()
                .map_err(|_| corrupt("contracted_currency"))?,
            last_event: match event {
                (Some(id), Some(kind), Some(created)) => Some(LastEvent { id, kind, created }),
                (_, _, _) => None,
            },
            version: row.get("version"),
        })
    }

    /// What the rules need of it.
    #[must_use]
    pub fn contract(&self) -> Contract {
        Contract {
            client: self.client_id.clone(),
            source: self.payment_source,
            initial: self.initial_state,
            has_customer: self.stripe_customer_id.is_some(),
            price: self.contracted_price_id.clone(),
            currency: self.contracted_currency,
        }
    }
}

impl ClientRow {
    /// The client as the rules know it, with what is known of its subscriptions.
    #[must_use]
    pub fn client(&self, subscriptions: BTreeMap<SubscriptionId, Subscription>) -> Client {
        Client {
            contract: self.contract(),
            state: self.state,
            version: self.version,
            speaker: self.stripe_subscription_id.clone(),
            current_period_end: self.current_period_end.map(|end| UnixSeconds(end.timestamp())),
            subscriptions,
        }
    }

    /// Takes over what was derived. Answers whether anything but the state is another one than before: who speaks, and until when is paid.
    pub fn take_over(&mut self, client: &Client) -> bool {
        let current_period_end = client
            .current_period_end
            .and_then(|end| DateTime::from_timestamp(end.0, 0));
        let differs = self.stripe_subscription_id != client.speaker || self.current_period_end != current_period_end;
        self.state = client.state;
        self.version = client.version;
        self.stripe_subscription_id.clone_from(&client.speaker);
        self.current_period_end = current_period_end;
        differs
    }
}

/// Locks clients in the order of their ids, until the end of the transaction, and loads them. Ids that are nobody's are left out.
///
/// # Errors
/// When the database does not answer or a row breaks its constraints.
pub async fn lock_clients_in_txn(txn: &Transaction<'_>, clients: &[&str]) -> Result<Vec<ClientRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM client_billing WHERE client_id = ANY ($1) ORDER BY client_id FOR UPDATE");
    query(txn, "lock_clients", &sql, &[&clients])
        .await?
        .iter()
        .map(ClientRow::read)
        .collect()
}

/// Finds a client.
///
/// # Errors
/// When the database does not answer or the row breaks its constraints.
pub async fn find_client(conn: &impl GenericClient, client: &str) -> Result<Option<ClientRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM client_billing WHERE client_id = $1");
    conn.query_opt(&sql, &[&client])
        .await
        .during("find_client")?
        .as_ref()
        .map(ClientRow::read)
        .transpose()
}

/// Writes back what a batch changed in clients that it has locked.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn update_clients_in_txn(txn: &Transaction<'_>, clients: &[&ClientRow]) -> Result<u64, DbError> {
    let mut sorted = clients.to_vec();
    sorted.sort_unstable_by(|a, b| a.client_id.cmp(&b.client_id));
    let events = || sorted.iter().map(|row| row.last_event.as_ref());
    let sql = "UPDATE client_billing AS c SET state = u.state, stripe_customer_id = u.customer, \
                   stripe_subscription_id = u.subscription, current_period_end = u.period_end, last_event_id = u.event_id, \
                   last_event_type = u.event_type, last_event_created = u.event_created, version = u.version, \
                   updated_at = now() \
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], \
                   $8::timestamptz[], $9::bigint[]) \
                   AS u (client_id, state, customer, subscription, period_end, event_id, event_type, event_created, version) \
               WHERE c.client_id = u.client_id";
    let ids: Vec<&str> = sorted.iter().map(|row| row.client_id.as_str()).collect();
    let states: Vec<&str> = sorted.iter().map(|row| row.state.as_str()).collect();
    let customers: Vec<Option<&str>> = sorted.iter().map(|row| row.stripe_customer_id.as_deref()).collect();
    let subscriptions: Vec<Option<&str>> = sorted
        .iter()
        .map(|row| row.stripe_subscription_id.as_ref().map(SubscriptionId::as_str))
        .collect();
    let period_ends: Vec<Option<DateTime<Utc>>> = sorted.iter().map(|row| row.current_period_end).collect();
    let event_ids: Vec<Option<&str>> = events().map(|event| Some(event?.id.as_str())).collect();
    let event_types: Vec<Option<&str>> = events().map(|event| Some(event?.kind.as_str())).collect();
    let event_times: Vec<Option<DateTime<Utc>>> = events().map(|event| Some(event?.created)).collect();
    let versions: Vec<i64> = sorted.iter().map(|row| row.version).collect();
    execute(
        txn,
        "update_clients",
        sql,
        &[
            &ids,
            &states,
            &customers,
            &subscriptions,
            &period_ends,
            &event_ids,
            &event_types,
            &event_times,
            &versions,
        ],
    )
    .await
}
