//! What is left in the database and in the queues, read without any code of the services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio_postgres::Client;

use super::house::House;
use super::load::Ledger;

/// Queues that hold events or alerts that somebody still has to look at.
pub const QUEUES: [&str; 6] = [
    "billing.events",
    "archive.events",
    "alerts.raise",
    "escrow.events",
    "checkout.events",
    "escrow.commands",
];
const STEPS: [&str; 7] = [
    "",
    ".retry.1s",
    ".retry.5s",
    ".retry.30s",
    ".retry.2m",
    ".retry.10m",
    ".parked",
];

/// Messages that stand ready, by queue, where there are any.
pub async fn queued(amqp_url: &str) -> BTreeMap<String, u32> {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut found = BTreeMap::new();
    for queue in QUEUES {
        for step in STEPS {
            let name = format!("{queue}{step}");
            let passive = QueueDeclareOptions {
                passive: true,
                durable: true,
                ..QueueDeclareOptions::default()
            };
            let declared = channel
                .queue_declare(name.as_str().into(), passive, FieldTable::default())
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            if declared.message_count() > 0 {
                found.insert(name, declared.message_count());
            }
        }
    }
    drop(connection.close(200, "read".into()).await);
    found
}

/// Asserts that no message was set aside, whatever else still waits.
pub async fn assert_nothing_parked(amqp_url: &str) {
    let parked: Vec<_> = queued(amqp_url)
        .await
        .into_iter()
        .filter(|(name, _)| name.ends_with(".parked"))
        .collect();
    assert!(parked.is_empty(), "{parked:?}");
}

/// Rows of the archive.
pub async fn archived(database: &Client) -> usize {
    let row = database
        .query_one("SELECT count(DISTINCT stripe_event_id) FROM billing_events", &[])
        .await
        .unwrap();
    usize::try_from(row.get::<_, i64>(0)).unwrap()
}

/// Waits until everything that was accepted is in the archive and no queue holds a message; says how long that took, or else
/// what is missing.
pub async fn drained(house: &House, database: &Client, ledger: &Ledger, at_most: Duration) -> Duration {
    let started = Instant::now();
    loop {
        let queued = queued(house.broker.amqp_url()).await;
        if queued.is_empty() && archived(database).await >= ledger.accepted.len() {
            return started.elapsed();
        }
        if started.elapsed() > at_most {
            let lost = lost(database, ledger).await;
            let first = lost.iter().take(5).collect::<Vec<_>>();
            panic!(
                "after {at_most:?} {} accepted events are not in the archive {first:?}, queued: {queued:?}",
                lost.len()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn lost(database: &Client, ledger: &Ledger) -> Vec<String> {
    let rows = database
        .query("SELECT stripe_event_id FROM billing_events", &[])
        .await
        .unwrap();
    let found: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    ledger
        .accepted
        .keys()
        .filter(|id| !found.contains(*id))
        .cloned()
        .collect()
}

/// Asserts that the archive holds every accepted event exactly once, byte for byte and decided (or waiting for Stripe), each decision
/// once, and nothing else. Gives the number of deliveries of each event.
pub async fn assert_archive(database: &Client, ledger: &Ledger) -> BTreeMap<String, i32> {
    let rows = database
        .query(
            "SELECT stripe_event_id, consumer, status, outcome, reason, payload, deliveries FROM billing_events",
            &[],
        )
        .await
        .unwrap();
    let mut deliveries = BTreeMap::new();
    let mut by_billing = Vec::new();
    // What billing and escrow both decide on has a row of each.
    let mut rows_of = BTreeSet::new();
    for row in rows {
        let id: String = row.get("stripe_event_id");
        let sent = ledger.accepted.get(&id);
        let sent = sent.unwrap_or_else(|| panic!("{id} is in the archive and was never accepted"));
        let payload: Option<String> = row.get("payload");
        assert_eq!(
            Bytes::from(payload.unwrap_or_default()),
            sent.body,
            "{id}, byte for byte"
        );
        let status: String = row.get("status");
        // There is no Stripe to ask here: a thin event waits for its object.
        let reason = row.get::<_, Option<String>>("reason").unwrap_or_default();
        assert!(
            status == "decided" || reason == "object_not_read",
            "{id}: {status}, {reason}"
        );
        if row.get::<_, String>("consumer") == "billing" {
            by_billing.push(id.clone());
        }
        let count: i32 = row.get("deliveries");
        let most = deliveries.entry(id.clone()).or_insert(count);
        *most = count.max(*most);
        let doubled = !rows_of.insert((id.clone(), row.get::<_, String>("consumer")));
        assert!(!doubled, "{id} is in the archive twice");
    }
    let lost: Vec<&String> = ledger
        .accepted
        .keys()
        .filter(|id| !deliveries.contains_key(*id))
        .collect();
    assert!(lost.is_empty(), "{} accepted events are lost: {lost:?}", lost.len());

    let rows = database
        .query(
            "SELECT event_id, count(*) FROM billing_decisions GROUP BY event_id",
            &[],
        )
        .await
        .unwrap();
    let decisions: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let doubled: Vec<_> = decisions.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "decided more than once: {doubled:?}");
    by_billing.sort();
    assert!(
        by_billing.iter().eq(decisions.keys()),
        "each event of billing has its decision"
    );
    deliveries
}

/// Unresolved alerts: their keys and counts.
pub async fn alerts(database: &Client) -> BTreeMap<String, i64> {
    let rows = database
        .query(
            "SELECT alert_key, occurrences FROM billing_alerts WHERE NOT resolved",
            &[],
        )
        .await
        .unwrap();
    let mut found = BTreeMap::new();
    for row in rows {
        let doubled = found.insert(row.get::<_, String>(0), row.get(1)).is_some();
        assert!(!doubled, "{} has two unresolved alerts", row.get::<_, String>(0));
    }
    found
}
