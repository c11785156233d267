//! Ingest on a free port with a broker behind it, and a client that says exactly what a test wants to say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs
)]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use service_kit::clock::Clock;
use service_kit::health::Readiness;
use service_kit::http::{HttpSettings, Server};
use service_kit::telemetry::Metrics;
use stripe_gateway::signature::{Secrets, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use webhook_ingest::{IngestConfig, WebhookIngest};

pub const PLATFORM: &str = "whsec_platform_0123456789";
pub const PLATFORM_NEXT: &str = "whsec_platform_next_0123456789";
pub const CONNECT: &str = "whsec_connect_0123456789";
pub const MAX_BODY: usize = 64 * 1024;
pub const PLATFORM_PATH: &str = "/webhooks/stripe";
pub const CONNECT_PATH: &str = "/webhooks/stripe/connect";

pub struct Ingest {
    pub address: SocketAddr,
    pub clock: Clock,
    pub metrics: Metrics,
    service: WebhookIngest,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Ingest {
    /// Starts ingest in test mode and waits for its broker.
    pub async fn start(amqp_url: &str) -> Self {
        Self::start_with(amqp_url, Duration::from_millis(500)).await
    }

    /// The same, with a patience of its own for bodies.
    pub async fn start_with(amqp_url: &str, body_timeout: Duration) -> Self {
        Self::start_in(bus::Topology::holdfast(), amqp_url, body_timeout).await
    }

    /// The same with the patience for the broker that an installation has by itself.
    pub async fn start_hasty(amqp_url: &str) -> Self {
        let hasty = Duration::from_millis(600);
        Self::start_as(bus::Topology::holdfast(), amqp_url, Duration::from_millis(500), hasty).await
    }

    /// The same in a process that declares this topology.
    pub async fn start_in(topology: bus::Topology, amqp_url: &str, body_timeout: Duration) -> Self {
        // A broker on a busy machine may take its time: a 503 would be right then, and no test could tell.
        Self::start_as(topology, amqp_url, body_timeout, Duration::from_secs(60)).await
    }

    async fn start_as(
        topology: bus::Topology,
        amqp_url: &str,
        body_timeout: Duration,
        confirm_timeout: Duration,
    ) -> Self {
        testkit::install_tls_provider();
        let metrics = Metrics::install().unwrap();
        let clock = Clock::manual(Clock::System.now());
        let config = IngestConfig {
            amqp_url: amqp_url.to_owned().into(),
            livemode: false,
            platform_secrets: Secrets::new([PLATFORM, PLATFORM_NEXT]).unwrap(),
            connect_secrets: Some(Secrets::new([CONNECT]).unwrap()),
            tolerance_seconds: 300,
            max_body_bytes: MAX_BODY,
            confirm_timeout,
        };
        let service = WebhookIngest::start(config, topology, clock.clone(), None);
        let stop = CancellationToken::new();
        let readiness = Readiness::new(stop.clone());
        service.register_checks(&readiness);
        let mut settings = HttpSettings::for_tests();
        settings.body_timeout = body_timeout;
        let routes = service.clone();
        let server = Server::new(settings, readiness, metrics.clone()).routes(move |config| routes.routes(config));
        let bound = server.bind().unwrap();
        let address = bound.address();
        let token = stop.clone();
        let served = tokio::spawn(async move { bound.run(token).await.unwrap() });
        testkit::eventually(testkit::PATIENCE, || async { service.check().is_ok() }).await;
        Self {
            address,
            clock,
            metrics,
            service,
            stop,
            served,
        }
    }

    /// Stops as the process would.
    pub async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap();
        self.service.close(Duration::from_secs(5)).await;
    }

    pub fn now(&self) -> i64 {
        self.clock.unix_seconds()
    }

    /// Posts a body signed with a secret.
    pub async fn post_signed(&self, path: &str, secret: &str, body: &[u8]) -> Answer {
        let signature = sign(secret, body, self.now());
        self.post(path, &[("stripe-signature", signature.as_bytes())], body)
            .await
    }

    /// Posts a body with headers that may hold any bytes.
    pub async fn post(&self, path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Answer {
        let mut request = head(path, headers);
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        self.send(&request).await
    }

    /// Posts a body in chunks of a size.
    pub async fn post_chunked(&self, path: &str, headers: &[(&str, &[u8])], body: &[u8], size: usize) -> Answer {
        let mut request = head(path, headers);
        request.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for chunk in body.chunks(size) {
            request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        self.send(&request).await
    }

    /// Sends bytes on a connection of their own and reads the answer to its end.
    pub async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses a head closes without reading the rest, which may cut off our writing and its answer.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let read = async { while !is_complete(&bytes) && stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {} };
        tokio::time::timeout(Duration::from_secs(60), read)
            .await
            .expect("an answer");
        Answer::parse(&bytes)
    }

    /// The value of a counter that begins with this text.
    pub fn counter(&self, name_and_labels: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(name_and_labels));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0.0)
    }

    pub fn outcome(&self, endpoint: &str, outcome: &str) -> f64 {
        self.counter(&format!(
            "holdfast_webhooks_total{{endpoint=\"{endpoint}\",outcome=\"{outcome}\"}}"
        ))
    }
}

/// Whether the head and as many bytes as it declares are there.
fn is_complete(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| bytes.len() >= end + 4 + length)
}

fn head(path: &str, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// An answer; status 0 stands for a connection that was cut off.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code, after a look at the form of the problem.
    pub fn code(&self) -> String {
        let body = self.json();
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert_eq!(body["status"], self.status);
        let id = body["request_id"].as_str().unwrap();
        assert!(self.head.contains(&format!("x-request-id: {id}")), "{self:?}");
        body["code"].as_str().unwrap().to_owned()
    }
}

/// An event as Stripe posts it: indented.
pub fn event(id: &str, kind: &str) -> Vec<u8> {
    event_with(id, kind, json!({}))
}

/// An event with further or other fields on its envelope.
pub fn event_with(id: &str, kind: &str, fields: Value) -> Vec<u8> {
    let mut event = json!({
        "id": id,
        "object": "event",
        "api_version": webhook_ingest::NEWEST_KNOWN,
        "created": 1_760_000_000,
        "data": {"object": {"id": "in_1", "object": "invoice", "amount_due": 12_300, "note": "caf\u{e9} \u{1f980}"}},
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null},
        "type": kind,
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::to_vec_pretty(&event).unwrap()
}
