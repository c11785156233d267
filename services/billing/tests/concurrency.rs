//! Four consumers on the same clients, with full batches: whoever did not sort what it locks would deadlock here (invariant: every
//! lock on clients is taken in the order of their ids, and every batch is sorted before it touches SQL).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::BTreeMap;

use domain::billing::authority::Binding;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use support::events::{Payer, T0};
use support::{Event, SOON, in_own_world};

const CLIENTS: usize = 24;
/// Months of each client's story.
const MONTHS: i64 = 20;
const MONTH: i64 = 2_592_000;

/// A client's story and its end, which is said here and not computed: some renew, some are behind, some have ended.
struct Story {
    payer: Payer,
    events: Vec<Event>,
    end: &'static str,
}

impl Story {
    fn of(number: usize) -> Self {
        let payer = Payer::new("crowd");
        let (last, end) = match number % 3 {
            0 => (("updated", "active"), "ACTIVE"),
            1 => (("updated", "past_due"), "PAST_DUE"),
            _ => (("deleted", "canceled"), "CANCELED"),
        };
        let mut events = vec![
            payer.subscription("created", T0, "active"),
            payer.checkout(T0 + 1, &format!("cs_{}", payer.client), Some(&payer.client)),
            payer.first_invoice("paid", T0 + 1, &format!("in_{}_first", payer.client)),
        ];
        for month in 1..=MONTHS {
            let at = T0 + month * MONTH;
            let invoice = format!("in_{}_{month}", payer.client);
            events.push(payer.subscription("updated", at, "past_due"));
            events.push(payer.invoice("payment_failed", at, &invoice));
            events.push(payer.subscription("updated", at + 5, "active"));
            events.push(payer.invoice("paid", at + 5, &invoice));
            events.push(payer.invoice("payment_succeeded", at + 6, &invoice));
        }
        events.push(payer.subscription(last.0, T0 + (MONTHS + 1) * MONTH, last.1));
        Self { payer, events, end }
    }
}

#[test]
fn four_consumers_on_the_same_clients_do_not_deadlock_and_come_to_the_truth() {
    in_own_world(Binding::FirstUse, async |world| {
        let stories: Vec<Story> = (0..CLIENTS).map(Story::of).collect();
        for (number, story) in stories.iter().enumerate() {
            // Half are bound by their first event, which is one more row that two batches may want.
            let customer = (number % 2 == 0).then_some(story.payer.customer.as_str());
            world.register(&story.payer.client, customer).await;
        }
        // Nobody takes anything until everything is there: batches are full, and every batch has every client.
        world.abort().await;
        let mut deliveries: Vec<&Event> = stories.iter().flat_map(|story| &story.events).collect();
        deliveries.extend(stories.iter().flat_map(|story| &story.events).step_by(3));
        deliveries.shuffle(&mut StdRng::seed_from_u64(11));
        world.send_all(deliveries.iter().copied()).await;
        for _ in 0..2 {
            world.start_another();
        }
        // What waited for a client to be bound comes again by the outbox, so that deliveries alone do not say that all is decided.
        let events: usize = stories.iter().map(|story| story.events.len()).sum();
        let (events, total) = (i64::try_from(events).unwrap(), i64::try_from(deliveries.len()).unwrap());
        testkit::eventually(SOON, || async {
            world.count("billing_events", "status = 'decided'").await == events
                && world.number("SELECT sum(deliveries)::bigint FROM billing_events").await >= total
                && world.broker.ready("billing.events").await == Some(0)
        })
        .await;

        assert_eq!(
            world
                .number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
                .await,
            0
        );
        for story in &stories {
            assert_eq!(
                world.state(&story.payer.client).await,
                story.end,
                "{}",
                story.payer.client
            );
        }
        let per_client = BTreeMap::from([("billing_events", 4 + 5 * MONTHS), ("billing_payments", 2 + MONTHS)]);
        for (table, rows) in per_client {
            let clients = i64::try_from(CLIENTS).unwrap();
            assert_eq!(
                world.count(table, "client_id LIKE 'crowd%'").await,
                rows * clients,
                "{table}"
            );
        }
        assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
    });
}
