//! The one address of a system with one process per service: a small proxy that hands each route to the service that has it.
//!
//! It is a stand-in for the ingress of a real installation. The client's address goes on in `X-Forwarded-For`, which is
//! replaced, not extended, so that nobody can pretend one. `/healthz` and `/readyz` hold only if they hold everywhere; `/metrics` and
//! `/openapi.json` are those of all services in one.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::middleware::from_fn;
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use service_kit::http::request_context;
use service_kit::openapi;
use service_kit::problem::Problem;
use service_kit::request_id::{self, RequestId};

use crate::exposition::merge;

/// Far above what any service accepts, so that the services' own limits are seen.
const MAX_BODY: usize = 16 << 20;
/// Longer than any service takes to give up.
const LIMIT: Duration = Duration::from_secs(120);
/// About one connection only, so not handed on; `content-length` is made anew from the body.
const OF_ONE_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

/// The first match wins.
const ROUTES: [(&str, &str); 5] = [
    ("/webhooks/", "webhook-ingest"),
    ("/api/clients/", "billing"),
    ("/api/escrows", "escrow"),
    ("/api/retry/", "retry"),
    ("/", "admin"),
];

/// A running proxy.
pub(crate) struct Front {
    handle: ServerHandle,
}

impl Front {
    /// Listens on `port` for the services behind it.
    pub(crate) fn start(port: u16, services: Vec<(&'static str, u16)>) -> anyhow::Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let behind = Data::new(Behind {
            client: client.context("an HTTP client")?,
            services,
        });
        let app = move || {
            App::new()
                .wrap(from_fn(request_context))
                .app_data(behind.clone())
                .app_data(PayloadConfig::new(MAX_BODY))
                .route("/healthz", web::get().to(everywhere))
                .route("/readyz", web::get().to(everywhere))
                .route("/metrics", web::get().to(metrics))
                .route("/openapi.json", web::get().to(document))
                .default_service(web::to(hand_on))
        };
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server
            .bind(SocketAddr::from(([127, 0, 0, 1], port)))
            .with_context(|| format!("listening on {port}"))?;
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { handle })
    }

    /// Finishes what is in work.
    pub(crate) async fn stop(self) {
        self.handle.stop(true).await;
    }
}

struct Behind {
    client: Client,
    services: Vec<(&'static str, u16)>,
}

impl Behind {
    fn url(&self, request: &HttpRequest) -> Option<String> {
        let path = request.path();
        let (_, service) = ROUTES.iter().find(|(prefix, _)| path.starts_with(prefix))?;
        let (_, port) = self.services.iter().find(|(name, _)| name == service)?;
        let path_and_query = request.uri().path_and_query().map_or(path, |whole| whole.as_str());
        Some(format!("http://127.0.0.1:{port}{path_and_query}"))
    }
}

/// As an ingress answers for a service that is away, or that is not there at all.
fn away() -> Problem {
    let detail = "The service of this route does not answer; it may be starting.";
    Problem::unavailable("service_unavailable", detail, Duration::from_secs(1))
}

async fn hand_on(request: HttpRequest, body: Bytes, behind: Data<Behind>) -> Result<HttpResponse, Problem> {
    let url = behind.url(&request).ok_or_else(away)?;
    let method =
        reqwest::Method::from_bytes(request.method().as_str().as_bytes()).map_err(|_| Problem::of_status(400))?;
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let copied = (
            HeaderName::from_bytes(name.as_str().as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        );
        if let (false, (Ok(name), Ok(value))) = (is_of_one_connection(name.as_str()), copied) {
            headers.append(name, value);
        }
    }
    let client = request
        .peer_addr()
        .and_then(|address| HeaderValue::try_from(address.ip().to_string()).ok());
    headers.extend(client.map(|client| (HeaderName::from_static("x-forwarded-for"), client)));
    // The id that an answer of our own would have, so that there is one id whoever answers.
    let id = RequestId::current().and_then(|id| HeaderValue::try_from(id.as_str()).ok());
    if let Some(id) = id {
        headers.insert(HeaderName::from_static(request_id::HEADER), id);
    }
    let asked = behind.client.request(method, url).headers(headers).body(body);
    hand_back(asked.send().await.map_err(|_| away())?).await
}

async fn hand_back(answer: reqwest::Response) -> Result<HttpResponse, Problem> {
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers() {
        if !is_of_one_connection(name.as_str()) {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    let body = answer.bytes().await.map_err(|_| away())?;
    Ok(response.body(body))
}

fn is_of_one_connection(name: &str) -> bool {
    OF_ONE_CONNECTION.contains(&name)
}

/// The first service that does not agree answers; else the first one.
async fn everywhere(request: HttpRequest, behind: Data<Behind>) -> Result<HttpResponse, Problem> {
    let mut answers = Vec::new();
    for (_, port) in &behind.services {
        let asked = behind.client.get(format!("http://127.0.0.1:{port}{}", request.path()));
        answers.push(asked.send().await.map_err(|_| away())?);
    }
    let odd = answers
        .iter()
        .position(|answer| !answer.status().is_success())
        .unwrap_or_default();
    if odd < answers.len() {
        hand_back(answers.swap_remove(odd)).await
    } else {
        Err(away())
    }
}

/// The routes of every service. One that does not answer would be missing, so then there is no document.
async fn document(behind: Data<Behind>) -> Result<HttpResponse, Problem> {
    let mut documents = Vec::new();
    for (_, port) in &behind.services {
        let document = fetch_document(&behind.client, *port).await;
        documents.push(document.map_err(|_| away())?);
    }
    let document = openapi::merge(documents).ok_or_else(away)?;
    Ok(HttpResponse::Ok().json(document))
}

async fn fetch_document(client: &Client, port: u16) -> reqwest::Result<Value> {
    let answer = client
        .get(format!("http://127.0.0.1:{port}/openapi.json"))
        .send()
        .await?;
    answer.error_for_status()?.json().await
}

async fn metrics(behind: Data<Behind>) -> HttpResponse {
    let mut texts = Vec::new();
    for (name, port) in &behind.services {
        let answer = behind
            .client
            .get(format!("http://127.0.0.1:{port}/metrics"))
            .send()
            .await;
        let text = match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        texts.push((*name, text));
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(merge(&texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_is_away_gets_a_problem_with_the_callers_request_id() {
        testkit::install_tls_provider();
        let free = || {
            std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let (port, nobody) = (free(), free());
        let front = Front::start(port, vec![("billing", nobody), ("admin", nobody)]).unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        for path in ["/api/clients/c1", "/readyz", "/openapi.json", "/api/escrows"] {
            let asked = client
                .get(format!("http://127.0.0.1:{port}{path}"))
                .header("x-request-id", "req-1");
            let answer = asked.send().await.unwrap();
            assert_eq!(answer.status(), 503, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
            assert_eq!(answer.headers()["x-request-id"], "req-1", "{path}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(
                (&problem["code"], &problem["request_id"]),
                (&"service_unavailable".into(), &"req-1".into())
            );
        }
        front.stop().await;
    }
}
