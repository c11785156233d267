//! What the simulator did: deliveries, money, and whether anything is left to do.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::deliver::Delivery;
use crate::lock;
use crate::serve::Shared;
use crate::state::ledger::Entry;

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    event: Option<String>,
    endpoint: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
}

/// Deliveries, the oldest first; `limit` takes the newest.
pub(super) async fn deliveries(shared: web::Data<Shared>, filter: web::Query<Filter>) -> HttpResponse {
    let world = lock(&shared.world);
    let fits = |one: &&Delivery| {
        filter.event.as_ref().is_none_or(|id| one.event.id == *id)
            && filter.endpoint.as_ref().is_none_or(|id| one.endpoint == *id)
            && filter.state.as_ref().is_none_or(|name| one.state.as_str() == name)
    };
    let mut found: Vec<Value> = world
        .courier
        .deliveries()
        .rev()
        .filter(fits)
        .take(filter.limit.unwrap_or(usize::MAX))
        .map(show)
        .collect();
    found.reverse();
    HttpResponse::Ok().json(json!({ "deliveries": found }))
}

fn show(one: &Delivery) -> Value {
    let attempts: Vec<Value> = one
        .attempts
        .iter()
        .map(|attempt| json!({ "at_ms": attempt.at_ms, "took_ms": attempt.took_ms, "status": attempt.status, "error": attempt.error }))
        .collect();
    json!({
        "id": one.id,
        "event": one.event.id,
        "type": one.event.kind,
        "account": one.event.account,
        "endpoint": one.endpoint,
        "state": one.state.as_str(),
        "attempts": attempts
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Movements {
    escrow_id: Option<String>,
    transfer_group: Option<String>,
    destination: Option<String>,
}

/// The book, or the movements of one escrow, group or account.
pub(super) async fn ledger(shared: web::Data<Shared>, filter: web::Query<Movements>) -> HttpResponse {
    let world = lock(&shared.world);
    let fits = |one: &&Entry| {
        let is = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        is(&filter.escrow_id, &one.escrow_id)
            && is(&filter.transfer_group, &one.transfer_group)
            && is(&filter.destination, &one.destination)
    };
    let lists = world.ledger.lists().into_iter();
    let lists: Map<String, Value> = lists
        .map(|(name, list)| (name.to_owned(), json!(list.iter().filter(fits).collect::<Vec<_>>())))
        .collect();
    HttpResponse::Ok().json(lists)
}

/// `quiet` is true when every delivery is over. Deliveries that are paused are not.
pub(super) async fn quiet(shared: web::Data<Shared>) -> HttpResponse {
    let left = lock(&shared.world).courier.left();
    HttpResponse::Ok().json(json!({ "quiet": left == 0, "left": left }))
}

pub(super) async fn pause(shared: web::Data<Shared>) -> HttpResponse {
    set_paused(&shared, true)
}

pub(super) async fn resume(shared: web::Data<Shared>) -> HttpResponse {
    set_paused(&shared, false)
}

fn set_paused(shared: &Shared, paused: bool) -> HttpResponse {
    let mut world = lock(&shared.world);
    world.courier.paused = paused;
    world.courier.wake();
    HttpResponse::Ok().json(json!({ "paused": paused }))
}
