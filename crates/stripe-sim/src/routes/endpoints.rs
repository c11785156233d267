//! Webhook endpoints.

use serde_json::{Value, json};

use super::{Call, unknown};
use crate::deliver::{Endpoint, Payload, Sources};
use crate::error::{ApiError, ApiResult};
use crate::render;
use crate::state::World;
use crate::state::customer::merge_metadata;
use crate::version::ApiVersion;

pub(super) const MAX_ENDPOINTS: usize = 16;

/// Types that older integrations name and that do not exist: creation refuses them, as Stripe's does.
pub(super) const GONE: [&str; 2] = ["transfer.failed", "transfer.paid"];

pub(super) fn endpoints(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    let p = &call.params;
    match at {
        ("POST", []) => {
            let url = p.required("url")?;
            if reqwest::Url::parse(&url).map_or(true, |url| !matches!(url.scheme(), "http" | "https")) {
                return Err(ApiError::invalid("url", "url_invalid", "Not a valid URL"));
            }
            let enabled_events = p.texts("enabled_events")?;
            if enabled_events.is_empty() {
                return Err(ApiError::invalid(
                    "enabled_events",
                    "parameter_missing",
                    "Missing required param: enabled_events.",
                ));
            }
            if let Some(gone) = enabled_events.iter().find(|one| GONE.contains(&one.as_str())) {
                return Err(ApiError::invalid(
                    "enabled_events",
                    "",
                    format!("Invalid enabled_events: {gone} does not exist"),
                ));
            }
            let version = match p.some("api_version")? {
                None => None,
                Some(text) => Some(
                    ApiVersion::parse(&text)
                        .ok_or_else(|| ApiError::invalid("api_version", "", format!("Invalid API version: {text}")))?,
                ),
            };
            let (connect, description, metadata) = (
                p.flag("connect")?.unwrap_or(false),
                p.some("description")?,
                p.dict("metadata")?,
            );
            p.finish()?;
            if world.courier.endpoints.len() >= MAX_ENDPOINTS {
                return Err(ApiError::state(
                    "",
                    "You have reached the maximum of 16 test webhook endpoints.",
                ));
            }
            let sources = if connect { Sources::Accounts } else { Sources::Platform };
            let mut endpoint = world.add_endpoint(NewEndpoint {
                url,
                secret: None,
                sources,
                payload: Payload::Snapshot,
                version,
            });
            endpoint.enabled_events = enabled_events;
            endpoint.description = description;
            merge_metadata(&mut endpoint.metadata, metadata);
            world.courier.endpoints.insert(endpoint.id.clone(), endpoint.clone());
            let mut value = show(&endpoint);
            if let Some(map) = value.as_object_mut() {
                map.insert("secret".to_owned(), json!(endpoint.secret));
            }
            Ok(value)
        }
        ("GET", []) => {
            p.ignore(&["limit", "starting_after", "ending_before"]);
            p.finish()?;
            let all = world.courier.endpoints.values().rev().map(show).collect();
            Ok(render::list(&call.path, all, false))
        }
        ("GET", [id]) => {
            p.finish()?;
            world
                .courier
                .endpoints
                .get(*id)
                .map(show)
                .ok_or_else(|| ApiError::missing("webhook_endpoint", id, "id"))
        }
        ("POST", [id]) => {
            let (url, disabled, events) = (p.some("url")?, p.flag("disabled")?, p.texts("enabled_events")?);
            let (description, metadata) = (p.some("description")?, p.dict("metadata")?);
            p.finish()?;
            let one = world
                .courier
                .endpoints
                .get_mut(*id)
                .ok_or_else(|| ApiError::missing("webhook_endpoint", id, "id"))?;
            one.url = url.unwrap_or_else(|| one.url.clone());
            one.enabled = !disabled.unwrap_or(!one.enabled);
            one.description = description.or_else(|| one.description.clone());
            merge_metadata(&mut one.metadata, metadata);
            if !events.is_empty() {
                one.enabled_events = events;
            }
            let value = show(one);
            world.courier.wake();
            Ok(value)
        }
        ("DELETE", [id]) => {
            p.finish()?;
            world
                .courier
                .forget_endpoint(id)
                .ok_or_else(|| ApiError::missing("webhook_endpoint", id, "id"))?;
            Ok(json!({ "id": id, "object": "webhook_endpoint", "deleted": true }))
        }
        _ => Err(unknown(call)),
    }
}

fn show(one: &Endpoint) -> Value {
    json!({
        "id": one.id,
        "object": "webhook_endpoint",
        "api_version": one.version.as_ref().map(ApiVersion::label),
        "application": (one.sources != Sources::Platform).then_some("ca_simulator"),
        "created": one.created,
        "description": one.description,
        "enabled_events": one.enabled_events,
        "livemode": false,
        "metadata": one.metadata,
        "status": if one.enabled { "enabled" } else { "disabled" },
        "url": one.url
    })
}

/// What an endpoint is made from.
#[derive(Debug)]
pub(crate) struct NewEndpoint {
    pub(crate) url: String,
    /// Made from the seed when absent.
    pub(crate) secret: Option<String>,
    pub(crate) sources: Sources,
    pub(crate) payload: Payload,
    pub(crate) version: Option<ApiVersion>,
}

impl World {
    /// Registers an endpoint for all events.
    pub(crate) fn add_endpoint(&mut self, new: NewEndpoint) -> Endpoint {
        let secret = new
            .secret
            .unwrap_or_else(|| format!("whsec_{}", self.ids.secret("webhook_secret", 32)));
        let number = self.courier.endpoints.values().map(|one| one.number).max().unwrap_or(0) + 1;
        let endpoint = Endpoint {
            id: self.ids.next(match new.payload {
                Payload::Snapshot => "we",
                Payload::Thin => "ed_test",
            }),
            number,
            created: self.now(),
            url: new.url,
            secret,
            version: new.version,
            account_version: self.version.clone(),
            sources: new.sources,
            payload: new.payload,
            enabled_events: vec!["*".to_owned()],
            enabled: true,
            description: None,
            metadata: std::collections::BTreeMap::new(),
        };
        self.courier.endpoints.insert(endpoint.id.clone(), endpoint.clone());
        endpoint
    }
}
