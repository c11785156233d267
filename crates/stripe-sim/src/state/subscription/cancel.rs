//! A subscription ends, is paused or comes back.

use super::Status;
use super::proration::rest_of_period;
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::customer::Metadata;
use crate::state::invoice::{NewInvoice, Reason};
use crate::state::object::Object;
use crate::time::Task;

impl World {
    /// Ends a subscription now; told as `customer.subscription.deleted`.
    pub(crate) fn cancel_subscription(&mut self, id: &str, reason: &'static str, prorate: bool) {
        let Some(subscription) = self
            .subscriptions
            .get(id)
            .filter(|one| !one.status.is_terminal())
            .cloned()
        else {
            return;
        };
        let now = self.now_on(subscription.test_clock.as_deref());
        let mut lines = subscription.pending.clone();
        if prorate && subscription.status == Status::Active {
            lines.extend(
                subscription
                    .items
                    .iter()
                    .map(|item| rest_of_period(&mut self.ids, &subscription, item, now, true)),
            );
        }
        if let Some(one) = self.subscriptions.get_mut(id) {
            one.status = Status::Canceled;
            one.canceled_at = one.canceled_at.or(Some(now));
            one.ended_at = Some(now);
            one.cancel_reason = Some(one.cancel_reason.unwrap_or(reason));
            one.pending.clear();
            let deleted = Object::Subscription(one.clone().into());
            self.emit("customer.subscription.deleted", deleted);
        }
        self.stop_collecting(id, subscription.status == Status::Incomplete);
        if prorate && !lines.is_empty() {
            let invoice = self.create_invoice(NewInvoice {
                customer: subscription.customer.clone(),
                subscription: Some(subscription.id.clone()),
                reason: Reason::SubscriptionUpdate,
                currency: subscription.currency.clone(),
                lines,
                period: (now, now),
                collection: subscription.collection,
                metadata: Metadata::new(),
                description: None,
                auto_advance: true,
            });
            self.finalize_invoice(&invoice);
            self.attempt_invoice(&invoice, None, false);
        }
    }

    /// The first payment did not come in time: `incomplete_expired`, and its invoice is void.
    pub(crate) fn expire_incomplete(&mut self, id: &str) {
        if self
            .subscriptions
            .get(id)
            .is_none_or(|one| one.status != Status::Incomplete)
        {
            return;
        }
        let now = self.now_on(self.subscriptions.get(id).and_then(|one| one.test_clock.as_deref()));
        self.change_subscription(id, |one| {
            one.status = Status::IncompleteExpired;
            one.ended_at = Some(now);
        });
        self.stop_collecting(id, true);
    }

    /// Open invoices of an ended subscription are left open but not tried again, or voided.
    fn stop_collecting(&mut self, id: &str, void: bool) {
        let open: Vec<String> = self
            .invoices
            .iter()
            .filter(|(_, one)| one.subscription.as_deref() == Some(id) && one.is_unpaid())
            .map(|(id, _)| id.to_owned())
            .collect();
        for invoice in open {
            if void {
                self.void_invoice(&invoice);
            } else {
                self.change_invoice(&invoice, |one| {
                    one.auto_advance = false;
                    one.next_payment_attempt = None;
                });
            }
        }
    }

    /// Pauses the subscription itself (not its collection): no invoices until it is resumed.
    pub(crate) fn pause_subscription(&mut self, id: &str) -> ApiResult<()> {
        let status = self.subscription(id, "id")?.status;
        if !matches!(status, Status::Active | Status::Trialing | Status::PastDue) {
            return Err(ApiError::state(
                "",
                format!("A subscription that is {} cannot be paused.", status.as_str()),
            ));
        }
        self.change_subscription(id, |one| one.status = Status::Paused);
        self.tell_subscription(id, "customer.subscription.paused");
        Ok(())
    }

    pub(crate) fn resume_subscription(&mut self, id: &str) -> ApiResult<()> {
        let subscription = self.subscription(id, "id")?.clone();
        if subscription.status != Status::Paused {
            return Err(ApiError::state("", "Only a paused subscription can be resumed."));
        }
        let now = self.now_on(subscription.test_clock.as_deref());
        self.change_subscription(id, |one| {
            one.status = Status::Active;
            one.anchor = now;
            one.period = (now, one.next_end(now));
        });
        if let Some(end) = self.subscriptions.get(id).map(|one| one.period.1) {
            self.agenda.add(
                end,
                subscription.test_clock.clone(),
                Task::PeriodEnd {
                    subscription: id.to_owned(),
                    end,
                },
            );
        }
        self.tell_subscription(id, "customer.subscription.resumed");
        self.invoice_now(id, Reason::SubscriptionCycle, (now, now));
        Ok(())
    }

    /// An event about a subscription that carries it as it is.
    pub(super) fn tell_subscription(&mut self, id: &str, kind: &str) {
        if let Some(one) = self.subscriptions.get(id).cloned() {
            self.emit(kind, Object::Subscription(one.into()));
        }
    }
}
