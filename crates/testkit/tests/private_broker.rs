//! A broker that a test may block and stop.
#![allow(clippy::unwrap_used, reason = "a test")]

use lapin::{Connection, ConnectionProperties};
use testkit::{PrivateBroker, eventually};

#[tokio::test]
async fn a_private_broker_blocks_publishers_on_request_and_comes_back_under_the_same_url() {
    let mut broker = PrivateBroker::start().await;
    let connection = Connection::connect(broker.amqp_url(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();

    broker.ctl(&["set_vm_memory_high_watermark", "0"]).await.unwrap();
    drop(
        channel
            .basic_publish("".into(), "nowhere".into(), Default::default(), b"", Default::default())
            .await,
    );
    eventually(testkit::PATIENCE, || async { connection.status().blocked() }).await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await.unwrap();
    eventually(testkit::PATIENCE, || async { !connection.status().blocked() }).await;

    broker.stop().await.unwrap();
    eventually(testkit::PATIENCE, || async { !connection.status().connected() }).await;
    broker.start_again().await.unwrap();
    Connection::connect(broker.amqp_url(), ConnectionProperties::default())
        .await
        .unwrap();
}
