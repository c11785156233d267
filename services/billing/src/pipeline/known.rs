//! What our side knows about the clients that a batch speaks of, locked until the batch is committed.

use std::collections::{BTreeMap, BTreeSet};

use db::Transaction;
use db::billing::charges::{KnownCharge, load_charges_in_txn, load_disputes_in_txn, load_refunds_in_txn};
use db::billing::clients::{ClientRow, lock_clients_in_txn};
use db::billing::owners::{
    Owner, charge_name, client_name, customer_name, find_customer_owners_in_txn, find_session_owners_in_txn,
    lock_names_in_txn, session_name,
};
use db::billing::subscriptions::{SubscriptionRow, load_acts_in_txn, load_subscriptions_in_txn};
use db::escrow::owners::find_escrows_of_payments_in_txn;
use domain::billing::charge::{ChargeFact, ChargeFactKind, Dispute, Refund};
use domain::billing::client::Client;
use domain::billing::contract::Contract;
use domain::billing::fact::{Fact, FactKind, Payment};
use domain::billing::register::Subscription;
use domain::ids::SubscriptionId;
use domain::time::UnixSeconds;

use super::Open;
use crate::error::BillingError;
use crate::reading::{Bought, Content, GaveUp, Says, Statement};

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
    pub(super) customers: BTreeMap<String, Owner>,
    pub(super) sessions: BTreeMap<String, String>,
    pub(super) clients: BTreeMap<String, Held>,
    /// Whose each loaded subscription is.
    pub(super) subscriptions: BTreeMap<SubscriptionId, String>,
    pub(super) charges: BTreeMap<String, KnownCharge>,
    pub(super) refunds: BTreeMap<String, Refund>,
    pub(super) disputes: BTreeMap<String, Dispute>,
    /// The escrows of payments and charges, of those whose refunds and disputes the batch speaks of.
    of_escrows: BTreeMap<String, String>,
}

impl Known {
    /// Looks up owners, locks clients, loads facts. Where somebody is unknown, takes the locks under which clients are
    /// registered and looks again, so that an event is never set aside just after its client was registered. These locks come
    /// before those of clients, here as in a registration: whoever holds a client never waits for a name.
    pub(super) async fn load(txn: &Transaction<'_>, open: &[Open<'_>]) -> Result<Self, BillingError> {
        let mut known = Self::default();
        let statements: Vec<&Statement> = statements(open).collect();
        let customers = distinct(open.iter().filter_map(customer));
        if !customers.is_empty() {
            known.customers = find_customer_owners_in_txn(txn, &customers).await?;
        }
        if statements.is_empty() {
            return Ok(known);
        }
        known.find_sessions_and_charges(txn, &statements).await?;
        let mut unknown = known.unknown(&statements);
        if !unknown.is_empty() {
            lock_names_in_txn(txn, &mut unknown).await?;
            known.customers = find_customer_owners_in_txn(txn, &customers).await?;
            known.find_sessions_and_charges(txn, &statements).await?;
        }
        known.lock_clients(txn, &statements).await?;
        known.load_subscription_facts(txn, &statements).await?;
        known.load_charge_facts(txn, &statements).await?;
        Ok(known)
    }

    /// The contract of the client that owns `customer`.
    pub(super) fn owner(&self, customer: &str) -> Option<&Contract> {
        self.contract(&self.customers.get(customer)?.client)
    }

    /// The contract of the client that `session` was registered for.
    pub(super) fn session_owner(&self, session: &str) -> Option<&Contract> {
        self.contract(self.sessions.get(session)?)
    }

    /// The contract of the client that `charge` belongs to.
    pub(super) fn charge_owner(&self, charge: &str) -> Option<&Contract> {
        self.contract(self.charges.get(charge)?.client.as_deref()?)
    }

    /// The escrow whose money a statement about a charge is about.
    pub(super) fn escrow_of(&self, statement: &Statement) -> Option<&str> {
        let payment = statement.payment_intent.as_deref();
        let charge = charge_fact(&statement).map(|fact| fact.charge.as_str());
        let mut ids = payment.into_iter().chain(charge);
        ids.find_map(|id| self.of_escrows.get(id)).map(String::as_str)
    }

    /// The contract of a client.
    pub(super) fn contract(&self, client: &str) -> Option<&Contract> {
        self.clients.get(client).map(|held| &held.contract)
    }

    async fn find_sessions_and_charges(
        &mut self,
        txn: &Transaction<'_>,
        statements: &[&Statement],
    ) -> Result<(), BillingError> {
        let sessions = distinct(
            statements
                .iter()
                .filter_map(|statement| statement.session.as_ref().map(AsRef::as_ref)),
        );
        if !sessions.is_empty() {
            self.sessions = find_session_owners_in_txn(txn, &sessions).await?;
        }
        let charges = distinct(
            statements
                .iter()
                .filter_map(|of| charge_fact(of))
                .map(|fact| fact.charge.as_str()),
        );
        if !charges.is_empty() {
            self.charges = load_charges_in_txn(txn, &charges).await?;
        }
        Ok(())
    }

    async fn lock_clients(&mut self, txn: &Transaction<'_>, statements: &[&Statement]) -> Result<(), BillingError> {
        let owner = |statement: &&Statement| self.customers.get(statement.customer.as_ref()?.as_str());
        let owners = statements.iter().filter_map(owner).map(|owner| owner.client.as_str());
        // A checkout's metadata is looked at even where the customer decides: a forgery belongs into its victim's timeline.
        let named = statements
            .iter()
            .filter(|statement| statement.is_checkout || owner(statement).is_none())
            .filter_map(|statement| statement.named.as_ref().map(AsRef::as_ref));
        let others = self
            .sessions
            .values()
            .map(String::as_str)
            .chain(self.charges.values().filter_map(|known| known.client.as_deref()));
        let wanted = distinct(owners.chain(others).chain(named));
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = lock_clients_in_txn(txn, &wanted).await?;
        self.clients = rows
            .into_iter()
            .map(|row| (row.client_id.to_string(), Held::of(row)))
            .collect();
        Ok(())
    }

    /// The names under which those are locked that our side does not know.
    fn unknown(&self, statements: &[&Statement]) -> Vec<String> {
        let mut names = Vec::new();
        for statement in statements {
            if let Some(fact) = charge_fact(statement)
                && !self.charges.contains_key(fact.charge.as_str())
            {
                names.push(charge_name(fact.charge.as_str()));
            }
            let Some(customer) = &statement.customer else { continue };
            if self.customers.contains_key(customer.as_str()) {
                continue;
            }
            names.push(customer_name(customer.as_str()));
            names.extend(statement.named.as_ref().map(|named| client_name(named.as_str())));
            names.extend(statement.session.as_ref().map(|session| session_name(session.as_str())));
        }
        names
    }

    async fn load_subscription_facts(
        &mut self,
        txn: &Transaction<'_>,
        statements: &[&Statement],
    ) -> Result<(), BillingError> {
        let facts: Vec<&Fact> = statements.iter().filter_map(|of| subscription_fact(of)).collect();
        let spoken_of = distinct(statements.iter().filter_map(|of| subscription(of)));
        if self.clients.is_empty() || spoken_of.is_empty() {
            return Ok(());
        }
        let clients: Vec<&str> = self.clients.keys().map(String::as_str).collect();
        let acts = async {
            match Payments::of(&facts) {
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

    /// After the clients are locked: nobody else merges into these registers then.
    async fn load_charge_facts(
        &mut self,
        txn: &Transaction<'_>,
        statements: &[&Statement],
    ) -> Result<(), BillingError> {
        let (mut refunds, mut disputes) = (Vec::new(), Vec::new());
        let (mut payments, mut charges) = (Vec::new(), Vec::new());
        for statement in statements {
            let Some(fact) = charge_fact(statement) else { continue };
            match &fact.kind {
                ChargeFactKind::Charge(_) => continue,
                ChargeFactKind::Refund(id, _) => refunds.push(id.as_str()),
                ChargeFactKind::Dispute(id, _) => disputes.push(id.as_str()),
            }
            payments.extend(statement.payment_intent.as_deref());
            charges.push(fact.charge.as_str());
        }
        if !charges.is_empty() {
            self.of_escrows = find_escrows_of_payments_in_txn(txn, &payments, &charges).await?;
        }
        if !refunds.is_empty() {
            self.refunds = load_refunds_in_txn(txn, &refunds).await?;
        }
        if !disputes.is_empty() {
            self.disputes = load_disputes_in_txn(txn, &disputes).await?;
        }
        Ok(())
    }
}

impl Held {
    fn of(row: ClientRow) -> Self {
        let contract = row.contract();
        let client = row.client(BTreeMap::new());
        Self {
            row,
            contract,
            client,
            changed: false,
            touched: BTreeMap::new(),
            stored: BTreeMap::new(),
        }
    }

    /// Whether the database has a register of it, which nobody takes away.
    pub(super) fn is_known(&self, id: &SubscriptionId) -> bool {
        self.stored.contains_key(id)
    }

    /// Whether the database has this of a register already: a fact that says nothing new is not worth a row's new version.
    pub(super) fn is_stored(&self, id: &SubscriptionId, now: &Subscription) -> bool {
        self.stored.get(id).is_some_and(|stored| {
            stored.snapshots == now.snapshots
                && stored.at_other_prices == now.at_other_prices
                && stored.evidence == now.evidence
                && stored.billed_otherwise == now.billed_otherwise
                && stored.paid_as_agreed == now.paid_as_agreed
        })
    }
}

/// The span and the objects of the batch's payments.
struct Payments<'s> {
    earliest: UnixSeconds,
    latest: UnixSeconds,
    objects: Vec<&'s str>,
    subscriptions: Vec<&'s str>,
}

impl<'s> Payments<'s> {
    /// None where there are no payments.
    fn of(facts: &[&'s Fact]) -> Option<Self> {
        let paid: Vec<(&Fact, &Payment)> = facts.iter().filter_map(|fact| Some((*fact, payment(fact)?))).collect();
        let times = || paid.iter().map(|(fact, _)| fact.at);
        Some(Self {
            earliest: times().min()?,
            latest: times().max()?,
            objects: distinct(paid.iter().map(|(_, payment)| payment.act.object_id())),
            subscriptions: distinct(paid.iter().map(|(fact, _)| fact.subscription.as_str())),
        })
    }
}

fn payment(fact: &Fact) -> Option<&Payment> {
    match &fact.kind {
        FactKind::Paid(payment) | FactKind::Failed(payment) => Some(payment),
        FactKind::Snapshot { .. } => None,
    }
}

fn subscription_fact<'s>(statement: &&'s Statement) -> Option<&'s Fact> {
    match &statement.says {
        Says::OfSubscription(fact) => Some(fact),
        Says::WhoBought(_) | Says::BoughtOnce | Says::OfCharge(_) => None,
    }
}

/// The subscription that a statement is about.
fn subscription<'s>(statement: &&'s Statement) -> Option<&'s str> {
    match &statement.says {
        Says::OfSubscription(Fact { subscription, .. }) | Says::WhoBought(Bought { subscription, .. }) => {
            Some(subscription.as_str())
        }
        Says::BoughtOnce | Says::OfCharge(_) => None,
    }
}

fn charge_fact<'s>(statement: &&'s Statement) -> Option<&'s ChargeFact> {
    match &statement.says {
        Says::OfCharge(fact) => Some(fact),
        Says::OfSubscription(_) | Says::WhoBought(_) | Says::BoughtOnce => None,
    }
}

fn statements<'m>(open: &[Open<'m>]) -> impl Iterator<Item = &'m Statement> {
    open.iter().filter_map(|event| match &event.reading.content {
        Content::Statement(statement) => Some(&**statement),
        Content::Ignored(..) | Content::Unreadable(_) | Content::GaveUp(_) | Content::Pointer(_) => None,
    })
}

/// The customer that an event names, whether or not it says anything.
fn customer<'m>(event: &Open<'m>) -> Option<&'m str> {
    match &event.reading.content {
        Content::Statement(statement) => statement.customer.as_ref().map(AsRef::as_ref),
        Content::Ignored(_, customer) | Content::GaveUp(GaveUp { customer, .. }) => {
            customer.as_ref().map(AsRef::as_ref)
        }
        Content::Unreadable(_) | Content::Pointer(_) => None,
    }
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}
