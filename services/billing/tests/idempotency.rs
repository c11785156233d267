//! Each event once, however often and to however many it is delivered; every order ends in one state (BIL-2 guard 2, BIL-6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::BTreeMap;

use domain::billing::authority::Binding;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use support::events::{Payer, T0};
use support::{ANNOUNCED, Event, SOON, World, in_own_world, in_shared_world};

#[test]
fn twenty_deliveries_are_one_event_one_decision_and_one_change() {
    in_shared_world(async |world| {
        let payer = Payer::new("twenty");
        world.register(&payer.client, Some(&payer.customer)).await;
        let event = payer.subscription("created", T0, "active");
        world.send_all(std::iter::repeat_n(&event, 12)).await;
        world.row(&event.id).await;
        // The rest finds it decided, whichever consumer and batch it falls into.
        world.send_all(std::iter::repeat_n(&event, 8)).await;
        testkit::eventually(SOON, || async {
            world.find(&event.id).await.is_some_and(|row| row.deliveries == 20)
        })
        .await;
        let row = world.row(&event.id).await;
        assert_eq!((row.status.as_str(), row.outcome.as_str()), ("decided", "applied"));
        assert_eq!(row.payload, event.body);
        assert_eq!(
            world
                .count("billing_decisions", &format!("event_id = '{}'", event.id))
                .await,
            1
        );
        assert_eq!(world.client(&payer.client).await["version"], 1);
        testkit::eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
        let announced = world.drain(ANNOUNCED).await;
        let of_client = |body: &serde_json::Value| body["client_id"] == payer.client.as_str();
        assert_eq!(announced.iter().filter(|(_, body)| of_client(body)).count(), 1);
    });
}

#[test]
fn repeats_of_events_that_wait_or_are_parked_only_add_to_the_count() {
    in_shared_world(async |world| {
        let waiting = Payer::new("unknown").subscription("created", T0, "active");
        let parked = Payer::new("broken").subscription("created", T0, "sleeping");
        for event in [&waiting, &parked] {
            for times in 1..=3 {
                world.send(event).await;
                testkit::eventually(SOON, || async {
                    world.find(&event.id).await.is_some_and(|row| row.deliveries == times)
                })
                .await;
            }
            assert_eq!(
                world
                    .count("billing_decisions", &format!("event_id = '{}'", event.id))
                    .await,
                1,
                "{}",
                event.body
            );
        }
    });
}

/// Scenario of a wrong `STRIPE_LIVEMODE`: what it held off is decided when it comes again under the right one.
#[test]
fn what_was_ignored_for_a_wrong_mode_is_applied_by_a_replay_under_the_right_one() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("mode");
        world.register(&payer.client, Some(&payer.customer)).await;
        let live = |event: Event| event.with(json!({"livemode": true}));
        let started = live(payer.subscription("created", T0, "active"));
        let other = live(Payer::new("elsewhere").subscription("created", T0, "active"));
        for event in [&started, &other] {
            for times in 1..=3 {
                world.send(event).await;
                testkit::eventually(SOON, || async {
                    world.find(&event.id).await.is_some_and(|row| row.deliveries == times)
                })
                .await;
            }
            assert_eq!(world.row(&event.id).await.reason, "livemode_mismatch");
            let told = format!("event_id = '{}'", event.id);
            assert_eq!(world.count("billing_decisions", &told).await, 1, "told once");
        }
        assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");

        world.restart_in_live_mode().await;
        for event in [&started, &other] {
            world.send(event).await;
        }
        testkit::eventually(SOON, || async { world.row(&started.id).await.outcome == "applied" }).await;
        testkit::eventually(SOON, || async { world.row(&other.id).await.status == "waiting" }).await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        // From now on it is decided for good.
        world.send(&started).await;
        testkit::eventually(SOON, || async { world.row(&started.id).await.deliveries == 5 }).await;
        assert_eq!(world.client(&payer.client).await["version"], 1);
    });
}

#[test]
fn a_delivery_to_the_wrong_endpoint_holds_off_none_to_the_right_one_before_after_or_beside_it() {
    in_shared_world(async |world| {
        let amiss = |event: &Event| Event {
            endpoint: "connect",
            ..event.clone()
        };
        let endpoint = async |event: &Event| -> String {
            let sql = "SELECT endpoint FROM billing_events WHERE stripe_event_id = $1";
            world.sql.query_one(sql, &[&event.id]).await.unwrap().get(0)
        };
        // Before it.
        let payer = Payer::new("endpoint");
        world.register(&payer.client, Some(&payer.customer)).await;
        let event = payer.subscription("created", T0, "active");
        assert_eq!(world.decide_direct(&amiss(&event)).await.reason, "connected_account");
        assert_eq!(endpoint(&event).await, "connect");
        world.send(&event).await;
        testkit::eventually(SOON, || async { world.row(&event.id).await.outcome == "applied" }).await;
        assert_eq!(
            (
                endpoint(&event).await.as_str(),
                world.state(&payer.client).await.as_str()
            ),
            ("platform", "ACTIVE")
        );
        // After it, while it waits.
        let late = Payer::new("endpoint_late");
        let event = late.subscription("created", T0, "active");
        assert_eq!(world.decide(&event).await.status, "waiting");
        world.publish(amiss(&event).direct()).await;
        testkit::eventually(SOON, || async { world.row(&event.id).await.deliveries == 2 }).await;
        assert_eq!(
            (
                world.row(&event.id).await.status.as_str(),
                endpoint(&event).await.as_str()
            ),
            ("waiting", "platform")
        );
        world.register(&late.client, Some(&late.customer)).await;
        assert_eq!(world.decided(&event.id).await.outcome, "applied");
        // Beside it, in one batch or in several.
        let beside = Payer::new("endpoint_beside");
        world.register(&beside.client, Some(&beside.customer)).await;
        for at in 0..20 {
            let event = beside.invoice("paid", T0 + at * 100, &format!("in_{at}_{}", beside.client));
            tokio::join!(world.publish(amiss(&event).direct()), world.publish(event.direct()));
            testkit::eventually(SOON, || async {
                world.find(&event.id).await.is_some_and(|row| row.deliveries == 2)
            })
            .await;
            assert_eq!(world.row(&event.id).await.outcome, "applied");
        }
    });
}

/// One client's true history: it starts, renews, fails, recovers, pauses, upgrades, cancels, by chance.
fn history(payer: &Payer, random: &mut StdRng) -> Vec<Event> {
    let mut events = vec![payer.checkout(T0, &format!("cs_{}", payer.client), None)];
    let mut speaker = payer.clone();
    let mut at = T0;
    for step in 0..random.random_range(6..14) {
        at += random.random_range(1..50_000);
        let invoice = format!("in_{}_{step}", payer.client);
        match random.random_range(0..10) {
            0..3 => events.push(speaker.subscription("updated", at, "active")),
            3..5 => events.push(speaker.subscription("updated", at, "past_due")),
            5 => events.push(speaker.subscription("paused", at, "paused")),
            6 => events.push(speaker.invoice("paid", at, &invoice)),
            7 => events.push(speaker.invoice("payment_failed", at, &invoice)),
            8 => events.push(
                speaker
                    .subscription("updated", at, "active")
                    .with_object(json!({"pause_collection": {"behavior": "void"}})),
            ),
            _ => {
                let next = payer.with_subscription(&step.to_string());
                events.push(
                    next.subscription("created", at, "active")
                        .with_object(json!({"start_date": at, "created": at})),
                );
                events.push(speaker.subscription("deleted", at + 1, "canceled"));
                speaker = next;
                at += 1;
            }
        }
    }
    if random.random_bool(0.3) {
        events.push(speaker.subscription("deleted", at + 100, "canceled"));
    }
    events
}

/// What a client's events came to: everything that does not tell the order of arrival.
async fn outcome(world: &World, client: &str) -> (String, String, String) {
    let shown = world.client(client).await;
    let text = |name: &str| shown[name].to_string();
    (
        text("state"),
        text("stripe_subscription_id"),
        text("current_period_end"),
    )
}

#[test]
fn four_instances_come_to_the_state_of_the_true_order() {
    in_own_world(Binding::FirstUse, async |world| {
        let mut random = StdRng::seed_from_u64(7);
        let histories: Vec<(Payer, Payer, u64)> = (0..20)
            .map(|_| (Payer::new("true"), Payer::new("mixed"), random.random()))
            .collect();
        let (mut mixed, mut all) = (Vec::new(), BTreeMap::new());
        for (straight, shuffled, seed) in &histories {
            for payer in [straight, shuffled] {
                world.register(&payer.client, Some(&payer.customer)).await;
            }
            for event in history(straight, &mut StdRng::seed_from_u64(*seed)) {
                world.send(&event).await;
                all.insert(event.id.clone(), event);
            }
            mixed.extend(history(shuffled, &mut StdRng::seed_from_u64(*seed)));
        }
        testkit::eventually(SOON, || async {
            usize::try_from(world.count("billing_events", "true").await) == Ok(all.len())
        })
        .await;

        for _ in 1..4 {
            world.start_another();
        }
        testkit::eventually(SOON, || async {
            world
                .broker
                .stats("billing.events")
                .await
                .is_some_and(|stats| stats.consumers == 8)
        })
        .await;
        let mut deliveries: Vec<&Event> = mixed.iter().chain(&mixed).collect();
        deliveries.extend(mixed.iter().filter(|_| random.random_bool(0.5)));
        deliveries.shuffle(&mut random);
        world.send_all(deliveries.iter().copied()).await;
        all.extend(mixed.iter().map(|event| (event.id.clone(), event.clone())));
        let total = i64::try_from(all.len() - mixed.len() + deliveries.len()).unwrap();
        testkit::eventually(SOON, || async {
            world
                .number("SELECT coalesce(sum(deliveries), 0) FROM billing_events")
                .await
                >= total
        })
        .await;

        for (id, event) in &all {
            let row = world.row(id).await;
            assert_eq!((row.status.as_str(), &row.payload), ("decided", &event.body));
        }
        assert_eq!(
            usize::try_from(world.count("billing_events", "true").await),
            Ok(all.len())
        );
        assert_eq!(
            usize::try_from(world.count("billing_decisions", "true").await),
            Ok(all.len()),
            "one decision each"
        );
        for (straight, shuffled, _) in &histories {
            let rename = |text: String| text.replace(&straight.client, &shuffled.client);
            let (state, speaker, period) = outcome(&world, &straight.client).await;
            assert_eq!(
                outcome(&world, &shuffled.client).await,
                (state, rename(speaker), period),
                "{}",
                shuffled.client
            );
        }
        assert_eq!(deadlocks(&world).await, 0);
        assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
        assert_eq!(world.count("outbox", "kind = 'alert'").await, 0);
    });
}

async fn deadlocks(world: &World) -> i64 {
    world
        .sql
        .batch_execute("SELECT pg_stat_clear_snapshot()")
        .await
        .unwrap();
    world
        .number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .await
}
