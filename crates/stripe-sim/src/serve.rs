//! HTTP in and out. The work of a call runs in a task of its own, so that a client that hangs up leaves no key in use for ever.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

use crate::error::ApiError;
use crate::execute::run;
use crate::faults::ApiFault;
use crate::state::World;
use crate::{control, lock};

const MAX_BODY: usize = 1 << 20;
/// Longer than moving the clock over years takes, so that a client's idle connection outlives it.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

pub(crate) struct Shared {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) api_key: Option<String>,
}

/// Serves on a listener until its handle is stopped.
pub(crate) fn listen(
    listener: TcpListener,
    world: Arc<Mutex<World>>,
    api_key: Option<String>,
) -> std::io::Result<Server> {
    let shared = web::Data::new(Shared { world, api_key });
    let app = move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .wrap(from_fn(stamp))
            .configure(control::configure)
            .default_service(web::to(answer))
    };
    Ok(HttpServer::new(app)
        .workers(1)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .shutdown_timeout(1)
        .listen(listener)?
        .run())
}

/// Every answer tells the simulator's own time, which is the time by which it keeps idempotency keys, and has an id.
async fn stamp(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let shared = request.app_data::<web::Data<Shared>>().cloned();
    let mut response = next.call(request).await?;
    if let Some(shared) = shared {
        let mut world = lock(&shared.world);
        let headers = response.headers_mut();
        let date = crate::time::http_date(world.now());
        if let Ok(value) = HeaderValue::from_str(&date) {
            headers.insert(header::DATE, value);
        }
        if !headers.contains_key("Request-Id")
            && let Ok(value) = HeaderValue::from_str(&world.ids.next("req"))
        {
            headers.insert(HeaderName::from_static("request-id"), value);
        }
    }
    Ok(response)
}

/// What a call brought along.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
    pub(crate) authorization: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) fault: Option<ApiFault>,
    /// How long every call takes.
    pub(crate) latency_ms: u64,
}

#[derive(Debug)]
pub(crate) enum Reply {
    Json {
        status: u16,
        body: Value,
        replayed: bool,
        reason: Option<String>,
        should_retry: Option<bool>,
    },
    Html502,
    /// The connection is closed without an answer.
    Nothing,
}

impl Reply {
    pub(crate) const fn json(status: u16, body: Value) -> Self {
        Self::Json {
            status,
            body,
            replayed: false,
            reason: None,
            should_retry: None,
        }
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let given = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned)
    };
    let (method, path) = (request.method().to_string(), request.path().to_owned());
    let (request_id, fault, latency_ms) = {
        let mut world = lock(&shared.world);
        let seed = world.seed;
        let fault = world.faults.take(seed, &method, &path);
        (world.ids.next("req"), fault, world.faults.latency_ms)
    };
    let incoming = Incoming {
        query: request.query_string().to_owned(),
        body: body.to_vec(),
        authorization: given("Authorization"),
        version: given("Stripe-Version"),
        key: given("Idempotency-Key").filter(|_| method == "POST"),
        account: given("Stripe-Account"),
        fault,
        latency_ms,
        method,
        path,
    };
    let (version, key) = (incoming.version.clone(), incoming.key.clone());
    let id = request_id.clone();
    let account_version = lock(&shared.world).version.label().to_owned();
    let work = actix_web::rt::spawn(async move { run(&shared, incoming, &id).await });
    let reply = work
        .await
        .unwrap_or_else(|_| Reply::json(500, ApiError::internal().body(&request_id)));
    match reply {
        Reply::Nothing => HttpResponse::Ok().body(Hangup),
        Reply::Html502 => HttpResponse::BadGateway().content_type("text/html").body(BAD_GATEWAY),
        Reply::Json {
            status,
            body,
            replayed,
            reason,
            should_retry,
        } => {
            let mut response =
                HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
            response.content_type("application/json");
            response.insert_header(("Request-Id", request_id));
            response.insert_header(("Stripe-Version", version.unwrap_or(account_version)));
            let headers = [
                ("Idempotency-Key", key),
                ("Idempotent-Replayed", replayed.then(|| "true".to_owned())),
                ("Stripe-Rate-Limited-Reason", reason),
                ("Stripe-Should-Retry", should_retry.map(|retry| retry.to_string())),
            ];
            for (name, value) in headers {
                if let Some(value) = value {
                    response.insert_header((name, value));
                }
            }
            response.body(format!("{body:#}\n"))
        }
    }
}

/// A body that fails before its first byte: the server closes the connection, and no answer leaves it.
#[derive(Debug)]
struct Hangup;

impl MessageBody for Hangup {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(1)
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<web::Bytes, Self::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionAborted.into())))
    }
}
