//! Events made up by a test, and deliveries on demand.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::refuse;
use crate::lock;
use crate::serve::Shared;
use crate::state::Cause;
use crate::state::event::{Event, Reach, Thin};
use crate::state::object::Object;
use crate::state::thin::iso;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Emit {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    previous: Option<Value>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    livemode: bool,
    /// A v2 thin event: `object` is its `related_object`, and there is no data.
    #[serde(default)]
    thin: bool,
    /// The same occurrence again under another id.
    #[serde(default)]
    twin: bool,
    #[serde(default)]
    id: Option<String>,
}

pub(super) async fn emit(shared: web::Data<Shared>, body: web::Json<Emit>) -> HttpResponse {
    let mut world = lock(&shared.world);
    let mut ids = Vec::new();
    for number in 0..=u8::from(body.twin) {
        let given = body.id.clone().filter(|_| number == 0);
        let id = given.unwrap_or_else(|| world.ids.next(if body.thin { "evt_test" } else { "evt" }));
        let created = body.created.unwrap_or_else(|| world.now());
        let made_at = world.now();
        world.stage_event(Event {
            made_at,
            thin: body.thin.then(|| Thin {
                body: thin(&id, created, &body),
                reach: Reach::All,
            }),
            id: id.clone(),
            kind: body.kind.clone(),
            created,
            account: body.account.clone(),
            livemode: body.livemode,
            cause: Cause::default(),
            object: Object::Raw(body.object.clone()),
            previous: body.previous.clone().map(Object::Raw),
            api_version: body.api_version.clone(),
        });
        ids.push(id);
    }
    world.commit();
    HttpResponse::Ok().json(json!({ "event_id": ids.first(), "event_ids": ids }))
}

fn thin(id: &str, created: i64, body: &Emit) -> Value {
    json!({
        "id": id,
        "object": "v2.core.event",
        "context": body.account,
        "created": iso(created, 0),
        "livemode": body.livemode,
        "reason": null,
        "related_object": body.object,
        "type": body.kind
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deliver {
    event_id: String,
    #[serde(default)]
    endpoint: Option<String>,
}

/// Delivers an event again, also one that was dropped.
pub(super) async fn deliver(shared: web::Data<Shared>, body: web::Json<Deliver>) -> HttpResponse {
    let mut world = lock(&shared.world);
    let Some(event) = world.events.get(&body.event_id).map(Arc::clone) else {
        return refuse(format!("no event {}", body.event_id));
    };
    let count = world.courier.resend(&event, body.endpoint.as_deref());
    HttpResponse::Ok().json(json!({ "deliveries": count }))
}
