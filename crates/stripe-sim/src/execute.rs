//! What is done with a call: faults, key, version, idempotency, execution. The order is Stripe's: the rate limiter comes before the
//! idempotency layer, validation before a result is kept.

use std::time::Duration;

use base64::Engine;
use serde_json::Value;

use crate::error::{ApiError, ApiResult};
use crate::faults::Kind;
use crate::idempotency::Begin;
use crate::routes::{Call, dispatch};
use crate::serve::{Incoming, Reply, Shared};
use crate::state::Cause;
use crate::version::ApiVersion;
use crate::{form, lock};

pub(crate) async fn run(shared: &Shared, incoming: Incoming, request_id: &str) -> Reply {
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
    let slow = incoming.fault.as_ref().filter(|fault| fault.kind == Kind::Slow);
    let wait = incoming
        .latency_ms
        .saturating_add(slow.map_or(0, |fault| fault.delay_ms));
    if wait > 0 {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let mut world = lock(&shared.world);
    world.cause = Cause {
        request: Some(request_id.to_owned()),
        idempotency_key: incoming.key.clone(),
    };
    let result = match incoming.fault.as_ref().map(|fault| (fault.kind, fault)) {
        Some((Kind::Internal, fault)) => {
            if fault.after_effect {
                let _: ApiResult<Value> = dispatch(&mut world, &prepared.call);
            }
            Err(ApiError::internal())
        }
        Some((Kind::Error, fault)) => Err(ApiError::made_up(
            fault.status.unwrap_or(400),
            fault.code.as_deref(),
            fault.message.as_deref(),
        )),
        _ => dispatch(&mut world, &prepared.call),
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
            account: incoming.account.clone(),
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
