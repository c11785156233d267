//! Acts of others: of the customer at the Checkout page, of the bank, of Stripe itself.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ApiError, ApiResult};
use crate::lock;
use crate::render;
use crate::serve::Shared;
use crate::state::World;
use crate::state::checkout::Completion;
use crate::state::dispute::DISPUTE_STATUSES;
use crate::state::object::Object;

#[derive(Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Act {
    /// The customer fills in the Checkout form.
    CompleteCheckout {
        session: String,
        #[serde(default = "visa")]
        payment_method: String,
        #[serde(default)]
        email: Option<String>,
        #[serde(default)]
        delayed: bool,
    },
    /// A delayed payment of a completed session comes through, or not.
    SettleCheckout {
        session: String,
        succeeds: bool,
    },
    ExpireCheckout {
        session: String,
    },
    CreateDispute {
        charge: String,
        #[serde(default)]
        amount: Option<i64>,
        #[serde(default = "fraudulent")]
        reason: String,
        #[serde(default = "needs_response")]
        status: String,
    },
    /// Any other state; one that ends the dispute closes it.
    #[serde(alias = "close_dispute")]
    UpdateDispute {
        dispute: String,
        status: String,
    },
    /// The bank sends a refund back.
    FailRefund {
        refund: String,
        #[serde(default = "lost_or_stolen_card")]
        reason: String,
    },
    /// A pending refund goes through.
    SettleRefund {
        refund: String,
    },
    /// Forgets finished idempotency keys: all, or those older than 24 hours.
    PruneIdempotencyKeys {
        #[serde(default = "yes")]
        all: bool,
    },
}

fn visa() -> String {
    "pm_card_visa".to_owned()
}

fn fraudulent() -> String {
    "fraudulent".to_owned()
}

fn needs_response() -> String {
    "needs_response".to_owned()
}

fn lost_or_stolen_card() -> String {
    "lost_or_stolen_card".to_owned()
}

const fn yes() -> bool {
    true
}

pub(super) async fn act(shared: web::Data<Shared>, body: web::Json<Act>) -> HttpResponse {
    let mut world = lock(&shared.world);
    let result = perform(&mut world, body.into_inner());
    world.commit();
    match result {
        Ok(value) => HttpResponse::Ok().json(value),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            HttpResponse::build(status).json(error.body("req_sim"))
        }
    }
}

fn perform(world: &mut World, act: Act) -> ApiResult<Value> {
    let object = match act {
        Act::CompleteCheckout {
            session,
            payment_method,
            email,
            delayed,
        } => {
            let how = Completion {
                payment_method,
                email,
                delayed,
            };
            Object::Session(world.complete_session(&session, &how)?.into())
        }
        Act::SettleCheckout { session, succeeds } => Object::Session(world.settle_session(&session, succeeds)?.into()),
        Act::ExpireCheckout { session } => Object::Session(world.expire_session(&session)?.into()),
        Act::CreateDispute {
            charge,
            amount,
            reason,
            status,
        } => {
            check_status(&status)?;
            let made = world.open_dispute(&charge, amount, &reason, &status);
            Object::Dispute(made.ok_or_else(|| ApiError::missing("charge", &charge, "charge"))?)
        }
        Act::FailRefund { refund, reason } => Object::Refund(world.fail_refund(&refund, &reason)?),
        Act::SettleRefund { refund } => Object::Refund(world.settle_refund(&refund)?),
        Act::UpdateDispute { dispute, status } => {
            check_status(&status)?;
            let closed = world.move_dispute(&dispute, &status);
            Object::Dispute(closed.ok_or_else(|| ApiError::missing("dispute", &dispute, "dispute"))?)
        }
        Act::PruneIdempotencyKeys { all } => {
            let now = world.now();
            return Ok(json!({ "pruned": world.keys.prune(now, all) }));
        }
    };
    Ok(render::object(&object, &world.version))
}

fn check_status(status: &str) -> ApiResult<()> {
    if DISPUTE_STATUSES.contains(&status) {
        return Ok(());
    }
    Err(ApiError::invalid(
        "status",
        "",
        format!("Invalid status: must be one of {}", DISPUTE_STATUSES.join(", ")),
    ))
}
