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
use support::running::Running;
use support::{Bench, PATIENCE, QUEUE, family, to_queue};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

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
    let routes = routes.lock().unwrap().clone();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_not_there_is_told_of_and_consumed_once_it_is() {
    let bench = Bench::new().await;
    let spec = ConsumerSpec {
        told_after: Duration::from_millis(300),
        ..bench.spec()
    };
    let intake = spec.intake.clone();
    assert!(!intake.is_open());
    let cancel = CancellationToken::new();
    struct Taken;
    impl BatchHandler for Taken {
        async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
            Ok(batch.iter().map(|_| Verdict::Done).collect())
        }
    }
    let running = tokio::spawn(consumer::run(spec, Taken, cancel.clone()));
    eventually(PATIENCE, || async { intake.is_open() }).await;
    let channel = bench.broker.channel().await;
    channel.queue_delete(QUEUE.into(), Default::default()).await.unwrap();
    eventually(PATIENCE, || async { !intake.is_open() }).await;
    eventually(PATIENCE, || async { bench.ready("alerts").await > 0 }).await;
    let alert = bench.broker.take("alerts").await.unwrap();
    let alert = String::from_utf8(alert.delivery.data).unwrap();
    assert!(alert.contains("work/not_consumed"), "{alert}");
    bench.topology.declare(&bench.config).await.unwrap();
    eventually(PATIENCE, || async { intake.is_open() }).await;
    bench.publish("after").await;
    eventually(PATIENCE, || async { bench.ready(QUEUE).await == 0 }).await;
    cancel.cancel();
    running.await.unwrap();
    assert!(!intake.is_open());
}
