//! Faults: shown, changed, cleared.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::refuse;
use crate::faults::{ApiFault, Faults};
use crate::lock;
use crate::serve::Shared;

const CHANCES: [&str; 6] = ["reorder", "duplicate", "twin", "thin", "delay", "drop"];
const NUMBERS: [&str; 3] = ["window", "hold_ms", "delay_ms"];

pub(super) async fn show(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(&lock(&shared.world).faults)
}

pub(super) async fn clear(shared: web::Data<Shared>) -> HttpResponse {
    let mut world = lock(&shared.world);
    world.faults = Faults::default();
    HttpResponse::Ok().json(&world.faults)
}

/// Takes chances of deliveries, one fault of an API call (`kind`), a list of them (`api`), or all of it at once. What is not named stays.
pub(super) async fn change(shared: web::Data<Shared>, body: web::Json<Map<String, Value>>) -> HttpResponse {
    let mut world = lock(&shared.world);
    match merge(&world.faults, &body) {
        Ok(faults) => {
            world.faults = faults;
            HttpResponse::Ok().json(&world.faults)
        }
        Err(message) => refuse(message),
    }
}

fn merge(now: &Faults, change: &Map<String, Value>) -> Result<Faults, String> {
    let mut merged = now.clone();
    let mut deliveries = json!(now.deliveries);
    let into = deliveries.as_object_mut().ok_or("no delivery faults")?;
    let mut single = Map::new();
    for (name, value) in change {
        match name.as_str() {
            chance if CHANCES.contains(&chance) => {
                let value = value.as_f64().filter(|value| (0.0..=1.0).contains(value));
                into.insert(
                    name.clone(),
                    json!(value.ok_or_else(|| format!("{name} must be a number from 0 to 1"))?),
                );
            }
            number if NUMBERS.contains(&number) && !change.contains_key("kind") => {
                into.insert(name.clone(), value.clone());
                if number == "delay_ms" && !change.contains_key("delay") {
                    into.insert("delay".to_owned(), json!(if value == &json!(0) { 0.0 } else { 1.0 }));
                }
            }
            "latency_ms" => {
                merged.latency_ms = value.as_u64().ok_or("latency_ms must be a number of milliseconds")?;
            }
            "api" => {
                for fault in value.as_array().ok_or("api must be a list")? {
                    merged.add(api_fault(fault.clone())?);
                }
            }
            _ => {
                single.insert(name.clone(), value.clone());
            }
        }
    }
    if !single.is_empty() {
        merged.add(api_fault(Value::Object(single))?);
    }
    merged.deliveries = serde_json::from_value(deliveries).map_err(|error| error.to_string())?;
    Ok(merged)
}

/// Kinds may be numbers: `409` as well as `"409"`.
fn api_fault(mut value: Value) -> Result<ApiFault, String> {
    if let Some(kind) = value.get_mut("kind").filter(|kind| kind.is_u64()) {
        *kind = json!(kind.to_string());
    }
    let fault: ApiFault = serde_json::from_value(value).map_err(|error| error.to_string())?;
    match (fault.chance, fault.status) {
        (Some(chance), _) if !(0.0..=1.0).contains(&chance) => Err("chance must be a number from 0 to 1".to_owned()),
        (_, Some(status)) if !(400..=599).contains(&status) => Err("status must be from 400 to 599".to_owned()),
        _ => Ok(fault),
    }
}
