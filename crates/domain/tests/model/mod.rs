//! A little model of what Stripe does with the subscriptions of one customer, and of what is then true.
//!
//! It is written from Stripe's documentation and from BIL-1 alone. It knows the words of the domain only where it hands its events
//! over ([`facts`]); its truth is computed from its own subscriptions, in the order in which things happened, and never from
//! events.

pub mod facts;
pub mod moves;
pub mod story;

use moves::Move;

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
}

impl Sub {
    pub fn is_live(&self) -> bool {
        !self.life.is_over() && self.life != Life::Incomplete
    }

    /// BIL-1: "a live one speaks first (active, trialing, past_due, unpaid, paused), then an incomplete one, then an ended one".
    fn place_in_line(&self) -> usize {
        match self.life {
            Life::Canceled | Life::Expired => 6,
            Life::Incomplete => 5,
            Life::Paused => 4,
            _ if self.frozen => 4,
            Life::Unpaid => 3,
            Life::PastDue => 2,
            Life::Trial => 1,
            Life::Active => 0,
        }
    }

    /// BIL-1: Stripe's statuses in the words of a client.
    fn word(&self) -> &'static str {
        match self.life {
            Life::Canceled | Life::Expired => "CANCELED",
            Life::Incomplete => "TRIAL_PENDING",
            Life::Paused => "PAUSED",
            _ if self.frozen => "PAUSED",
            Life::Unpaid | Life::PastDue => "PAST_DUE",
            Life::Trial => "TRIAL_ACTIVE",
            Life::Active => "ACTIVE",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// `customer.subscription.created`.
    Created,
    /// `customer.subscription.updated`, with what the subscription was before.
    Updated(Sub),
    /// `customer.subscription.paused` and `.resumed`: the subscription, without what it was before.
    Told,
    /// `customer.subscription.deleted`.
    Deleted,
    /// `checkout.session.completed`, paid by this invoice.
    Checkout { invoice: usize },
    /// `invoice.paid`.
    Paid { invoice: usize, first: bool, cents: i64 },
    /// `invoice.payment_failed`.
    Failed { invoice: usize, first: bool },
}

/// One event, with the subscription as it was when the event was made.
#[derive(Debug, Clone)]
pub struct Event {
    pub sub: usize,
    pub at: i64,
    pub now: Sub,
    pub word: Word,
}

impl Event {
    /// Whether the event carries the subscription.
    pub fn shows_the_subscription(&self) -> bool {
        matches!(self.word, Word::Created | Word::Updated(_) | Word::Told | Word::Deleted)
    }
}

/// What was agreed with the client, and which events its endpoint gets.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The client begins in a trial of ours.
    pub begins_in_trial: bool,
    /// The price of all subscriptions was agreed.
    pub priced: bool,
    /// Only payments are sent to the endpoint, no subscriptions.
    pub payments_only: bool,
    /// Stripe stamps the first event of a subscription late and the last one early; it does not promise to be exact.
    pub stamps_badly: bool,
}

/// What is true at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub state: &'static str,
    /// The subscription that speaks; unknown where two that say the same began in the same second.
    pub speaker: Option<Option<usize>>,
}

/// When every history begins.
pub const EPOCH: i64 = 1_000_000;

/// A customer's subscriptions and everything that happened to them.
#[derive(Debug, Clone)]
pub struct Stripe {
    pub setting: Setting,
    pub now: i64,
    pub subs: Vec<Sub>,
    pub events: Vec<Event>,
    /// For each subscription, when it was first paid with money and whether the last try of that succeeded.
    money: Vec<Option<(i64, bool)>>,
    invoices: usize,
}

impl Stripe {
    /// Plays a script until there are `most` events: each line picks one of the moves that are possible where it stands, and says
    /// how many seconds after the one before it happens.
    pub fn play(setting: Setting, script: &[(usize, i64)], most: usize) -> Self {
        let mut stripe = Self {
            setting,
            now: EPOCH,
            subs: Vec::new(),
            events: Vec::new(),
            money: Vec::new(),
            invoices: 0,
        };
        for (pick, gap) in script {
            let mut waited = stripe.clone();
            waited.now += gap;
            let possible: Vec<Self> = Move::ALL.iter().filter_map(|made| waited.after(*made)).collect();
            let Some(next) = possible.get(pick % possible.len().max(1)) else {
                break;
            };
            if next.events.len() > most {
                break;
            }
            stripe = next.clone();
        }
        stripe
    }

    fn begin(&mut self, life: Life, price: u8, trial: Option<i64>) -> usize {
        let sub = Sub {
            life,
            frozen: false,
            ends: false,
            start: self.now,
            period_end: trial.unwrap_or(self.now + 2_592_000),
            trial_end: trial,
            price,
        };
        self.subs.push(sub);
        self.money.push(None);
        let id = self.subs.len() - 1;
        self.say(id, Word::Created);
        id
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
        };
        if event.shows_the_subscription() && self.setting.payments_only {
            return;
        }
        self.events.push(event);
    }

    fn change(&mut self, sub: usize, change: impl FnOnce(&mut Sub)) {
        let was = self.subs[sub].clone();
        change(&mut self.subs[sub]);
        let word = if self.subs[sub].life == Life::Canceled {
            Word::Deleted
        } else {
            Word::Updated(was)
        };
        self.say(sub, word);
    }

    fn pay(&mut self, sub: usize, first: bool, cents: i64) -> usize {
        self.invoices += 1;
        let invoice = self.invoices;
        self.say(sub, Word::Paid { invoice, first, cents });
        if cents > 0 {
            let since = self.money[sub].map_or(self.now, |(since, _)| since);
            self.money[sub] = Some((since, true));
        }
        invoice
    }

    fn fail(&mut self, sub: usize, first: bool) {
        self.invoices += 1;
        let invoice = self.invoices;
        self.say(sub, Word::Failed { invoice, first });
        if let Some((_, last)) = &mut self.money[sub] {
            *last = false;
        }
    }

    /// What is true now.
    pub fn truth(&self) -> Truth {
        let speakers: Vec<(usize, usize, i64, &'static str)> = if self.setting.payments_only {
            self.money
                .iter()
                .enumerate()
                .filter(|_| !self.setting.priced)
                .filter_map(|(id, money)| money.map(|(since, last)| (id, since, last)))
                .map(|(id, since, last)| {
                    if last {
                        (id, 0, since, "ACTIVE")
                    } else {
                        (id, 2, since, "PAST_DUE")
                    }
                })
                .collect()
        } else {
            self.subs
                .iter()
                .enumerate()
                .map(|(id, sub)| (id, sub.place_in_line(), sub.start, sub.word()))
                .collect()
        };
        let Some(place) = speakers.iter().map(|(_, place, _, _)| *place).min() else {
            let state = if self.setting.begins_in_trial {
                "TRIAL_ACTIVE"
            } else {
                "TRIAL_PENDING"
            };
            return Truth {
                state,
                speaker: Some(None),
            };
        };
        let equals = speakers.iter().filter(|(_, other, _, _)| *other == place);
        let newest = equals.clone().map(|(_, _, start, _)| *start).max();
        let heard: Vec<_> = equals.filter(|(_, _, start, _)| Some(*start) == newest).collect();
        Truth {
            state: heard[0].3,
            speaker: (heard.len() == 1).then_some(Some(heard[0].0)),
        }
    }

    /// Whether a subscription ended its last second in a condition that it had also left in that second: then no set of events
    /// tells which came last, and Stripe has to be asked.
    pub fn is_a_riddle(&self, sub: usize) -> bool {
        let updates = || {
            self.events
                .iter()
                .filter(|event| event.sub == sub && matches!(event.word, Word::Updated(_) | Word::Told))
        };
        let last = updates().map(|event| event.at).max();
        !self.subs[sub].life.is_over()
            && updates()
                .filter(|event| Some(event.at) == last)
                .any(|event| matches!(&event.word, Word::Updated(was) if *was == self.subs[sub] && *was != event.now))
    }
}
