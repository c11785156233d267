//! Events: what happened, with a snapshot from which the body of each endpoint's version is made.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::Cause;
use super::object::Object;

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) created: i64,
    /// When it was made by the simulator's own clock; `created` may be a test clock's time.
    pub(crate) made_at: i64,
    pub(crate) account: Option<String>,
    pub(crate) livemode: bool,
    pub(crate) cause: Cause,
    pub(crate) object: Object,
    pub(crate) previous: Option<Object>,
    /// Overrides the endpoint's version in the body's `api_version`.
    pub(crate) api_version: Option<String>,
    /// Absent for a snapshot event.
    pub(crate) thin: Option<Thin>,
}

/// The body of a thin event, which is the same in every version.
#[derive(Clone, Debug)]
pub(crate) struct Thin {
    pub(crate) body: Value,
    pub(crate) reach: Reach,
}

/// Where a thin event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To destinations with thin payloads, as at Stripe.
    ThinDestinations,
    /// To every endpoint, because a test wants it so.
    All,
}

impl Event {
    /// The same occurrence under another id, which the body of a thin event names too.
    pub(crate) fn twin(&self, id: String) -> Self {
        let mut twin = self.clone();
        if let Some(Value::Object(body)) = twin.thin.as_mut().map(|thin| &mut thin.body) {
            body.insert("id".to_owned(), Value::from(id.as_str()));
        }
        twin.id = id;
        twin
    }
}

/// The events so far, bounded.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: VecDeque<Arc<Event>>,
    by_id: HashMap<String, Arc<Event>>,
    total: u64,
    remembered: usize,
}

impl EventLog {
    /// A log of at most this many events.
    pub(crate) fn new(remembered: usize) -> Self {
        Self {
            events: VecDeque::new(),
            by_id: HashMap::new(),
            total: 0,
            remembered,
        }
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.total += 1;
        self.by_id.insert(event.id.clone(), Arc::clone(&event));
        self.events.push_back(event);
        if self.events.len() > self.remembered
            && let Some(old) = self.events.pop_front()
        {
            self.by_id.remove(&old.id);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Event>> {
        self.by_id.get(id)
    }

    /// How many events there ever were.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Event)> {
        self.events.iter().map(|event| (event.id.as_str(), event.as_ref()))
    }
}
