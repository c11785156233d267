//! A little model of what Stripe does with the subscriptions of one client, and of what is then true.
//!
//! It is written from Stripe's documentation and from BIL-1 alone. It knows the words of the domain only where it hands its events
//! over ([`facts`]); its truth ([`truth`]) is computed from its own subscriptions, in the order in which things happened, and never
//! from events.

pub mod billing;
pub mod buying;
pub mod changing;
pub mod charging;
pub mod dice;
pub mod ending;
pub mod facts;
pub mod moves;
pub mod script;
pub mod story;
pub mod truth;

use charging::{Charge, DisputeLife, RefundLife};

/// The status of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Incomplete,
    Expired,
    Trial,
    Active,
    PastDue,
    Unpaid,
    Paused,
    Canceled,
}

impl Life {
    pub fn is_over(self) -> bool {
        self == Self::Canceled || self == Self::Expired
    }
}

/// A subscription as Stripe holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sub {
    pub life: Life,
    /// `pause_collection` is set.
    pub frozen: bool,
    /// `cancel_at_period_end`.
    pub ends: bool,
    pub start: i64,
    pub period_end: i64,
    pub trial_end: Option<i64>,
    pub price: u8,
    /// Which of the client's customers bought it; our side registered all of them.
    pub customer: usize,
}

impl Sub {
    pub fn is_live(&self) -> bool {
        !self.life.is_over() && self.life != Life::Incomplete
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// `customer.subscription.created`.
    Created,
    /// `customer.subscription.updated`, with what the subscription was before.
    Updated(Sub),
    /// The subscription, without what it was before.
    Told(Told),
    /// `customer.subscription.deleted`.
    Deleted,
    /// A checkout, for this invoice.
    Checkout { invoice: Invoice, how: Checkout },
    /// An invoice is paid. Stripe has two words for that.
    Paid { invoice: Invoice, cents: i64, how: Paid },
    /// `invoice.payment_failed`.
    Failed { invoice: Invoice },
    /// `invoice.paid` for an invoice that belongs to no subscription.
    OneOff { invoice: usize },
    /// `charge.succeeded`, or `charge.refunded` with what was paid back so far.
    Charged { charge: usize, refunded: i64 },
    /// `refund.created`, `.updated` and `.failed`.
    Refund {
        charge: usize,
        refund: usize,
        life: RefundLife,
    },
    /// `charge.dispute.created`, or a later one.
    Dispute {
        charge: usize,
        dispute: usize,
        life: DisputeLife,
        opened: bool,
    },
}

/// An invoice of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invoice {
    pub number: usize,
    pub made: i64,
    /// Whether the subscription began with it.
    pub first: bool,
    /// The price that its lines name, where they do.
    pub price: Option<u8>,
}

/// How long before its invoice a checkout session is made.
pub const AT_THE_TILL: i64 = 600;

/// Events that show a subscription and not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// `customer.subscription.paused`.
    Paused,
    /// `customer.subscription.resumed`.
    Resumed,
    /// `customer.subscription.updated` where something changed that no rule looks at.
    Touched,
    /// `customer.subscription.pending_update_expired`.
    UpdateExpired,
}

/// How a checkout went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkout {
    /// `checkout.session.completed`, paid.
    Paid,
    /// `checkout.session.completed`, and the money is on its way for days.
    Unpaid,
    /// `checkout.session.async_payment_succeeded`.
    PaidLater,
    /// `checkout.session.async_payment_failed`.
    NeverPaid,
}

/// How an invoice came to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paid {
    /// `invoice.paid`, by a charge.
    Charged,
    /// `invoice.payment_succeeded`, by the same.
    Succeeded,
    /// `invoice.paid`, marked by hand: there is no charge.
    OutOfBand,
}

/// One event, with the subscription as it was when the event was made.
#[derive(Debug, Clone)]
pub struct Event {
    pub sub: usize,
    pub at: i64,
    pub now: Sub,
    pub word: Word,
    /// How many moments there had been when it was made.
    pub moments: usize,
}

impl Event {
    /// Whether the event carries the subscription.
    pub fn shows_the_subscription(&self) -> bool {
        matches!(
            self.word,
            Word::Created | Word::Updated(_) | Word::Told(_) | Word::Deleted
        )
    }
}

/// What was agreed with the client, and which events its endpoint gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Setting {
    /// The client begins in a trial of ours.
    pub begins_in_trial: bool,
    /// `price_1` was agreed, and nothing else.
    pub priced: bool,
    /// Only payments are sent to the endpoint, no subscriptions.
    pub payments_only: bool,
    /// Stripe stamps the first event of a subscription late and the last one early; it does not promise to be exact.
    pub stamps_badly: bool,
    /// The endpoint is sent `invoice.payment_succeeded` beside `invoice.paid`.
    pub both_words: bool,
    /// The lines of invoices name the subscription's price.
    pub names_prices: bool,
}

/// When every history begins.
pub const EPOCH: i64 = 1_000_000;

/// What is known about the money for a subscription.
#[derive(Debug, Clone, Default)]
struct Money {
    /// What was tried, with money.
    tries: Vec<Try>,
    /// Invoices that nobody has paid yet and that are tried again, by when they were made.
    open: Vec<Invoice>,
    /// The first invoice, while its money is on its way.
    on_its_way: Option<Invoice>,
}

/// Somebody paid an invoice, or failed to.
#[derive(Debug, Clone, Copy)]
struct Try {
    /// When the invoice was made.
    made: i64,
    /// When whoever paid began to buy.
    since: i64,
    /// The price that was told; none where it was not.
    price: Option<u8>,
    succeeds: bool,
}

/// A client's subscriptions and everything that happened to them.
#[derive(Debug, Clone)]
pub struct Stripe {
    pub setting: Setting,
    pub now: i64,
    pub subs: Vec<Sub>,
    pub charges: Vec<Charge>,
    pub events: Vec<Event>,
    /// What the subscriptions were, from when on.
    pub moments: Vec<(i64, Vec<Sub>)>,
    /// What each subscription was last that our side agreed to.
    agreed: Vec<Option<Sub>>,
    money: Vec<Money>,
    customer: usize,
    invoices: usize,
}

impl Stripe {
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            now: EPOCH,
            subs: Vec::new(),
            charges: Vec::new(),
            events: Vec::new(),
            moments: Vec::new(),
            agreed: Vec::new(),
            money: Vec::new(),
            customer: 0,
            invoices: 0,
        }
    }

    fn begin(&mut self, life: Life, price: u8, trial: Option<i64>) -> usize {
        self.subs.push(Sub {
            life,
            frozen: false,
            ends: false,
            start: self.now,
            period_end: trial.unwrap_or(self.now + moves::MONTH),
            trial_end: trial,
            price,
            customer: self.customer,
        });
        self.agreed.push(None);
        self.money.push(Money::default());
        let id = self.subs.len() - 1;
        self.is_now(id);
        self.say(id, Word::Created);
        id
    }

    /// Keeps what has become of a subscription.
    fn is_now(&mut self, id: usize) {
        self.moments.push((self.now, self.subs.clone()));
        if self.is_agreed(&self.subs[id]) {
            self.agreed[id] = Some(self.subs[id].clone());
        }
    }

    fn say(&mut self, sub: usize, word: Word) {
        let at = match word {
            Word::Created if self.setting.stamps_badly => self.now + 5,
            Word::Deleted if self.setting.stamps_badly => self.now - 5,
            _ => self.now,
        };
        let event = Event {
            sub,
            at,
            now: self.subs[sub].clone(),
            word,
            moments: self.moments.len(),
        };
        if event.shows_the_subscription() && self.setting.payments_only {
            return;
        }
        self.events.push(event);
    }

    /// An invoice of now.
    fn invoice(&mut self, sub: usize, first: bool) -> Invoice {
        self.invoices += 1;
        Invoice {
            number: self.invoices,
            made: self.now,
            first,
            price: self.setting.names_prices.then_some(self.subs[sub].price),
        }
    }

    fn change(&mut self, id: usize, change: impl FnOnce(&mut Sub)) {
        let was = self.subs[id].clone();
        change(&mut self.subs[id]);
        let word = if self.subs[id].life == Life::Canceled {
            Word::Deleted
        } else {
            Word::Updated(was)
        };
        self.is_now(id);
        self.say(id, word);
    }
}
