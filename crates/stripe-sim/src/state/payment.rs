//! PaymentIntents, charges and their events. What moves money is written into the simulator's own book at the same place.

use super::World;
use super::customer::Metadata;
use super::ledger::Entry;
use super::object::Object;
use super::payment_method::{Behaviour, Card};

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
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) client_secret: String,
    pub(crate) amount: i64,
    pub(crate) amount_received: i64,
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
    pub(crate) amount_refunded: i64,
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

impl World {
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

    /// Tries to take the money of an intent with a payment method, as a confirmation does. `present`: the card's owner is there to
    /// confirm and does so.
    pub(crate) fn confirm_intent(&mut self, id: &str, method: &str, present: bool) -> Attempt {
        let Some(card) = self
            .payment_methods
            .get(method)
            .map(|one| (one.card, one.fingerprint.clone()))
        else {
            return Attempt::Failed(NO_METHOD);
        };
        let (card, fingerprint) = card;
        match card.behaviour {
            Behaviour::NeedsAuthentication if !present => {
                let changed = self.set_intent(id, |intent| {
                    intent.status = IntentStatus::RequiresAction;
                    intent.payment_method = Some(method.to_owned());
                });
                if let Some(intent) = changed {
                    self.emit("payment_intent.requires_action", Object::Intent(intent));
                }
                Attempt::NeedsAction
            }
            Behaviour::Declined(failure) => {
                self.make_charge(id, method, card, fingerprint, Some(failure));
                let changed = self.set_intent(id, |intent| {
                    intent.status = IntentStatus::RequiresPaymentMethod;
                    intent.last_error = Some(failure);
                    intent.payment_method = None;
                });
                if let Some(intent) = changed {
                    self.emit("payment_intent.payment_failed", Object::Intent(intent));
                }
                Attempt::Failed(failure)
            }
            Behaviour::Succeeds | Behaviour::NeedsAuthentication | Behaviour::Disputed(..) => {
                let charge = self.make_charge(id, method, card, fingerprint, None);
                let changed = self.set_intent(id, |intent| {
                    intent.status = IntentStatus::Succeeded;
                    intent.amount_received = intent.amount;
                    intent.last_error = None;
                    intent.payment_method = Some(method.to_owned());
                });
                if let Some(intent) = changed {
                    self.emit("payment_intent.succeeded", Object::Intent(intent));
                }
                if let Behaviour::Disputed(reason, status) = card.behaviour {
                    self.open_dispute(&charge, None, reason, status);
                }
                Attempt::Paid { charge }
            }
        }
    }

    fn make_charge(
        &mut self,
        intent_id: &str,
        method: &str,
        card: Card,
        fingerprint: String,
        failure: Option<Failure>,
    ) -> String {
        let Some(intent) = self.intents.get(intent_id).cloned() else {
            return String::new();
        };
        let charge = Charge {
            id: self.ids.next("ch"),
            created: self.now_on(intent.test_clock.as_deref()),
            amount: intent.amount,
            amount_refunded: 0,
            currency: intent.currency.clone(),
            customer: intent.customer.clone(),
            intent: intent.id.clone(),
            invoice: intent.invoice.clone(),
            payment_method: method.to_owned(),
            card,
            fingerprint,
            failure,
            disputed: false,
            balance_transaction: failure.is_none().then(|| self.ids.next("txn")),
            description: intent.description.clone(),
            transfer_group: intent.transfer_group.clone(),
            metadata: intent.metadata.clone(),
            test_clock: intent.test_clock.clone(),
        };
        self.charges.insert(&charge.id, charge.clone());
        self.set_intent(intent_id, |intent| intent.latest_charge = Some(charge.id.clone()));
        if failure.is_none() {
            self.ledger.capture(Entry::of_charge(&charge));
        }
        let kind = if failure.is_some() {
            "charge.failed"
        } else {
            "charge.succeeded"
        };
        self.emit(kind, Object::Charge(charge.clone()));
        charge.id
    }

    /// Gives an intent up; its state does not matter once it succeeded.
    pub(crate) fn cancel_intent(&mut self, id: &str, reason: &'static str) {
        let open = self
            .intents
            .get(id)
            .is_some_and(|one| !matches!(one.status, IntentStatus::Succeeded | IntentStatus::Canceled));
        let now = self.now_on(self.intents.get(id).and_then(|one| one.test_clock.as_deref()));
        let changed = open.then(|| {
            self.set_intent(id, |intent| {
                intent.status = IntentStatus::Canceled;
                intent.canceled_at = Some(now);
                intent.cancellation_reason = Some(reason);
            })
        });
        if let Some(intent) = changed.flatten() {
            self.emit("payment_intent.canceled", Object::Intent(intent));
        }
    }
}
