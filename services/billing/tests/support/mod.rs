//! Billing at work between a real database and a real broker, and what a test says to it and asks of it.
//!
//! Tests of one file share a [`World`] as long as any of them runs, and keep apart by client ids; a test that disturbs
//! everybody takes a world of its own. Everything runs on one runtime per process, because tasks die with theirs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part of it, and a failed set-up must fail the test"
)]

mod counter;
pub mod events;
mod rows;
mod shop;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use billing::{Billing, BillingConfig};
use bus::{BrokerConfig, Headers, Outgoing, Publisher, PublisherConfig, headers, topology};
use domain::billing::authority::Binding;
use futures_util::future::join_all;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use secrecy::SecretString;
use serde_json::{Value, json};
use service_kit::auth::{Claims, Role, sign};
use service_kit::clock::Clock;
use service_kit::config::TokenKeys;
use service_kit::health::Readiness;
use service_kit::http::{HttpSettings, Server};
use service_kit::openapi::check_answer;
use service_kit::telemetry::Metrics;
use testkit::{TestBroker, TestDb};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use counter::Counter;
pub use events::Event;
pub use rows::{Decided, EventRow};
pub use shop::Shop;
use stripe_gateway::client::ClientConfig;

/// Within this everything that is going to happen has happened, also on a busy machine.
pub const SOON: Duration = testkit::PATIENCE;
const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A queue of the test's own that gets every announcement.
pub const ANNOUNCED: &str = "test.announcements";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});
static SHARED: Mutex<Weak<World>> = Mutex::const_new(Weak::new());

/// Runs a test in the world that the tests of this file share.
pub fn in_shared_world<F: Future<Output = ()>>(test: impl FnOnce(Arc<World>) -> F) {
    RUNTIME.block_on(async {
        let world = {
            let mut shared = SHARED.lock().await;
            match shared.upgrade() {
                Some(world) => world,
                None => {
                    let world = Arc::new(World::create(Binding::FirstUse).await);
                    *shared = Arc::downgrade(&world);
                    world
                }
            }
        };
        test(world).await;
    });
}

/// Runs a test in a world of its own.
pub fn in_own_world<F: Future<Output = ()>>(binding: Binding, test: impl FnOnce(World) -> F) {
    RUNTIME.block_on(async { test(World::create(binding).await).await });
}

/// Runs a test in a world of its own, whose billing reads from a simulated Stripe.
pub fn in_world_with_stripe<F: Future<Output = ()>>(test: impl FnOnce(World, Shop) -> F) {
    RUNTIME.block_on(async {
        let shop = Shop::open().await;
        let world = World::with_stripe(Binding::FirstUse, Some(shop.client_config())).await;
        test(world, shop).await;
    });
}

/// Runs a test in a world of its own, whose billing reads from what the test starts.
pub fn in_world_that_reads_from<F: Future<Output = ()>>(
    start: impl FnOnce() -> ClientConfig,
    test: impl FnOnce(World) -> F,
) {
    RUNTIME.block_on(async {
        let stripe = start();
        test(World::with_stripe(Binding::FirstUse, Some(stripe)).await).await;
    });
}

/// A database, a broker, one instance of billing with its routes on a port, and a publisher that stands for ingest.
pub struct World {
    // Fields are dropped in this order: billing before what it is connected to.
    billing: std::sync::Mutex<Vec<Billing>>,
    pub publisher: Publisher,
    pub db: TestDb,
    pub broker: TestBroker,
    pub sql: tokio_postgres::Client,
    pub address: SocketAddr,
    pub binding: Binding,
    stripe: Option<ClientConfig>,
    http: reqwest::Client,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub async fn create(binding: Binding) -> Self {
        Self::with_stripe(binding, None).await
    }

    async fn with_stripe(binding: Binding, stripe: Option<ClientConfig>) -> Self {
        testkit::install_tls_provider();
        let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
        let publisher = Publisher::start(PublisherConfig {
            topology: bus::Topology::holdfast(),
            // One channel: what a test sends in an order arrives in it.
            channels: 1,
            ..PublisherConfig::new(BrokerConfig::new(broker.amqp_url(), "test"))
        });
        publisher.wait_ready(SOON).await.unwrap();
        bind_announcements(&broker).await;
        let stop = CancellationToken::new();
        // Before anything takes hold of a metric.
        let metrics = Metrics::install().unwrap();
        let billing = start(&db, &broker, binding, stripe.clone(), &stop);
        let address = serve(&billing, metrics, &stop);
        Self {
            billing: std::sync::Mutex::new(vec![billing]),
            sql: db.superuser().await,
            publisher,
            db,
            broker,
            address,
            binding,
            stripe,
            http: reqwest::Client::new(),
            stop,
        }
    }

    /// One more instance, as a second process would be. It is stopped with the world, or by [`World::abort`].
    pub fn start_another(&self) {
        let another = start(&self.db, &self.broker, self.binding, self.stripe.clone(), &self.stop);
        self.billing.lock().unwrap().push(another);
    }

    /// Stops every instance and starts one that takes events of live mode, as after a wrong `STRIPE_LIVEMODE`. Routes are still answered.
    pub async fn restart_in_live_mode(&self) {
        self.abort().await;
        let config = config(&self.db, &self.broker, self.binding, self.stripe.clone());
        let config = BillingConfig {
            livemode: true,
            ..config
        };
        let live = Billing::start(&config, Clock::System, self.stop.child_token()).unwrap();
        self.billing.lock().unwrap().push(live);
    }

    /// Drops what every instance has at work where it stands, as `kill -9` would. Routes are still answered.
    ///
    /// A connection whose opening is dropped stays open in lapin's hands, and its consumer takes messages that nobody reads; a process
    /// that is killed has none. So all consumers have to be there before, and none is after.
    pub async fn abort(&self) {
        let all = u32::try_from(self.billing.lock().unwrap().len() * 2).unwrap();
        let has = async |count| self.broker.consumers(topology::BILLING_EVENTS).await == Some(count);
        testkit::eventually(SOON, || has(all)).await;
        let instances = std::mem::take(&mut *self.billing.lock().unwrap());
        for billing in instances {
            // Whoever waits takes the tasks over, and who stops waiting drops them.
            drop(tokio::time::timeout(Duration::ZERO, billing.wait()).await);
        }
        testkit::eventually(SOON, || has(0)).await;
    }

    pub async fn send(&self, event: &Event) {
        self.publish(event.message()).await;
    }

    pub async fn send_all<'e>(&self, events: impl IntoIterator<Item = &'e Event>) {
        join_all(events.into_iter().map(|event| self.send(event))).await;
    }

    /// Publishes until it is confirmed, as Stripe sends until it is answered.
    pub async fn publish(&self, message: Outgoing) {
        testkit::eventually(SOON, || async { self.publisher.publish(message.clone()).await.is_ok() }).await;
    }

    /// Publishes any bytes as ingest would publish an event of a type.
    pub async fn send_bytes(&self, id: &str, body: impl Into<bytes::Bytes>) {
        self.publish(Outgoing {
            exchange: topology::STRIPE_EVENTS.into(),
            routing_key: "platform.invoice.paid".to_owned(),
            message_id: id.to_owned(),
            kind: "invoice.paid".to_owned(),
            timestamp: 0,
            headers: Headers::new().with_str(headers::ENDPOINT, "platform"),
            body: body.into(),
        })
        .await;
    }

    pub async fn put(&self, client: &str, body: &Value) -> (u16, Value) {
        self.put_as(&service_token(), client, body).await
    }

    pub async fn put_as(&self, token: &str, client: &str, body: &Value) -> (u16, Value) {
        let request = self.http.put(self.url(&format!("/api/clients/{client}"))).json(body);
        answer(&self.http, request.bearer_auth(token)).await
    }

    /// Registers a client that pays by Stripe, and its customer where one is given.
    pub async fn register(&self, client: &str, customer: Option<&str>) {
        let body = json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": customer});
        let (status, body) = self.put(client, &body).await;
        assert!(status == 201 || status == 200, "{status}: {body}");
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.get_as(&service_token(), path).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> (u16, Value) {
        answer(&self.http, self.http.get(self.url(path)).bearer_auth(token)).await
    }

    pub async fn request(
        &self,
        make: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
    ) -> (u16, Value) {
        answer(&self.http, make(&self.http, format!("http://{}", self.address))).await
    }

    /// The client as the API shows it.
    pub async fn client(&self, client: &str) -> Value {
        let (status, body) = self.get(&format!("/api/clients/{client}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub async fn state(&self, client: &str) -> String {
        self.client(client).await["state"].as_str().unwrap().to_owned()
    }

    /// The timeline as the API shows it, oldest first.
    pub async fn timeline(&self, client: &str) -> Vec<Decided> {
        let (status, body) = self.get(&format!("/api/clients/{client}/timeline?limit=200")).await;
        assert_eq!(status, 200, "{body}");
        let mut decisions: Vec<Decided> = body["decisions"].as_array().unwrap().iter().map(Decided::of).collect();
        decisions.reverse();
        decisions
    }

    /// Sends an event and waits until it was looked at.
    pub async fn decide(&self, event: &Event) -> EventRow {
        self.send(event).await;
        self.row(&event.id).await
    }

    /// As [`World::decide`], past the bindings.
    pub async fn decide_direct(&self, event: &Event) -> EventRow {
        self.publish(event.direct()).await;
        self.row(&event.id).await
    }

    /// Takes what waits in a queue: the type and the JSON of each message.
    pub async fn drain(&self, queue: &str) -> Vec<(String, Value)> {
        let kind = |message: &BasicGetMessage| message.properties.kind().clone().map(|kind| kind.to_string());
        let read = |message| (kind(&message).unwrap_or_default(), body(&message));
        self.take(queue).await.into_iter().map(read).collect()
    }

    /// What is in a queue, emptied, with the place in a trace that each names.
    pub async fn drain_traces(&self, queue: &str) -> Vec<(Option<String>, Value)> {
        let place = |message: &BasicGetMessage| {
            let headers = message.properties.headers().as_ref()?;
            let text = headers.inner().get(headers::TRACEPARENT)?.as_long_string()?;
            Some(text.to_string())
        };
        let read = |message| (place(&message), body(&message));
        self.take(queue).await.into_iter().map(read).collect()
    }

    async fn take(&self, queue: &str) -> Vec<BasicGetMessage> {
        let channel = self.broker.channel().await;
        let mut messages = Vec::new();
        while let Some(message) = channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
        {
            messages.push(message);
        }
        messages
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn body(message: &BasicGetMessage) -> Value {
    serde_json::from_slice(&message.data).unwrap_or(Value::Null)
}

fn start(
    db: &TestDb,
    broker: &TestBroker,
    binding: Binding,
    stripe: Option<ClientConfig>,
    stop: &CancellationToken,
) -> Billing {
    let config = config(db, broker, binding, stripe);
    Billing::start(&config, Clock::System, stop.child_token()).unwrap()
}

fn config(db: &TestDb, broker: &TestBroker, binding: Binding, stripe: Option<ClientConfig>) -> BillingConfig {
    BillingConfig {
        database_url: db.service_url().into(),
        amqp_url: broker.amqp_url().into(),
        token_keys: TokenKeys::secret(JWT_SECRET.to_owned().into()),
        livemode: false,
        binding,
        stripe,
    }
}

fn serve(billing: &Billing, metrics: Metrics, stop: &CancellationToken) -> SocketAddr {
    let readiness = Readiness::new(stop.clone());
    let routes = billing.clone();
    let server = Server::new(HttpSettings::for_tests(), readiness, metrics).routes(move |config| routes.routes(config));
    let bound = server.bind().unwrap();
    let address = bound.address();
    let token = stop.clone();
    tokio::spawn(async move { bound.run(token).await.unwrap() });
    address
}

async fn bind_announcements(broker: &TestBroker) {
    let channel = broker.channel().await;
    let (durable, none) = (
        QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        },
        FieldTable::default,
    );
    channel.queue_declare(ANNOUNCED.into(), durable, none()).await.unwrap();
    let options = QueueBindOptions::default();
    channel
        .queue_bind(ANNOUNCED.into(), topology::EVENTS.into(), "#".into(), options, none())
        .await
        .unwrap();
}

/// An answer, which has to be as the document says.
async fn answer(http: &reqwest::Client, request: reqwest::RequestBuilder) -> (u16, Value) {
    let request = request.build().unwrap();
    let (verb, mut url) = (request.method().to_string(), request.url().clone());
    let response = http.execute(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let path = url.path().to_owned();
    url.set_path("/openapi.json");
    let document: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    check_answer(&document, &verb, &path, status, &body).unwrap();
    (status, body)
}

pub fn token(subject: &str, role: Role, expires_in: i64) -> String {
    let claims = Claims {
        sub: subject.to_owned(),
        email: None,
        role,
        exp: Clock::System.unix_seconds() + expires_in,
    };
    sign(&SecretString::from(JWT_SECRET), &claims).unwrap()
}

pub fn service_token() -> String {
    token("shop", Role::Service, 600)
}

/// A name that no other test of this process uses.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}_{:04}", COUNT.fetch_add(1, Ordering::Relaxed))
}
