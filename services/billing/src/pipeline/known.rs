//! What our side knows about the clients that a batch speaks of, locked until the batch is committed.

use std::collections::{BTreeMap, BTreeSet};

use db::Transaction;
use db::billing::clients::{ClientRow, lock_clients_in_txn};
use db::billing::owners::{
    client_lock, customer_lock, find_customer_owners_in_txn, find_session_owners_in_txn, lock_unknowns_in_txn,
    session_lock,
};
use db::billing::subscriptions::{SubscriptionRow, load_acts_in_txn, load_subscriptions_in_txn};
use domain::billing::client::Client;
use domain::billing::contract::Contract;
use domain::billing::fact::{FactKind, Payment};
use domain::billing::register::Subscription;
use domain::ids::SubscriptionId;
use domain::time::UnixSeconds;

use super::Open;
use crate::error::BillingError;
use crate::reading::{Content, Statement};

/// A client of the batch.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) row: ClientRow,
    pub(super) contract: Contract,
    pub(super) client: Client,
    /// The row has to be written.
    pub(super) changed: bool,
    /// The registers that facts were merged into, with their customers.
    pub(super) touched: BTreeMap<SubscriptionId, String>,
    /// The registers as the database has them.
    stored: BTreeMap<SubscriptionId, Subscription>,
}

/// Everything that the batch's decisions may look at.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) customers: BTreeMap<String, String>,
    pub(super) sessions: BTreeMap<String, String>,
    pub(super) clients: BTreeMap<String, Held>,
    /// Whose each loaded subscription is.
    pub(super) subscriptions: BTreeMap<SubscriptionId, String>,
}

impl Known {
    /// Looks up owners, locks clients, loads facts. Where somebody is unknown, takes the locks under which clients are
    /// registered and looks again, so that an event is never set aside just after its client was registered. These locks come
    /// before those of clients, here as in a registration: whoever holds a client never waits for a name.
    pub(super) async fn load(txn: &Transaction<'_>, open: &[Open<'_>]) -> Result<Self, BillingError> {
        let statements: Vec<&Statement> = statements(open).collect();
        if statements.is_empty() {
            return Ok(Self::default());
        }
        let mut known = Self::default();
        known.find_owners(txn, &statements).await?;
        let mut unknown = known.unknown(&statements);
        if !unknown.is_empty() {
            lock_unknowns_in_txn(txn, &mut unknown).await?;
            known.find_owners(txn, &statements).await?;
        }
        known.lock_clients(txn, &statements).await?;
        known.load_facts(txn, &statements).await?;
        Ok(known)
    }

    /// The contract of the client that owns `customer`.
    pub(super) fn owner(&self, customer: &str) -> Option<&Contract> {
        self.contract(self.customers.get(customer)?)
    }

    /// The contract of the client that `session` was registered for.
    pub(super) fn session_owner(&self, session: &str) -> Option<&Contract> {
        self.contract(self.sessions.get(session)?)
    }

    /// The contract of a client.
    pub(super) fn contract(&self, client: &str) -> Option<&Contract> {
        self.clients.get(client).map(|held| &held.contract)
    }

    async fn find_owners(&mut self, txn: &Transaction<'_>, statements: &[&Statement]) -> Result<(), BillingError> {
        let customers = distinct(statements.iter().map(|statement| statement.customer.as_str()));
        let sessions = distinct(
            statements
                .iter()
                .filter_map(|statement| statement.session.as_ref().map(AsRef::as_ref)),
        );
        self.customers = find_customer_owners_in_txn(txn, &customers).await?;
        if !sessions.is_empty() {
            self.sessions = find_session_owners_in_txn(txn, &sessions).await?;
        }
        Ok(())
    }

    async fn lock_clients(&mut self, txn: &Transaction<'_>, statements: &[&Statement]) -> Result<(), BillingError> {
        // A checkout's metadata is looked at even where the customer decides: a forgery belongs into its victim's timeline.
        let named = statements
            .iter()
            .filter(|statement| statement.is_checkout || !self.customers.contains_key(statement.customer.as_str()))
            .filter_map(|statement| statement.named.as_ref().map(AsRef::as_ref));
        let owners = self
            .customers
            .values()
            .chain(self.sessions.values())
            .map(String::as_str);
        let wanted = distinct(owners.chain(named));
        if wanted.is_empty() {
            return Ok(());
        }
        for row in lock_clients_in_txn(txn, &wanted).await? {
            self.clients.insert(row.client_id.to_string(), Held::of(row));
        }
        Ok(())
    }

    /// The names under which those are locked that our side does not know.
    fn unknown(&self, statements: &[&Statement]) -> Vec<String> {
        let mut names = Vec::new();
        for statement in statements {
            if self.customers.contains_key(statement.customer.as_str()) {
                continue;
            }
            names.push(customer_lock(statement.customer.as_str()));
            names.extend(statement.named.as_ref().map(|named| client_lock(named.as_str())));
            names.extend(statement.session.as_ref().map(|session| session_lock(session.as_str())));
        }
        names
    }

    async fn load_facts(&mut self, txn: &Transaction<'_>, statements: &[&Statement]) -> Result<(), BillingError> {
        if self.clients.is_empty() {
            return Ok(());
        }
        let spoken_of = distinct(statements.iter().map(|statement| statement.fact.subscription.as_str()));
        let clients: Vec<&str> = self.clients.keys().map(String::as_str).collect();
        let acts = async {
            match payments(statements) {
                Some(Payments {
                    earliest,
                    latest,
                    objects,
                    subscriptions,
                }) => load_acts_in_txn(txn, &subscriptions, earliest, latest, &objects).await,
                None => Ok(BTreeMap::new()),
            }
        };
        let (rows, mut acts) = tokio::try_join!(biased; load_subscriptions_in_txn(txn, &clients, &spoken_of), acts)?;
        for SubscriptionRow {
            id,
            client,
            mut subscription,
            ..
        } in rows
        {
            if let Some(held) = self.clients.get_mut(&client) {
                held.stored.insert(id.clone(), subscription.clone());
                subscription.acts = acts.remove(&id).unwrap_or_default();
                held.client.subscriptions.insert(id.clone(), subscription);
            }
            self.subscriptions.insert(id, client);
        }
        Ok(())
    }
}

impl Held {
    fn of(row: ClientRow) -> Self {
        let contract = row.contract();
        let client = Client {
            contract: contract.clone(),
            state: row.state,
            version: row.version,
            speaker: row.stripe_subscription_id.clone(),
            current_period_end: row.current_period_end.map(|end| UnixSeconds(end.timestamp())),
            subscriptions: BTreeMap::new(),
        };
        Self {
            row,
            contract,
            client,
            changed: false,
            touched: BTreeMap::new(),
            stored: BTreeMap::new(),
        }
    }

    /// Whether the database has this of a register already: a fact that says nothing new is not worth a row's new version.
    pub(super) fn is_stored(&self, id: &SubscriptionId, now: &Subscription) -> bool {
        self.stored
            .get(id)
            .is_some_and(|stored| stored.snapshots == now.snapshots && stored.evidence == now.evidence)
    }
}

struct Payments<'s> {
    earliest: UnixSeconds,
    latest: UnixSeconds,
    objects: Vec<&'s str>,
    subscriptions: Vec<&'s str>,
}

/// The span and the objects of the batch's payments, where there are any.
fn payments<'s>(statements: &[&'s Statement]) -> Option<Payments<'s>> {
    let paid: Vec<(&Statement, &Payment)> = statements
        .iter()
        .filter_map(|statement| Some((*statement, payment(statement)?)))
        .collect();
    let times = || paid.iter().map(|(statement, _)| statement.fact.at);
    Some(Payments {
        earliest: times().min()?,
        latest: times().max()?,
        objects: distinct(paid.iter().map(|(_, payment)| payment.act.object_id())),
        subscriptions: distinct(paid.iter().map(|(statement, _)| statement.fact.subscription.as_str())),
    })
}

fn payment(statement: &Statement) -> Option<&Payment> {
    match &statement.fact.kind {
        FactKind::Paid(payment) | FactKind::Failed(payment) => Some(payment),
        FactKind::Snapshot { .. } => None,
    }
}

fn statements<'m>(open: &[Open<'m>]) -> impl Iterator<Item = &'m Statement> {
    open.iter().filter_map(|event| match &event.reading.content {
        Content::Statement(statement) => Some(&**statement),
        Content::Ignored(_) | Content::Unreadable(_) => None,
    })
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}
