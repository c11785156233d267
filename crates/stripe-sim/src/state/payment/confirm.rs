//! A PaymentIntent is confirmed: the card says yes, no, or wants to see its owner.

use super::{Attempt, CaptureMethod, Charge, Failure, IntentStatus, NO_METHOD};
use crate::state::World;
use crate::state::balance::Posting;
use crate::state::ledger::Entry;
use crate::state::object::Object;
use crate::state::payment_method::{Behaviour, Card};
use crate::time::{Task, add_days};

impl World {
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
                    intent.last_error = None;
                    intent.payment_method = Some(method.to_owned());
                    if intent.capture == CaptureMethod::Manual {
                        intent.status = IntentStatus::RequiresCapture;
                        intent.amount_capturable = intent.amount;
                    } else {
                        intent.status = IntentStatus::Succeeded;
                        intent.amount_received = intent.amount;
                    }
                });
                if let Some(intent) = changed {
                    let kind = match intent.capture {
                        CaptureMethod::Manual => "payment_intent.amount_capturable_updated",
                        CaptureMethod::Automatic | CaptureMethod::AutomaticAsync => "payment_intent.succeeded",
                    };
                    self.emit(kind, Object::Intent(intent));
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
        let id = self.ids.next("ch");
        let created = self.now_on(intent.test_clock.as_deref());
        let held = failure.is_none() && intent.capture == CaptureMethod::Manual;
        let mut charge = Charge {
            id: id.clone(),
            created,
            amount: intent.amount,
            amount_captured: 0,
            amount_refunded: 0,
            released: 0,
            capture_before: held.then(|| add_days(created, self.settings.authorization_days)),
            transferred: 0,
            currency: intent.currency.clone(),
            customer: intent.customer.clone(),
            intent: intent.id.clone(),
            invoice: intent.invoice.clone(),
            payment_method: method.to_owned(),
            card,
            fingerprint,
            failure,
            disputed: false,
            balance_transaction: None,
            description: intent.description.clone(),
            transfer_group: intent.transfer_group.clone(),
            metadata: intent.metadata.clone(),
            test_clock: intent.test_clock.clone(),
        };
        if let Some(at) = charge.capture_before {
            let task = Task::HoldExpires {
                intent: intent.id.clone(),
                at,
            };
            self.agenda.add(at, charge.test_clock.clone(), task);
        }
        if failure.is_none() && !held {
            self.take_money(&mut charge, intent.amount);
        }
        self.charges.insert(&id, charge.clone());
        self.set_intent(intent_id, |intent| intent.latest_charge = Some(id));
        let kind = if failure.is_some() {
            "charge.failed"
        } else {
            "charge.succeeded"
        };
        let id = charge.id.clone();
        self.emit(kind, Object::Charge(charge.into()));
        id
    }

    /// The captured money of a charge enters the platform's balance and the simulator's book.
    pub(super) fn take_money(&mut self, charge: &mut Charge, amount: i64) {
        charge.amount_captured = amount;
        let fee = self.settings.fee(amount);
        let wait = if charge.card.bypasses_pending {
            0
        } else {
            self.settings.pending_days
        };
        let transaction = self.post(Posting {
            owner: None,
            amount,
            fee,
            currency: &charge.currency,
            kind: "charge",
            source: &charge.id,
            available_on: add_days(self.now(), wait),
        });
        charge.balance_transaction = Some(transaction);
        self.book(|ledger| &mut ledger.captures, Entry::of_charge(charge));
        self.retry_waiting_refunds();
    }
}
