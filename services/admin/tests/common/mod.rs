//! Admin on a free port, with a database and a broker of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs
)]

use std::net::SocketAddr;
use std::time::Duration;

use admin::{Admin, AdminConfig};
use bus::{BrokerConfig, Headers, Outgoing, Publisher, PublisherConfig, Topology, headers, topology};
use bytes::Bytes;
use reqwest::{Client, Method, Response};
use service_kit::auth::{Claims, Role, sign};
use service_kit::clock::Clock;
use service_kit::config::TokenKeys;
use service_kit::health::Readiness;
use service_kit::http::{HttpSettings, Server};
use service_kit::telemetry::Metrics;
use testkit::{TestBroker, TestDb};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

pub const WAIT: Duration = testkit::PATIENCE;
pub const JWT_SECRET: &str = "0123456789abcdef-0123456789abcdef";

/// Admin and what surrounds it. Fields are dropped in order: admin ends before its servers.
pub struct Rig {
    pub address: SocketAddr,
    pub publisher: Publisher,
    pub admin: Admin,
    pub http: Client,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    pub broker: TestBroker,
    pub db: TestDb,
}

impl Rig {
    pub async fn start() -> Self {
        Self::over(TestDb::create().await, None).await
    }

    /// Over this database, and a broker at this address instead of the test's own.
    pub async fn over(db: TestDb, amqp_url: Option<&str>) -> Self {
        testkit::install_tls_provider();
        let metrics = Metrics::install().unwrap();
        let broker = TestBroker::create().await;
        let publisher = Publisher::start(PublisherConfig {
            topology: Topology::holdfast(),
            ..PublisherConfig::new(BrokerConfig::new(broker.amqp_url(), "test"))
        });
        publisher.wait_ready(WAIT).await.unwrap();
        let config = AdminConfig {
            database_url: db.service_url().into(),
            amqp_url: amqp_url.map_or_else(|| broker.amqp_url(), str::to_owned).into(),
            token_keys: TokenKeys::secret(JWT_SECRET.to_owned().into()),
            livemode: false,
        };
        let stop = CancellationToken::new();
        let readiness = Readiness::new(stop.clone());
        let admin = Admin::start(config, Clock::System, None, stop.clone()).unwrap();
        admin.register_checks(&readiness);
        let routes = admin.clone();
        let server = Server::new(HttpSettings::for_tests(), readiness, metrics).routes(move |c| routes.routes(c));
        let bound = server.bind().unwrap();
        let address = bound.address();
        let token = stop.clone();
        let served = tokio::spawn(async move { bound.run(token).await.unwrap() });
        let http = Client::builder().no_proxy().build().unwrap();
        Self {
            address,
            publisher,
            admin,
            http,
            stop,
            served,
            broker,
            db,
        }
    }

    /// Stops as the process would.
    pub async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap();
        self.admin.wait().await;
        self.admin.close(Duration::from_secs(5)).await;
        self.publisher.close(Duration::from_secs(5)).await;
    }

    /// Publishes an event as ingest does.
    pub async fn event(&self, endpoint: &str, kind: &str, id: &str, body: impl Into<Bytes>) {
        let headers = Headers::new()
            .with_str(headers::ENDPOINT, endpoint)
            .with_str(headers::RECEIVED_AT, "2026-11-21T12:00:00.123Z");
        self.message(headers, &format!("{endpoint}.{kind}"), id, body).await;
    }

    pub async fn message(&self, headers: Headers, routing_key: &str, id: &str, body: impl Into<Bytes>) {
        self.publish(topology::STRIPE_EVENTS, headers, routing_key, id, body.into())
            .await;
    }

    pub async fn publish(&self, exchange: &'static str, headers: Headers, key: &str, id: &str, body: Bytes) {
        let message = Outgoing {
            exchange: exchange.into(),
            routing_key: key.to_owned(),
            message_id: id.to_owned(),
            kind: "test".to_owned(),
            timestamp: 1,
            headers,
            body,
        };
        self.publisher.publish(message).await.unwrap();
    }

    pub async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.db.superuser().await.query(sql, params).await.unwrap()
    }

    /// Waits until the archive has so many rows and gives them, by id: id, reason, payload, deliveries, endpoint.
    pub async fn archived(&self, count: usize) -> Vec<(String, String, String, i32, String)> {
        let sql = "SELECT stripe_event_id, reason, payload, deliveries, endpoint FROM billing_events \
                   WHERE consumer = 'archive' AND outcome = 'ignored' AND status = 'decided' ORDER BY stripe_event_id";
        testkit::eventually_some(WAIT, || async {
            let rows = self.rows(sql, &[]).await;
            (rows.len() >= count).then(|| {
                rows.iter()
                    .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
                    .collect()
            })
        })
        .await
    }

    pub async fn call(&self, method: Method, path: &str, token: Option<&str>) -> Response {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    /// Makes a user a member of an organisation.
    pub async fn member(&self, org: &str, user: &str, role: &str) {
        let client = self.db.superuser().await;
        let organisation = "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING";
        client.execute(organisation, &[&org]).await.unwrap();
        let member = "INSERT INTO org_members (org_id, user_id, role) VALUES ($1, $2, $3)";
        client.execute(member, &[&org, &user, &role]).await.unwrap();
    }
}

pub fn token(subject: &str, role: Role) -> String {
    let claims = Claims {
        sub: subject.to_owned(),
        email: None,
        role,
        exp: Clock::System.unix_seconds() + 600,
    };
    sign(&JWT_SECRET.to_owned().into(), &claims).unwrap()
}

/// An event as Stripe posts it.
pub fn snapshot(id: &str, kind: &str, livemode: bool) -> String {
    format!(
        "{{\n  \"id\": \"{id}\",\n  \"object\": \"event\",\n  \"api_version\": \"2026-09-30.endive\",\n  \"created\": \
         1763726400,\n  \"data\": {{\n    \"object\": {{ \"odd\": \"\\u0000 \\u00e9 é\", \"n\": 1.0e2 }}\n  }},\n  \
         \"livemode\": {livemode},\n  \"type\": \"{kind}\"\n}}"
    )
}
