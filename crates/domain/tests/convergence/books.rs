//! What our side keeps of a client: what the facts of one history are merged into.

use std::collections::BTreeMap;

use domain::billing::charge::{Charge, ChargeFactKind, Dispute, Refund, merge};
use domain::billing::client::Client;
use domain::billing::contract::PaymentSource;
use domain::billing::decision::Decision;
use domain::billing::register::Subscription;
use domain::ids::{ChargeId, DisputeId, RefundId, SubscriptionId};
use domain::time::UnixSeconds;

use crate::model::Setting;
use crate::model::facts::{Said, client};

/// A client and its charges.
#[derive(Debug, Clone, PartialEq)]
pub struct Books {
    pub client: Client,
    pub charges: BTreeMap<ChargeId, Option<Charge>>,
    pub refunds: BTreeMap<RefundId, Option<Refund>>,
    pub disputes: BTreeMap<DisputeId, Option<Dispute>>,
}

impl Books {
    pub fn new(setting: Setting) -> Self {
        Self {
            client: client(setting, PaymentSource::Stripe),
            charges: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
        }
    }

    /// Takes in what an event says. `None` for what says nothing.
    pub fn take(&mut self, said: &Said) -> Option<Decision> {
        match said {
            Said::OfSubscription(fact) => Some(self.client.observe(fact)),
            Said::OfCharge(fact) => {
                let merged = match &fact.kind {
                    ChargeFactKind::Charge(seen) => merge(self.charges.entry(fact.charge.clone()).or_default(), *seen),
                    ChargeFactKind::Refund(id, seen) => merge(self.refunds.entry(id.clone()).or_default(), *seen),
                    ChargeFactKind::Dispute(id, seen) => merge(self.disputes.entry(id.clone()).or_default(), *seen),
                };
                Some(self.client.record(merged))
            }
            Said::Nothing => None,
        }
    }

    /// Everything but how often the state changed on the way, and in which order payments were noted: the database keeps these
    /// in no order either.
    pub fn settled(mut self) -> Self {
        self.client.version = 0;
        for known in self.client.subscriptions.values_mut() {
            known
                .acts
                .sort_by(|a, b| (a.act.object_id(), a.paid_at).cmp(&(b.act.object_id(), b.paid_at)));
        }
        self
    }

    /// The same, without the notes of payments: what a repeat must leave alone.
    pub fn without_acts(mut self) -> Self {
        self.client.version = 0;
        self.client
            .subscriptions
            .values_mut()
            .for_each(|known| known.acts.clear());
        self
    }

    /// Subscriptions that have to be read, and the second that they are about.
    pub fn undecided(&self) -> Vec<(SubscriptionId, UnixSeconds)> {
        let open = |(id, known): (&SubscriptionId, &Subscription)| {
            let at = [&known.snapshots, &known.at_other_prices].into_iter().flatten();
            let at = at.map(|register| (register.rank(), register.at())).max()?.1;
            known.condition()?.undecided.then(|| (id.clone(), at))
        };
        self.client.subscriptions.iter().filter_map(open).collect()
    }
}
