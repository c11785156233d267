//! One batch, one transaction.
//!
//! 1. Fold repeats within the batch and look up which events are known ([`prepare`]).
//! 2. Find who the events speak of, lock those clients in the order of their ids, load their facts ([`known`]).
//! 3. Decide each event in memory, in the order of Stripe's `created` so that a batch does not flap ([`judge`]).
//! 4. Write clients, registers, payments, events, decisions and outbox rows set by set ([`write`]).
//!
//! The mark of idempotency is the event's row, inserted in step 4 of the same transaction: no mark without its effect, and no
//! effect without its mark. Two consumers that hold the same new event meet at that insert; the later one starts over and then
//! finds it known.

mod charges;
mod judge;
mod known;
mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use db::Transaction;
use db::billing::inbox::{EventKey, KnownEvent, find_known_events};
use domain::billing::authority::Binding;
use domain::billing::decision::Decision;
use serde_json::Value;

use crate::error::BillingError;
use crate::reading::Reading;
use judge::Judge;
use known::Known;

/// What every batch is decided by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) binding: Binding,
    pub(crate) now: DateTime<Utc>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchReport {
    /// One per message, in order; `None` for a repeat.
    pub(crate) decisions: Vec<Option<Decision>>,
    /// What was expected and what was found, one per message; null where there is nothing to say.
    pub(crate) details: Vec<Value>,
    /// Rows for the relay were written.
    pub(crate) wrote_outbox: bool,
}

/// An event of the batch that has to be decided: its reading, how often it came, and its row where it waits or is parked.
#[derive(Debug, Clone, Copy)]
struct Open<'m> {
    index: usize,
    reading: &'m Reading<'m>,
    deliveries: i32,
    earlier: Option<&'m KnownEvent>,
}

/// Decides a batch and writes everything that follows.
pub(crate) async fn decide_batch(
    txn: &Transaction<'_>,
    readings: &[Reading<'_>],
    rules: Rules,
) -> Result<BatchReport, BillingError> {
    let folded = fold(readings);
    let ids: Vec<&str> = folded.keys().map(|(id, _)| id.as_str()).collect();
    let created: Vec<DateTime<Utc>> = folded.keys().map(|(_, created)| *created).collect();
    let stored = find_known_events(txn, &ids, &created).await?;
    let (open, repeats) = split(readings, folded, &stored);
    let known = Known::load(txn, &open).await?;
    let mut judge = Judge::new(known, rules);
    let mut report = BatchReport {
        decisions: vec![None; readings.len()],
        details: vec![Value::Null; readings.len()],
        wrote_outbox: false,
    };
    for event in &open {
        let decision = judge.decide(event);
        if let Some(slot) = report.decisions.get_mut(event.index) {
            *slot = Some(decision);
        }
        if let (Some(slot), Some(judged)) = (report.details.get_mut(event.index), judge.judged.last()) {
            slot.clone_from(&judged.details);
        }
    }
    report.wrote_outbox = write::write(txn, judge, &repeats, rules).await?;
    Ok(report)
}

/// The events of a batch, each once: the index of its first message that did not come amiss, and how often Stripe delivered it.
fn fold(readings: &[Reading<'_>]) -> BTreeMap<EventKey, (usize, i32)> {
    let mut folded = BTreeMap::new();
    let amiss = |index: usize| readings.get(index).is_some_and(Reading::came_amiss);
    for (index, reading) in readings.iter().enumerate() {
        let (first, count) = folded.entry(reading.key()).or_insert((index, 0));
        if amiss(*first) && !amiss(index) {
            *first = index;
        }
        *count += i32::from(reading.is_delivery);
    }
    folded
}

/// Events to decide, oldest first, and repeats of decided ones.
fn split<'m>(
    readings: &'m [Reading<'m>],
    folded: BTreeMap<EventKey, (usize, i32)>,
    stored: &'m BTreeMap<EventKey, KnownEvent>,
) -> (Vec<Open<'m>>, BTreeMap<EventKey, i32>) {
    let mut open = Vec::with_capacity(folded.len());
    let mut repeats = BTreeMap::new();
    for (key, (index, deliveries)) in folded {
        let Some(reading) = readings.get(index) else { continue };
        match stored.get(&key) {
            // What waits or is parked came well before; a delivery that comes amiss does not take that back.
            Some(known) if known.is_decided() || (known.is_open() && reading.is_delivery && reading.came_amiss()) => {
                if deliveries > 0 {
                    repeats.insert(key, deliveries);
                }
            }
            earlier => open.push(Open {
                index,
                reading,
                deliveries,
                earlier,
            }),
        }
    }
    open.sort_by_key(|event| (event.reading.created, event.index));
    (open, repeats)
}
