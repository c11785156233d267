//! A simulator, a client and an endpoint that remembers what it got.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use stripe_sim::{EndpointConfig, SimConfig, SimHandle};

/// A moment at which clocks of tests stand: 2026-01-31T12:00:00Z.
pub(crate) const START: i64 = 1_769_860_800;
pub(crate) const DAY: i64 = 86_400;

/// One delivery as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }
}

#[derive(Debug, Default)]
struct Inbox {
    got: Vec<Got>,
    /// Statuses to answer with, in turn; 200 when there are none left.
    answers: Vec<u16>,
}

/// An endpoint of ours.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Mutex<Inbox>>,
    server: ServerHandle,
}

impl Receiver {
    pub(crate) fn start(answers: &[u16]) -> Self {
        let inbox = Arc::new(Mutex::new(Inbox {
            got: Vec::new(),
            answers: answers.to_vec(),
        }));
        let data = web::Data::new(Arc::clone(&inbox));
        let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(receive)))
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let url = format!("http://{}/hook", server.addrs()[0]);
        let running = server.run();
        let handle = running.handle();
        tokio::spawn(running);
        Self {
            url,
            inbox,
            server: handle,
        }
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.inbox.lock().unwrap().got.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn receive(request: HttpRequest, body: web::Bytes, inbox: web::Data<Arc<Mutex<Inbox>>>) -> HttpResponse {
    let signature = request
        .headers()
        .get("Stripe-Signature")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let mut inbox = inbox.lock().unwrap();
    inbox.got.push(Got {
        signature,
        body: body.to_vec(),
    });
    let status = if inbox.answers.is_empty() {
        200
    } else {
        inbox.answers.remove(0)
    };
    HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).finish()
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) type Form<'a> = &'a [(&'a str, &'a str)];

/// A simulator and a client for it.
pub(crate) struct Sim {
    pub(crate) handle: SimHandle,
    pub(crate) client: reqwest::Client,
}

/// A simulator whose clock stands at [`START`].
pub(crate) fn config(seed: u64) -> SimConfig {
    SimConfig {
        seed,
        start_at: Some(START),
        webhook_secret: Some("whsec_platform".to_owned()),
        retry_backoff: vec![Duration::from_millis(20)],
        ..SimConfig::default()
    }
}

impl Sim {
    pub(crate) async fn start() -> Self {
        Self::with(config(7)).await
    }

    /// A simulator that delivers to one endpoint.
    pub(crate) async fn to(receiver: &Receiver, seed: u64) -> Self {
        Self::with(SimConfig {
            endpoints: vec![EndpointConfig::new(&receiver.url)],
            ..config(seed)
        })
        .await
    }

    pub(crate) async fn with(config: SimConfig) -> Self {
        let handle = stripe_sim::start(config).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { handle, client }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client
            .request(method, format!("{}{path}", self.handle.base_url))
            .bearer_auth("sk_test_123")
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    pub(crate) async fn post(&self, path: &str, form: Form<'_>) -> Answer {
        self.send(self.request("POST", path).form(form)).await
    }

    pub(crate) async fn keyed(&self, key: &str, path: &str, form: Form<'_>) -> Answer {
        self.send(self.request("POST", path).header("Idempotency-Key", key).form(form))
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn get_as(&self, version: &str, path: &str) -> Value {
        self.send(self.request("GET", path).header("Stripe-Version", version))
            .await
            .ok()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    pub(crate) async fn control(&self, path: &str, body: Value) -> Answer {
        self.send(self.request("POST", &format!("/_sim/{path}")).json(&body))
            .await
    }

    pub(crate) async fn advance(&self, seconds: i64) {
        self.control("clock", json!({ "advance_seconds": seconds })).await.ok();
    }

    /// Waits until nothing is left to deliver.
    pub(crate) async fn quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.get("/_sim/quiet").await.ok()["quiet"] != true {
            assert!(
                Instant::now() < deadline,
                "deliveries do not end: {}",
                self.get("/_sim/deliveries").await.body
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn customer(&self, method: Option<&str>) -> String {
        let mut form = vec![("email", "jenny@example.com"), ("metadata[client_id]", "client_1")];
        form.extend(method.map(|method| ("invoice_settings[default_payment_method]", method)));
        self.post("/v1/customers", &form).await.ok()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn price(&self, amount: &str, interval: &str) -> String {
        let form = [
            ("currency", "eur"),
            ("unit_amount", amount),
            ("recurring[interval]", interval),
            ("product_data[name]", "Pro"),
        ];
        self.post("/v1/prices", &form).await.ok()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn subscribe(&self, customer: &str, price: &str, more: Form<'_>) -> Answer {
        let mut form = vec![
            ("customer", customer),
            ("items[0][price]", price),
            ("metadata[client_id]", "client_1"),
        ];
        form.extend(more);
        self.post("/v1/subscriptions", &form).await
    }

    /// A running subscription of 10 euros a month.
    pub(crate) async fn running(&self) -> Value {
        let (customer, price) = (
            self.customer(Some("pm_card_visa")).await,
            self.price("1000", "month").await,
        );
        self.subscribe(&customer, &price, &[]).await.ok()
    }

    /// The events of the last 30 days, oldest first.
    pub(crate) async fn events(&self) -> Vec<Value> {
        self.since("").await
    }

    /// The id of the newest event, for [`Sim::since`].
    pub(crate) async fn mark(&self) -> String {
        let page = self.get("/v1/events?limit=1").await.ok();
        page["data"][0]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// The events after one of them, oldest first.
    pub(crate) async fn since(&self, mark: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let cursor = events
                .last()
                .map(|one| format!("&starting_after={}", one["id"].as_str().unwrap()))
                .unwrap_or_default();
            let page = self.get(&format!("/v1/events?limit=100{cursor}")).await.ok();
            for event in page["data"].as_array().unwrap() {
                if event["id"] == mark {
                    events.reverse();
                    return events;
                }
                events.push(event.clone());
            }
            if page["has_more"] != true {
                events.reverse();
                return events;
            }
        }
    }

    /// The types of the events after one of them, with the object's status where it has one.
    pub(crate) async fn story(&self, mark: &str) -> Vec<String> {
        self.since(mark).await.iter().map(tell).collect()
    }
}

pub(crate) fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

pub(crate) fn tell(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap();
    event["data"]["object"]["status"]
        .as_str()
        .map_or_else(|| kind.to_owned(), |status| format!("{kind} {status}"))
}
