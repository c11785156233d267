//! Whatever is cut off in the middle, every event is decided once (BIL-11): database, broker, and the process itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::time::Duration;

use domain::billing::authority::Binding;
use support::events::{Payer, T0};
use support::{Event, World, in_own_world};

const PATIENCE: Duration = testkit::PATIENCE;
/// Billing's two consumers and its publisher, and the publisher of the test.
const CONNECTIONS: usize = 4;

/// Clients with a short life each, and their events.
async fn stream(world: &World, clients: usize) -> (Vec<Payer>, Vec<Event>) {
    let payers: Vec<Payer> = (0..clients).map(|_| Payer::new("stream")).collect();
    let mut events = Vec::new();
    for payer in &payers {
        world.register(&payer.client, Some(&payer.customer)).await;
    }
    for step in 0..10 {
        for payer in &payers {
            let status = if step % 2 == 0 { "active" } else { "past_due" };
            events.push(payer.subscription("updated", T0 + step, status));
        }
    }
    (payers, events)
}

async fn decided(world: &World) -> usize {
    usize::try_from(world.count("billing_events", "status = 'decided'").await).unwrap()
}

async fn everything_is_decided_once(world: &World, payers: &[Payer], events: &[Event]) {
    testkit::eventually(PATIENCE, || async { decided(world).await == events.len() }).await;
    testkit::eventually(PATIENCE, || async {
        world
            .broker
            .stats("billing.events")
            .await
            .is_some_and(|queue| queue.ready + queue.unacknowledged == 0)
    })
    .await;
    for event in events {
        assert_eq!(world.row(&event.id).await.payload, event.body);
    }
    assert_eq!(
        usize::try_from(world.count("billing_decisions", "true").await),
        Ok(events.len())
    );
    for payer in payers {
        let sql = format!(
            "SELECT version FROM client_billing WHERE client_id = '{}' AND state = 'PAST_DUE'",
            payer.client
        );
        let version = world.number(&sql).await;
        let changes = format!("client_id = '{}' AND from_state <> to_state", payer.client);
        assert_eq!(
            world.count("billing_decisions", &changes).await,
            version,
            "no change was lost or told twice"
        );
    }
    assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
    // A database that is away is told to a person; nothing else went wrong.
    for (_, alert) in world.drain("alerts.raise").await {
        assert_eq!(alert["kind"], "database_unavailable", "{alert}");
    }
}

#[test]
fn lost_database_connections_lose_nothing() {
    in_own_world(Binding::FirstUse, async |world| {
        let (payers, events) = stream(&world, 40).await;
        let kill = async {
            let mut killed = 0;
            while killed < 8 && decided(&world).await < events.len() {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = current_database() AND application_name = 'billing' AND state <> 'idle'";
                killed += world.number(sql).await;
            }
            killed
        };
        let trickle = async {
            for clump in events.chunks(20) {
                world.send_all(clump).await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        };
        let (killed, ()) = tokio::time::timeout(PATIENCE, async { tokio::join!(kill, trickle) })
            .await
            .unwrap();
        assert!(killed > 0, "nobody was killed at work");
        everything_is_decided_once(&world, &payers, &events).await;
    });
}

#[test]
fn lost_broker_connections_lose_nothing() {
    in_own_world(Binding::FirstUse, async |world| {
        let (payers, events) = stream(&world, 100).await;
        let (first, rest) = events.split_at(500);
        world.send_all(first).await;
        world.broker.close_connections(CONNECTIONS).await;
        world.publisher.wait_ready(PATIENCE).await.unwrap();
        world.send_all(rest).await;
        everything_is_decided_once(&world, &payers, &events).await;
    });
}

#[test]
fn a_process_that_is_cut_off_anywhere_only_repeats_itself() {
    in_own_world(Binding::FirstUse, async |world| {
        let (payers, events) = stream(&world, 30).await;
        // Commits wait for a lock of the test's, so that each is caught under way.
        world
            .sql
            .batch_execute(
                "CREATE FUNCTION wait_for_test() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$; \
                 CREATE CONSTRAINT TRIGGER wait_for_test AFTER INSERT OR UPDATE ON billing_subscriptions \
                     DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_for_test()",
            )
            .await
            .unwrap();
        let mut repeated = 0;
        for clump in events.chunks(150) {
            world.sql.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
            let before = decided(&world).await;
            world.send_all(clump).await;
            let committing = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                              AND wait_event = 'advisory' AND query = 'COMMIT'";
            testkit::eventually(PATIENCE, || async { world.number(committing).await > 0 }).await;
            testkit::eventually(PATIENCE, || async {
                world.broker.connections().await.len() >= CONNECTIONS
            })
            .await;
            world.abort().await;
            world.sql.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
            // The commit goes through, and nobody is left to ack.
            testkit::eventually(PATIENCE, || async { decided(&world).await > before }).await;
            repeated += decided(&world).await - before;
            world.start_another();
            // A live process may keep a dead consumer's socket: the broker is told that it is gone.
            world.broker.close_connections(CONNECTIONS).await;
            let sum = "SELECT coalesce(sum(deliveries), 0) FROM billing_events";
            testkit::eventually(PATIENCE, || async {
                usize::try_from(world.number(sum).await).unwrap() >= before + clump.len() + repeated
            })
            .await;
        }
        everything_is_decided_once(&world, &payers, &events).await;
    });
}
