//! Every order of delivery, with any repeats, ends in what is true at Stripe (BIL-6), and no step on the way cuts a paying client
//! off. What is true is told by an independent model ([`model`]), not by the code under test.
//!
//! `PROOF_SEED` repeats a run, `PROOF_PERCENT` makes one longer or shorter, `PROOF_MOVES` the histories of which every one is told.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod books;
#[path = "../model/mod.rs"]
mod model;
mod orders;
#[path = "../proof/mod.rs"]
mod proof;
mod readings;
mod trial;

use model::dice::Dice;
use model::script::Script;
use model::{Setting, Stripe};
use proof::{Source, Tally, prove};
use trial::Trial;

fn every_order(stripe: Stripe, tally: &Tally) -> Result<(), String> {
    orders::every_order(&Trial::new(stripe, tally)?, tally)
}

#[test]
fn every_order_of_every_history_of_a_few_moves_ends_in_the_truth() {
    let moves = proof::moves();
    prove(
        &format!("every history of up to {moves} moves and 7 events, every order"),
        Source::Every(moves, &[0]),
        |stripe, _, tally| every_order(stripe, tally),
    );
}

#[test]
fn every_order_of_every_history_of_two_moves_an_hour_apart_ends_in_the_truth() {
    prove(
        "every history of 2 moves, within a second or an hour apart, every order",
        Source::Every(2, &[0, 3_600]),
        |stripe, _, tally| every_order(stripe, tally),
    );
}

#[test]
fn every_order_of_a_short_history_ends_in_the_truth() {
    let short = Source::Chance(4_000, |dice| Script::any(dice, proof::SHORT));
    prove("histories of up to 7 events, every order", short, |stripe, _, tally| {
        every_order(stripe, tally)
    });
}

#[test]
fn many_orders_of_a_long_history_with_repeats_end_in_the_truth() {
    let long = Source::Chance(1_500, |dice| Script::any(dice, 40));
    prove(
        "histories of up to 40 events, orders with repeats and batches",
        long,
        |stripe, dice, tally| {
            let trial = Trial::new(stripe, tally)?;
            (0..8).try_for_each(|_| orders::one_order(&trial, dice, tally))
        },
    );
}

/// An endpoint that is sent payments only, and an agreed price: what invoices name is all that is known of it.
fn by_payments_at_prices(dice: &mut Dice) -> Script {
    let setting = Setting {
        priced: true,
        payments_only: true,
        names_prices: true,
        ..Setting::by(dice)
    };
    Script::by(dice, setting, 25)
}

#[test]
fn payments_alone_that_name_their_prices_end_in_the_truth() {
    let long = Source::Chance(1_500, by_payments_at_prices);
    prove("histories by payments at prices", long, |stripe, dice, tally| {
        let trial = Trial::new(stripe, tally)?;
        (0..8).try_for_each(|_| orders::one_order(&trial, dice, tally))
    });
}

/// Histories of which Stripe is read on the way. Thin events are told apart by their stamps alone, so these are exact; and they are without
/// an agreed price: their objects show the last price only, and what was agreed before it nobody is told.
fn to_be_read(dice: &mut Dice, thin: bool) -> Script {
    let setting = Setting::by(dice);
    let setting = Setting {
        priced: setting.priced && !thin,
        stamps_badly: setting.stamps_badly && !thin,
        ..setting
    };
    Script::by(dice, setting, 25)
}

#[test]
fn what_events_leave_open_is_settled_by_reading_whenever_that_happens() {
    let long = Source::Chance(1_500, |dice| to_be_read(dice, false));
    prove("histories with readings of Stripe", long, |stripe, dice, tally| {
        let trial = Trial::new(stripe, tally)?;
        (0..8).try_for_each(|_| readings::one_order(&trial, dice, tally))
    });
}

#[test]
fn thin_events_end_in_the_truth_whenever_their_objects_are_read() {
    let long = Source::Chance(1_500, |dice| to_be_read(dice, true));
    prove("histories by thin events", long, |stripe, dice, tally| {
        let trial = Trial::new(stripe, tally)?;
        (0..8).try_for_each(|_| readings::one_thin_order(&trial, dice, tally))
    });
}
