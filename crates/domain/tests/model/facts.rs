//! The model's events in the words of the domain. Nothing of the domain's rules is called here.

use domain::billing::client::Client;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::billing::state::ClientState;
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Status};
use domain::ids::{CheckoutSessionId, ClientId, InvoiceId, PriceId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

use super::{Event, Life, Setting, Sub, Word};

/// The name of a subscription.
pub fn subscription(id: usize) -> SubscriptionId {
    SubscriptionId::parse(format!("sub_{id}")).expect("an id")
}

/// The client before anything happened.
pub fn client(setting: Setting, source: PaymentSource) -> Client {
    let initial = if setting.begins_in_trial {
        ClientState::TrialActive
    } else {
        ClientState::TrialPending
    };
    Client {
        contract: Contract {
            client: ClientId::parse("client_1").expect("an id"),
            source,
            initial,
            has_customer: true,
            price: setting.priced.then(|| price(1)),
            currency: setting.priced.then_some(Currency::EUR),
        },
        state: initial,
        version: 0,
        speaker: None,
        current_period_end: None,
        subscriptions: std::collections::BTreeMap::new(),
    }
}

/// What an event says.
pub fn fact(event: &Event) -> Fact {
    let snapshot = |rank, before| FactKind::Snapshot {
        rank,
        observation: Observation {
            snapshot: snapshot(&event.now),
            before,
        },
    };
    let euros = |cents| Some(Money::new(cents, Currency::EUR));
    let by_invoice = |invoice: &usize, first: &bool, cents| Payment {
        act: Act::Invoice {
            invoice: invoice_id(*invoice),
            first: *first,
        },
        amount: euros(cents),
    };
    let kind = match &event.word {
        Word::Created => snapshot(Rank::Created, Before::default()),
        Word::Updated(was) => snapshot(Rank::Updated, before(was, &event.now)),
        Word::Told => snapshot(Rank::Updated, Before::default()),
        Word::Deleted => snapshot(Rank::Ended, Before::default()),
        Word::Checkout { invoice } => FactKind::Paid(Payment {
            act: Act::Checkout {
                session: CheckoutSessionId::parse(format!("cs_{invoice}")).expect("an id"),
                invoice: Some(invoice_id(*invoice)),
            },
            amount: euros(1_900),
        }),
        Word::Paid { invoice, first, cents } => FactKind::Paid(by_invoice(invoice, first, *cents)),
        Word::Failed { invoice, first } => FactKind::Failed(by_invoice(invoice, first, 1_900)),
    };
    Fact {
        subscription: subscription(event.sub),
        at: UnixSeconds(event.at),
        kind,
    }
}

fn invoice_id(number: usize) -> InvoiceId {
    InvoiceId::parse(format!("in_{number}")).expect("an id")
}

fn price(number: u8) -> PriceId {
    PriceId::parse(format!("price_{number}")).expect("an id")
}

fn status(life: Life) -> Status {
    match life {
        Life::Incomplete => Status::Incomplete,
        Life::Expired => Status::IncompleteExpired,
        Life::Trial => Status::Trialing,
        Life::Active => Status::Active,
        Life::PastDue => Status::PastDue,
        Life::Unpaid => Status::Unpaid,
        Life::Paused => Status::Paused,
        Life::Canceled => Status::Canceled,
    }
}

fn snapshot(sub: &Sub) -> Snapshot {
    Snapshot {
        status: status(sub.life),
        collection_paused: sub.frozen,
        cancel_at_period_end: sub.ends,
        start: UnixSeconds(sub.start),
        current_period_end: Some(UnixSeconds(sub.period_end)),
        trial_end: sub.trial_end.map(UnixSeconds),
        price: Some(price(sub.price)),
        currency: Some(Currency::EUR),
    }
}

/// `previous_attributes`: exactly what was different.
fn before(was: &Sub, now: &Sub) -> Before {
    let (told, now) = (snapshot(was), snapshot(now));
    Before {
        status: (told.status != now.status).then_some(told.status),
        collection_paused: (told.collection_paused != now.collection_paused).then_some(told.collection_paused),
        cancel_at_period_end: (told.cancel_at_period_end != now.cancel_at_period_end)
            .then_some(told.cancel_at_period_end),
        current_period_end: (told.current_period_end != now.current_period_end).then_some(told.current_period_end),
        trial_end: (told.trial_end != now.trial_end).then_some(told.trial_end),
        price: (told.price != now.price).then_some(told.price),
    }
}
