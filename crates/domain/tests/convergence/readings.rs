//! What events leave open is read from Stripe, at any moment after it was noticed; and thin events, whose objects are read at any
//! moment after they happened. The answer is the model's, as it was at that moment.

use domain::billing::subscription::{CLOCKS_APART, observed_at};
use domain::time::UnixSeconds;

use crate::books::Books;
use crate::model::dice::Dice;
use crate::model::facts::{self, Said};
use crate::proof::{Tally, add};
use crate::trial::Trial;

/// A delivery in time: never before what it tells has happened.
struct Clock {
    now: i64,
    /// The moments that had to happen for what was delivered so far.
    heard: usize,
}

impl Clock {
    fn start() -> Self {
        let now = crate::model::EPOCH;
        Self { now, heard: 0 }
    }

    fn deliver(&mut self, trial: &Trial, event: usize, dice: &mut Dice) {
        self.heard = self.heard.max(trial.stripe.events[event].moments);
        let waited = *dice.of(&[0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 100_000]);
        self.now = self.now.max(trial.stripe.when(self.heard)) + waited;
    }

    /// When Stripe says that it answered: its clocks are not quite one.
    fn answered(&self, dice: &mut Dice) -> UnixSeconds {
        let apart = usize::try_from(2 * CLOCKS_APART + 1).expect("small");
        UnixSeconds(self.now - CLOCKS_APART + i64::try_from(dice.below(apart)).expect("small"))
    }
}

/// Any order, or nearly the true one: only then is there much still to happen while things are read.
fn order(trial: &Trial, dice: &mut Dice) -> Vec<usize> {
    let mut order: Vec<usize> = (0..trial.said.len()).collect();
    if dice.percent(30) {
        dice.shuffle(&mut order);
        return order;
    }
    for place in 0..order.len() {
        let other = (place + dice.below(3)).min(order.len() - 1);
        order.swap(place, other);
    }
    order
}

/// Snapshot events in a random order, and readings of what they leave open between them.
pub fn one_order(trial: &Trial, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let order = order(trial, dice);
    let (mut books, mut clock) = (Books::new(trial.stripe.setting), Clock::start());
    for until in 1..=order.len() {
        let event = order[until - 1];
        clock.deliver(trial, event, dice);
        add(&tally.deliveries, 1);
        // A reading may have shown an end that no event has told yet.
        trial.deliver(&mut books, &trial.said[event], &order[..until])?;
        if dice.percent(50) {
            read_what_is_open(trial, &mut books, &clock, dice, tally);
        }
    }
    settle(trial, &mut books, clock, dice, tally);
    add(&tally.orders, 1);
    if trial.stripe.secrets().is_empty() {
        trial.is_true(&books, &format!("order {order:?} with readings"))?;
    }
    Ok(())
}

/// The same history told by thin events: each shows the subscription as it is when somebody reads it.
pub fn one_thin_order(trial: &Trial, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let order = order(trial, dice);
    let (mut books, mut clock) = (Books::new(trial.stripe.setting), Clock::start());
    for number in &order {
        let event = &trial.stripe.events[*number];
        clock.deliver(trial, *number, dice);
        add(&tally.deliveries, 1);
        let seen = trial.stripe.read(event.sub, clock.now, clock.heard, dice);
        match seen.filter(|_| event.shows_the_subscription()) {
            Some(seen) => {
                let at = observed_at(clock.answered(dice), Some(UnixSeconds(event.at)));
                add(&tally.readings, 1);
                books.client.observe(&facts::reading(event.sub, seen, at));
            }
            None => {
                books.take(&trial.said[*number]);
            }
        }
    }
    settle(trial, &mut books, clock, dice, tally);
    add(&tally.orders, 1);
    trial.is_true(&books, &format!("thin order {order:?}"))
}

/// Reads every open subscription whose second is safely over, as billing does by a timer.
fn read_what_is_open(trial: &Trial, books: &mut Books, clock: &Clock, dice: &mut Dice, tally: &Tally) {
    for (id, open) in books.undecided() {
        let at = observed_at(clock.answered(dice), None);
        let sub = (0..trial.stripe.subs.len()).find(|sub| facts::subscription(*sub) == id);
        let seen = sub.and_then(|sub| Some((sub, trial.stripe.read(sub, clock.now, clock.heard, dice)?)));
        if let Some((sub, seen)) = seen.filter(|_| at > open) {
            add(&tally.readings, 1);
            books.take(&Said::OfSubscription(facts::reading(sub, seen, at)));
        }
    }
}

/// In the end everything has happened, was delivered, and what is open is read.
fn settle(trial: &Trial, books: &mut Books, mut clock: Clock, dice: &mut Dice, tally: &Tally) {
    clock.heard = trial.stripe.moments.len();
    clock.now = clock.now.max(trial.stripe.now) + 3 * CLOCKS_APART;
    read_what_is_open(trial, books, &clock, dice, tally);
}
