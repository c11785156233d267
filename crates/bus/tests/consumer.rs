//! The consumer loop against a real broker: what each verdict and each accident does to a message.
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

use bus::parked::{self, Which};
use bus::topology::QueueFamily;
use bus::{AlertMessage, BatchError, BatchHandler, ConsumerSpec, Drained, Incoming, Verdict, consumer};
use support::{Bench, PATIENCE, QUEUE, family, to_queue};
use testkit::eventually;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a handler saw of a message: its id and how often it had failed before.
type Seen = Arc<Mutex<Vec<(String, u32)>>>;

/// Judges each message by a closure, and notes what it saw.
struct ByMessage<F> {
    seen: Seen,
    judge: F,
}

impl<F> BatchHandler for ByMessage<F>
where
    F: Fn(&Incoming, usize) -> Result<Verdict, BatchError> + Send + Sync + 'static,
{
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let notes = batch
            .iter()
            .map(|message| (message.message_id.clone(), message.failed_attempts()));
        self.seen.lock().unwrap().extend(notes);
        batch.iter().map(|message| (self.judge)(message, batch.len())).collect()
    }
}

struct Running {
    seen: Seen,
    cancel: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Running {
    fn start<F>(spec: ConsumerSpec, judge: F) -> Self
    where
        F: Fn(&Incoming, usize) -> Result<Verdict, BatchError> + Send + Sync + 'static,
    {
        let seen = Seen::default();
        let handler = ByMessage {
            seen: Arc::clone(&seen),
            judge,
        };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(consumer::run(spec, handler, cancel.clone()));
        Self { seen, cancel, task }
    }

    fn seen(&self) -> Vec<(String, u32)> {
        self.seen.lock().unwrap().clone()
    }

    fn times(&self, id: &str) -> usize {
        self.seen().iter().filter(|(seen, _)| seen == id).count()
    }

    async fn stop(self) -> Drained {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("it stops")
            .expect("no panic")
    }
}

fn retry() -> Result<Verdict, BatchError> {
    Ok(Verdict::Retry {
        reason: "not yet".to_owned(),
    })
}

#[tokio::test]
async fn done_messages_leave_the_queue_and_nothing_comes_twice() {
    let bench = Bench::new().await;
    let ids = (0..300).map(|number| format!("evt_{number}")).collect::<Vec<_>>();
    let running = Running::start(bench.spec(), |_, _| Ok(Verdict::Done));
    let publishes = ids.iter().map(|id| bench.publish(id));
    futures_util::future::join_all(publishes).await;
    eventually(PATIENCE, || async { running.seen().len() >= ids.len() }).await;
    let seen = running.seen();
    assert_eq!(running.stop().await, Drained { unfinished: 0 });
    assert_eq!(seen.len(), ids.len());
    assert_eq!(
        seen.iter().map(|(id, _)| id).collect::<HashSet<_>>(),
        ids.iter().collect::<HashSet<_>>()
    );
    assert_eq!(bench.ready(QUEUE).await, 0);
}

#[tokio::test]
async fn a_delayed_retry_comes_back_with_its_attempts_counted_and_its_route_kept() {
    let bench = Bench::new().await;
    let routes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&routes);
    let running = Running::start(bench.spec(), move |message, _| {
        noted.lock().unwrap().push((
            message.exchange.clone(),
            message.routing_key.clone(),
            message.body.clone(),
        ));
        if message.failed_attempts() < 2 {
            retry()
        } else {
            Ok(Verdict::Done)
        }
    });
    bench.publish("evt_1").await;
    eventually(PATIENCE, || async { running.times("evt_1") == 3 }).await;
    let attempts = running
        .seen()
        .into_iter()
        .map(|(_, attempts)| attempts)
        .collect::<Vec<_>>();
    running.stop().await;
    assert_eq!(attempts, [0, 1, 2]);
    let routes = routes.lock().unwrap();
    let sent = to_queue(QUEUE, "evt_1").body;
    assert!(
        routes
            .iter()
            .all(|route| *route == (String::new(), QUEUE.to_owned(), sent.clone())),
        "{routes:?}"
    );
    for queue in [QUEUE, "work.retry.100ms", "work.retry.200ms", "work.parked"] {
        assert_eq!(bench.ready(queue).await, 0, "{queue}");
    }
}

#[tokio::test]
async fn a_message_that_keeps_failing_is_parked_with_its_reason_and_raises_one_alert() {
    let bench = Bench::new().await;
    let spec = bench.spec();
    let alerts = spec.alerts.clone();
    let running = Running::start(spec, |_, _| retry());
    bench.publish("evt_1").await;
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 1 }).await;
    assert!(alerts.flush(PATIENCE).await);
    assert_eq!(running.times("evt_1"), 3);
    running.stop().await;

    let shown = parked::show(&bench.config, QUEUE, "evt_1").await.expect("read");
    let [message] = shown.as_slice() else {
        panic!("{shown:?}")
    };
    assert_eq!(
        (message.attempts, message.reason.as_str()),
        (3, "no attempt left: not yet")
    );
    assert!(message.parked_at.is_some());
    assert_eq!(message.body(), &to_queue(QUEUE, "evt_1").body);

    let alert = bench.broker.take("alerts").await.expect("an alert").delivery;
    let alert: AlertMessage = serde_json::from_slice(&alert.data).expect("decodes");
    assert_eq!(alert.key, "message_parked:work");
}

#[tokio::test]
async fn a_bad_message_is_taken_out_of_its_batch_and_parks_alone() {
    let bench = Bench::new().await;
    let mut spec = bench.spec();
    spec.batch_wait = Duration::from_millis(200);
    for number in 0..20 {
        bench.publish(&format!("evt_{number}")).await;
    }
    let running = Running::start(spec, |message, _| match message.message_id.as_str() {
        "evt_7" => Err(BatchError::failed("poison")),
        _ => Ok(Verdict::Done),
    });
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 1 }).await;
    let seen = running.seen();
    running.stop().await;
    assert_eq!(bench.drain("work.parked").await, ["evt_7"]);
    assert_eq!(bench.ready(QUEUE).await, 0);
    let good_again = seen
        .iter()
        .filter(|(id, attempts)| id != "evt_7" && *attempts > 0)
        .count();
    assert_eq!(good_again, 0, "the others are not retried");
}

#[tokio::test]
async fn a_panic_costs_its_message_an_attempt_and_not_the_consumer() {
    let bench = Bench::new().await;
    let running = Running::start(bench.spec(), |message, _| {
        assert!(message.message_id != "evt_bad", "this message panics on purpose");
        Ok(Verdict::Done)
    });
    for id in ["evt_1", "evt_bad", "evt_2"] {
        bench.publish(id).await;
    }
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 1 }).await;
    bench.publish("evt_3").await;
    eventually(PATIENCE, || async { running.times("evt_3") == 1 }).await;
    running.stop().await;
    let shown = parked::show(&bench.config, QUEUE, "evt_bad").await.expect("read");
    assert!(shown[0].reason.contains("panics on purpose"), "{}", shown[0].reason);
}

#[tokio::test]
async fn a_handler_that_hangs_or_answers_short_has_failed() {
    let bench = Bench::new().await;
    struct Odd;
    impl BatchHandler for Odd {
        async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
            if batch[0].message_id == "hangs" {
                std::future::pending::<()>().await;
            }
            Ok(Vec::new())
        }
    }
    let spec = ConsumerSpec {
        handler_timeout: Duration::from_millis(200),
        max_batch: 1,
        ..bench.spec()
    };
    let cancel = CancellationToken::new();
    let task = tokio::spawn(consumer::run(spec, Odd, cancel.clone()));
    bench.publish("hangs").await;
    bench.publish("short").await;
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 2 }).await;
    cancel.cancel();
    task.await.expect("no panic");
}

#[tokio::test]
async fn an_outage_of_what_the_handler_needs_costs_no_attempts() {
    let bench = Bench::new().await;
    let away = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let calls = Arc::clone(&away);
    let running = Running::start(bench.spec(), move |_, _| {
        match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0..5 => Err(BatchError::unavailable("no database")),
            _ => Ok(Verdict::Done),
        }
    });
    bench.publish("evt_1").await;
    eventually(PATIENCE, || async { running.times("evt_1") == 6 }).await;
    let attempts = running.seen().into_iter().map(|(_, attempts)| attempts).max();
    running.stop().await;
    assert_eq!(attempts, Some(0));
    assert_eq!(bench.ready(QUEUE).await, 0);
}

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
    // The publisher's connection and the consumer's; the management lists a new one after some seconds only.
    eventually(PATIENCE, || async { bench.broker.connections().await.len() >= 2 }).await;
    bench.broker.close_connections().await;
    eventually(PATIENCE, || async {
        bench.publisher.publish(to_queue(QUEUE, "after")).await.is_ok()
    })
    .await;
    eventually(PATIENCE, || async { running.times("after") >= 1 }).await;
    running.stop().await;
    assert_eq!(bench.ready(QUEUE).await, 0);
}

#[tokio::test]
async fn connections_lost_too_often_park_what_they_held_instead_of_dropping_it() {
    let bench = Bench::with(QueueFamily {
        delivery_limit: 2,
        ..family()
    })
    .await;
    for id in ["in work", "prefetched"] {
        bench.publish(id).await;
    }
    for _ in 0..3 {
        let config = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&bench.broker.amqp_url(), config)
            .await
            .expect("connects");
        let channel = connection.create_channel().await.expect("a channel");
        let options = lapin::options::BasicConsumeOptions::default();
        let mut consumer = channel
            .basic_consume(QUEUE.into(), "c".into(), options, Default::default())
            .await
            .expect("consumes");
        for _ in 0..2 {
            futures_util::StreamExt::next(&mut consumer)
                .await
                .expect("a delivery")
                .expect("no error");
        }
        connection.close(200, "lost".into()).await.expect("closes");
    }
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 2 }).await;
    let seen = parked::list(&bench.config, &bench.topology, 10).await.expect("read");
    assert_eq!((seen[0].queue.as_str(), seen[0].count), (QUEUE, 2));
    let heads = seen[0]
        .heads
        .iter()
        .map(|head| (head.message.message_id.as_str(), head.reason.as_str()));
    assert_eq!(
        heads.collect::<Vec<_>>(),
        [("in work", "delivery_limit"), ("prefetched", "delivery_limit")]
    );
    assert_eq!(
        seen[0].heads[0].message.routing_key, QUEUE,
        "where it came from is known"
    );

    let spec = bench.spec();
    let alerts = spec.alerts.clone();
    let running = Running::start(spec, |_, _| Ok(Verdict::Done));
    eventually(PATIENCE, || async {
        bench.broker.ready("alerts").await == Some(1) || alerts.pending() > 0
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_replayed_message_starts_anew_and_leaves_the_parking_place() {
    let bench = Bench::new().await;
    let park = Running::start(bench.spec(), |_, _| {
        Ok(Verdict::Park {
            reason: "no such price".to_owned(),
        })
    });
    for id in ["evt_1", "evt_2", "evt_3"] {
        bench.publish(id).await;
    }
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 3 }).await;
    park.stop().await;

    let one = Which::MessageId("evt_2".to_owned());
    assert_eq!(
        parked::replay(&bench.config, &bench.publisher, QUEUE, &one)
            .await
            .expect("replayed"),
        1
    );
    eventually(PATIENCE, || async { bench.ready("work.parked").await == 2 }).await;
    let again = Running::start(bench.spec(), |_, _| Ok(Verdict::Done));
    eventually(PATIENCE, || async { again.seen() == [("evt_2".to_owned(), 0)] }).await;
    assert_eq!(
        parked::replay(&bench.config, &bench.publisher, QUEUE, &Which::All)
            .await
            .expect("replayed"),
        2
    );
    eventually(PATIENCE, || async { again.seen().len() == 3 }).await;
    again.stop().await;
    assert_eq!(bench.ready("work.parked").await, 0);
}
