//! What every test of the bus needs: a vhost, a publisher on it, messages.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "part of tests; each test file uses some of it"
)]

pub mod running;

use std::sync::Arc;
use std::time::Duration;

use bus::topology::{QueueFamily, RetrySchedule, Routing};
use bus::{
    AlertRaiser, AlertRaiserConfig, BrokerConfig, Clock, ConsumerSpec, Headers, Outgoing, Publisher, PublisherConfig,
    Topology,
};
use testkit::TestBroker;

pub const PATIENCE: Duration = testkit::PATIENCE;
pub const QUEUE: &str = "work";

pub struct Bench {
    pub broker: TestBroker,
    pub config: BrokerConfig,
    pub topology: Topology,
    pub family: QueueFamily,
    pub publisher: Publisher,
}

/// Two short retries, so that a test sees parking within a second.
pub fn family() -> QueueFamily {
    let retry = RetrySchedule::new([100, 200].map(Duration::from_millis));
    QueueFamily {
        retry,
        ..QueueFamily::new(QUEUE)
    }
}

pub fn topology_of(family: &QueueFamily) -> Topology {
    Topology::one_queue(family.clone())
        .with_exchange(bus::topology::ALERTS, Routing::Topic)
        .with_queue(QueueFamily {
            retry: RetrySchedule::new([]),
            ..QueueFamily::new("alerts")
        })
        .with_binding(bus::topology::ALERTS, "#", "alerts")
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(family()).await
    }

    pub async fn with(family: QueueFamily) -> Self {
        let broker = TestBroker::create().await;
        let config = BrokerConfig::new(broker.amqp_url(), "bus-test");
        let topology = topology_of(&family);
        let publisher = Publisher::start(PublisherConfig {
            topology: topology.clone(),
            ..PublisherConfig::new(config.clone())
        });
        publisher.wait_ready(PATIENCE).await.expect("the publisher connects");
        Self {
            broker,
            config,
            topology,
            family,
            publisher,
        }
    }

    pub fn alerts(&self) -> AlertRaiser {
        let config = AlertRaiserConfig::new(self.publisher.clone(), clock());
        AlertRaiser::start(AlertRaiserConfig {
            merge_for: Duration::from_millis(50),
            ..config
        })
    }

    pub fn spec(&self) -> ConsumerSpec {
        let spec = ConsumerSpec::new(
            self.config.clone(),
            self.family.clone(),
            self.publisher.clone(),
            self.alerts(),
            clock(),
        );
        ConsumerSpec {
            parked_check: Duration::from_millis(100),
            ..spec
        }
    }

    pub async fn publish(&self, id: &str) {
        self.publisher.publish(to_queue(QUEUE, id)).await.expect("published");
    }

    /// Messages that wait in a queue now.
    pub async fn ready(&self, queue: &str) -> u32 {
        self.broker.ready(queue).await.expect("the queue exists")
    }

    /// A number that the management API shows for a queue; refreshed every few seconds only.
    pub async fn number(&self, queue: &str, field: &str) -> Option<u64> {
        testkit::install_tls_provider();
        let base = std::env::var("HOLDFAST_TEST_RABBITMQ_API").expect("HOLDFAST_TEST_RABBITMQ_API");
        let url = format!("{base}/api/queues/{}/{queue}", self.broker.vhost());
        let response = reqwest::get(url).await.expect("the management API answers");
        let shown: serde_json::Value = response.json().await.expect("JSON");
        shown.get(field).and_then(serde_json::Value::as_u64)
    }

    /// Ids of everything in a queue, taken out.
    pub async fn drain(&self, queue: &str) -> Vec<String> {
        let channel = self.broker.channel().await;
        let mut ids = Vec::new();
        let options = lapin::options::BasicGetOptions { no_ack: true };
        while let Some(message) = channel.basic_get(queue.into(), options).await.expect("get") {
            ids.push(
                message
                    .delivery
                    .properties
                    .message_id()
                    .as_ref()
                    .expect("an id")
                    .to_string(),
            );
        }
        ids
    }
}

pub fn clock() -> Clock {
    Arc::new(chrono::Utc::now)
}

pub fn to_queue(queue: &str, id: &str) -> Outgoing {
    message("", queue, id)
}

pub fn message(exchange: &str, routing_key: &str, id: &str) -> Outgoing {
    Outgoing {
        exchange: exchange.to_owned().into(),
        routing_key: routing_key.to_owned(),
        message_id: id.to_owned(),
        kind: "invoice.paid".to_owned(),
        timestamp: 1_790_000_000,
        headers: Headers::new().with_str(bus::headers::ENDPOINT, "platform"),
        body: bytes::Bytes::from(format!("{{\"id\": \"{id}\"}}")),
    }
}
