//! What reading from Stripe costs: an object is asked for once, not too fast, not in vain, and not while the answer could not be kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::events::{Payer, T0, thin};
use support::{Counter, Event, SOON, World, in_world_that_reads_from};
use testkit::{TestDb, eventually};

fn of_charge(charge: &str) -> Event {
    thin("charge.succeeded", "charge", &format!("/v1/charges/{charge}"))
}

/// Every charge, of one customer.
fn charge(path: &str) -> Option<Value> {
    let id = path.strip_prefix("/v1/charges/")?;
    Some(json!({
        "id": id, "object": "charge", "customer": "cus_reads", "amount": 4900, "amount_captured": 4900,
        "amount_refunded": 0, "refunded": false, "currency": "eur", "status": "succeeded", "created": T0, "metadata": {}
    }))
}

fn in_counted_world<F: Future<Output = ()>>(answer: fn(&str) -> Option<Value>, test: impl FnOnce(World, Counter) -> F) {
    let counter = Counter::default();
    in_world_that_reads_from(
        || counter.start(answer),
        |world| async {
            world.register("reader", Some("cus_reads")).await;
            test(world, counter.clone()).await;
        },
    );
}

#[test]
fn a_repeat_of_a_decided_thin_event_is_counted_and_not_read_again() {
    in_counted_world(charge, async |world, counter| {
        let event = of_charge("ch_1");
        assert_eq!(world.decide(&event).await.outcome, "applied");
        world.send_all(std::iter::repeat_n(&event, 20)).await;
        world.deliveries(&event.id, 21).await;
        // Beside one that is not decided, too.
        let other = of_charge("ch_2");
        world.send_all([&event, &other]).await;
        world.deliveries(&event.id, 22).await;
        world.decided(&other.id).await;
        let paths: Vec<String> = counter.asked().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["/v1/charges/ch_1", "/v1/charges/ch_2"]);
    });
}

#[test]
fn what_comes_many_times_at_once_is_not_read_as_often() {
    in_counted_world(charge, async |world, counter| {
        world.abort().await;
        let event = of_charge("ch_1");
        world.send_all(std::iter::repeat_n(&event, 100)).await;
        world.start_another();
        world.deliveries(&event.id, 100).await;
        // Once in each batch that was begun before one was committed, and two consumers have a few.
        let asked = counter.asked().len();
        assert!((1..25).contains(&asked), "{asked}");
    });
}

#[test]
fn objects_are_read_no_faster_than_twenty_five_in_a_second() {
    in_counted_world(charge, async |world, counter| {
        let events: Vec<Event> = (0..100).map(|n| of_charge(&format!("ch_{n}"))).collect();
        world.send_all(&events).await;
        eventually(SOON, || async { counter.asked().len() >= 100 }).await;
        let asked = counter.asked();
        let (_, first) = &asked[0];
        for (place, (path, at)) in asked.iter().enumerate() {
            // A second's worth may go at once; the clock of the first starts a little late.
            let earliest = f64::from(u32::try_from(place.saturating_sub(25)).unwrap()) / 25.0 - 0.5;
            let after = at.duration_since(*first).as_secs_f64();
            assert!(after >= earliest, "{path} is number {place} after {after} s");
        }
    });
}

#[test]
fn nothing_is_read_while_the_database_is_away_and_everything_once_when_it_is_back() {
    in_counted_world(charge, async |world, counter| {
        let another = TestDb::empty().await;
        let elsewhere = another.superuser().await;
        let allow = |allowed: bool| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", world.db.name());
        elsewhere.batch_execute(&allow(false)).await.unwrap();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = $1 AND application_name = 'billing'";
        elsewhere.query(cut, &[&world.db.name()]).await.unwrap();
        let event = of_charge("ch_1");
        world.send(&event).await;
        let told = world.alerts(1).await;
        assert_eq!(told[0]["kind"], "database_unavailable");
        assert_eq!(counter.asked(), []);

        elsewhere.batch_execute(&allow(true)).await.unwrap();
        assert_eq!(world.decided(&event.id).await.outcome, "applied");
        assert_eq!(counter.asked().len(), 1);
    });
}

#[test]
fn a_round_of_reading_ends_when_stripe_is_silent() {
    in_counted_world(
        |_| None,
        async |world, counter| {
            let refunds: Vec<Event> = (0..10)
                .map(|n| Payer::new("silent").refund("created", T0, &format!("re_silent_{n}"), "succeeded"))
                .collect();
            world.send_all(&refunds).await;
            for refund in &refunds {
                assert_eq!(world.row(&refund.id).await.reason, "charge_unknown");
            }
            let rounds = || {
                let asked = counter.asked();
                let differ = |pair: &&[(String, std::time::Instant)]| pair[0].0 != pair[1].0;
                let gaps = asked.windows(2).filter(differ);
                gaps.map(|pair| pair[1].1.duration_since(pair[0].1))
                    .collect::<Vec<Duration>>()
            };
            eventually(SOON, || async { rounds().len() >= 2 }).await;
            // Two charges are never asked for in one round, and rounds are two seconds apart.
            assert!(
                rounds().iter().all(|gap| *gap > Duration::from_secs(1)),
                "{:?}",
                rounds()
            );
        },
    );
}
