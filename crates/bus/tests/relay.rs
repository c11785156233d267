//! The relay against a real broker and an outbox in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::relay::{self, RelaySpec, Round};
use bus::{Outgoing, Publisher, PublisherConfig};
use support::{Bench, PATIENCE, QUEUE, to_queue};
use testkit::eventually;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

type Outbox = Arc<Mutex<BTreeMap<u32, Outgoing>>>;

async fn spec(bench: &Bench) -> RelaySpec {
    let ordered = PublisherConfig {
        channels: 1,
        ..PublisherConfig::new(bench.config.clone())
    };
    let publisher = Publisher::start(ordered);
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let (nudge, interval) = (Arc::new(Notify::new()), Duration::from_secs(3_600));
    RelaySpec {
        name: "test".to_owned(),
        publisher,
        alerts: bench.alerts(),
        nudge,
        interval,
    }
}

fn start(spec: &RelaySpec, outbox: &Outbox, batch: usize) -> CancellationToken {
    let cancel = CancellationToken::new();
    let (outbox, for_round, stop) = (Arc::clone(outbox), spec.clone(), cancel.clone());
    let round = move || {
        let (outbox, spec) = (Arc::clone(&outbox), for_round.clone());
        async move {
            let rows = outbox.lock().unwrap().clone().into_iter().take(batch).collect();
            let published = relay::publish_all(&spec, rows).await;
            let mut outbox = outbox.lock().unwrap();
            outbox.retain(|id, _| !published.ids.contains(id));
            Ok::<_, std::io::Error>(Round {
                set_aside: 0,
                published: published.ids.len() as u64,
                more: !outbox.is_empty(),
                pending: Some(outbox.len() as u64),
            })
        }
    };
    tokio::spawn(relay::run(spec.clone(), round, stop));
    cancel
}

#[tokio::test]
async fn rows_are_published_in_order_after_a_nudge_and_deleted() {
    let bench = Bench::new().await;
    let spec = spec(&bench).await;
    let outbox = Outbox::default();
    let cancel = start(&spec, &outbox, 7);
    let ids = (0..50).map(|number| format!("row_{number}")).collect::<Vec<_>>();
    outbox
        .lock()
        .unwrap()
        .extend((0..).zip(ids.iter().map(|id| to_queue(QUEUE, id))));
    spec.nudge.notify_one();
    eventually(PATIENCE, || async { outbox.lock().unwrap().is_empty() }).await;
    cancel.cancel();
    assert_eq!(bench.drain(QUEUE).await, ids);
}

#[tokio::test]
async fn a_row_that_cannot_be_published_stays_and_does_not_stop_the_others() {
    let bench = Bench::new().await;
    let spec = spec(&bench).await;
    let outbox = Outbox::default();
    let rows = [
        to_queue("nobody-has-this-queue", "stuck"),
        to_queue(QUEUE, "row_1"),
        to_queue(QUEUE, "row_2"),
    ];
    outbox.lock().unwrap().extend((0..).zip(rows));
    let cancel = start(&spec, &outbox, 10);
    eventually(PATIENCE, || async { outbox.lock().unwrap().len() == 1 }).await;
    cancel.cancel();
    assert_eq!(bench.drain(QUEUE).await, ["row_1", "row_2"]);
    assert!(outbox.lock().unwrap().contains_key(&0));
    assert!(spec.alerts.flush(PATIENCE).await);
    eventually(PATIENCE, || async { bench.ready("alerts").await > 0 }).await;
}
