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
use crate::state::account::{CapabilityStatus, Requirements};
use crate::state::checkout::Completion;
use crate::state::currency;
use crate::state::customer::Metadata;
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
    /// A pending refund is withdrawn.
    CancelRefund {
        refund: String,
    },
    /// A pending refund goes through.
    SettleRefund {
        refund: String,
    },
    /// The owner of a card authenticates, or refuses to.
    Authenticate {
        payment_intent: String,
        #[serde(default = "yes")]
        succeeds: bool,
    },
    /// A hold ends before its time.
    ExpireHold {
        payment_intent: String,
    },
    /// The owner of a connected account fills in everything that is due.
    CompleteOnboarding {
        account: String,
    },
    /// Stripe grants or withdraws a capability, and says what is due for it.
    SetCapability {
        account: String,
        #[serde(default = "transfers")]
        capability: String,
        status: String,
        #[serde(default)]
        currently_due: Vec<String>,
        #[serde(default)]
        past_due: Vec<String>,
        #[serde(default)]
        disabled_reason: Option<String>,
        #[serde(default)]
        current_deadline: Option<i64>,
    },
    /// Money from outside, for the platform or a connected account.
    AddFunds {
        #[serde(default)]
        account: Option<String>,
        amount: i64,
        currency: String,
    },
    /// Everything that is available is paid out, as automatic payouts do; or an amount.
    PayOut {
        #[serde(default)]
        account: Option<String>,
        #[serde(default)]
        amount: Option<i64>,
        currency: String,
    },
    FailPayout {
        payout: String,
        #[serde(default = "account_closed")]
        failure_code: String,
    },
    /// Forgets finished idempotency keys: one, all, or those older than 24 hours.
    PruneIdempotencyKeys {
        #[serde(default = "yes")]
        all: bool,
        #[serde(default)]
        key: Option<String>,
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

fn transfers() -> String {
    "transfers".to_owned()
}

fn account_closed() -> String {
    "account_closed".to_owned()
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
        Act::CancelRefund { refund } => Object::Refund(world.cancel_refund(&refund)?),
        Act::SettleRefund { refund } => Object::Refund(world.settle_refund(&refund)?),
        Act::UpdateDispute { dispute, status } => {
            check_status(&status)?;
            let closed = world.move_dispute(&dispute, &status);
            Object::Dispute(closed.ok_or_else(|| ApiError::missing("dispute", &dispute, "dispute"))?)
        }
        Act::Authenticate {
            payment_intent,
            succeeds,
        } => Object::Intent(world.authenticate(&payment_intent, succeeds)?),
        Act::ExpireHold { payment_intent } => Object::Intent(world.expire_hold(&payment_intent)?),
        Act::CompleteOnboarding { account } => Object::Account(world.complete_onboarding(&account)?.into()),
        Act::SetCapability {
            account,
            capability,
            status,
            currently_due,
            past_due,
            disabled_reason,
            current_deadline,
        } => {
            let requirements = Requirements {
                currently_due,
                past_due,
                pending_verification: Vec::new(),
                disabled_reason,
                current_deadline,
            };
            let status = capability_status(&status)?;
            Object::Account(
                world
                    .set_capability(&account, &capability, status, requirements)?
                    .into(),
            )
        }
        Act::AddFunds {
            account,
            amount,
            currency,
        } => {
            currency::positive(amount)?;
            let currency = currency::known(&currency)?;
            known_owner(world, account.as_deref())?;
            let transaction = world.add_funds(account, amount, &currency);
            world.retry_waiting_refunds();
            return Ok(json!({ "balance_transaction": transaction }));
        }
        Act::PayOut {
            account,
            amount,
            currency,
        } => {
            let currency = currency::known(&currency)?;
            known_owner(world, account.as_deref())?;
            let amount = amount.unwrap_or_else(|| world.balance(&account, &currency).0);
            currency::payable(amount, &currency)?;
            Object::Payout(world.create_payout(account, amount, &currency, None, Metadata::new())?)
        }
        Act::FailPayout { payout, failure_code } => Object::Payout(world.fail_payout(&payout, &failure_code)?),
        Act::PruneIdempotencyKeys { all, key } => {
            let now = world.now();
            let pruned = match key {
                Some(key) => world.keys.forget(&key),
                None => world.keys.prune(now, all),
            };
            return Ok(json!({ "pruned": pruned }));
        }
    };
    Ok(render::object(&object, &world.version))
}

fn known_owner(world: &World, account: Option<&str>) -> ApiResult<()> {
    account.map_or(Ok(()), |id| world.account(id, "account").map(|_| ()))
}

fn capability_status(name: &str) -> ApiResult<CapabilityStatus> {
    match name {
        "active" => Ok(CapabilityStatus::Active),
        "inactive" => Ok(CapabilityStatus::Inactive),
        "pending" => Ok(CapabilityStatus::Pending),
        _ => Err(ApiError::invalid(
            "status",
            "",
            "Invalid status: must be one of active, inactive, pending",
        )),
    }
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
