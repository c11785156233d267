//! How a consumer ends, and how it goes on after a lost connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{BatchError, BatchHandler, ConsumerSpec, Drained, Incoming, Verdict, consumer};
use support::running::Running;
use support::{Bench, PATIENCE, QUEUE, to_queue};
use testkit::eventually;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_drain_finishes_the_batch_in_work_and_gives_the_rest_back() {
    let bench = Bench::new().await;
    struct Gated {
        entered: Arc<Semaphore>,
        gate: Arc<Semaphore>,
        done: Arc<Mutex<Vec<String>>>,
    }
    impl BatchHandler for Gated {
        async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
            self.entered.add_permits(1);
            self.gate.acquire().await.expect("open").forget();
            self.done
                .lock()
                .unwrap()
                .extend(batch.iter().map(|message| message.message_id.clone()));
            Ok(batch.iter().map(|_| Verdict::Done).collect())
        }
    }
    let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let done = Arc::new(Mutex::new(Vec::new()));
    let ids = (0..40).map(|number| format!("evt_{number}")).collect::<HashSet<_>>();
    for id in &ids {
        bench.publish(id).await;
    }
    let spec = ConsumerSpec {
        max_batch: 10,
        prefetch: 1_000,
        ..bench.spec()
    };
    let cancel = CancellationToken::new();
    let handler = Gated {
        entered: Arc::clone(&entered),
        gate: Arc::clone(&gate),
        done: Arc::clone(&done),
    };
    let task = tokio::spawn(consumer::run(spec, handler, cancel.clone()));
    entered.acquire().await.expect("open").forget();
    cancel.cancel();
    // With intake stopped, what is published now stays in the queue although the consumer's window has room.
    let late = Mutex::new(0);
    eventually(PATIENCE, || async {
        let id = {
            let mut late = late.lock().unwrap();
            *late += 1;
            format!("late_{late}")
        };
        bench.publish(&id).await;
        bench.ready(QUEUE).await >= 3
    })
    .await;
    let ids = ids
        .into_iter()
        .chain((1..=late.into_inner().unwrap()).map(|number| format!("late_{number}")));
    let ids = ids.collect::<HashSet<_>>();
    gate.add_permits(1);
    assert_eq!(task.await.expect("no panic"), Drained { unfinished: 0 });
    let done = done.lock().unwrap().iter().cloned().collect::<HashSet<_>>();
    assert!(
        !done.is_empty() && done.len() <= 10,
        "one batch was in work, not {}",
        done.len()
    );
    eventually(PATIENCE, || async {
        bench.ready(QUEUE).await as usize == ids.len() - done.len()
    })
    .await;
    let left = bench.drain(QUEUE).await.into_iter().collect::<HashSet<_>>();
    assert!(left.is_disjoint(&done));
    assert_eq!(left.union(&done).cloned().collect::<HashSet<_>>(), ids);
}

#[tokio::test]
async fn a_batch_that_outlives_the_deadline_is_given_back() {
    let bench = Bench::new().await;
    struct Stuck(Arc<Semaphore>);
    impl BatchHandler for Stuck {
        async fn handle(&self, _: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
            self.0.add_permits(1);
            std::future::pending().await
        }
    }
    let spec = ConsumerSpec {
        drain_deadline: Duration::from_millis(200),
        ..bench.spec()
    };
    let entered = Arc::new(Semaphore::new(0));
    let cancel = CancellationToken::new();
    let task = tokio::spawn(consumer::run(spec, Stuck(Arc::clone(&entered)), cancel.clone()));
    bench.publish("evt_1").await;
    entered.acquire().await.expect("open").forget();
    cancel.cancel();
    assert_eq!(task.await.expect("no panic"), Drained { unfinished: 1 });
    eventually(PATIENCE, || async { bench.ready(QUEUE).await == 1 }).await;
}

#[tokio::test]
async fn a_consumer_that_loses_its_connection_goes_on_by_itself() {
    let bench = Bench::new().await;
    let running = Running::start(bench.spec(), |_, _| Ok(Verdict::Done));
    bench.publish("before").await;
    eventually(PATIENCE, || async { running.times("before") == 1 }).await;
    // The publisher's connection and the consumer's.
    bench.broker.close_connections(2).await;
    eventually(PATIENCE, || async {
        bench.publisher.publish(to_queue(QUEUE, "after")).await.is_ok()
    })
    .await;
    eventually(PATIENCE, || async { running.times("after") >= 1 }).await;
    running.stop().await;
    assert_eq!(bench.ready(QUEUE).await, 0);
}
