//! The one address of a system with one process per service: a small proxy that hands each route to the service that has it.
//!
//! It is a stand-in for the ingress of a real installation. The client's address goes on in `X-Forwarded-For`, which is
//! replaced, not extended, so that nobody can pretend one. `/healthz` and `/readyz` hold only if they hold everywhere; `/metrics` and
//! `/openapi.json` are those of all services in one.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use service_kit::openapi;

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

async fn hand_on(request: HttpRequest, body: Bytes, behind: Data<Behind>) -> HttpResponse {
    let Some(url) = behind.url(&request) else {
        return HttpResponse::NotFound().finish();
    };
    let Ok(method) = reqwest::Method::from_bytes(request.method().as_str().as_bytes()) else {
        return HttpResponse::NotImplemented().finish();
    };
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
    match behind
        .client
        .request(method, url)
        .headers(headers)
        .body(body)
        .send()
        .await
    {
        Ok(answer) => hand_back(answer).await,
        Err(_) => HttpResponse::BadGateway().finish(),
    }
}

async fn hand_back(answer: reqwest::Response) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers() {
        if !is_of_one_connection(name.as_str()) {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    match answer.bytes().await {
        Ok(body) => response.body(body),
        Err(_) => HttpResponse::BadGateway().finish(),
    }
}

fn is_of_one_connection(name: &str) -> bool {
    OF_ONE_CONNECTION.contains(&name)
}

/// The first service that does not agree answers; else the first one.
async fn everywhere(request: HttpRequest, behind: Data<Behind>) -> HttpResponse {
    let mut answers = Vec::new();
    for (_, port) in &behind.services {
        let Ok(answer) = behind
            .client
            .get(format!("http://127.0.0.1:{port}{}", request.path()))
            .send()
            .await
        else {
            return HttpResponse::BadGateway().finish();
        };
        answers.push(answer);
    }
    let odd = answers
        .iter()
        .position(|answer| !answer.status().is_success())
        .unwrap_or_default();
    if odd < answers.len() {
        hand_back(answers.swap_remove(odd)).await
    } else {
        HttpResponse::BadGateway().finish()
    }
}

/// The routes of every service. One that does not answer would be missing, so then there is no document.
async fn document(behind: Data<Behind>) -> HttpResponse {
    let mut documents = Vec::new();
    for (_, port) in &behind.services {
        match fetch_document(&behind.client, *port).await {
            Ok(document) => documents.push(document),
            Err(_) => return HttpResponse::BadGateway().finish(),
        }
    }
    match openapi::merge(documents) {
        Some(document) => HttpResponse::Ok().json(document),
        None => HttpResponse::BadGateway().finish(),
    }
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
