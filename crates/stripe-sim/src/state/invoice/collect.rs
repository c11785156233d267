//! Taking an invoice's money: the first attempt, the retries, out-of-band payments, and what follows for the subscription.

use super::{InvoiceStatus, Reason};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::object::Object;
use crate::state::payment::{Attempt, NO_METHOD};
use crate::state::subscription::Collection;
use crate::time::{Task, add_days};

impl World {
    /// Tries to take what an open invoice is owed. `present`: the customer is there to authenticate.
    pub(crate) fn attempt_invoice(&mut self, id: &str, method: Option<&str>, present: bool) -> Attempt {
        let Some(invoice) = self.invoices.get(id).cloned() else {
            return Attempt::Failed(NO_METHOD);
        };
        let collectable = matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible);
        let automatic = invoice.collection == Collection::Automatic || method.is_some();
        let Some(intent) = invoice.intent.clone().filter(|_| collectable && automatic) else {
            let charge = invoice.charge.clone().unwrap_or_default();
            return Attempt::Paid { charge };
        };
        let method = method
            .map(ToOwned::to_owned)
            .or_else(|| invoice.default_payment_method.clone())
            .or_else(|| self.paying_method(invoice.subscription.as_deref(), &invoice.customer));
        let attempt = method.map_or(Attempt::Failed(NO_METHOD), |method| {
            self.confirm_intent(&intent, &method, present)
        });
        match &attempt {
            Attempt::Paid { charge } => self.settle_invoice(id, Some(charge), false),
            Attempt::Failed(_) => self.payment_failed(id),
            Attempt::NeedsAction => {
                self.tell_invoice(id, "invoice.payment_action_required");
                self.payment_failed(id);
            }
        }
        attempt
    }

    /// Marks an invoice paid and tells everybody whom it concerns.
    pub(crate) fn settle_invoice(&mut self, id: &str, charge: Option<&str>, out_of_band: bool) {
        let Some(invoice) = self.invoices.get(id).cloned() else {
            return;
        };
        let now = self.now_on(invoice.test_clock.as_deref());
        let amount = invoice.amount_due();
        self.change_invoice(id, |one| {
            one.status = InvoiceStatus::Paid;
            one.paid_at = Some(now);
            one.amount_paid = amount;
            one.paid_out_of_band = out_of_band;
            one.charge = charge.map(ToOwned::to_owned);
            one.next_payment_attempt = None;
            one.attempt_count += u32::from(charge.is_some());
            for payment in &mut one.payments {
                if charge.is_some() {
                    payment.paid_at = Some(now);
                } else {
                    payment.canceled_at = Some(now);
                }
            }
        });
        self.tell_invoice(id, "invoice.paid");
        if !out_of_band {
            self.tell_invoice(id, "invoice.payment_succeeded");
        }
        if charge.is_some() {
            let payments = self
                .invoices
                .get(id)
                .map(|one| one.payments.clone())
                .unwrap_or_default();
            for payment in payments {
                self.emit("invoice_payment.paid", Object::InvoicePayment(payment));
            }
        } else if let Some(intent) = &invoice.intent {
            self.cancel_intent(intent, Some("void_invoice"));
        }
        if let Some(subscription) = &invoice.subscription {
            self.subscription_paid(subscription, id);
        }
    }

    fn payment_failed(&mut self, id: &str) {
        let Some(invoice) = self.invoices.get(id).cloned() else {
            return;
        };
        let now = self.now_on(invoice.test_clock.as_deref());
        let tried = usize::try_from(invoice.attempt_count).unwrap_or(usize::MAX);
        let first = invoice.reason == Reason::SubscriptionCreate;
        let wait = self
            .settings
            .retry_after_days
            .get(tried)
            .copied()
            .filter(|_| !first && invoice.auto_advance);
        let next = wait.map(|days| add_days(now, days));
        self.change_invoice(id, |one| {
            one.attempt_count += 1;
            one.next_payment_attempt = next;
        });
        self.tell_invoice(id, "invoice.payment_failed");
        if let Some(at) = next {
            self.agenda.add(
                at,
                invoice.test_clock.clone(),
                Task::Retry {
                    invoice: id.to_owned(),
                    at,
                },
            );
        }
        if let Some(subscription) = &invoice.subscription {
            self.subscription_failed(subscription, next.is_none() && !first);
        }
    }

    /// A draft's time came.
    pub(crate) fn finalize_time_came(&mut self, id: &str) {
        if self
            .invoices
            .get(id)
            .is_some_and(|one| one.status == InvoiceStatus::Draft && one.auto_advance)
        {
            self.finalize_invoice(id);
            self.attempt_invoice(id, None, false);
        }
    }

    pub(crate) fn retry_time_came(&mut self, id: &str, at: i64) {
        let due = self
            .invoices
            .get(id)
            .is_some_and(|one| one.status == InvoiceStatus::Open && one.next_payment_attempt == Some(at));
        if due {
            self.attempt_invoice(id, None, false);
        }
    }

    /// A mailed invoice was not paid in time.
    pub(crate) fn due_date_came(&mut self, id: &str) {
        let Some(invoice) = self
            .invoices
            .get(id)
            .filter(|one| one.status == InvoiceStatus::Open)
            .cloned()
        else {
            return;
        };
        self.tell_invoice(id, "invoice.overdue");
        if let Some(subscription) = &invoice.subscription {
            self.subscription_failed(subscription, false);
        }
    }

    /// `POST /v1/invoices/{id}/pay`.
    pub(crate) fn pay_invoice(&mut self, id: &str, method: Option<&str>, out_of_band: bool) -> ApiResult<()> {
        if self.invoice(id)?.status == InvoiceStatus::Draft {
            self.finalize_invoice(id);
        }
        let status = self.invoice(id)?.status;
        match status {
            InvoiceStatus::Paid => Err(ApiError::state("invoice_already_paid", "Invoice is already paid")),
            InvoiceStatus::Void | InvoiceStatus::Draft => Err(ApiError::state(
                "invoice_not_payable",
                format!("This invoice is {}.", status.as_str()),
            )),
            InvoiceStatus::Open | InvoiceStatus::Uncollectible if out_of_band => {
                self.settle_invoice(id, None, true);
                Ok(())
            }
            InvoiceStatus::Open | InvoiceStatus::Uncollectible => {
                let customer = self.invoice(id)?.customer.clone();
                let fallback = self.paying_method(self.invoice(id)?.subscription.clone().as_deref(), &customer);
                let method = method.map(ToOwned::to_owned).or(fallback);
                match self.attempt_invoice(id, method.as_deref(), false) {
                    Attempt::Paid { .. } => Ok(()),
                    Attempt::Failed(failure) => Err(ApiError::card(&failure)),
                    Attempt::NeedsAction => {
                        let mut error = ApiError::card(&crate::state::payment::AUTHENTICATION);
                        error.code = Some("invoice_payment_intent_requires_action".into());
                        Err(error)
                    }
                }
            }
        }
    }
}
