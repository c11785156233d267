//! Events that arrive before our side knows their client are kept, and applied by themselves when it does (BIL-11).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use db::billing::owners::customer_name;
use db::billing::waiting::{release_waiting_events_in_txn, take_released_events_in_txn};
use db::{Database, DatabaseConfig, DbError, in_txn};
use domain::billing::authority::Binding;
use futures_util::future::join_all;
use serde_json::json;
use support::events::{Payer, T0, naming, permutations};
use support::{Event, SOON, World, in_own_world, in_shared_world};

async fn all_decided(world: &World, events: &[Event]) {
    for event in events {
        world.decided(&event.id).await;
    }
}

#[test]
fn every_order_of_early_events_and_registration_ends_alike() {
    in_shared_world(async |world| {
        // Step 0 is the registration.
        for order in permutations(&[0, 1, 2, 3]) {
            let payer = Payer::new("early");
            let events = [
                payer.subscription("created", T0, "incomplete"),
                payer.subscription("updated", T0 + 5, "active"),
                payer.invoice("paid", T0 + 6, &format!("in_{}", payer.client)),
            ];
            let mut registered = false;
            for step in &order {
                if *step == 0 {
                    world.register(&payer.client, Some(&payer.customer)).await;
                    registered = true;
                } else {
                    let event = &events[step - 1];
                    world.send(event).await;
                    let row = if registered {
                        world.decided(&event.id).await
                    } else {
                        world.row(&event.id).await
                    };
                    assert_eq!(row.status, if registered { "decided" } else { "waiting" }, "{order:?}");
                }
            }
            all_decided(&world, &events).await;
            let client = world.client(&payer.client).await;
            assert_eq!(
                (client["state"].as_str(), client["stripe_subscription_id"].as_str()),
                (Some("ACTIVE"), Some(payer.subscription.as_str()))
            );
        }
    });
}

#[test]
fn an_event_that_names_a_client_waits_for_it_by_name() {
    in_shared_world(async |world| {
        let payer = Payer::new("named");
        let event = naming(&payer.subscription("created", T0, "trialing"), &payer.client);
        let row = world.decide(&event).await;
        assert_eq!(
            (row.outcome.as_str(), row.guard.as_deref(), row.reason.as_str()),
            ("waiting", Some("authority"), "client_unknown")
        );
        world.register(&payer.client, None).await;
        world.decided(&event.id).await;
        assert_eq!(world.state(&payer.client).await, "TRIAL_ACTIVE");
        let told: Vec<String> = world
            .timeline(&payer.client)
            .await
            .iter()
            .map(support::Decided::short)
            .collect();
        assert_eq!(
            told,
            [
                "waiting/authority/client_unknown",
                "applied/state_changed TRIAL_PENDING→TRIAL_ACTIVE"
            ]
        );
    });
}

#[test]
fn a_binding_by_a_later_event_releases_what_waited_for_the_customer() {
    in_shared_world(async |world| {
        let payer = Payer::new("released");
        world.register(&payer.client, None).await;
        let nameless = [
            payer.subscription("created", T0, "active"),
            payer.invoice("payment_failed", T0 + 9, "in_released"),
        ];
        for event in &nameless {
            let row = world.decide(event).await;
            assert_eq!(
                (row.status.as_str(), row.reason.as_str()),
                ("waiting", "customer_unknown")
            );
        }
        world
            .decide(&payer.checkout(T0 + 1, "cs_released", Some(&payer.client)))
            .await;
        all_decided(&world, &nameless).await;
        assert_eq!(
            world.client(&payer.client).await["stripe_subscription_id"],
            payer.subscription.as_str()
        );
        // In one batch, too.
        let payer = Payer::new("released");
        world.register(&payer.client, None).await;
        let batch = [
            payer.subscription("created", T0, "active"),
            payer.checkout(T0 + 1, "cs_batch", Some(&payer.client)),
        ];
        world.send_all(&batch).await;
        all_decided(&world, &batch).await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
    });
}

#[test]
fn a_registration_at_the_same_moment_never_loses_an_event() {
    in_own_world(Binding::FirstUse, async |world| {
        world.start_another();
        for round in 0..25 {
            let payers: Vec<Payer> = (0..8).map(|_| Payer::new("race")).collect();
            let known_before = round % 3 == 0;
            if known_before {
                for payer in &payers {
                    world.register(&payer.client, None).await;
                }
            }
            let events: Vec<Event> = payers
                .iter()
                .enumerate()
                .flat_map(|(index, payer)| {
                    let active = payer.subscription("created", T0, "active");
                    let paid = payer.checkout(T0 + 1, &format!("cs_{}", payer.client), Some(&payer.client));
                    let active = if index % 2 == 0 {
                        naming(&active, &payer.client)
                    } else {
                        active
                    };
                    [active, paid]
                })
                .collect();
            let registrations = join_all(payers.iter().enumerate().map(|(index, payer)| {
                let (session, world) = (format!("cs_{}", payer.client), &world);
                async move {
                    if index % 4 == 3 {
                        let body =
                            json!({"org_id": "org_1", "payment_source": "STRIPE", "checkout_session_id": session});
                        assert!(world.put(&payer.client, &body).await.0 < 300);
                    } else {
                        world.register(&payer.client, Some(&payer.customer)).await;
                    }
                }
            }));
            tokio::join!(world.send_all(&events), registrations);
            all_decided(&world, &events).await;
            for payer in &payers {
                assert_eq!(world.state(&payer.client).await, "ACTIVE", "{}", payer.client);
            }
        }
        testkit::eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
        assert_eq!(world.count("billing_events", "status <> 'decided'").await, 0);
        assert_eq!(
            world.count("billing_decisions", "outcome <> 'waiting'").await,
            400,
            "one decision each"
        );
        assert_eq!(
            world
                .number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
                .await,
            0
        );
    });
}

#[test]
fn a_client_registered_twice_is_one_and_its_events_are_decided_once() {
    in_shared_world(async |world| {
        let payer = Payer::new("twice");
        let event = payer.subscription("created", T0, "active");
        world.decide(&event).await;
        join_all((0..6).map(|_| world.register(&payer.client, Some(&payer.customer)))).await;
        world.decided(&event.id).await;
        testkit::eventually(SOON, || async {
            world.count("outbox", "true").await == 0 && world.broker.ready("billing.events").await == Some(0)
        })
        .await;
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["version"].as_i64()),
            (Some("ACTIVE"), Some(1))
        );
        assert_eq!(
            world
                .count(
                    "billing_decisions",
                    &format!("event_id = '{}' AND outcome <> 'waiting'", event.id)
                )
                .await,
            1
        );
        let row = world.row(&event.id).await;
        assert_eq!(
            (row.outcome.as_str(), row.client.as_deref()),
            ("applied", Some(payer.client.as_str()))
        );
    });
}

#[test]
fn more_events_than_are_sent_back_at_once_are_all_decided_and_none_counts_as_another_delivery() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("busy");
        let events: Vec<Event> = (0..1_100)
            .map(|n| payer.invoice("paid", T0 + n, &format!("in_busy_{n}")))
            .collect();
        world.send_all(&events).await;
        let with = async |status: &str| world.count("billing_events", &format!("status = '{status}'")).await;
        testkit::eventually(SOON, || async { with("waiting").await == 1_100 }).await;
        world.register(&payer.client, Some(&payer.customer)).await;
        testkit::eventually(SOON, || async { with("decided").await == 1_100 }).await;
        assert_eq!(world.count("billing_events", "deliveries <> 1").await, 0);
    });
}

/// Ten bodies of nearly a mebibyte are more than one transaction sends back; the others follow.
#[test]
fn what_waited_is_sent_back_as_many_bodies_at_a_time_as_fit_into_memory() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("large");
        let filler = "x".repeat(900_000);
        let events: Vec<Event> = (0..10)
            .map(|number| {
                payer
                    .invoice("paid", T0 + number * 100, &format!("in_large_{number}"))
                    .with_object(json!({"description": filler}))
            })
            .collect();
        for event in &events {
            assert_eq!(world.decide(event).await.status, "waiting");
        }
        let database = Database::open(&DatabaseConfig::new(world.db.service_url().into(), "test")).unwrap();
        let names = &[customer_name(&payer.customer)];
        let taken = database.transact(|txn| {
            in_txn(async move {
                assert_eq!(release_waiting_events_in_txn(txn, names).await?, 10);
                let mut taken = Vec::new();
                loop {
                    let some = take_released_events_in_txn(txn, 500).await?;
                    if some.is_empty() {
                        return Ok::<_, DbError>(taken);
                    }
                    taken.push(some.len());
                }
            })
        });
        assert_eq!(taken.await.unwrap(), [9, 1]);
    });
}
