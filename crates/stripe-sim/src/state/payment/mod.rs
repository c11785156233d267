//! PaymentIntents and charges: what they are. How money is taken with them is in the files below this one.

mod capture;
mod confirm;

use super::World;
use super::customer::Metadata;
use super::object::Object;
use super::payment_method::Card;
use crate::error::{ApiError, ApiResult};

/// Why a card said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) decline_code: Option<&'static str>,
    pub(crate) message: &'static str,
}

/// No card to charge.
pub(crate) const NO_METHOD: Failure = Failure {
    code: "payment_method_missing",
    decline_code: None,
    message: "This customer has no attached payment source or default payment method.",
};

/// The card wants its owner to confirm.
pub(crate) const AUTHENTICATION: Failure = Failure {
    code: "authentication_required",
    decline_code: Some("authentication_required"),
    message: "Your card was declined. This transaction requires authentication.",
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Processing,
    Succeeded,
    Canceled,
}

impl IntentStatus {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction => "requires_action",
            Self::RequiresCapture => "requires_capture",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// When the money of a confirmed intent is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureMethod {
    Automatic,
    /// As `Automatic` here: what it may leave for later is there at once.
    AutomaticAsync,
    /// Held until it is captured, for some days.
    Manual,
}

impl CaptureMethod {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::AutomaticAsync => "automatic_async",
            Self::Manual => "manual",
        }
    }
}

/// The card's owner refused to authenticate.
pub(crate) const AUTHENTICATION_FAILED: Failure = Failure {
    code: "payment_intent_authentication_failure",
    decline_code: None,
    message: "The provided PaymentMethod has failed authentication.",
};

#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) client_secret: String,
    pub(crate) amount: i64,
    pub(crate) amount_received: i64,
    pub(crate) amount_capturable: i64,
    pub(crate) capture: CaptureMethod,
    pub(crate) currency: String,
    pub(crate) customer: Option<String>,
    pub(crate) status: IntentStatus,
    pub(crate) payment_method: Option<String>,
    pub(crate) latest_charge: Option<String>,
    pub(crate) last_error: Option<Failure>,
    pub(crate) invoice: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) transfer_group: Option<String>,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) cancellation_reason: Option<&'static str>,
    pub(crate) metadata: Metadata,
    pub(crate) test_clock: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) amount_captured: i64,
    /// What refunds gave back of what was captured.
    pub(crate) amount_refunded: i64,
    /// What was held and never captured; Stripe shows it as refunded too.
    pub(crate) released: i64,
    /// Until when a hold can be captured.
    pub(crate) capture_before: Option<i64>,
    /// What is in transfers with this charge as their source, reversals taken off.
    pub(crate) transferred: i64,
    pub(crate) currency: String,
    pub(crate) customer: Option<String>,
    pub(crate) intent: String,
    pub(crate) invoice: Option<String>,
    pub(crate) payment_method: String,
    pub(crate) card: Card,
    pub(crate) fingerprint: String,
    pub(crate) failure: Option<Failure>,
    pub(crate) disputed: bool,
    pub(crate) balance_transaction: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) transfer_group: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) test_clock: Option<String>,
}

/// What became of an attempt to take money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Paid { charge: String },
    Failed(Failure),
    NeedsAction,
}

impl Intent {
    /// An intent of this amount about which nothing else is known.
    pub(crate) fn of(amount: i64, currency: &str) -> Self {
        Self {
            id: String::new(),
            created: 0,
            client_secret: String::new(),
            amount,
            amount_received: 0,
            amount_capturable: 0,
            capture: CaptureMethod::Automatic,
            currency: currency.to_owned(),
            customer: None,
            status: IntentStatus::RequiresPaymentMethod,
            payment_method: None,
            latest_charge: None,
            last_error: None,
            invoice: None,
            description: None,
            transfer_group: None,
            canceled_at: None,
            cancellation_reason: None,
            metadata: Metadata::new(),
            test_clock: None,
        }
    }
}

impl Charge {
    /// Whether the money was taken, and not only held or refused.
    pub(crate) const fn is_captured(&self) -> bool {
        self.amount_captured > 0
    }
}

impl World {
    pub(crate) fn intent(&self, id: &str, param: &str) -> ApiResult<&Intent> {
        self.intents
            .get(id)
            .ok_or_else(|| ApiError::missing("payment_intent", id, param))
    }

    pub(crate) fn create_intent(&mut self, mut intent: Intent) -> String {
        intent.id = self.ids.next("pi");
        intent.client_secret = format!("{}_secret_{}", intent.id, self.ids.secret("client_secret", 25));
        intent.created = self.now_on(intent.test_clock.as_deref());
        self.intents.insert(&intent.id, intent.clone());
        self.emit("payment_intent.created", Object::Intent(intent.clone()));
        intent.id
    }

    /// Changes a PaymentIntent without telling; the callers tell what happened.
    fn set_intent(&mut self, id: &str, change: impl FnOnce(&mut Intent)) -> Option<Intent> {
        let intent = self.intents.get_mut(id)?;
        change(intent);
        Some(intent.clone())
    }
}
