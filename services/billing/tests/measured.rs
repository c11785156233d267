//! What billing tells about itself in its metrics. The recorder is the process's, so that these tests have a process of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use domain::billing::authority::Binding;
use service_kit::clock::Clock;
use support::events::Payer;
use support::{SOON, World, in_own_world};
use testkit::eventually;

async fn metrics(world: &World) -> String {
    let url = format!("http://{}/metrics", world.address);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// The value of a metric by its whole name, labels included.
async fn value(world: &World, name: &str) -> Option<f64> {
    let text = metrics(world).await;
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.next().map(|value| value.parse().unwrap())
}

#[test]
fn the_lag_is_from_an_events_creation_to_the_commit_of_its_decision_and_the_outbox_is_one_for_all_services() {
    in_own_world(Binding::FirstUse, async |world| {
        let sum = async || {
            value(&world, "holdfast_event_lag_seconds_sum")
                .await
                .unwrap_or_default()
        };
        let payer = Payer::new("lag");
        world.register(&payer.client, Some(&payer.customer)).await;
        let now = Clock::System.unix_seconds();
        world.decide(&payer.subscription("created", now - 3600, "active")).await;
        eventually(SOON, || async { sum().await > 0.0 }).await;
        let first = sum().await;
        assert!((3600.0..3600.0 + SOON.as_secs_f64()).contains(&first), "{first}");
        assert_eq!(value(&world, "holdfast_event_lag_seconds_count").await, Some(1.0));

        // An event that has to wait for its client's row is late by that as well.
        world
            .sql
            .batch_execute("BEGIN; SELECT 1 FROM client_billing FOR UPDATE")
            .await
            .unwrap();
        let event = payer.subscription("updated", Clock::System.unix_seconds(), "past_due");
        world.send(&event).await;
        let other = world.db.superuser().await;
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                     AND state_change < clock_timestamp() - interval '3 seconds'";
        eventually(SOON, || async {
            other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        world.sql.batch_execute("COMMIT").await.unwrap();
        world.decided(&event.id).await;
        eventually(SOON, || async {
            value(&world, "holdfast_event_lag_seconds_count").await == Some(2.0)
        })
        .await;
        let late = sum().await - first;
        assert!((3.0..SOON.as_secs_f64()).contains(&late), "{late}");

        // The changes of state went through the outbox, which has no label: a sum over services would count it several times.
        eventually(SOON, || async {
            value(&world, "holdfast_outbox_pending").await == Some(0.0)
        })
        .await;
        let text = metrics(&world).await;
        assert!(!text.contains("holdfast_outbox_pending{"), "{text}");
    });
}
