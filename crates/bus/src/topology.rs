//! Exchanges, queues and bindings as data.
//!
//! A *queue family* is a work queue with its retry queues and its parking place:
//!
//! ```text
//! exchange ──► q ──(consumer: retry)──► q.retry.5s ──(after 5 s, by the broker)──► q
//!              ├──(consumer: park)────► q.parked
//!              └──(delivery limit, by the broker)──► q.parked
//! ```
//!
//! Why nothing is lost on these ways:
//! - every queue is a quorum queue, and refuses a publish that it cannot take (`reject-publish`), which the confirm
//!   tells;
//! - the broker dead-letters at least once: it keeps a message until the target has confirmed it. That strategy needs
//!   `reject-publish`; without it the broker falls back to at-most-once and only writes a line to its log;
//! - targets are declared before what points at them;
//! - the delivery limit is explicit and high, because every lost connection counts for each prefetched message, and
//!   what exceeds it is parked. RabbitMQ 4 has a limit of 20 where none is given, and drops what exceeds it;
//! - a delay is part of its queue's name, since arguments cannot be changed once declared: another schedule is other
//!   queues.
//!
//! Types that no queue is bound for go to `archive.events` through the alternate exchange `stripe.unrouted`.
//! `checkout.events` exists without bindings until its service does, and `escrow.events` until an escrow service has started for the
//! first time, so that where there is none its events reach the archive instead of waiting for a consumer that is not there.

mod declare;
mod retire;

use std::time::Duration;

pub use declare::{Conflict, TopologyError};
use lapin::ExchangeKind;
pub use retire::{RetireError, archive_rest};

use crate::verdict::Pause;

/// Every verified event, by `<endpoint>.<type>`.
pub const STRIPE_EVENTS: &str = "stripe.events";
/// Takes what no queue is bound for.
pub const STRIPE_UNROUTED: &str = "stripe.unrouted";
/// Commands from one service to another, by the queue's name.
pub const COMMANDS: &str = "holdfast.commands";
/// Announcements for the user's own systems, by `<subject>.<what happened>`.
pub const EVENTS: &str = "holdfast.events";
/// Alerts, by `<severity>.<kind>`.
pub const ALERTS: &str = "holdfast.alerts";

/// Work of the billing service.
pub const BILLING_EVENTS: &str = "billing.events";
/// Work of the escrow service.
pub const ESCROW_EVENTS: &str = "escrow.events";
/// Work of the checkout service.
pub const CHECKOUT_EVENTS: &str = "checkout.events";
/// What no service asked for, kept all the same.
pub const ARCHIVE_EVENTS: &str = "archive.events";
/// Commands for the escrow service.
pub const ESCROW_COMMANDS: &str = "escrow.commands";
/// Alerts on their way to the database.
pub const ALERTS_RAISE: &str = "alerts.raise";

/// Routing-key patterns of the events that billing decides on.
///
/// They end in `*`, not in `#`: every type has a fixed number of words, and for `#` the broker walks its pattern tree again
/// for each way to skip words, which costs it 13 of 78 µs per message (`docs/PERFORMANCE.md`).
pub const BILLING_PATTERNS: [&str; 16] = [
    "platform.customer.subscription.*",
    "platform.invoice.*",
    "platform.checkout.session.*",
    "platform.charge.succeeded",
    "platform.charge.refunded",
    "platform.charge.refund.*",
    "platform.refund.*",
    "platform.charge.dispute.*",
    // The same as thin events, whose objects billing reads.
    "platform.v1.customer.subscription.*",
    "platform.v1.invoice.*",
    "platform.v1.checkout.session.*",
    "platform.v1.charge.succeeded",
    "platform.v1.charge.refunded",
    "platform.v1.charge.refund.*",
    "platform.v1.refund.*",
    "platform.v1.charge.dispute.*",
];

/// Routing-key patterns of the events that escrow decides on. Refunds and disputes are billing's as well: they say something else to
/// each of the two, so each has its own copy.
pub const ESCROW_PATTERNS: [&str; 38] = [
    "platform.payment_intent.amount_capturable_updated",
    "platform.payment_intent.succeeded",
    "platform.payment_intent.payment_failed",
    "platform.payment_intent.canceled",
    "platform.charge.succeeded",
    "platform.charge.captured",
    "platform.charge.refunded",
    "platform.charge.refund.updated",
    "platform.refund.updated",
    "platform.refund.failed",
    "platform.charge.dispute.*",
    "platform.transfer.*",
    "platform.account.updated",
    "connect.account.updated",
    "platform.payout.failed",
    "connect.payout.failed",
    // The same as thin events, whose objects escrow reads.
    "platform.v1.payment_intent.amount_capturable_updated",
    "platform.v1.payment_intent.succeeded",
    "platform.v1.payment_intent.payment_failed",
    "platform.v1.payment_intent.canceled",
    "platform.v1.charge.succeeded",
    "platform.v1.charge.captured",
    "platform.v1.charge.refunded",
    "platform.v1.charge.refund.updated",
    "platform.v1.refund.updated",
    "platform.v1.refund.failed",
    "platform.v1.charge.dispute.*",
    "platform.v1.transfer.*",
    "platform.v1.account.updated",
    "connect.v1.account.updated",
    "platform.v1.payout.failed",
    "connect.v1.payout.failed",
    // Accounts v2: `v2.core.account[requirements].updated`, `v2.core.account[configuration.recipient].updated` and their kin. A
    // pattern has no wildcard within a word.
    "platform.v2.core.*.updated",
    "platform.v2.core.*.*.updated",
    "platform.v2.core.*.*.capability_status_updated",
    "connect.v2.core.*.updated",
    "connect.v2.core.*.*.updated",
    "connect.v2.core.*.*.capability_status_updated",
];

/// Deliveries of one message, by the broker's count, before it is parked.
const DELIVERY_LIMIT: u32 = 200;

/// Whether a message to this exchange must reach a queue to count as published.
///
/// Announcements on [`EVENTS`] are for whoever listens, and it is no failure when nobody does: they are published
/// without `mandatory`. Everything else that reaches no queue would be lost, and is returned as unroutable.
#[must_use]
pub fn needs_route(exchange: &str) -> bool {
    exchange != EVENTS
}

/// Where a queue family's parked messages are.
#[must_use]
pub fn parked_queue(queue: &str) -> String {
    format!("{queue}.parked")
}

/// An exchange; always durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: Routing,
    /// Exchange that takes what this one cannot route.
    pub alternate: Option<String>,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// By the whole routing key.
    Direct,
    /// By patterns over the words of the routing key.
    Topic,
    /// To everything bound.
    Fanout,
}

impl Routing {
    fn kind(self) -> ExchangeKind {
        match self {
            Self::Direct => ExchangeKind::Direct,
            Self::Topic => ExchangeKind::Topic,
            Self::Fanout => ExchangeKind::Fanout,
        }
    }
}

/// The longest wait of a message that is not at fault, where the schedule has a shorter one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A work queue with its retry queues and its parking place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFamily {
    /// Name of the work queue; the others' names start with it.
    pub name: String,
    /// Delays between attempts.
    pub retry: RetrySchedule,
    /// The broker's own limit of deliveries, see the module's text.
    pub delivery_limit: u32,
    /// Most messages in the work queue before it refuses; `None` for no limit but the disk's.
    pub max_length: Option<u32>,
}

impl QueueFamily {
    /// A family with the usual schedule and limit.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            retry: RetrySchedule::default(),
            delivery_limit: DELIVERY_LIMIT,
            max_length: None,
        }
    }

    /// Where messages wait for attempt number `attempts + 1` after `attempts` have failed (counted from 1); `None`
    /// after the last one.
    #[must_use]
    pub fn retry_queue(&self, failed_attempts: u32) -> Option<String> {
        let delay = self.retry.after(failed_attempts)?;
        Some(retry_queue_name(&self.name, delay))
    }

    /// Where messages wait that are not at fault: the shortest delay of the schedule, or the longest one up to half a minute; `None`
    /// where there is no schedule.
    #[must_use]
    pub fn pause_queue(&self, pause: Pause) -> Option<String> {
        let delays = self.retry.delays();
        let shortest = delays.iter().min();
        let delay = match pause {
            Pause::Short => shortest,
            Pause::Long => delays
                .iter()
                .filter(|delay| **delay <= LONGEST_PAUSE)
                .max()
                .or(shortest),
        }?;
        Some(retry_queue_name(&self.name, *delay))
    }

    /// Where messages are parked.
    #[must_use]
    pub fn parked_queue(&self) -> String {
        parked_queue(&self.name)
    }
}

fn retry_queue_name(queue: &str, delay: Duration) -> String {
    format!("{queue}.retry.{}", delay_name(delay))
}

/// `250ms`, `5s`, `2m`, `1h`: the largest unit that says it exactly.
fn delay_name(delay: Duration) -> String {
    let millis = delay.as_millis();
    match millis {
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

/// How long a failed message waits before each further attempt; after the last delay it is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

impl RetrySchedule {
    /// A schedule of these delays, which must be whole milliseconds above zero; others are left out.
    #[must_use]
    pub fn new(delays: impl IntoIterator<Item = Duration>) -> Self {
        Self(delays.into_iter().filter(|delay| delay.as_millis() > 0).collect())
    }

    /// The delay after so many failed attempts (the first failure is 1).
    #[must_use]
    pub fn after(&self, failed_attempts: u32) -> Option<Duration> {
        let index = usize::try_from(failed_attempts.checked_sub(1)?).ok()?;
        self.0.get(index).copied()
    }

    /// All delays in order.
    #[must_use]
    pub fn delays(&self) -> &[Duration] {
        &self.0
    }
}

impl Default for RetrySchedule {
    /// 1 s, 5 s, 30 s, 2 min, 10 min: six attempts within a quarter of an hour.
    fn default() -> Self {
        Self::new([1, 5, 30, 120, 600].map(Duration::from_secs))
    }
}

/// A binding; repeating it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where messages come from.
    pub exchange: String,
    /// Pattern for a topic exchange, key for a direct one, empty for a fanout.
    pub pattern: String,
    /// Where they go.
    pub queue: String,
}

/// What has to exist in the broker. Exchanges and queues are declared in the order given, bindings last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Alternate exchanges stand before those that name them.
    pub exchanges: Vec<Exchange>,
    /// Queue families.
    pub queues: Vec<QueueFamily>,
    /// Bindings.
    pub bindings: Vec<Binding>,
}

impl Topology {
    /// Everything that Holdfast uses, but for the types that go to escrow: [`Self::with_escrow`].
    #[must_use]
    pub fn holdfast() -> Self {
        let queues = [
            BILLING_EVENTS,
            ESCROW_EVENTS,
            CHECKOUT_EVENTS,
            ARCHIVE_EVENTS,
            ESCROW_COMMANDS,
            ALERTS_RAISE,
        ];
        let base = Self::default()
            .with_exchange(STRIPE_UNROUTED, Routing::Fanout)
            .with_exchange_or_else(STRIPE_EVENTS, Routing::Topic, STRIPE_UNROUTED)
            .with_exchange(COMMANDS, Routing::Direct)
            .with_exchange(EVENTS, Routing::Topic)
            .with_exchange(ALERTS, Routing::Topic);
        let with_queues = queues.into_iter().map(QueueFamily::new).fold(base, Self::with_queue);
        BILLING_PATTERNS
            .into_iter()
            .fold(with_queues, |topology, pattern| {
                topology.with_binding(STRIPE_EVENTS, pattern, BILLING_EVENTS)
            })
            .with_binding(STRIPE_UNROUTED, "", ARCHIVE_EVENTS)
            .with_binding(COMMANDS, ESCROW_COMMANDS, ESCROW_COMMANDS)
            .with_binding(ALERTS, "#", ALERTS_RAISE)
    }

    /// The same with the types that escrow decides on, which the escrow service alone declares. Bindings are durable: from its first
    /// start on its queue takes them, whether it runs or not, until they are taken back ([`Self::unbind`]).
    #[must_use]
    pub fn with_escrow() -> Self {
        ESCROW_PATTERNS.into_iter().fold(Self::holdfast(), |topology, pattern| {
            topology.with_binding(STRIPE_EVENTS, pattern, ESCROW_EVENTS)
        })
    }

    /// One queue family and nothing else, for a test or a tool.
    #[must_use]
    pub fn one_queue(family: QueueFamily) -> Self {
        Self::default().with_queue(family)
    }

    /// Adds an exchange.
    #[must_use]
    pub fn with_exchange(mut self, name: &str, kind: Routing) -> Self {
        self.exchanges.push(Exchange {
            name: name.to_owned(),
            kind,
            alternate: None,
        });
        self
    }

    /// Adds an exchange with another one for what it cannot route.
    #[must_use]
    pub fn with_exchange_or_else(mut self, name: &str, kind: Routing, alternate: &str) -> Self {
        self.exchanges.push(Exchange {
            name: name.to_owned(),
            kind,
            alternate: Some(alternate.to_owned()),
        });
        self
    }

    /// Adds a queue family.
    #[must_use]
    pub fn with_queue(mut self, family: QueueFamily) -> Self {
        self.queues.push(family);
        self
    }

    /// Adds a binding.
    #[must_use]
    pub fn with_binding(mut self, exchange: &str, pattern: &str, queue: &str) -> Self {
        let (exchange, pattern, queue) = (exchange.to_owned(), pattern.to_owned(), queue.to_owned());
        self.bindings.push(Binding {
            exchange,
            pattern,
            queue,
        });
        self
    }

    /// The family of a work queue.
    #[must_use]
    pub fn family(&self, queue: &str) -> Option<&QueueFamily> {
        self.queues.iter().find(|family| family.name == queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_named_in_the_largest_unit_that_is_exact() {
        let name = |millis| delay_name(Duration::from_millis(millis));
        assert_eq!(
            [
                name(250),
                name(1_000),
                name(1_500),
                name(30_000),
                name(120_000),
                name(90_000),
                name(3_600_000)
            ],
            ["250ms", "1s", "1500ms", "30s", "2m", "90s", "1h"].map(str::to_owned)
        );
    }

    #[test]
    fn each_failure_waits_longer_and_the_last_one_parks() {
        let family = QueueFamily::new(BILLING_EVENTS);
        let names = (0..=6).map(|failed| family.retry_queue(failed)).collect::<Vec<_>>();
        let expected = ["1s", "5s", "30s", "2m", "10m"].map(|delay| Some(format!("billing.events.retry.{delay}")));
        assert_eq!(names.first(), Some(&None));
        assert_eq!(names.get(1..6), Some(expected.as_slice()));
        assert_eq!(names.last(), Some(&None));
    }

    #[test]
    fn an_alternate_exchange_stands_before_the_exchange_that_names_it() {
        let topology = Topology::holdfast();
        let position = |name: &str| topology.exchanges.iter().position(|exchange| exchange.name == name);
        for exchange in &topology.exchanges {
            if let Some(alternate) = &exchange.alternate {
                assert!(position(alternate).expect("declared") < position(&exchange.name).expect("declared"));
            }
        }
    }

    #[test]
    fn services_that_may_not_be_there_take_no_events() {
        let topology = Topology::holdfast();
        for queue in [CHECKOUT_EVENTS, ESCROW_EVENTS] {
            assert!(topology.family(queue).is_some());
            assert!(topology.bindings.iter().all(|binding| binding.queue != queue));
        }
    }

    #[test]
    fn only_announcements_may_reach_nobody() {
        let topology = Topology::holdfast();
        let free = topology
            .exchanges
            .iter()
            .filter(|exchange| !needs_route(&exchange.name))
            .collect::<Vec<_>>();
        assert_eq!(free.len(), 1);
        assert!(needs_route(""), "the default exchange carries retries and parking");
    }
}
