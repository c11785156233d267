//! Runs a claim over many histories, tells how much was tried, and makes a history for which it fails as small as it gets.

#![allow(clippy::disallowed_methods)] // PROOF_SEED and PROOF_PERCENT are words to these tests, no configuration of Holdfast's

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use crate::model::dice::Dice;
use crate::model::moves::Move;
use crate::model::script::Script;
use crate::model::{Setting, Stripe};

/// How much was tried, for the line that a test prints.
#[derive(Default)]
pub struct Tally {
    pub histories: Cell<u64>,
    pub orders: Cell<u64>,
    pub deliveries: Cell<u64>,
    pub riddles: Cell<u64>,
    pub readings: Cell<u64>,
    pub events: Cell<u64>,
    pub longest: Cell<usize>,
    pub states: RefCell<BTreeSet<&'static str>>,
}

pub fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

/// Where histories come from.
pub enum Source {
    /// So many, by chance.
    Chance(u64, fn(&mut Dice) -> Script),
    /// Every one of up to so many moves and seven events, in every plain setting, each move one of the gaps after the one before.
    Every(usize, &'static [i64]),
}

type Claim<'c> = &'c dyn Fn(Stripe, &mut Dice, &Tally) -> Result<(), String>;

/// Checks a claim for every history and prints how many there were.
pub fn prove(name: &str, source: Source, claim: impl Fn(Stripe, &mut Dice, &Tally) -> Result<(), String>) {
    let tally = Tally::default();
    let seed = word("PROOF_SEED").unwrap_or_else(|| RandomState::new().hash_one(name));
    let percent = word("PROOF_PERCENT").unwrap_or(100);
    let mut dice = Dice::new(seed);
    let check = |script: &Script, seed: u64| {
        let stripe = script.play();
        let events = stripe.events.len();
        if events == 0 {
            return;
        }
        add(&tally.histories, 1);
        add(&tally.events, events as u64);
        tally.longest.set(tally.longest.get().max(events));
        if claim(stripe, &mut Dice::new(seed), &tally).is_err() {
            let (script, why) = shrink(script.clone(), seed, &claim);
            panic!("{name} (PROOF_SEED={seed}): {why}\n{}", script.play());
        }
    };
    match source {
        Source::Every(moves, gaps) => {
            let (one_of, mut number) = (100 / percent.clamp(1, 100), 0);
            every_script(moves, gaps, &mut |script| {
                if number % one_of == 0 {
                    check(script, dice.seed());
                }
                number += 1;
            });
        }
        Source::Chance(many, by) => (0..many * percent / 100).for_each(|_| {
            let script = by(&mut dice);
            check(&script, dice.seed());
        }),
    }
    println!(
        "{name}: {} histories of up to {} events ({} in all; {} that the events alone do not tell), {} orders, {} deliveries, \
         {} readings, ending in {:?}; PROOF_SEED={seed}",
        tally.histories.get(),
        tally.longest.get(),
        tally.events.get(),
        tally.riddles.get(),
        tally.orders.get(),
        tally.deliveries.get(),
        tally.readings.get(),
        tally.states.borrow()
    );
}

fn word(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Orders that a smaller history is given to fail in.
const TRIES: u64 = 12;

/// Leaves out what can be left out while the claim still fails, and says why it does.
fn shrink(mut script: Script, seed: u64, claim: Claim<'_>) -> (Script, String) {
    let fails = |script: &Script| {
        (0..TRIES).find_map(|more| {
            let mut dice = Dice::new(seed.wrapping_add(more));
            claim(script.play(), &mut dice, &Tally::default()).err()
        })
    };
    let mut why = fails(&script).unwrap_or_default();
    loop {
        let smaller = script
            .smaller()
            .into_iter()
            .find_map(|smaller| Some((fails(&smaller)?, smaller)));
        let Some((reason, smaller)) = smaller else {
            return (script, why);
        };
        (why, script) = (reason, smaller);
    }
}

/// The longest histories of which every one is told: of up to so many moves. `PROOF_MOVES` makes it more; with 7 nothing is left out, since
/// hardly a move is without an event.
pub fn moves() -> usize {
    word("PROOF_MOVES").map_or(3, |moves| usize::try_from(moves).expect("small"))
}

fn every_script(moves: usize, gaps: &[i64], each: &mut dyn FnMut(&Script)) {
    let plain = Setting {
        begins_in_trial: false,
        priced: false,
        payments_only: false,
        stamps_badly: false,
        both_words: false,
        names_prices: false,
    };
    let settings = [
        plain,
        Setting {
            priced: true,
            names_prices: true,
            ..plain
        },
        Setting {
            priced: true,
            names_prices: true,
            payments_only: true,
            ..plain
        },
        Setting {
            payments_only: true,
            both_words: true,
            ..plain
        },
        Setting {
            stamps_badly: true,
            begins_in_trial: true,
            ..plain
        },
    ];
    for setting in settings {
        let mut start = Script {
            setting,
            steps: Vec::new(),
        };
        grow(&mut start, &Stripe::new(setting), moves, gaps, each);
    }
}

/// Events of a history of which every order is tried.
pub const SHORT: usize = 7;

fn grow(script: &mut Script, stripe: &Stripe, moves: usize, gaps: &[i64], each: &mut dyn FnMut(&Script)) {
    if moves == 0 {
        return;
    }
    for made in Move::all() {
        let gaps = if script.steps.is_empty() { &gaps[..1] } else { gaps };
        for gap in gaps {
            let mut next = stripe.clone();
            next.now += gap;
            if next.make(*made).is_none() || next.events.len() > SHORT {
                continue;
            }
            script.steps.push((*made, *gap));
            each(script);
            grow(script, &next, moves - 1, gaps, each);
            script.steps.pop();
        }
    }
}
