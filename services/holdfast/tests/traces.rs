//! One trace from a webhook's request to the database and to Stripe, at a collector that speaks OpenTelemetry's protocol.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use common::{JWT_SECRET, Running, SECRET, WAIT, environment, event};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use service_kit::auth::{Claims, Role};
use service_kit::clock::Clock;
use stripe_gateway::signature::sign;
use testkit::{TestBroker, TestDb};

/// Keeps the spans that are posted to it, each with its service.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

impl Collector {
    /// Gives its base address as well.
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let taking = collector.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut reader = BufReader::new(socket.unwrap());
                let head: Vec<String> = reader
                    .by_ref()
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert!(head[0].starts_with("POST /v1/traces "), "{head:?}");
                let length = head
                    .iter()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap()];
                reader.read_exact(&mut body).unwrap();
                taking.take(&body);
                reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .unwrap();
            }
        });
        (collector, address)
    }

    fn take(&self, body: &[u8]) {
        for part in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
            let service = text(&part.resource.unwrap().attributes, "service.name");
            let spans = part.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
    }

    /// The spans of a trace.
    fn of(&self, trace: &[u8]) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        all.iter()
            .map(|(_, span)| span.clone())
            .filter(|span| span.trace_id == trace)
            .collect()
    }
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> String {
    let value = attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .and_then(|attribute| attribute.value.clone());
    match value {
        Some(AnyValue {
            value: Some(any_value::Value::StringValue(text)),
        }) => text,
        Some(AnyValue {
            value: Some(any_value::Value::IntValue(number)),
        }) => number.to_string(),
        _ => String::new(),
    }
}

/// The only one of a name.
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(
        found.len(),
        1,
        "{name} among {:?}",
        spans.iter().map(|span| &span.name).collect::<Vec<_>>()
    );
    found[0]
}

/// Posts an event as a part of a trace.
async fn post(running: &Running, body: &str, traceparent: &str) {
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("http://{}/webhooks/stripe", running.address))
        .header(
            "stripe-signature",
            sign(SECRET, body.as_bytes(), Clock::System.unix_seconds()),
        )
        .header("traceparent", traceparent)
        .body(body.to_owned())
        .send();
    assert_eq!(answer.await.unwrap().status(), 200);
}

const TRACE: [u8; 16] = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
const TOLD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PARENT: [u8; 8] = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00";
const UNSAMPLED_TRACE: [u8; 16] = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319d_u128.to_be_bytes();

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_webhook_through_the_broker_to_the_database_and_to_stripe() {
    let (collector, endpoint) = Collector::start();
    let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
    let mut env = environment(&db.service_url(), &broker.amqp_url());
    env.push(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{endpoint}/")));
    env.push(("OTEL_SERVICE_NAME", "payments".to_owned()));
    // Nothing is sent before the end, so that the end is what sends it.
    env.push(("OTEL_BSP_SCHEDULE_DELAY", "3600000".to_owned()));
    let running = Running::start(&env, &["webhook-ingest", "billing"]).await;
    running.ready().await;
    let unkept = event("evt_unsampled", "invoice.paid");
    let now = Clock::System.unix_seconds();
    let thin = format!(
        r#"{{"id": "evt_thin", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "livemode": false,
            "created": "{}", "related_object": {{"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"}}}}"#,
        chrono::DateTime::from_timestamp(now, 0).unwrap().to_rfc3339()
    );
    // In one batch or in two: what is not kept does not lead what is.
    tokio::join!(post(&running, &unkept, UNSAMPLED), post(&running, &thin, TOLD),);
    let client = db.superuser().await;
    testkit::eventually(WAIT, || async {
        let sql = "SELECT 1 FROM billing_events WHERE stripe_event_id IN ('evt_thin', 'evt_unsampled')";
        client.query(sql, &[]).await.unwrap().len() == 2
    })
    .await;
    running.terminate();
    let (status, log) = running.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");

    let spans = collector.of(&TRACE);
    let request = named(&spans, "POST /webhooks/stripe");
    assert_eq!(
        (request.kind(), request.parent_span_id.as_slice()),
        (SpanKind::Server, PARENT.as_slice())
    );
    assert_eq!(text(&request.attributes, "http.response.status_code"), "200");
    let publish = named(&spans, "publish stripe.events");
    assert_eq!(
        (publish.kind(), &publish.parent_span_id),
        (SpanKind::Producer, &request.span_id)
    );
    assert_eq!(text(&publish.attributes, "messaging.message.id"), "evt_thin");
    let process = spans.iter().find(|span| span.name == "process billing.events").unwrap();
    assert_eq!(
        (process.kind(), &process.parent_span_id),
        (SpanKind::Consumer, &request.span_id)
    );
    assert_eq!(text(&process.attributes, "verdict"), "done");
    assert!(
        spans
            .iter()
            .any(|span| span.name == "transaction" && span.parent_span_id == process.span_id)
    );
    let read = spans.iter().find(|span| span.name.starts_with("stripe ")).unwrap();
    assert_eq!(
        (read.kind(), read.status.clone().unwrap().code()),
        (SpanKind::Client, StatusCode::Error)
    );
    assert_eq!(read.parent_span_id, process.span_id);

    assert!(collector.of(&UNSAMPLED_TRACE).is_empty());
    let all = collector.0.lock().unwrap();
    assert!(all.iter().all(|(service, _)| service == "payments"));
    let asked_by_us = |span: &Span| span.parent_span_id.is_empty() && span.name == "transaction";
    assert!(
        !all.iter().any(|(_, span)| asked_by_us(span)),
        "what nobody asked for is traced"
    );
    let whole = format!("{all:?}");
    assert!(
        !whole.contains(SECRET) && !whole.contains("sk_test_"),
        "secrets in spans"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_worker_makes_is_in_the_trace_of_the_request_that_wanted_it() {
    let (collector, endpoint) = Collector::start();
    let (db, broker) = tokio::join!(TestDb::create(), TestBroker::create());
    testkit::install_tls_provider();
    let sim = stripe_sim::start(stripe_sim::SimConfig::default()).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let tell_sim = async |path: &str, body: Value| {
        let told = http.post(format!("{}/_sim/{path}", sim.base_url)).json(&body).send();
        assert!(told.await.unwrap().status().is_success());
    };
    let account = http
        .post(format!("{}/v1/accounts", sim.base_url))
        .bearer_auth("sk_test_0123456789abcdef")
        .form(&[("country", "DE"), ("capabilities[transfers][requested]", "true")]);
    let account: Value = account.send().await.unwrap().json().await.unwrap();
    tell_sim("act", json!({"act": "complete_onboarding", "account": account["id"]})).await;
    tell_sim(
        "faults",
        json!({"path": "/v1/payment_intents$", "method": "POST", "kind": "lost_before"}),
    )
    .await;

    let mut env = environment(&db.service_url(), &broker.amqp_url());
    env.retain(|(name, _)| *name != "STRIPE_API_BASE");
    env.push(("STRIPE_API_BASE", sim.base_url.clone()));
    env.push(("STRIPE_MAX_RETRIES", "0".to_owned()));
    env.push(("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint));
    env.push(("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()));
    let running = Running::start(&env, &["escrow"]).await;
    running.ready().await;
    let terms = json!({
        "amount": 10_000, "currency": "eur", "capture": "manual",
        "expires_at": Clock::System.now() + chrono::TimeDelta::days(3),
        "recipients": [{"account": account["id"], "share_bps": 10_000}], "platform_fee": {"bps": 1_000},
    });
    let asked = http
        .post(format!("http://{}/api/escrows", running.address))
        .bearer_auth(token())
        .header("idempotency-key", "one")
        .header("traceparent", TOLD)
        .json(&terms)
        .send();
    let (status, body) = {
        let answer = asked.await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert_eq!(status, 503, "{body}");
    testkit::eventually(WAIT, || async {
        let spans = collector.of(&TRACE);
        let worker = spans.iter().find(|span| span.name == "operation");
        worker.is_some_and(|worker| {
            spans
                .iter()
                .any(|span| is_call(span) && span.parent_span_id == worker.span_id)
        })
    })
    .await;
    let spans = collector.of(&TRACE);
    let request = named(&spans, "POST /api/escrows");
    assert!(
        spans
            .iter()
            .any(|span| is_call(span) && span.parent_span_id == request.span_id),
        "the call whose answer was lost"
    );
    running.terminate();
    let (status, log) = running.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

fn is_call(span: &Span) -> bool {
    span.name == "stripe create_payment_intent"
}

fn token() -> String {
    let claims = Claims {
        sub: "shop".to_owned(),
        email: None,
        role: Role::Service,
        exp: Clock::System.unix_seconds() + 600,
    };
    service_kit::auth::sign(&JWT_SECRET.to_owned().into(), &claims).unwrap()
}
