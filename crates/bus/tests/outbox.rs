//! The outbox relay with a real database and a real broker: nothing that was committed is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bus::relay::{RelaySpec, publish_all};
use bus::{AlertRaiser, AlertRaiserConfig, BrokerConfig, Publisher, PublisherConfig, Topology, relay_outbox};
use db::outbox::{NewOutboxRow, claim_outbox_batch_in_txn, count_outbox, insert_outbox_in_txn};
use db::{Database, DatabaseConfig, in_txn};
use lapin::options::BasicGetOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use support::{Bench, PATIENCE, QUEUE, clock, family, to_queue};
use testkit::{PrivateBroker, TestDb, eventually};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

fn open(test: &TestDb) -> Database {
    Database::open(&DatabaseConfig::new(test.service_url().into(), "bus-test")).unwrap()
}

fn spec(publisher: Publisher, alerts: AlertRaiser) -> RelaySpec {
    RelaySpec {
        name: "test".to_owned(),
        publisher,
        alerts,
        nudge: Arc::new(Notify::new()),
        interval: Duration::from_millis(50),
    }
}

fn row(queue: &str, id: &str) -> NewOutboxRow {
    NewOutboxRow {
        exchange: String::new(),
        routing_key: queue.to_owned(),
        message_id: id.to_owned(),
        kind: "client.state_changed".to_owned(),
        headers: serde_json::json!({"traceparent": "00-1-2-01"}),
        payload: format!("{{\"id\":\"{id}\"}}"),
    }
}

async fn write(database: &Database, rows: &[NewOutboxRow]) {
    let written = database.transact(|txn| in_txn(insert_outbox_in_txn(txn, rows))).await;
    written.unwrap();
}

async fn pending(database: &Database) -> i64 {
    count_outbox(&database.conn().await.unwrap()).await.unwrap()
}

fn start(spec: &RelaySpec, database: &Database) -> CancellationToken {
    let cancel = CancellationToken::new();
    tokio::spawn(relay_outbox(spec.clone(), database.clone(), cancel.clone()));
    cancel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_relays_one_works_at_a_time_and_each_row_is_published_once() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let database = open(&test);
    let relays: Vec<_> = (0..3)
        .map(|_| start(&spec(bench.publisher.clone(), bench.alerts()), &database))
        .collect();
    let ids: Vec<String> = (0..1_000).map(|number| format!("row_{number:04}")).collect();
    for chunk in ids.chunks(70) {
        write(&database, &chunk.iter().map(|id| row(QUEUE, id)).collect::<Vec<_>>()).await;
    }
    eventually(PATIENCE, || async { pending(&database).await == 0 }).await;
    for relay in relays {
        relay.cancel();
    }
    let mut arrived = bench.drain(QUEUE).await;
    arrived.sort_unstable();
    assert_eq!(arrived, ids);
}

#[tokio::test]
async fn rows_that_were_published_but_not_deleted_when_the_process_died_come_again() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let database = open(&test);
    write(&database, &[row(QUEUE, "row_1"), row(QUEUE, "row_2")]).await;
    let spec = spec(bench.publisher.clone(), bench.alerts());
    let mut conn = open(&test).conn().await.unwrap();
    let txn = conn.transaction().await.unwrap();
    let claimed = claim_outbox_batch_in_txn(&txn, 1).await.unwrap().unwrap().rows;
    let messages = vec![(claimed[0].id, to_queue(QUEUE, &claimed[0].message.message_id))];
    assert_eq!(publish_all(&spec, messages).await.ids.len(), 1);
    // The server learns of a killed client by its connection alone.
    let pid: i32 = txn.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let admin = test.superuser().await;
    admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    drop(txn);
    drop(conn);
    let relay = start(&spec, &database);
    eventually(PATIENCE, || async { pending(&database).await == 0 }).await;
    relay.cancel();
    let mut arrived = bench.drain(QUEUE).await;
    arrived.sort_unstable();
    assert_eq!(arrived, ["row_1", "row_1", "row_2"]);
}

#[tokio::test]
async fn rows_that_the_broker_can_never_take_hold_up_nobody_and_leave_once_it_can() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let database = open(&test);
    let stuck: Vec<_> = (0..300)
        .map(|number| row("bound-later", &format!("stuck_{number}")))
        .collect();
    write(&database, &stuck).await;
    write(&database, &[row(QUEUE, "row_1")]).await;
    let spec = spec(bench.publisher.clone(), bench.alerts());
    let relay = start(&spec, &database);
    eventually(PATIENCE, || async { bench.ready(QUEUE).await == 1 }).await;
    eventually(PATIENCE, || async { pending(&database).await == 300 }).await;
    eventually(PATIENCE, || async { bench.ready("alerts").await > 0 }).await;

    let channel = bench.broker.channel().await;
    channel
        .queue_declare("bound-later".into(), Default::default(), Default::default())
        .await
        .unwrap();
    let later = "UPDATE outbox SET retry_at = now() WHERE retry_at IS NOT NULL";
    test.superuser().await.batch_execute(later).await.unwrap();
    eventually(PATIENCE, || async { pending(&database).await == 0 }).await;
    relay.cancel();
    assert_eq!(bench.drain("bound-later").await.len(), 300);
}

#[tokio::test]
async fn one_full_queue_of_a_listener_holds_up_nothing_else() {
    let (bench, test) = (Bench::new().await, TestDb::create().await);
    let database = open(&test);
    let channel = bench.broker.channel().await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    for (queue, arguments) in [("full", full), ("well", FieldTable::default())] {
        channel
            .queue_declare(queue.into(), Default::default(), arguments)
            .await
            .unwrap();
        channel
            .queue_bind(
                queue.into(),
                "amq.fanout".into(),
                "".into(),
                Default::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
    }
    let announced = |number: i32| NewOutboxRow {
        exchange: "amq.fanout".to_owned(),
        ..row("", &format!("announced_{number}"))
    };
    write(&database, &(0..300).map(announced).collect::<Vec<_>>()).await;
    write(&database, &[row(QUEUE, "row_1")]).await;
    let spec = spec(bench.publisher.clone(), bench.alerts());
    let relay = start(&spec, &database);
    // What is behind more of them than a round has goes out.
    eventually(PATIENCE, || async { bench.ready(QUEUE).await == 1 }).await;
    let stuck = "SELECT count(*) FROM outbox WHERE retry_at > now() + interval '1 second'";
    let admin = test.superuser().await;
    eventually(PATIENCE, || async {
        admin.query_one(stuck, &[]).await.unwrap().get::<_, i64>(0) >= 290
    })
    .await;
    // Old ones are told of, and wait longer.
    let older = "UPDATE outbox SET created_at = now() - interval '2 minutes', retry_at = now()";
    admin.batch_execute(older).await.unwrap();
    eventually(PATIENCE, || async { bench.ready("alerts").await > 0 }).await;
    let longest = "SELECT count(*) FROM outbox WHERE retry_at > now() + interval '90 seconds'";
    eventually(PATIENCE, || async {
        admin.query_one(longest, &[]).await.unwrap().get::<_, i64>(0) >= 290
    })
    .await;
    // Once there is room they go by themselves.
    channel.queue_delete("full".into(), Default::default()).await.unwrap();
    admin.batch_execute("UPDATE outbox SET retry_at = now()").await.unwrap();
    eventually(PATIENCE, || async { pending(&database).await == 0 }).await;
    relay.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_broker_is_killed_in_the_middle() {
    let (mut broker, test) = (PrivateBroker::start().await, TestDb::create().await);
    let database = open(&test);
    let publisher = Publisher::start(PublisherConfig {
        topology: Topology::one_queue(family()),
        confirm_timeout: Duration::from_millis(500),
        ..PublisherConfig::new(BrokerConfig::new(broker.amqp_url(), "bus-test"))
    });
    publisher.wait_ready(PATIENCE).await.expect("connected");
    let alerts = AlertRaiser::start(AlertRaiserConfig::new(publisher.clone(), clock()));
    let ids: BTreeSet<String> = (0..3_000).map(|number| format!("row_{number}")).collect();
    let rows: Vec<_> = ids.iter().map(|id| row(QUEUE, id)).collect();
    for chunk in rows.chunks(500) {
        write(&database, chunk).await;
    }
    let relay = start(&spec(publisher, alerts), &database);
    eventually(PATIENCE, || async { pending(&database).await < 2_800 }).await;
    broker.kill9().await.expect("killed");
    assert!(pending(&database).await > 0, "it was in the middle");
    broker.start_again().await.expect("started");
    eventually(testkit::PATIENCE, || async { pending(&database).await == 0 }).await;
    relay.cancel();

    let connection = Connection::connect(broker.amqp_url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arrived = BTreeSet::new();
    while let Some(message) = channel
        .basic_get(QUEUE.into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
    {
        arrived.insert(message.delivery.properties.message_id().as_ref().unwrap().to_string());
    }
    assert!(arrived == ids, "{} of {} arrived", arrived.len(), ids.len());
}
