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

/// Of twelve items, the agreed price is that of the last one.
fn of_many_items(name: &str) -> Value {
    let items: Vec<Value> = (1..=10).map(|number| item(&format!("price_{number}"))).collect();
    json!({
        "id": format!("sub_{name}"), "object": "subscription", "customer": format!("cus_{name}"), "status": "active", "created": T0,
        "start_date": T0, "currency": "eur", "cancel_at_period_end": false, "metadata": {},
        "items": {"object": "list", "data": items, "has_more": true}
    })
}

fn item(price: &str) -> Value {
    json!({
        "id": format!("si_{price}"), "object": "subscription_item", "price": {"id": price, "currency": "eur"},
        "current_period_end": T0 + 2_592_000
    })
}

fn many_items(path: &str) -> Option<Value> {
    if path == "/v1/subscription_items" {
        let items: Vec<Value> = (1..=12).map(|number| item(&format!("price_{number}"))).collect();
        return Some(json!({"object": "list", "data": items, "has_more": false}));
    }
    Some(of_many_items(path.strip_prefix("/v1/subscriptions/sub_")?))
}

fn of_many(name: &str) -> Event {
    Event::new("customer.subscription.updated", T0, of_many_items(name))
}

async fn agree(world: &World, name: &str, price: &str) {
    let contract = json!({
        "org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": format!("cus_{name}"), "contracted_price_id": price
    });
    assert_eq!(world.put(name, &contract).await.0, 201);
}

/// Stripe shows ten items within a subscription; the agreed price may be another one.
#[test]
fn an_agreed_price_that_is_not_shown_is_looked_for_before_anybody_is_let_in_or_accused() {
    in_counted_world(many_items, async |world, counter| {
        for (name, price) in [("shown", "price_3"), ("hidden", "price_12"), ("nowhere", "price_99")] {
            agree(&world, name, price).await;
        }
        assert_eq!(world.decide(&of_many("shown")).await.outcome, "applied");
        let early = of_many("early");
        world.send(&early).await;
        assert_eq!(world.row(&early.id).await.reason, "customer_unknown");
        agree(&world, "early", "price_4").await;
        assert_eq!(world.decided(&early.id).await.outcome, "applied");
        assert_eq!(
            counter.asked(),
            [],
            "what is shown is enough, whenever its contract comes"
        );
        let (hidden, nowhere) = (of_many("hidden"), of_many("nowhere"));
        for event in [&hidden, &nowhere] {
            world.send(event).await;
            world.decided(&event.id).await;
        }
        assert_eq!(world.row(&nowhere.id).await.reason, "price_not_contracted");
        for (name, state) in [
            ("shown", "ACTIVE"),
            ("early", "ACTIVE"),
            ("hidden", "ACTIVE"),
            ("nowhere", "TRIAL_PENDING"),
        ] {
            assert_eq!(world.state(name).await, state, "{name}");
        }
        let paths: Vec<String> = counter.asked().into_iter().map(|(path, _)| path).collect();
        let items = "/v1/subscription_items";
        assert_eq!(
            paths,
            [
                "/v1/subscriptions/sub_hidden",
                items,
                "/v1/subscriptions/sub_nowhere",
                items
            ]
        );
        let alerts = world.alerts(1).await;
        assert_eq!(alerts[0]["key"], "plan_application:nowhere");
    });
}

#[test]
fn an_agreed_price_that_is_not_shown_waits_for_stripe_and_holds_up_nobody() {
    in_counted_world(
        |_| None,
        async |world, counter| {
            agree(&world, "hidden", "price_12").await;
            let event = of_many("hidden");
            world.send(&event).await;
            eventually(SOON, || async { !counter.asked().is_empty() }).await;
            let row = world.row(&event.id).await;
            assert_eq!(
                (row.outcome.as_str(), row.reason.as_str()),
                ("waiting", "object_not_read")
            );
            assert_eq!(world.state("hidden").await, "TRIAL_PENDING");
            let told = world.timeline("hidden").await.remove(0);
            assert_eq!(told.short(), "waiting/authority/object_not_read");
            // Whoever agrees on what is shown need not wait for Stripe, be it now or later.
            agree(&world, "shown", "price_3").await;
            assert_eq!(world.decide(&of_many("shown")).await.outcome, "applied");
            let contract = json!({
                "org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": "cus_hidden", "contracted_price_id": "price_3"
            });
            assert_eq!(world.put("hidden", &contract).await.0, 200);
            assert_eq!(world.decided(&event.id).await.outcome, "applied");
            assert_eq!(world.state("hidden").await, "ACTIVE");
        },
    );
}
