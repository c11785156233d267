//! `/v2`: JSON bodies, lists without cursors of their own here, events that are thin.

use serde_json::{Value, json};

use super::endpoints::{GONE, MAX_ENDPOINTS, NewEndpoint};
use super::{Call, unknown};
use crate::deliver::{Endpoint, Payload, Sources};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::customer::merge_metadata;
use crate::state::thin::iso;
use crate::version::ApiVersion;

/// Does what a call below `/v2/` asks for.
pub(super) fn dispatch(world: &mut World, call: &Call, rest: &str) -> ApiResult<Value> {
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    match parts.as_slice() {
        ["core", "events", at @ ..] => events(world, call, at),
        ["core", "accounts", id] if call.method == "GET" => {
            call.params.ignore(&["include"]);
            call.params.finish()?;
            Ok(render::account_v2(world.account(id, "id")?))
        }
        ["core", "event_destinations", at @ ..] => destinations(world, call, at),
        _ => Err(unknown(call)),
    }
}

pub(super) fn list(data: &[Value]) -> Value {
    json!({ "data": data, "next_page_url": null, "previous_page_url": null })
}

fn events(world: &World, call: &Call, at: &[&str]) -> ApiResult<Value> {
    let p = &call.params;
    let thin = world
        .events
        .iter()
        .filter_map(|(id, one)| Some((id, &one.thin.as_ref()?.body)));
    match (call.method.as_str(), at) {
        ("GET", []) => {
            let limit = p
                .int("limit")?
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(20);
            let object = p.some("object_id")?;
            p.finish()?;
            let about = |body: &Value| {
                body.pointer("/related_object/id")
                    .and_then(Value::as_str)
                    .map(ToOwned::to_owned)
            };
            let found: Vec<Value> = thin
                .rev()
                .filter(|(_, body)| object.is_none() || about(body) == object)
                .take(limit)
                .map(|(_, body)| body.clone())
                .collect();
            Ok(list(&found))
        }
        ("GET", [id]) => {
            p.finish()?;
            let mut thin = thin;
            thin.find(|(one, _)| one == id)
                .map(|(_, body)| body.clone())
                .ok_or_else(|| ApiError::missing("event", id, "id"))
        }
        _ => Err(unknown(call)),
    }
}

fn destinations(world: &mut World, call: &Call, at: &[&str]) -> ApiResult<Value> {
    let p = &call.params;
    let missing = |id: &str| ApiError::missing("event destination", id, "id");
    match (call.method.as_str(), at) {
        ("POST", []) => create(world, call),
        ("GET", []) => {
            p.ignore(&["limit", "page", "include"]);
            p.finish()?;
            let all: Vec<Value> = world.courier.endpoints.values().map(show).collect();
            Ok(list(&all))
        }
        ("GET", [id]) => {
            p.ignore(&["include"]);
            p.finish()?;
            world.courier.endpoints.get(*id).map(show).ok_or_else(|| missing(id))
        }
        ("POST", [id, change @ ("enable" | "disable")]) => {
            p.finish()?;
            let one = world.courier.endpoints.get_mut(*id).ok_or_else(|| missing(id))?;
            one.enabled = *change == "enable";
            let shown = show(one);
            world.courier.wake();
            Ok(shown)
        }
        ("DELETE", [id]) => {
            p.finish()?;
            world.courier.forget_endpoint(id).ok_or_else(|| missing(id))?;
            Ok(json!({ "id": id, "object": "v2.core.event_destination" }))
        }
        _ => Err(unknown(call)),
    }
}

fn create(world: &mut World, call: &Call) -> ApiResult<Value> {
    let p = &call.params;
    let (name, kind) = (p.required("name")?, p.choice("type", &["webhook_endpoint"])?);
    let payload = match p.choice("event_payload", &["thin", "snapshot"])? {
        Some("thin") => Payload::Thin,
        Some(_) => Payload::Snapshot,
        None => return Err(missing_param("event_payload")),
    };
    let enabled_events = p.texts("enabled_events")?;
    let endpoint = p
        .child("webhook_endpoint")
        .ok_or_else(|| missing_param("webhook_endpoint"))?;
    let url = endpoint.required("url")?;
    let from = p.texts("events_from")?;
    let sources = match (
        from.iter().any(|one| one == "@self"),
        from.iter().any(|one| one != "@self"),
    ) {
        (_, false) => Sources::Platform,
        (false, true) => Sources::Accounts,
        (true, true) => Sources::Both,
    };
    let version = p
        .some("snapshot_api_version")?
        .and_then(|text| ApiVersion::parse(&text));
    let (description, metadata) = (p.some("description")?, p.dict("metadata")?);
    let with_secret = p
        .texts("include")?
        .iter()
        .any(|one| one == "webhook_endpoint.signing_secret");
    p.finish()?;
    if kind.is_none() {
        return Err(missing_param("type"));
    }
    if enabled_events.is_empty()
        || enabled_events
            .iter()
            .any(|one| GONE.contains(&one.trim_start_matches("v1.")))
    {
        return Err(ApiError::invalid("enabled_events", "", "Invalid enabled_events."));
    }
    if world.courier.endpoints.len() >= MAX_ENDPOINTS {
        return Err(ApiError::state(
            "",
            "You have reached the maximum of 16 event destinations.",
        ));
    }
    let mut made = world.add_endpoint(NewEndpoint {
        url,
        secret: None,
        sources,
        payload,
        version,
    });
    made.enabled_events = enabled_events;
    made.description = description.or(Some(name));
    merge_metadata(&mut made.metadata, metadata);
    world.courier.endpoints.insert(made.id.clone(), made.clone());
    let mut shown = show(&made);
    if let Some(endpoint) = shown.get_mut("webhook_endpoint").and_then(Value::as_object_mut)
        && with_secret
    {
        endpoint.insert("signing_secret".to_owned(), json!(made.secret));
    }
    Ok(shown)
}

fn missing_param(name: &str) -> ApiError {
    ApiError::invalid(name, "parameter_missing", format!("Missing required param: {name}."))
}

fn show(one: &Endpoint) -> Value {
    let from: &[&str] = match one.sources {
        Sources::Platform => &["@self"],
        Sources::Accounts => &["@accounts"],
        Sources::Both => &["@self", "@accounts"],
    };
    json!({
        "id": one.id,
        "object": "v2.core.event_destination",
        "created": iso(one.created, 0),
        "description": one.description,
        "enabled_events": one.enabled_events,
        "event_payload": match one.payload { Payload::Thin => "thin", Payload::Snapshot => "snapshot" },
        "events_from": from,
        "livemode": false,
        "metadata": one.metadata,
        "name": one.description,
        "snapshot_api_version": one.version.as_ref().map(ApiVersion::label),
        "status": if one.enabled { "enabled" } else { "disabled" },
        "type": "webhook_endpoint",
        "webhook_endpoint": { "url": one.url, "signing_secret": null }
    })
}
