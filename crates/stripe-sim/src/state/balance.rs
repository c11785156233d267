//! Balances: every movement is a balance transaction of one owner (the platform, or a connected account) in one currency, pending until its
//! time comes and available from then on. Balances live by the simulator's own clock, also for what happens on a test clock.

use std::collections::{BTreeMap, HashMap};

use super::World;

/// Whose balance: `None` is the platform.
pub(crate) type Owner = Option<String>;

#[derive(Clone, Debug)]
pub(crate) struct BalanceTransaction {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) owner: Owner,
    pub(crate) amount: i64,
    pub(crate) fee: i64,
    pub(crate) currency: String,
    pub(crate) kind: &'static str,
    pub(crate) source: String,
    pub(crate) available_on: i64,
}

impl BalanceTransaction {
    pub(crate) const fn net(&self) -> i64 {
        self.amount - self.fee
    }
}

/// A movement to be written down.
#[derive(Clone, Debug)]
pub(crate) struct Posting<'a> {
    pub(crate) owner: Owner,
    pub(crate) amount: i64,
    pub(crate) fee: i64,
    pub(crate) currency: &'a str,
    pub(crate) kind: &'static str,
    pub(crate) source: &'a str,
    /// When the money can be used; a time that is past means at once.
    pub(crate) available_on: i64,
}

type Purse = (Owner, String);

/// Sums per owner and currency.
#[derive(Debug, Default)]
pub(crate) struct Balances {
    available: HashMap<Purse, i64>,
    pending: HashMap<Purse, i64>,
    /// What becomes available when.
    coming: BTreeMap<i64, Vec<(Purse, i64)>>,
}

impl Balances {
    fn add(&mut self, purse: Purse, net: i64, available_on: i64, now: i64) {
        if available_on <= now {
            *self.available.entry(purse).or_default() += net;
            return;
        }
        *self.pending.entry(purse.clone()).or_default() += net;
        self.coming.entry(available_on).or_default().push((purse, net));
    }

    fn settle(&mut self, now: i64) {
        while let Some(first) = self.coming.first_entry().filter(|entry| *entry.key() <= now) {
            for (purse, net) in first.remove() {
                *self.pending.entry(purse.clone()).or_default() -= net;
                *self.available.entry(purse).or_default() += net;
            }
        }
    }

    /// Available and pending in each currency that an owner ever had.
    fn of(&self, owner: &Owner) -> BTreeMap<String, (i64, i64)> {
        let mut out: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for ((of, currency), sum) in &self.available {
            if of == owner {
                out.entry(currency.clone()).or_default().0 = *sum;
            }
        }
        for ((of, currency), sum) in &self.pending {
            if of == owner {
                out.entry(currency.clone()).or_default().1 = *sum;
            }
        }
        out
    }
}

impl World {
    /// Writes a movement down and returns the id of its balance transaction.
    pub(crate) fn post(&mut self, posting: Posting<'_>) -> String {
        let now = self.now();
        let transaction = BalanceTransaction {
            id: self.ids.next("txn"),
            created: now,
            owner: posting.owner,
            amount: posting.amount,
            fee: posting.fee,
            currency: posting.currency.to_owned(),
            kind: posting.kind,
            source: posting.source.to_owned(),
            available_on: posting.available_on.max(now),
        };
        let purse = (transaction.owner.clone(), transaction.currency.clone());
        self.balances.settle(now);
        self.balances
            .add(purse, transaction.net(), transaction.available_on, now);
        self.balance_transactions.insert(&transaction.id, transaction.clone());
        transaction.id
    }

    /// What an owner can use now, and what is still on its way.
    pub(crate) fn balance(&mut self, owner: &Owner, currency: &str) -> (i64, i64) {
        let now = self.now();
        self.balances.settle(now);
        let purse = (owner.clone(), currency.to_owned());
        let sum = |sums: &HashMap<Purse, i64>| sums.get(&purse).copied().unwrap_or(0);
        (sum(&self.balances.available), sum(&self.balances.pending))
    }

    /// As [`World::balance`], in every currency.
    pub(crate) fn balance_sheet(&mut self, owner: &Owner) -> BTreeMap<String, (i64, i64)> {
        let now = self.now();
        self.balances.settle(now);
        self.balances.of(owner)
    }

    /// When money that moves with another movement can be used: not before that one.
    pub(crate) fn available_with(&self, transaction: Option<&str>) -> i64 {
        transaction
            .and_then(|id| self.balance_transactions.get(id))
            .map_or(0, |one| one.available_on)
    }

    /// Money from outside, as a top-up brings it.
    pub(crate) fn add_funds(&mut self, owner: Owner, amount: i64, currency: &str) -> String {
        self.post(Posting {
            owner,
            amount,
            fee: 0,
            currency,
            kind: "topup",
            source: "tu_simulator",
            available_on: 0,
        })
    }
}
