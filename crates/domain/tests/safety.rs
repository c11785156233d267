//! What no event may do, on every prefix of every order (BIL-2, BIL-3): no history changes a client that does not pay by Stripe, and
//! a client's state comes from its own events alone, however many of somebody else's lie between them and whomever they claim to
//! speak for.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod model;
mod proof;

use domain::billing::authority::{Authority, Binding, Claim, NamedBy, judge};
use domain::billing::client::Client;
use domain::billing::contract::PaymentSource;
use domain::ids::ClientId;
use model::dice::Dice;
use model::facts::{self, Said};
use model::script::Script;
use model::{Event, Setting, Stripe, Word};
use proof::{Source, Tally, add, prove};

/// The clients of our side. The first one's history is the one that a run is about.
const CLIENTS: [(&str, PaymentSource); 4] = [
    ("payer", PaymentSource::Stripe),
    ("neighbour", PaymentSource::Stripe),
    ("free", PaymentSource::None),
    ("manual", PaymentSource::Manual),
];
const PAYER: usize = 0;

/// An event as it arrives: what it is, whose customer it is for, and whom its metadata names.
#[derive(Debug, Clone)]
struct Delivery {
    said: Said,
    is_checkout: bool,
    /// Which client registered the customer; nobody has for a stranger's.
    customer_of: Option<usize>,
    /// Which client registered the checkout session.
    session_of: Option<usize>,
    names: Option<usize>,
}

impl Delivery {
    /// The only client that this one may speak for.
    fn is_of(&self) -> Option<usize> {
        self.customer_of.or(self.session_of)
    }
}

struct World {
    clients: Vec<Client>,
    /// The payer, to whom only its own events were told.
    alone: Client,
}

impl World {
    fn new(setting: Setting) -> Self {
        let client = |(name, source): &(&str, PaymentSource)| {
            let mut client = facts::client(setting, *source);
            client.contract.client = ClientId::parse(*name).expect("an id");
            client
        };
        let clients: Vec<Client> = CLIENTS.iter().map(client).collect();
        let alone = clients[PAYER].clone();
        Self { clients, alone }
    }

    fn deliver(&mut self, delivery: &Delivery, binding: Binding) -> Option<usize> {
        let contract = |who: usize| &self.clients[who].contract;
        let claim = Claim {
            owner: delivery.customer_of.map(contract),
            by: NamedBy::Customer,
            session_owner: delivery.session_of.map(contract),
            named: delivery.names.map(|who| &self.clients[who].contract.client),
            named_contract: delivery.names.map(contract),
            is_checkout: delivery.is_checkout,
        };
        let Authority::Granted { contract, .. } = judge(claim, binding) else {
            return None;
        };
        let who = self
            .clients
            .iter()
            .position(|client| client.contract.client == contract.client)?;
        if let Said::OfSubscription(fact) = &delivery.said {
            self.clients[who].observe(fact);
        }
        Some(who)
    }
}

/// The histories of the payer and of a neighbour, with everything that the neighbour, strangers and customers of clients that do
/// not pay by Stripe could claim, in a random order.
fn deliveries(payer: &Stripe, neighbour: &Stripe, dice: &mut Dice) -> Vec<Delivery> {
    let mut all: Vec<Delivery> = Vec::new();
    for event in &payer.events {
        all.push(delivery(event, Some(PAYER), None));
        all.push(delivery(event, Some(PAYER), Some(PAYER)));
    }
    for event in &neighbour.events {
        let of_its_own = Event {
            sub: event.sub + 100,
            ..event.clone()
        };
        let names = dice.below(CLIENTS.len());
        let customers = [Some(1), Some(2), Some(3), None];
        all.extend(customers.map(|customer| delivery(&of_its_own, customer, Some(names))));
        // The very subscription of the payer, from somebody who is not the payer.
        all.push(delivery(event, None, Some(PAYER)));
        all.push(delivery(event, Some(2), Some(PAYER)));
        all.push(Delivery {
            session_of: Some(2),
            ..delivery(event, None, Some(PAYER))
        });
    }
    dice.shuffle(&mut all);
    all
}

fn delivery(event: &Event, customer_of: Option<usize>, names: Option<usize>) -> Delivery {
    Delivery {
        said: facts::said(event),
        is_checkout: matches!(event.word, Word::Checkout { .. }),
        customer_of,
        session_of: None,
        names,
    }
}

fn is_safe(payer: &Stripe, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let neighbour = Script::by(dice, payer.setting, 12).play();
    for binding in [Binding::FirstUse, Binding::RegisteredOnly] {
        let mut world = World::new(payer.setting);
        let free: Vec<Client> = world.clients[2..].to_vec();
        for (number, delivery) in deliveries(payer, &neighbour, dice).iter().enumerate() {
            add(&tally.deliveries, 1);
            let taken = world.deliver(delivery, binding);
            let case = format!("delivery {number}, {binding:?}: {delivery:?}");
            if taken.is_some() && taken != delivery.is_of() {
                return Err(format!("{case}\nspoke for {taken:?}"));
            }
            if world.clients[2..] != free {
                return Err(format!("{case}\nchanged a client that does not pay by Stripe"));
            }
            if let (Some(PAYER), Said::OfSubscription(fact)) = (taken, &delivery.said) {
                world.alone.observe(fact);
            }
            if world.clients[PAYER] != world.alone {
                return Err(format!("{case}\nchanged the payer"));
            }
        }
        add(&tally.orders, 1);
        let truth = payer.truth().state;
        tally.states.borrow_mut().insert(truth);
        let ends = world.clients[PAYER].state.as_str();
        if payer.riddles().is_empty() && payer.secrets().is_empty() && ends != truth {
            return Err(format!("the payer ends {ends}"));
        }
    }
    Ok(())
}

#[test]
fn a_client_changes_by_its_own_events_alone_and_never_without_a_contract_with_stripe() {
    let long = Source::Chance(400, |dice| Script::any(dice, 25));
    prove("other clients' events between", long, |payer, dice, tally| {
        is_safe(&payer, dice, tally)
    });
}
