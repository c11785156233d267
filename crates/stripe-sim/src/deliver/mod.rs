//! The courier: which event goes to which endpoint, in what order and how often. Whatever is random about it is drawn from the seed and
//! the event's number at its endpoint, so that the plan does not depend on timing.

mod endpoint;
mod queue;
mod sender;
mod signature;

pub use endpoint::Payload;
pub(crate) use endpoint::{Endpoint, Sources};
pub(crate) use queue::{Delivery, DeliveryState, Outcome};
pub(crate) use sender::run;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::faults::DeliveryFaults;
use crate::ids::{chance, draw};
use crate::state::event::Event;
use queue::Queue;

/// How deliveries are tried.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Wait after each failed attempt; the last one is used again and again.
    pub(crate) backoff: Vec<Duration>,
    pub(crate) max_attempts: usize,
    pub(crate) timeout: Duration,
    /// Deliveries under way at once to one endpoint. One keeps the order.
    pub(crate) concurrency: usize,
    /// Finished deliveries older than this many are forgotten.
    pub(crate) remembered: usize,
}

/// A delivery to be tried now.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) delivery: u64,
    pub(crate) event: Arc<Event>,
    pub(crate) endpoint: Endpoint,
    pub(crate) pending: usize,
    pub(crate) timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    queues: HashMap<String, Queue>,
    deliveries: BTreeMap<u64, Delivery>,
    next: u64,
    /// Endpoints that have not acknowledged an event.
    unacknowledged: HashMap<String, BTreeSet<String>>,
    schedule: Schedule,
    pub(crate) paused: bool,
    notify: Arc<Notify>,
}

impl Courier {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            queues: HashMap::new(),
            deliveries: BTreeMap::new(),
            next: 0,
            unacknowledged: HashMap::new(),
            schedule,
            paused: false,
            notify: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn notifier(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(crate) fn has_thin_destination(&self) -> bool {
        self.endpoints.values().any(|one| one.payload == Payload::Thin)
    }

    /// Plans the deliveries of a new event.
    pub(crate) fn accept(&mut self, event: Arc<Event>, faults: &DeliveryFaults, seed: u64) {
        let endpoints: Vec<Endpoint> = self
            .endpoints
            .values()
            .filter(|one| one.wants(&event))
            .cloned()
            .collect();
        for endpoint in endpoints {
            let number = self.queues.entry(endpoint.id.clone()).or_default().arrive();
            let subject = draw(endpoint.number, "event", number);
            let chosen = |what: &str, probability: f64| chance(seed, what, subject, probability);
            let steps = |what: &str| 1 + draw(seed, what, subject) % faults.window.max(1);
            self.unacknowledged
                .entry(event.id.clone())
                .or_default()
                .insert(endpoint.id.clone());
            if chosen("drop", faults.drop) {
                let delivery = self.add(&event, &endpoint.id);
                self.set_state(delivery, DeliveryState::Dropped);
                continue;
            }
            let place = if chosen("reorder", faults.reorder) {
                number + steps("reorder_by")
            } else {
                number
            };
            let not_before =
                chosen("delay", faults.delay).then(|| Instant::now() + Duration::from_millis(faults.delay_ms));
            self.plan(&event, &endpoint.id, number, place, not_before);
            if chosen("duplicate", faults.duplicate) {
                self.plan(&event, &endpoint.id, number, number + steps("duplicate_by"), not_before);
            }
            if let Some(queue) = self.queues.get_mut(&endpoint.id) {
                queue.hold = Duration::from_millis(faults.hold_ms);
            }
        }
    }

    fn plan(&mut self, event: &Arc<Event>, endpoint: &str, number: u64, place: u64, not_before: Option<Instant>) {
        let delivery = self.add(event, endpoint);
        if let Some(queue) = self.queues.get_mut(endpoint) {
            queue.put(delivery, number, place, not_before);
        }
    }

    /// Delivers an event again at once, as a resend from the dashboard does. Returns how many deliveries that makes.
    pub(crate) fn resend(&mut self, event: &Arc<Event>, endpoint: Option<&str>) -> usize {
        let fits = |one: &&Endpoint| endpoint.map_or_else(|| one.wants(event), |id| one.id == id);
        let endpoints: Vec<String> = self.endpoints.values().filter(fits).map(|one| one.id.clone()).collect();
        for id in &endpoints {
            let delivery = self.add(event, id);
            self.queues
                .entry(id.clone())
                .or_default()
                .put_due(delivery, Instant::now());
        }
        self.wake();
        endpoints.len()
    }

    fn add(&mut self, event: &Arc<Event>, endpoint: &str) -> u64 {
        self.next += 1;
        self.deliveries
            .insert(self.next, Delivery::new(self.next, Arc::clone(event), endpoint));
        while self.deliveries.len() > self.schedule.remembered {
            let Some(entry) = self.deliveries.first_entry().filter(|entry| entry.get().is_over()) else {
                break;
            };
            let gone = entry.remove();
            self.unacknowledged.remove(&gone.event.id);
        }
        self.next
    }

    fn set_state(&mut self, delivery: u64, state: DeliveryState) {
        if let Some(one) = self.deliveries.get_mut(&delivery) {
            one.state = state;
        }
    }

    /// The next delivery to try, or when to look again.
    pub(crate) fn next_job(&mut self, now: Instant) -> Result<Job, Option<Instant>> {
        if self.paused {
            return Err(None);
        }
        let mut look_again: Option<Instant> = None;
        for endpoint in self.endpoints.values().filter(|one| one.enabled) {
            let Some(queue) = self.queues.get_mut(&endpoint.id) else {
                continue;
            };
            if queue.in_flight >= self.schedule.concurrency {
                continue;
            }
            match queue.take(now) {
                Ok(id) => {
                    let Some(delivery) = self.deliveries.get_mut(&id) else {
                        continue;
                    };
                    queue.in_flight += 1;
                    delivery.state = DeliveryState::Sending;
                    let pending = self.unacknowledged.get(&delivery.event.id).map_or(0, BTreeSet::len);
                    let event = Arc::clone(&delivery.event);
                    return Ok(Job {
                        delivery: id,
                        event,
                        endpoint: endpoint.clone(),
                        pending,
                        timeout: self.schedule.timeout,
                    });
                }
                Err(at) => look_again = [look_again, at].into_iter().flatten().min(),
            }
        }
        Err(look_again)
    }

    /// Writes down how an attempt went, and plans the next one if it failed.
    pub(crate) fn report(&mut self, id: u64, outcome: Outcome) {
        let Some(delivery) = self.deliveries.get_mut(&id) else {
            return;
        };
        let succeeded = outcome.succeeded();
        delivery.attempts.push(outcome);
        let tried = delivery.attempts.len();
        let queue = self.queues.entry(delivery.endpoint.clone()).or_default();
        queue.in_flight = queue.in_flight.saturating_sub(1);
        if succeeded {
            delivery.state = DeliveryState::Delivered;
            if let Some(left) = self.unacknowledged.get_mut(&delivery.event.id) {
                left.remove(&delivery.endpoint);
                if left.is_empty() {
                    self.unacknowledged.remove(&delivery.event.id);
                }
            }
        } else if tried >= self.schedule.max_attempts || !self.endpoints.contains_key(&delivery.endpoint) {
            delivery.state = DeliveryState::GivenUp;
        } else {
            delivery.state = DeliveryState::Waiting;
            let wait = self
                .schedule
                .backoff
                .get(tried - 1)
                .or(self.schedule.backoff.last())
                .copied()
                .unwrap_or(Duration::from_secs(1));
            queue.put_due(id, Instant::now() + wait);
        }
        self.wake();
    }

    /// Ends what was planned for an endpoint that is gone.
    pub(crate) fn forget_endpoint(&mut self, id: &str) -> Option<Endpoint> {
        self.queues.remove(id);
        for delivery in self
            .deliveries
            .values_mut()
            .filter(|one| one.endpoint == id && !one.is_over())
        {
            delivery.state = DeliveryState::GivenUp;
        }
        self.endpoints.remove(id)
    }

    /// How many endpoints have not acknowledged an event.
    pub(crate) fn pending(&self, event: &str) -> usize {
        self.unacknowledged.get(event).map_or(0, BTreeSet::len)
    }

    /// Deliveries that are not over, those of disabled endpoints aside.
    pub(crate) fn left(&self) -> usize {
        let enabled = self.endpoints.values().filter(|one| one.enabled);
        enabled.filter_map(|one| self.queues.get(&one.id)).map(Queue::len).sum()
    }

    /// Oldest first.
    pub(crate) fn deliveries(&self) -> impl DoubleEndedIterator<Item = &Delivery> {
        self.deliveries.values()
    }
}
