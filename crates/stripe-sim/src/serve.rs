//! The way of a call: key, version, faults, idempotency, execution, answer. The order is Stripe's: the rate limiter comes before the
//! idempotency layer, validation before a result is kept. The work runs in a task of its own, so that a client that hangs up leaves no key
//! in use for ever.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use serde_json::Value;

use crate::error::{ApiError, ApiResult};
use crate::faults::{ApiFault, Kind};
use crate::idempotency::Begin;
use crate::routes::{Call, dispatch};
use crate::state::{Cause, World};
use crate::version::ApiVersion;
use crate::{control, form, lock};

const MAX_BODY: usize = 1 << 20;
/// Longer than moving the clock over years takes, so that a client's idle connection outlives it.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

pub(crate) struct Shared {
    pub(crate) world: Arc<Mutex<World>>,
    api_key: Option<String>,
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
struct Incoming {
    method: String,
    path: String,
    query: String,
    body: Vec<u8>,
    authorization: Option<String>,
    version: Option<String>,
    key: Option<String>,
    account: Option<String>,
    fault: Option<ApiFault>,
}

#[derive(Debug)]
enum Reply {
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
    const fn json(status: u16, body: Value) -> Self {
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
    let (request_id, fault) = {
        let mut world = lock(&shared.world);
        let fault = world.faults.take(&method, &path);
        (world.ids.next("req"), fault)
    };
    let incoming = Incoming {
        query: request.query_string().to_owned(),
        body: body.to_vec(),
        authorization: given("Authorization"),
        version: given("Stripe-Version"),
        key: given("Idempotency-Key").filter(|_| method == "POST"),
        account: given("Stripe-Account"),
        fault,
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

async fn run(shared: &Shared, incoming: Incoming, request_id: &str) -> Reply {
    let fault = incoming.fault.clone();
    let kind = fault.as_ref().map(|fault| fault.kind);
    let after_effect = fault.as_ref().is_some_and(|fault| fault.after_effect);
    let reply = match kind {
        Some(Kind::Refuse) => return Reply::Nothing,
        Some(Kind::Html502) if !after_effect => return Reply::Html502,
        Some(Kind::RateLimit) => {
            let reason = fault.as_ref().and_then(|fault| fault.reason.clone());
            let locked = reason.as_deref() == Some("lock_timeout");
            let body = ApiError::rate_limit(locked).body(request_id);
            Reply::Json {
                status: 429,
                body,
                replayed: false,
                reason: reason.filter(|_| !locked),
                should_retry: None,
            }
        }
        Some(Kind::Conflict) => Reply::json(409, ApiError::key_in_use().body(request_id)),
        _ => execute(shared, &incoming, request_id).await,
    };
    let should_retry = fault.and_then(|fault| fault.should_retry);
    match (kind, reply) {
        (Some(Kind::LostResponse), _) => Reply::Nothing,
        (Some(Kind::Html502), _) => Reply::Html502,
        (
            _,
            Reply::Json {
                status,
                body,
                replayed,
                reason,
                ..
            },
        ) => Reply::Json {
            status,
            body,
            replayed,
            reason,
            should_retry,
        },
        (_, other) => other,
    }
}

/// A call with everything but its execution done.
struct Prepared {
    call: Call,
    key: Option<String>,
}

async fn execute(shared: &Shared, incoming: &Incoming, request_id: &str) -> Reply {
    let prepared = match prepare(shared, incoming) {
        Ok(prepared) => prepared,
        Err(error) => return Reply::json(error.status, error.body(request_id)),
    };
    if let Some(key) = &prepared.key {
        let begin = {
            let mut world = lock(&shared.world);
            let now = world.now();
            world.keys.begin(key, &fingerprint(incoming), now)
        };
        match begin {
            Begin::Run => {}
            Begin::Replay(status, body) => {
                return Reply::Json {
                    status,
                    body,
                    replayed: true,
                    reason: None,
                    should_retry: None,
                };
            }
            Begin::Refuse(error) => return Reply::json(error.status, error.body(request_id)),
        }
    }
    if let Some(fault) = incoming.fault.as_ref().filter(|fault| fault.kind == Kind::Slow) {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    let mut world = lock(&shared.world);
    world.cause = Cause {
        request: Some(request_id.to_owned()),
        idempotency_key: incoming.key.clone(),
    };
    let failing = incoming.fault.as_ref().filter(|fault| fault.kind == Kind::Internal);
    let result = match failing {
        None => dispatch(&mut world, &prepared.call),
        Some(fault) => {
            if fault.after_effect {
                let _: ApiResult<Value> = dispatch(&mut world, &prepared.call);
            }
            Err(ApiError::internal())
        }
    };
    world.cause = Cause::default();
    world.commit();
    let (status, body, keep) = match result {
        Ok(body) => (200, body, true),
        Err(error) => (error.status, error.body(request_id), error.executed),
    };
    if let Some(key) = &prepared.key {
        if keep {
            world.keys.finish(key, status, body.clone());
        } else {
            world.keys.release(key);
        }
    }
    Reply::json(status, body)
}

fn prepare(shared: &Shared, incoming: &Incoming) -> ApiResult<Prepared> {
    check_key(incoming.authorization.as_deref(), shared.api_key.as_deref())?;
    let version = match &incoming.version {
        None => lock(&shared.world).version.clone(),
        Some(text) => ApiVersion::parse(text)
            .ok_or_else(|| ApiError::invalid("", "", format!("Invalid Stripe API version: {text}")))?,
    };
    let body = std::str::from_utf8(&incoming.body)
        .map_err(|_| ApiError::invalid("", "", "Invalid form encoding in the request."))?;
    let params = if incoming.path.starts_with("/v2/") {
        form::parse_json(&incoming.query, body)?
    } else {
        form::parse(&[&incoming.query, body])?
    };
    let key = match &incoming.key {
        Some(key) if key.is_empty() || key.len() > 255 => {
            return Err(ApiError::invalid(
                "",
                "",
                "Idempotency keys must be between 1 and 255 characters long.",
            ));
        }
        Some(key) => Some(format!("{}\n{key}", incoming.account.as_deref().unwrap_or_default())),
        None => None,
    };
    Ok(Prepared {
        call: Call {
            method: incoming.method.clone(),
            path: incoming.path.clone(),
            params,
            version,
        },
        key,
    })
}

/// Endpoint and parameters of a call, the latter in any order.
fn fingerprint(incoming: &Incoming) -> String {
    let body = String::from_utf8_lossy(&incoming.body);
    let mut pairs: Vec<&str> = body
        .split('&')
        .chain(incoming.query.split('&'))
        .filter(|pair| !pair.is_empty())
        .collect();
    pairs.sort_unstable();
    format!("{} {}?{}", incoming.method, incoming.path, pairs.join("&"))
}

fn check_key(authorization: Option<&str>, expected: Option<&str>) -> ApiResult<()> {
    let missing = "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
    let header = authorization.ok_or_else(|| ApiError::unauthorised(missing))?;
    let key = match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim().to_owned()),
        Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok();
            let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            text.map(|text| text.split(':').next().unwrap_or_default().to_owned())
        }
        _ => None,
    };
    let key = key.ok_or_else(|| ApiError::unauthorised(missing))?;
    let known = expected.map_or_else(
        || key.starts_with("sk_test_") || key.starts_with("rk_test_"),
        |expected| key == expected,
    );
    if known {
        return Ok(());
    }
    let start: String = key.chars().take(8).collect();
    Err(ApiError::unauthorised(format!(
        "Invalid API Key provided: {start}*****"
    )))
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
