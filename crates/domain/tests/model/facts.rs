//! The model's events in the words of the domain. Nothing of the domain's rules is called here.

use std::collections::BTreeSet;

use domain::billing::charge::{
    Charge, ChargeFact, ChargeFactKind, Dispute, DisputeStatus, DisputeWord, Refund, RefundStatus,
};
use domain::billing::client::Client;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::billing::state::ClientState;
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Status};
use domain::ids::{ChargeId, CheckoutSessionId, ClientId, DisputeId, InvoiceId, PriceId, RefundId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

use super::charging::{DisputeLife, RefundLife};
use super::moves::CENTS;
use super::{AT_THE_TILL, Checkout, Event, Invoice, Life, Setting, Sub, Word};

/// What an event says to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    OfSubscription(Fact),
    OfCharge(ChargeFact),
    Nothing,
}

/// The name of a subscription.
pub fn subscription(id: usize) -> SubscriptionId {
    SubscriptionId::parse(format!("sub_{id}")).expect("an id")
}

/// The name of a charge.
pub fn charge_id(id: usize) -> ChargeId {
    ChargeId::parse(format!("ch_{id}")).expect("an id")
}

/// The name of a refund.
pub fn refund_id(charge: usize, refund: usize) -> RefundId {
    RefundId::parse(format!("re_{charge}_{refund}")).expect("an id")
}

/// The name of a dispute.
pub fn dispute_id(charge: usize, dispute: usize) -> DisputeId {
    DisputeId::parse(format!("du_{charge}_{dispute}")).expect("an id")
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
pub fn said(event: &Event) -> Said {
    let shows = |rank, before| {
        of_subscription(
            event,
            FactKind::Snapshot {
                rank,
                observation: Observation {
                    snapshot: snapshot(&event.now),
                    before,
                },
                other_prices: Vec::new(),
            },
        )
    };
    let by_invoice = |invoice: &Invoice, cents| Payment {
        act: Act::Invoice {
            invoice: invoice_id(invoice.number),
            first: invoice.first,
        },
        made_at: Some(UnixSeconds(invoice.made)),
        amount: euros(cents),
        prices: invoice.price.iter().copied().map(price).collect(),
    };
    match &event.word {
        Word::Created => shows(Rank::Created, Before::default()),
        Word::Updated(was) => shows(Rank::Updated, before(was, &event.now)),
        Word::Told(_) => shows(Rank::Updated, Before::default()),
        Word::Deleted => shows(Rank::Ended, Before::default()),
        Word::Checkout { invoice, how } => match how {
            Checkout::Paid | Checkout::PaidLater => of_subscription(event, FactKind::Paid(by_checkout(*invoice))),
            Checkout::Unpaid | Checkout::NeverPaid => Said::Nothing,
        },
        Word::Paid { invoice, cents, .. } => of_subscription(event, FactKind::Paid(by_invoice(invoice, *cents))),
        Word::Failed { invoice } => of_subscription(event, FactKind::Failed(by_invoice(invoice, CENTS))),
        Word::OneOff { .. } => Said::Nothing,
        Word::Charged { charge, refunded } => of_charge(*charge, ChargeFactKind::Charge(charge_of(*refunded))),
        Word::Refund { charge, refund, life } => of_charge(
            *charge,
            ChargeFactKind::Refund(refund_id(*charge, *refund), refund_of(*life)),
        ),
        Word::Dispute {
            charge,
            dispute,
            life,
            opened,
        } => {
            let seen = dispute_of(*life, *opened, event.at);
            of_charge(*charge, ChargeFactKind::Dispute(dispute_id(*charge, *dispute), seen))
        }
    }
}

fn of_subscription(event: &Event, kind: FactKind) -> Said {
    Said::OfSubscription(Fact {
        subscription: subscription(event.sub),
        at: UnixSeconds(event.at),
        kind,
    })
}

fn of_charge(charge: usize, kind: ChargeFactKind) -> Said {
    let charge = charge_id(charge);
    Said::OfCharge(ChargeFact { charge, kind })
}

fn by_checkout(of: Invoice) -> Payment {
    let session = CheckoutSessionId::parse(format!("cs_{}", of.number)).expect("an id");
    let invoice = Some(invoice_id(of.number));
    Payment {
        act: Act::Checkout { session, invoice },
        made_at: Some(UnixSeconds(of.made - AT_THE_TILL)),
        amount: euros(CENTS),
        prices: BTreeSet::new(),
    }
}

/// A subscription that was read, speaking for a second.
pub fn reading(id: usize, seen: &Sub, at: UnixSeconds) -> Fact {
    Fact {
        subscription: subscription(id),
        at,
        kind: FactKind::Snapshot {
            rank: Rank::Updated,
            observation: Observation {
                snapshot: snapshot(seen),
                before: Before::default(),
            },
            other_prices: Vec::new(),
        },
    }
}

/// A charge with what was paid back of it.
pub fn charge_of(refunded: i64) -> Charge {
    Charge {
        refunded,
        amount: CENTS,
        currency: Currency::EUR,
    }
}

/// A refund.
pub fn refund_of(life: RefundLife) -> Refund {
    Refund {
        status: match life {
            RefundLife::Pending => RefundStatus::Pending,
            RefundLife::Succeeded => RefundStatus::Succeeded,
            RefundLife::Failed => RefundStatus::Failed,
        },
        amount: 500,
        currency: Currency::EUR,
    }
}

fn dispute_of(life: DisputeLife, opened: bool, at: i64) -> Dispute {
    Dispute {
        word: if opened {
            DisputeWord::Opened
        } else {
            DisputeWord::Later
        },
        at: UnixSeconds(at),
        status: dispute_status(life),
        amount: CENTS,
        currency: Currency::EUR,
        due_by: None,
    }
}

/// How far a dispute is.
pub fn dispute_status(life: DisputeLife) -> DisputeStatus {
    match life {
        DisputeLife::Inquiry => DisputeStatus::WarningNeedsResponse,
        DisputeLife::Open => DisputeStatus::NeedsResponse,
        DisputeLife::Answered => DisputeStatus::UnderReview,
        DisputeLife::Lost => DisputeStatus::Lost,
        DisputeLife::Won => DisputeStatus::Won,
    }
}

fn euros(cents: i64) -> Option<Money> {
    Some(Money::new(cents, Currency::EUR))
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
