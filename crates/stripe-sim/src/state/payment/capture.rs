//! What becomes of a hold: captured in whole or in part, given up, or expired.

use super::{AUTHENTICATION, AUTHENTICATION_FAILED, Attempt, Charge, Failure, Intent, IntentStatus};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;

impl World {
    /// Takes held money, all of it unless an amount is given; the rest is released, as a second capture is not possible.
    pub(crate) fn capture_intent(
        &mut self,
        id: &str,
        amount: Option<i64>,
        metadata: Option<Metadata>,
    ) -> ApiResult<Intent> {
        let intent = self.intent(id, "id")?.clone();
        if intent.status != IntentStatus::RequiresCapture {
            let message = match intent.status {
                IntentStatus::Succeeded => {
                    "This PaymentIntent could not be captured because it has already been captured.".to_owned()
                }
                other => format!(
                    "This PaymentIntent could not be captured because it has a status of {}. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.",
                    other.as_str()
                ),
            };
            return Err(ApiError::state("payment_intent_unexpected_state", message));
        }
        let amount = amount.unwrap_or(intent.amount_capturable);
        if amount > intent.amount_capturable {
            let message = format!(
                "The requested capture amount is greater than the amount you can capture for this charge ({}).",
                intent.amount_capturable
            );
            return Err(ApiError::state("amount_too_large", message).about("amount_to_capture"));
        }
        let held = intent.latest_charge.as_deref().and_then(|id| self.charges.get(id));
        let mut charge = held
            .cloned()
            .ok_or_else(|| ApiError::missing("charge", "", "latest_charge"))?;
        let before = charge.clone();
        charge.released = charge.amount - amount;
        charge.capture_before = None;
        merge_metadata(&mut charge.metadata, metadata.clone());
        self.take_money(&mut charge, amount);
        self.charges.insert(&charge.id, charge.clone());
        let captured = Object::Charge(charge.clone().into());
        self.emit_with_previous("charge.captured", Object::Charge(before.clone().into()), captured);
        if charge.released > 0 {
            self.tell_released(before, charge);
        }
        let changed = self.set_intent(id, |one| {
            one.status = IntentStatus::Succeeded;
            one.amount_received = amount;
            one.amount_capturable = 0;
            merge_metadata(&mut one.metadata, metadata);
        });
        let intent = changed.unwrap_or(intent);
        self.emit("payment_intent.succeeded", Object::Intent(intent.clone()));
        Ok(intent)
    }

    /// What was held and is not wanted any more appears as refunded, although no money ever moved.
    fn tell_released(&mut self, before: Charge, after: Charge) {
        self.emit_with_previous(
            "charge.refunded",
            Object::Charge(before.into()),
            Object::Charge(after.into()),
        );
    }

    /// `POST /v1/payment_intents/{id}/cancel`.
    pub(crate) fn cancel_own_intent(&mut self, id: &str, reason: Option<&'static str>) -> ApiResult<Intent> {
        let intent = self.intent(id, "id")?;
        if matches!(intent.status, IntentStatus::Succeeded | IntentStatus::Canceled) {
            let message = format!(
                "You cannot cancel this PaymentIntent because it has a status of {}. Only a PaymentIntent with one of the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action, processing.",
                intent.status.as_str()
            );
            return Err(ApiError::state("payment_intent_unexpected_state", message));
        }
        if let Some(invoice) = &intent.invoice {
            let message = format!("This PaymentIntent belongs to the invoice {invoice}; void that instead.");
            return Err(ApiError::state("payment_intent_unexpected_state", message));
        }
        self.cancel_intent(id, reason);
        self.intent(id, "id").cloned()
    }

    /// Gives an intent up and releases its hold. One that is over stays as it is.
    pub(crate) fn cancel_intent(&mut self, id: &str, reason: Option<&'static str>) {
        let Some(intent) = self.intents.get(id).cloned() else {
            return;
        };
        if matches!(intent.status, IntentStatus::Succeeded | IntentStatus::Canceled) {
            return;
        }
        if intent.status == IntentStatus::RequiresCapture {
            self.release_hold(&intent, reason);
        }
        let now = self.now_on(intent.test_clock.as_deref());
        let changed = self.set_intent(id, |one| {
            one.status = IntentStatus::Canceled;
            one.canceled_at = Some(now);
            one.cancellation_reason = reason;
            one.amount_capturable = 0;
        });
        if let Some(intent) = changed {
            self.emit("payment_intent.canceled", Object::Intent(intent));
        }
    }

    fn release_hold(&mut self, intent: &Intent, reason: Option<&str>) {
        let held = intent.latest_charge.as_deref().and_then(|id| self.charges.get_mut(id));
        let Some(charge) = held else { return };
        let before = charge.clone();
        charge.released = charge.amount;
        charge.capture_before = None;
        let after = charge.clone();
        if reason == Some("expired") {
            self.emit("charge.expired", Object::Charge(after.into()));
        } else {
            self.tell_released(before, after);
        }
    }

    /// The time of a hold is over.
    pub(crate) fn hold_expires(&mut self, id: &str, at: i64) {
        let charge = self.intents.get(id).and_then(|one| one.latest_charge.as_deref());
        let charge = charge.and_then(|id| self.charges.get(id));
        if charge.is_some_and(|one| one.capture_before == Some(at)) {
            self.cancel_intent(id, Some("expired"));
        }
    }

    /// As [`World::hold_expires`], before its time.
    pub(crate) fn expire_hold(&mut self, id: &str) -> ApiResult<Intent> {
        let status = self.intent(id, "payment_intent")?.status;
        if status != IntentStatus::RequiresCapture {
            let message = format!("A PaymentIntent that is {} holds nothing.", status.as_str());
            return Err(ApiError::state("payment_intent_unexpected_state", message));
        }
        self.cancel_intent(id, Some("expired"));
        self.intent(id, "payment_intent").cloned()
    }

    /// Nobody was there to authenticate: the card counts as declined.
    pub(crate) fn refuse_off_session(&mut self, id: &str) -> Failure {
        let changed = self.set_intent(id, |one| {
            one.status = IntentStatus::RequiresPaymentMethod;
            one.last_error = Some(AUTHENTICATION);
            one.payment_method = None;
        });
        if let Some(intent) = changed {
            self.emit("payment_intent.payment_failed", Object::Intent(intent));
        }
        AUTHENTICATION
    }

    /// The card's owner authenticates, or refuses to.
    pub(crate) fn authenticate(&mut self, id: &str, succeeds: bool) -> ApiResult<Intent> {
        let intent = self.intent(id, "payment_intent")?.clone();
        let Some(method) = intent
            .payment_method
            .clone()
            .filter(|_| intent.status == IntentStatus::RequiresAction)
        else {
            let message = format!("A PaymentIntent that is {} waits for nobody.", intent.status.as_str());
            return Err(ApiError::state("payment_intent_unexpected_state", message));
        };
        if succeeds {
            let _: Attempt = match &intent.invoice {
                Some(invoice) => self.attempt_invoice(invoice, Some(&method), true),
                None => self.confirm_intent(id, &method, true),
            };
        } else if let Some(failed) = self.set_intent(id, |one| {
            one.status = IntentStatus::RequiresPaymentMethod;
            one.last_error = Some(AUTHENTICATION_FAILED);
            one.payment_method = None;
        }) {
            self.emit("payment_intent.payment_failed", Object::Intent(failed));
        }
        self.intent(id, "payment_intent").cloned()
    }
}
