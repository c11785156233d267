//! The server over real sockets: ids, problems, limits, readiness and the stop.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web;
use serde_json::Value;
use service_kit::auth::{self, Authenticator, Claims, Principal, Role};
use service_kit::clock::Clock;
use service_kit::config::TokenKeys;
use service_kit::health::Readiness;
use service_kit::http::{CallerAddress, HttpSettings, Place, Server};
use service_kit::openapi::{Operation, Verb, check_answer};
use service_kit::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[derive(serde::Deserialize)]
struct Input {
    number: u32,
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    readiness: Readiness,
    /// Told when a request for `/slow` is in work; it goes on for a while after the stop.
    in_work: Arc<Notify>,
}

fn start() -> Running {
    let stop = CancellationToken::new();
    let readiness = Readiness::new(stop.clone());
    let mut settings = HttpSettings::for_tests();
    settings.trusted_proxies = service_kit::rate_limit::TrustedProxies::parse("127.0.0.1").unwrap();
    settings.body_timeout = Duration::from_millis(300);
    let in_work = Arc::new(Notify::new());
    let (begun, stopping) = (Arc::clone(&in_work), stop.clone());
    let server = Server::new(settings, readiness.clone(), Metrics::install().unwrap()).routes(move |routes| {
        let (begun, stopping) = (Arc::clone(&begun), stopping.clone());
        let authenticator = web::Data::new(Authenticator::new(
            &TokenKeys::secret(SECRET.to_owned().into()),
            Clock::System,
            CancellationToken::new(),
        ));
        let (get, post) = (
            |id| Operation::open(Verb::Get, id, "For a test."),
            Operation::open(Verb::Post, "json", ""),
        );
        let json = |body: web::Json<Input>| async move { body.number.to_string() };
        routes.add(Place::at("/json").on(post, json));
        let who = |who: Principal| async move { who.subject };
        routes.add(Place::at("/who").data(authenticator).on(get("who"), who));
        let from = |from: CallerAddress| async move { from.0.to_string() };
        routes.add(Place::at("/from").on(get("from"), from));
        let item = |id: web::Path<u32>| async move { id.to_string() };
        routes.add(Place::at("/item/{id}").on(get("item"), item));
        let slow = move || {
            let (begun, stopping) = (Arc::clone(&begun), stopping.clone());
            async move {
                begun.notify_one();
                stopping.cancelled().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                "done"
            }
        };
        routes.add(Place::at("/slow").on(get("slow"), slow));
    });
    let bound = server.bind().unwrap();
    let address = bound.address();
    let token = stop.clone();
    let served = tokio::spawn(async move { bound.run(token).await.unwrap() });
    Running {
        address,
        stop,
        served,
        readiness,
        in_work,
    }
}

/// Stands for the status of an answer that did not arrive.
const CUT_OFF: u16 = 0;

/// Sends bytes, reads until the end of the answer's body, gives status, head and body.
async fn send(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses a head closes without reading the rest of it, which may cut off our writing and its answer.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
        .await
        .unwrap();
    let text = String::from_utf8(answer).unwrap();
    if text.is_empty() {
        return (CUT_OFF, String::new(), String::new());
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    send(address, request.as_bytes()).await
}

async fn post(address: SocketAddr, headers: &str, body: &str) -> (u16, String, String) {
    let length = body.len();
    let request = format!(
        "POST /json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    send(address, request.as_bytes()).await
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_every_error_is_a_problem() {
    let running = start();
    let json = "content-type: application/json\r\n";
    let big = format!("\"{}\"", "x".repeat(300 * 1024));
    let (status, head, _) = get(running.address, "/healthz", "x-request-id: mine-1\r\n").await;
    assert_eq!(status, 200);
    assert!(head.contains("x-request-id: mine-1"), "{head}");
    let cases = [
        (get(running.address, "/nothing", "").await, 404, "not_found"),
        (get(running.address, "/json", "").await, 405, "method_not_allowed"),
        (get(running.address, "/item/x", "").await, 400, "path_malformed"),
        (get(running.address, "/who", "").await, 401, "credential_missing"),
        (
            get(running.address, "/who", "authorization: Basic eA==\r\n").await,
            401,
            "credential_malformed",
        ),
        (
            get(running.address, "/who", "authorization: Bearer x.y.z\r\n").await,
            401,
            "credential_invalid",
        ),
        (post(running.address, json, "{").await, 400, "body_malformed"),
        (post(running.address, json, "{}").await, 400, "body_malformed"),
        (
            post(running.address, "", "{\"number\":1}").await,
            415,
            "unsupported_media_type",
        ),
        (
            post(running.address, "content-type: text/plain\r\n", "{\"number\":1}").await,
            415,
            "unsupported_media_type",
        ),
        (post(running.address, json, &big).await, 413, "body_too_large"),
        (
            send(
                running.address,
                b"POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            )
            .await,
            405,
            "method_not_allowed",
        ),
    ];
    for ((status, head, body), expect, code) in cases {
        assert_eq!(status, expect, "{head}\n{body}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["code"], code);
        if code == "unsupported_media_type" {
            assert_eq!(body["detail"], "Content-Type has to be application/json.");
        }
        assert!(
            head.contains(&format!("x-request-id: {}", body["request_id"].as_str().unwrap())),
            "{head} {body}"
        );
    }
}

#[tokio::test]
async fn good_requests_get_through() {
    let running = start();
    let claims = Claims {
        sub: "svc".into(),
        email: None,
        role: Role::Service,
        exp: Clock::System.unix_seconds() + 60,
    };
    let token = auth::sign(&SECRET.to_owned().into(), &claims).unwrap();
    let header = format!("authorization: Bearer {token}\r\n");
    assert_eq!(get(running.address, "/who", &header).await.2, "svc");
    assert_eq!(
        post(running.address, "content-type: application/json\r\n", "{\"number\":7}")
            .await
            .2,
        "7"
    );
    assert_eq!(
        get(running.address, "/from", "x-forwarded-for: 9.9.9.9, 1.2.3.4\r\n")
            .await
            .2,
        "1.2.3.4"
    );
    assert!(get(running.address, "/metrics", "").await.0 == 200);
}

#[tokio::test]
async fn the_document_has_every_route_and_is_open() {
    let running = start();
    let (status, head, body) = get(running.address, "/openapi.json", "").await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let document: Value = serde_json::from_str(&body).unwrap();
    let paths: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expect = [
        "/from",
        "/healthz",
        "/item/{id}",
        "/json",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/slow",
        "/who",
    ];
    assert_eq!(paths, expect);
    for path in ["/healthz", "/readyz"] {
        let (status, _, body) = get(running.address, path, "").await;
        let body = serde_json::from_str(&body).unwrap();
        check_answer(&document, "GET", path, status, &body).unwrap();
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_gets_408() {
    let running = start();
    let head = b"POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"num";
    let (status, _, body) = send(running.address, head).await;
    assert_eq!(status, 408, "{body}");
}

#[tokio::test]
async fn heads_that_are_too_large_or_malformed_are_refused() {
    let running = start();
    assert_eq!(
        get(
            running.address,
            "/healthz",
            &format!("x: {}\r\n", "y".repeat(64 * 1024))
        )
        .await
        .0,
        200
    );
    let huge = get(
        running.address,
        "/healthz",
        &format!("x: {}\r\n", "y".repeat(140 * 1024)),
    )
    .await
    .0;
    assert!([431, CUT_OFF].contains(&huge), "{huge}");
    let many = get(running.address, "/healthz", &"a: b\r\n".repeat(100)).await.0;
    assert!([431, CUT_OFF].contains(&many), "{many}");
    assert_eq!(send(running.address, b"NONSENSE\r\n\r\n").await.0, 400);
}

#[tokio::test]
async fn readiness_names_what_is_missing_and_the_stop() {
    let running = start();
    assert_eq!(get(running.address, "/readyz", "").await.0, 200);
    running
        .readiness
        .register("broker", || async { Err("not connected".to_owned()) });
    let (status, _, body) = get(running.address, "/readyz", "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["missing"][0]), (503, &Value::from("broker")));
    running
        .readiness
        .register("billing: database", || async { Err("not there".to_owned()) });
    running.readiness.register("ingest: broker", || async { Ok(()) });
    let of = async |service: &str| {
        let (status, _, body) = get(running.address, &format!("/readyz?service={service}"), "").await;
        (status, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (status, body) = of("ingest").await;
    assert_eq!((status, body["checks"].as_array().map(Vec::len)), (200, Some(1)));
    let (status, body) = of("billing").await;
    assert_eq!(
        (status, &body["missing"]),
        (503, &serde_json::json!(["billing: database"]))
    );
    assert_eq!(of("broker").await.0, 404);
}

#[tokio::test]
async fn a_stop_lets_requests_in_work_finish_and_closes_idle_connections() {
    let running = start();
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    let address = running.address;
    let slow = tokio::spawn(async move { get(address, "/slow", "").await });
    running.in_work.notified().await;
    running.stop.cancel();
    let started = Instant::now();
    assert_eq!(slow.await.unwrap().2, "done");
    running.served.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let running = start();
    let mut settings = HttpSettings::for_tests();
    settings.listen = running.address;
    let server = Server::new(settings, running.readiness.clone(), Metrics::install().unwrap());
    let error = server.bind().err().unwrap();
    assert_eq!(error.to_string(), format!("cannot listen on {}", running.address));
}
