//! Escrow at work between a real database, a real broker and a simulated Stripe.
//!
//! Each test has a world of its own, with a clock that is moved by hand. Events that the simulator makes are carried to the queue by the
//! world, as ingest would.
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

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bus::{BrokerConfig, Headers, Outgoing, Publisher, PublisherConfig, headers, topology};
use chrono::{DateTime, Utc};
use domain::escrow::breaker::Limits;
use domain::escrow::terms::Settlement;
use escrow::{Escrow, EscrowConfig, Tuning};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use service_kit::auth::{Claims, Role, sign};
use service_kit::clock::Clock;
use service_kit::config::TokenKeys;
use service_kit::health::Readiness;
use service_kit::http::{HttpSettings, Server};
use service_kit::openapi::check_answer;
use service_kit::secret::SharedSecret;
use service_kit::telemetry::Metrics;
use stripe_gateway::client::{ApiBase, Backoff, ClientConfig};
use stripe_sim::{SimConfig, SimHandle};
use testkit::{TestBroker, TestDb};
use tokio_util::sync::CancellationToken;

/// Within this everything that is going to happen has happened, also on a busy machine.
pub const SOON: Duration = testkit::PATIENCE;
pub const KEY: &str = "sk_test_0123456789abcdef01234567";
const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";

pub struct World {
    // Fields are dropped in this order: escrow before what it is connected to.
    escrow: Option<Escrow>,
    pub publisher: Publisher,
    pub db: TestDb,
    pub broker: TestBroker,
    pub sim: SimHandle,
    pub sql: tokio_postgres::Client,
    pub address: SocketAddr,
    pub clock: Clock,
    carried: Mutex<HashSet<String>>,
    http: reqwest::Client,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs a test on a runtime that lives as long as it.
pub fn in_world<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    World::with_settlement(Settlement::Unsaid, test);
}

impl World {
    /// Runs a test in a world whose platform settles in these currencies.
    pub fn with_settlement<F: Future<Output = ()>>(settlement: Settlement, test: impl FnOnce(Self) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { test(Self::create(settlement).await).await });
    }

    async fn create(settlement: Settlement) -> Self {
        let mut world = Self::bare(SimConfig::default()).await;
        let escrow = world.start(settlement);
        world.address = serve(&escrow, &world.stop);
        world.escrow = Some(escrow);
        world
    }

    /// A world in which no escrow is at work.
    pub async fn bare(sim: SimConfig) -> Self {
        testkit::install_tls_provider();
        let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
        let publisher = Publisher::start(PublisherConfig {
            topology: bus::Topology::with_escrow(),
            channels: 1,
            ..PublisherConfig::new(BrokerConfig::new(broker.amqp_url(), "test"))
        });
        publisher.wait_ready(SOON).await.unwrap();
        Self {
            escrow: None,
            sql: db.superuser().await,
            publisher,
            db,
            broker,
            sim: stripe_sim::start(sim).await.unwrap(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            clock: Clock::manual(Clock::System.now()),
            carried: Mutex::default(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            stop: CancellationToken::new(),
        }
    }

    fn start(&self, settlement: Settlement) -> Escrow {
        let config = EscrowConfig {
            settlement,
            ..config(self.db.service_url(), self.broker.amqp_url(), &self.sim.base_url)
        };
        let tuning = Tuning {
            has_timer: false,
            ..Tuning::default()
        };
        Escrow::start(&config, self.clock.clone(), tuning, self.stop.child_token()).unwrap()
    }

    pub fn in_days(&self, days: i64) -> DateTime<Utc> {
        self.clock.now() + chrono::TimeDelta::days(days)
    }

    /// A connected account that can receive.
    pub async fn account(&self) -> String {
        let id = self.new_account().await;
        self.act(json!({"act": "complete_onboarding", "account": id})).await;
        id
    }

    /// A connected account that cannot receive yet.
    pub async fn new_account(&self) -> String {
        let form = [("country", "DE"), ("capabilities[transfers][requested]", "true")];
        self.stripe(Method::POST, "/v1/accounts", &form).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub async fn act(&self, act: Value) -> Value {
        self.sim_call("act", act).await
    }

    pub async fn fault(&self, fault: Value) {
        self.sim_call("faults", fault).await;
    }

    /// Of every call to a path the answer is lost, after its effect, until [`Self::heal`]. A wait after an unknown outcome has any length
    /// down to none: one lost answer alone may be found out before anybody looks.
    pub async fn lose_answers(&self, path: &str) {
        self.fault(json!({"path": path, "method": "POST", "kind": "lost_after", "times": 1_000}))
            .await;
    }

    /// Waits until nobody knows what one call of this kind has done, and nobody asks before the clock is moved. Meanwhile every answer has to be
    /// lost.
    pub async fn until_unknown(&self, kind: &str) {
        let now = self.clock.now().to_rfc3339();
        let sql = format!(
            "SELECT count(*) FROM stripe_operations WHERE kind = '{kind}' AND status = 'unknown' AND next_at > '{now}'"
        );
        testkit::eventually(SOON, || async { self.count(&sql).await == 1 }).await;
    }

    /// Waits until a call of this kind has been made for an escrow, whatever came of it.
    pub async fn until_called(&self, escrow: &str, kind: &str) {
        let sql = format!(
            "SELECT count(*) FROM stripe_operations \
             WHERE escrow_id = '{escrow}' AND kind = '{kind}' AND calls > 0 AND status <> 'in_flight'"
        );
        testkit::eventually(SOON, || async { self.count(&sql).await == 1 }).await;
    }

    /// Ends every fault.
    pub async fn heal(&self) {
        let url = format!("{}/_sim/faults", self.sim.base_url);
        assert!(self.http.delete(url).send().await.unwrap().status().is_success());
    }

    async fn sim_call(&self, what: &str, body: Value) -> Value {
        let url = format!("{}/_sim/{what}", self.sim.base_url);
        let response = self.http.post(url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{body}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn stripe(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Value {
        let request = self
            .http
            .request(method, format!("{}{path}", self.sim.base_url))
            .bearer_auth(KEY);
        let request = if form.is_empty() { request } else { request.form(form) };
        let text = request.send().await.unwrap().text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value.get("error").is_none(), "{path}: {text}");
        value
    }

    /// The simulator's own book of what really moved for an escrow.
    pub async fn book(&self, escrow: &str) -> Value {
        let url = format!("{}/_sim/ledger?escrow_id={escrow}", self.sim.base_url);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The amounts of one kind that really moved, sorted.
    pub async fn moved(&self, escrow: &str, kind: &str) -> Vec<i64> {
        let book = self.book(escrow).await;
        let mut amounts: Vec<i64> = book[kind]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["amount"].as_i64().unwrap())
            .collect();
        amounts.sort_unstable();
        amounts
    }

    /// Carries every event that the simulator has made and the queue has not had.
    pub async fn carry(&self) {
        let platform = self.stripe(Method::GET, "/v1/events?limit=100", &[]).await;
        let mut events: Vec<Value> = platform["data"].as_array().unwrap().clone();
        events.reverse();
        for event in events {
            self.carry_one(&event, "platform").await;
        }
    }

    pub async fn carry_one(&self, event: &Value, endpoint: &str) {
        let id = event["id"].as_str().unwrap().to_owned();
        if !self.carried.lock().unwrap().insert(id) {
            return;
        }
        self.deliver(event, endpoint).await;
    }

    pub async fn deliver(&self, event: &Value, endpoint: &str) {
        let (id, kind) = (event["id"].as_str().unwrap(), event["type"].as_str().unwrap());
        let message = Outgoing {
            exchange: topology::STRIPE_EVENTS.into(),
            routing_key: format!("{endpoint}.{kind}"),
            message_id: id.to_owned(),
            kind: kind.to_owned(),
            timestamp: 0,
            headers: Headers::new().with_str(headers::ENDPOINT, endpoint),
            body: event.to_string().into(),
        };
        self.publisher.publish(message).await.unwrap();
    }

    /// `account.updated` as Stripe sends it now.
    pub async fn tell_account(&self, account: &str) {
        self.tell_account_at(account, 60).await;
    }

    /// `account.updated` as Stripe sends it in so many seconds.
    pub async fn tell_account_at(&self, account: &str, later: i64) {
        let object = self.stripe(Method::GET, &format!("/v1/accounts/{account}"), &[]).await;
        let event = json!({
            "id": unique("evt_account"), "object": "event", "type": "account.updated", "account": account,
            "created": self.clock.unix_seconds() + later, "livemode": false, "api_version": "2026-09-30.endive",
            "data": {"object": object},
        });
        self.deliver(&event, "connect").await;
    }

    /// A command as the retry service sends it.
    pub async fn send_command(&self, body: &Value) {
        let message = Outgoing {
            exchange: topology::COMMANDS.into(),
            routing_key: topology::ESCROW_COMMANDS.to_owned(),
            message_id: unique("command"),
            kind: escrow::RETRY.to_owned(),
            timestamp: 0,
            headers: Headers::new(),
            body: body.to_string().into(),
        };
        self.publisher.publish(message).await.unwrap();
    }

    /// Waits until no command waits or is being worked on.
    pub async fn settled_commands(&self) {
        testkit::eventually(SOON, || async {
            let stats = self.broker.stats(topology::ESCROW_COMMANDS).await;
            stats.is_some_and(|stats| stats.ready + stats.unacknowledged == 0)
        })
        .await;
    }

    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("http://{}{path}", self.address)).json(body);
        let request = key
            .into_iter()
            .fold(request, |request, key| request.header("Idempotency-Key", key));
        answer(&self.http, request.bearer_auth(service_token())).await
    }

    /// The same by a caller of another role.
    pub async fn post_as(&self, role: Role, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("http://{}{path}", self.address)).json(body);
        answer(&self.http, request.bearer_auth(token(role))).await
    }

    pub async fn command(&self, escrow: &str, command: &str, body: &Value) -> (u16, Value) {
        self.post(&format!("/api/escrows/{escrow}/{command}"), None, body).await
    }

    pub async fn get(&self, escrow: &str) -> Value {
        let request = self.http.get(format!("http://{}/api/escrows/{escrow}", self.address));
        let (status, body) = answer(&self.http, request.bearer_auth(service_token())).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until the escrow has the status.
    pub async fn until(&self, escrow: &str, status: &str) -> Value {
        let found = Mutex::new(Value::Null);
        let waited = tokio::time::timeout(SOON, async {
            loop {
                let body = self.get(escrow).await;
                let is_there = body["status"] == status;
                *found.lock().unwrap() = body;
                if is_there {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })
        .await;
        let found = found.into_inner().unwrap();
        assert!(waited.is_ok(), "not {status} but {found:#}");
        found
    }

    /// As [`Self::until`], while time goes by.
    pub async fn until_later(&self, escrow: &str, status: &str) -> Value {
        let began = std::time::Instant::now();
        loop {
            let body = self.get(escrow).await;
            if body["status"] == status {
                return body;
            }
            assert!(began.elapsed() < SOON, "not {status} but {body:#}");
            self.clock.advance(Duration::from_secs(90));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// An escrow of EUR 100.00 for one recipient, to be captured on release.
    pub fn terms(&self, account: &str) -> Value {
        json!({
            "amount": 10_000, "currency": "eur", "capture": "manual", "expires_at": self.in_days(3),
            "recipients": [{"account": account, "share_bps": 10_000}], "platform_fee": {"bps": 1_000},
        })
    }

    /// Creates an escrow.
    pub async fn escrow(&self, terms: &Value) -> Value {
        let (status, body) = self.post("/api/escrows", Some(&unique("key")), terms).await;
        assert_eq!(status, 201, "{body:#}");
        body
    }

    /// Creates an escrow and pays it.
    pub async fn held(&self, terms: &Value) -> String {
        self.held_by(terms, "pm_card_bypassPending").await
    }

    /// Creates an escrow and pays it with a card.
    pub async fn held_by(&self, terms: &Value, card: &str) -> String {
        let id = self.paid(terms, card).await;
        self.carry().await;
        self.until(&id, "held").await;
        id
    }

    /// Creates an escrow and pays it with a card, of which escrow has not heard.
    pub async fn paid(&self, terms: &Value, card: &str) -> String {
        let body = self.escrow(terms).await;
        self.confirm(&body["payment_intent_id"], card).await;
        body["escrow_id"].as_str().unwrap().to_owned()
    }

    /// Pays with a card; the payment as it is then.
    pub async fn confirm(&self, payment: &Value, card: &str) -> Value {
        let path = format!("/v1/payment_intents/{}/confirm", payment.as_str().unwrap());
        let form = [("payment_method", card), ("return_url", "https://example.com")];
        self.stripe(Method::POST, &path, &form).await
    }

    /// A recipient, and an escrow for it that is paid and captured.
    pub async fn captured(&self) -> (String, String) {
        let account = self.account().await;
        let mut terms = self.terms(&account);
        terms["capture"] = json!("automatic");
        let id = self.held(&terms).await;
        (account, id)
    }

    /// Whether the whole ledger holds.
    pub async fn assert_book_holds(&self) {
        let config = db::DatabaseConfig::new(self.db.service_url().into(), "test");
        let database = db::Database::open(&config).unwrap();
        let problems = db::escrow::ledger::check_ledger(&database.conn().await.unwrap()).await;
        assert_eq!(problems.unwrap(), []);
    }

    /// How often a person was told of something, by a part of the alert's key.
    pub async fn alerts(&self, subject: &str) -> i64 {
        let sql = "SELECT count(*) FROM admin_actions WHERE action = 'alert' AND reason LIKE '%' || $1 || '%'";
        self.sql.query_one(sql, &[&subject]).await.unwrap().get(0)
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// What an instance is told.
pub fn config(database_url: String, amqp_url: String, stripe: &str) -> EscrowConfig {
    let base = ApiBase::parse(stripe).unwrap();
    EscrowConfig {
        database_url: database_url.into(),
        amqp_url: amqp_url.into(),
        token_keys: TokenKeys::secret(JWT_SECRET.to_owned().into()),
        reconcile_secret: SharedSecret::new("the secret of the schedulers in tests".to_owned().into()),
        livemode: false,
        stripe: ClientConfig {
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(2),
            },
            ..ClientConfig::new(base, KEY.to_owned().into(), Duration::from_secs(5), 0)
        },
        limits: Limits::default(),
        settlement: Settlement::Unsaid,
    }
}

pub fn serve(escrow: &Escrow, stop: &CancellationToken) -> SocketAddr {
    let readiness = Readiness::new(stop.clone());
    let metrics = Metrics::install().unwrap();
    let routes = escrow.clone();
    let server = Server::new(HttpSettings::for_tests(), readiness, metrics).routes(move |config| routes.routes(config));
    let bound = server.bind().unwrap();
    let address = bound.address();
    let token = stop.clone();
    tokio::spawn(async move { bound.run(token).await.unwrap() });
    address
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

pub fn service_token() -> String {
    token(Role::Service)
}

fn token(role: Role) -> String {
    let claims = Claims {
        sub: "shop".to_owned(),
        email: None,
        role,
        // The clock of a test is moved by years.
        exp: Clock::System.unix_seconds() + 10 * 365 * 86_400,
    };
    sign(&SecretString::from(JWT_SECRET), &claims).unwrap()
}

/// A name that no other test of this process uses.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}_{:04}", COUNT.fetch_add(1, Ordering::Relaxed))
}
