//! A vhost for one test.

use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Queue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::env;
use crate::wait::{PATIENCE, block_on, eventually_some};

/// The name of the test's own connection, so that [`TestBroker::close_connections`] spares it.
const OWN_CONNECTION: &str = "testkit";

/// A vhost of its own on the test broker, deleted (with its queues and connections) when dropped.
#[derive(Debug)]
pub struct TestBroker {
    vhost: String,
    api: Api,
    own: OnceCell<Connection>,
}

/// What the management API says about a queue. The broker refreshes these numbers every few seconds only; for the number of
/// waiting messages right now use [`TestBroker::ready`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStats {
    /// Waiting to be delivered.
    pub ready: u64,
    /// Delivered and not yet acknowledged.
    pub unacknowledged: u64,
    /// Consumers that are attached.
    pub consumers: u64,
}

impl TestBroker {
    /// A fresh vhost in which the test's user may do everything.
    pub async fn create() -> Self {
        let api = Api::of(&env::rabbitmq_api());
        let vhost = format!("holdfast-test-{}", Uuid::new_v4().simple());
        api.expect(Method::PUT, &["vhosts", &vhost], Some(json!({}))).await;
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let user = user_of(&env::amqp_url());
        api.expect(Method::PUT, &["permissions", &vhost, &user], Some(everything))
            .await;
        Self {
            vhost,
            api,
            own: OnceCell::new(),
        }
    }

    /// The vhost's name.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The URL under which the code being tested connects.
    pub fn amqp_url(&self) -> String {
        let mut url =
            Url::parse(&env::amqp_url()).unwrap_or_else(|error| panic!("HOLDFAST_TEST_AMQP_URL is not a URL: {error}"));
        url.set_path(&self.vhost);
        url.into()
    }

    /// A new channel on the test's own connection, for declaring, publishing and looking from outside.
    pub async fn channel(&self) -> Channel {
        let connect = async || {
            let properties = ConnectionProperties::default().with_connection_name(OWN_CONNECTION.into());
            Connection::connect(&self.amqp_url(), properties)
                .await
                .expect("the test's own connection")
        };
        self.own
            .get_or_init(connect)
            .await
            .create_channel()
            .await
            .expect("a channel of the test's own connection")
    }

    /// How many messages wait in `queue` at this moment, or `None` when there is no such queue.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        self.look(queue).await.map(|queue| queue.message_count())
    }

    /// How many consumers `queue` has at this moment, or `None` when there is no such queue.
    pub async fn consumers(&self, queue: &str) -> Option<u32> {
        self.look(queue).await.map(|queue| queue.consumer_count())
    }

    async fn look(&self, queue: &str) -> Option<Queue> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.channel().await;
        let declared = channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        declared.ok()
    }

    /// Takes the next message out of `queue` for good, or `None` when it is empty.
    pub async fn take(&self, queue: &str) -> Option<BasicGetMessage> {
        let channel = self.channel().await;
        let taken = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await;
        taken.unwrap_or_else(|error| panic!("taking a message from {queue}: {error}"))
    }

    /// The management API's numbers of `queue`, or `None` when there is no such queue.
    pub async fn stats(&self, queue: &str) -> Option<QueueStats> {
        let response = self.api.send(Method::GET, &["queues", &self.vhost, queue], None).await;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        let body: Value = response.json().await.expect("the management API answers JSON");
        let number = |name: &str| body.get(name).and_then(Value::as_u64).unwrap_or_default();
        Some(QueueStats {
            ready: number("messages_ready"),
            unacknowledged: number("messages_unacknowledged"),
            consumers: number("consumers"),
        })
    }

    /// Closes every connection of the vhost except the test's own, as a broker does that loses them, and returns how many
    /// that were. The management API lists a new connection some time after it was made, so this waits until it lists
    /// `at_least` as many: a test names how many it knows to be there.
    pub async fn close_connections(&self, at_least: usize) -> usize {
        let open = eventually_some(PATIENCE, || async {
            let names = self.connections().await;
            (names.len() >= at_least).then_some(names)
        })
        .await;
        for name in &open {
            let response = self.api.send(Method::DELETE, &["connections", name], None).await;
            let gone = response.status().is_success() || response.status() == StatusCode::NOT_FOUND;
            assert!(gone, "closing the connection {name}: {}", response.status());
        }
        open.len()
    }

    /// The names of the open connections of this vhost, without the test's own.
    pub async fn connections(&self) -> Vec<String> {
        let response = self
            .api
            .expect(Method::GET, &["vhosts", &self.vhost, "connections"], None)
            .await;
        let listed: Vec<Value> = response.json().await.expect("the management API answers a list");
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        listed
            .iter()
            .filter(|connection| text(connection, "user_provided_name").as_deref() != Some(OWN_CONNECTION))
            .filter_map(|connection| text(connection, "name"))
            .collect()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let (api, vhost) = (self.api.base.clone(), std::mem::take(&mut self.vhost));
        block_on(async move {
            let response = Api::at(api).send(Method::DELETE, &["vhosts", &vhost], None).await;
            if !response.status().is_success() {
                eprintln!("testkit: deleting the vhost {vhost}: {}", response.status());
            }
        });
    }
}

#[derive(Debug)]
struct Api {
    base: Url,
    client: Client,
}

impl Api {
    fn of(base: &str) -> Self {
        Self::at(Url::parse(base).unwrap_or_else(|error| panic!("HOLDFAST_TEST_RABBITMQ_API is not a URL: {error}")))
    }

    fn at(base: Url) -> Self {
        crate::install_tls_provider();
        let client = Client::builder().timeout(PATIENCE).build().expect("an HTTP client");
        Self { base, client }
    }

    async fn send(&self, method: Method, path: &[&str], body: Option<Value>) -> Response {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .push("api")
            .extend(path);
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request
            .send()
            .await
            .unwrap_or_else(|error| panic!("the broker's management API: {error}"))
    }

    async fn expect(&self, method: Method, path: &[&str], body: Option<Value>) -> Response {
        let response = self.send(method.clone(), path, body).await;
        let status = response.status();
        assert!(
            status.is_success(),
            "the broker's management API: {method} {path:?}: {status}"
        );
        response
    }
}

fn user_of(amqp_url: &str) -> String {
    let user = Url::parse(amqp_url)
        .map(|url| url.username().to_owned())
        .unwrap_or_default();
    if user.is_empty() { "guest".to_owned() } else { user }
}
