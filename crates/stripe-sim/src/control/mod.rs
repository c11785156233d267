//! `/_sim`: what Stripe does not have. JSON in, JSON out, no key.

mod act;
mod emit;
mod faults;
mod inspect;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lock;
use crate::serve::Shared;
use crate::state::Settings;

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/_sim")
            .app_data(web::JsonConfig::default().error_handler(|error, _| {
                let body = HttpResponse::BadRequest().json(json!({ "error": error.to_string() }));
                actix_web::error::InternalError::from_response(error, body).into()
            }))
            .route("/act", web::post().to(act::act))
            .route("/emit", web::post().to(emit::emit))
            .route("/deliver", web::post().to(emit::deliver))
            .route("/faults", web::get().to(faults::show))
            .route("/faults", web::post().to(faults::change))
            .route("/faults", web::delete().to(faults::clear))
            .route("/clock", web::get().to(clock))
            .route("/clock", web::post().to(move_clock))
            .route("/settings", web::get().to(settings))
            .route("/settings", web::post().to(change_settings))
            .route("/pause_deliveries", web::post().to(inspect::pause))
            .route("/resume_deliveries", web::post().to(inspect::resume))
            .route("/deliveries", web::get().to(inspect::deliveries))
            .route("/ledger", web::get().to(inspect::ledger))
            .route("/quiet", web::get().to(inspect::quiet))
            .default_service(web::to(nowhere)),
    );
}

async fn nowhere() -> HttpResponse {
    refuse("no such route; see the simulator's README")
}

fn refuse(message: impl Into<String>) -> HttpResponse {
    HttpResponse::BadRequest().json(json!({ "error": message.into() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    #[serde(default)]
    advance_seconds: i64,
    #[serde(default)]
    freeze: Option<bool>,
}

async fn clock(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "now": lock(&shared.world).now() }))
}

/// Moves the simulator's clock on and does what becomes due. Time never goes back.
async fn move_clock(shared: web::Data<Shared>, body: web::Json<Clock>) -> HttpResponse {
    if body.advance_seconds < 0 {
        return refuse("advance_seconds must not be negative");
    }
    let mut world = lock(&shared.world);
    if let Some(freeze) = body.freeze {
        world.clock.freeze(freeze);
    }
    world.clock.advance(body.advance_seconds);
    world.run_due(None);
    world.commit();
    HttpResponse::Ok().json(json!({ "now": world.now() }))
}

async fn settings(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(&lock(&shared.world).settings)
}

async fn change_settings(shared: web::Data<Shared>, body: web::Json<Value>) -> HttpResponse {
    let mut world = lock(&shared.world);
    let mut merged = json!(world.settings);
    if let (Some(into), Some(more)) = (merged.as_object_mut(), body.as_object()) {
        into.extend(more.clone());
    }
    match serde_json::from_value::<Settings>(merged) {
        Ok(settings) if matches!(settings.after_retries.as_str(), "cancel" | "unpaid" | "past_due") => {
            world.settings = settings;
            HttpResponse::Ok().json(&world.settings)
        }
        Ok(_) => refuse("after_retries must be cancel, unpaid or past_due"),
        Err(error) => refuse(error.to_string()),
    }
}
