//! The deliveries of one endpoint: those that wait for their place, and those that wait for a time (retries, resends).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::state::event::Event;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    Waiting,
    Sending,
    Delivered,
    Dropped,
    GivenUp,
}

impl DeliveryState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::GivenUp => "given_up",
        }
    }
}

/// How one attempt went.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Unix milliseconds of the machine.
    pub(crate) at_ms: i64,
    pub(crate) took_ms: u128,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
}

impl Outcome {
    pub(crate) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: u64,
    pub(crate) event: Arc<Event>,
    pub(crate) endpoint: String,
    pub(crate) state: DeliveryState,
    pub(crate) attempts: Vec<Outcome>,
}

impl Delivery {
    pub(super) fn new(id: u64, event: Arc<Event>, endpoint: &str) -> Self {
        Self {
            id,
            event,
            endpoint: endpoint.to_owned(),
            state: DeliveryState::Waiting,
            attempts: Vec::new(),
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(
            self.state,
            DeliveryState::Delivered | DeliveryState::Dropped | DeliveryState::GivenUp
        )
    }
}

#[derive(Debug)]
struct Placed {
    delivery: u64,
    /// True when it waits behind events that come later.
    displaced: bool,
    not_before: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Queue {
    arrived: u64,
    last_arrival: Instant,
    /// By place, then by delivery.
    places: BTreeMap<(u64, u64), Placed>,
    due: BTreeSet<(Instant, u64)>,
    pub(super) in_flight: usize,
    pub(super) hold: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            arrived: 0,
            last_arrival: Instant::now(),
            places: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            hold: Duration::ZERO,
        }
    }
}

impl Queue {
    /// The number of an event that arrives.
    pub(super) fn arrive(&mut self) -> u64 {
        self.arrived += 1;
        self.last_arrival = Instant::now();
        self.arrived
    }

    pub(super) fn put(&mut self, delivery: u64, number: u64, place: u64, not_before: Option<Instant>) {
        // A displaced delivery comes after the one whose place it takes: ids grow, so it needs a later key at the same place.
        let displaced = place > number;
        let key = (place, if displaced { u64::MAX / 2 + delivery } else { delivery });
        self.places.insert(
            key,
            Placed {
                delivery,
                displaced,
                not_before,
            },
        );
    }

    /// Deliveries that are not over.
    pub(super) fn len(&self) -> usize {
        self.places.len() + self.due.len() + self.in_flight
    }

    pub(super) fn put_due(&mut self, delivery: u64, at: Instant) {
        self.due.insert((at, delivery));
    }

    /// The next delivery, or when to look again.
    pub(super) fn take(&mut self, now: Instant) -> Result<u64, Option<Instant>> {
        if let Some(first) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&first);
            return Ok(first.1);
        }
        let mut look_again = self.due.first().map(|(at, _)| *at);
        let quiet_at = self.last_arrival + self.hold;
        let mut found = None;
        for (key, placed) in &self.places {
            let held_until = (placed.displaced && key.0 > self.arrived).then_some(quiet_at);
            match [placed.not_before, held_until]
                .into_iter()
                .flatten()
                .max()
                .filter(|at| *at > now)
            {
                None => {
                    found = Some(*key);
                    break;
                }
                Some(at) => look_again = Some(look_again.map_or(at, |earlier| earlier.min(at))),
            }
        }
        found
            .and_then(|key| self.places.remove(&key))
            .map_or(Err(look_again), |placed| Ok(placed.delivery))
    }
}
