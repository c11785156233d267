//! Orders of delivery: every one of a short history, and random ones of a long history.

use crate::books::Books;
use crate::model::dice::Dice;
use crate::proof::{Tally, add};
use crate::trial::Trial;

/// What a set of events came to in some order, and one order in which it did.
struct Place {
    books: Books,
    order: Vec<usize>,
}

/// Tries every order of all events, and at each place on the way the repeat of each event that was delivered.
///
/// Orders that lead to the same place are gone on with together: what comes after depends on what is known and on which events
/// are still to come, and on nothing else. So this costs as much as there are different places, and covers every order. As a
/// repeat changes nothing at any place, every order with any repeats is covered as well.
pub fn every_order(trial: &Trial, tally: &Tally) -> Result<(), String> {
    let events = trial.said.len();
    let mut places = vec![Place {
        books: Books::new(trial.stripe.setting),
        order: Vec::new(),
    }];
    for _ in 0..events {
        let mut next: Vec<(u32, Place)> = Vec::new();
        for place in &places {
            repeats_change_nothing(trial, place, tally)?;
            for event in (0..events).filter(|event| !place.order.contains(event)) {
                let (set, reached) = go_on(trial, place, event, tally)?;
                let known = |(other, known): &(u32, Place)| *other == set && known.books == reached.books;
                if !next.iter().any(known) {
                    next.push((set, reached));
                }
            }
        }
        places = next.into_iter().map(|(_, place)| place).collect();
    }
    for place in &places {
        repeats_change_nothing(trial, place, tally)?;
        trial.has_arrived(&place.books, &place.order)?;
    }
    add(&tally.orders, (1..=events as u64).product());
    Ok(())
}

fn go_on(trial: &Trial, place: &Place, event: usize, tally: &Tally) -> Result<(u32, Place), String> {
    let mut books = place.books.clone();
    let mut order = place.order.clone();
    order.push(event);
    add(&tally.deliveries, 1);
    trial.step(&mut books, &trial.said[event], &order)?;
    let set = order.iter().fold(0, |set, event| set | 1 << event);
    let books = books.settled();
    Ok((set, Place { books, order }))
}

fn repeats_change_nothing(trial: &Trial, place: &Place, tally: &Tally) -> Result<(), String> {
    for event in &place.order {
        let mut books = place.books.clone();
        add(&tally.deliveries, 1);
        let decision = books.take(&trial.said[*event]);
        let same = books.client.version == place.books.client.version
            && books.without_acts() == place.books.clone().without_acts();
        if !same {
            return Err(format!("order {:?}, then #{event} again: {decision:?}", place.order));
        }
    }
    Ok(())
}

/// A random order with repeats, cut into batches of which each is looked at in the order of its times, as a consumer does.
pub fn one_order(trial: &Trial, dice: &mut Dice, tally: &Tally) -> Result<(), String> {
    let events = trial.said.len();
    if events == 0 {
        return Ok(());
    }
    let mut order: Vec<usize> = (0..events).collect();
    for _ in 0..dice.below(1 + events) {
        order.push(dice.below(events));
    }
    dice.shuffle(&mut order);
    let mut left = order.as_mut_slice();
    while !left.is_empty() {
        let (batch, rest) = left.split_at_mut(1 + dice.below(left.len().min(8)));
        batch.sort_by_key(|event| trial.stripe.events[*event].at);
        left = rest;
    }
    let mut books = Books::new(trial.stripe.setting);
    for until in 1..=order.len() {
        add(&tally.deliveries, 1);
        trial.step(&mut books, &trial.said[order[until - 1]], &order[..until])?;
    }
    add(&tally.orders, 1);
    trial.has_arrived(&books, &order)
}
