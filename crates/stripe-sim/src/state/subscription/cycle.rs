//! What time does to a subscription: a period ends, a trial ends, a scheduled cancellation comes.

use super::{MissingMethod, Status};
use crate::state::World;
use crate::state::invoice::Reason;
use crate::state::object::Object;
use crate::time::Task;

/// A renewal's invoice stays a draft for about an hour.
const DRAFT_SECONDS: i64 = 3_600;

impl World {
    pub(crate) fn period_ended(&mut self, id: &str, end: i64) {
        let Some(subscription) = self.subscriptions.get(id).cloned() else {
            return;
        };
        if subscription.period.1 != end
            || matches!(
                subscription.status,
                Status::Canceled | Status::IncompleteExpired | Status::Incomplete | Status::Paused
            )
        {
            return;
        }
        if subscription.cancel_at_period_end {
            self.cancel_subscription(id, "cancellation_requested", false);
            return;
        }
        let trial_ends = subscription.status == Status::Trialing;
        if trial_ends && self.paying_method(Some(id), &subscription.customer).is_none() {
            match subscription.missing_method {
                MissingMethod::CreateInvoice => {}
                MissingMethod::Pause => {
                    self.change_subscription(id, |one| one.status = Status::Paused);
                    self.tell_subscription(id, "customer.subscription.paused");
                    return;
                }
                MissingMethod::Cancel => {
                    self.cancel_subscription(id, "payment_failed", false);
                    return;
                }
            }
        }
        let Some(one) = self.subscriptions.get_mut(id) else {
            return;
        };
        one.period = (end, one.next_end(end));
        if trial_ends {
            one.status = Status::Active;
        }
        let next = one.period.1;
        self.agenda.add(
            next,
            subscription.test_clock.clone(),
            Task::PeriodEnd {
                subscription: id.to_owned(),
                end: next,
            },
        );
        let invoice = self.invoice_period(id, Reason::SubscriptionCycle, subscription.period);
        if let Some(after) = self.subscriptions.get(id).cloned() {
            self.emit_change(
                "customer.subscription.updated",
                Object::Subscription(subscription.clone().into()),
                Object::Subscription(after.into()),
            );
        }
        let behavior = subscription.pause_collection.as_ref().map(|pause| pause.behavior);
        match behavior {
            Some("void") => self.void_invoice(&invoice),
            Some("mark_uncollectible") => {
                self.finalize_invoice(&invoice);
                self.mark_uncollectible(&invoice);
            }
            Some(_) => self.change_invoice(&invoice, |one| one.auto_advance = false),
            None if subscription.status == Status::Unpaid => {
                self.change_invoice(&invoice, |one| one.auto_advance = false);
            }
            None => self
                .agenda
                .add(end + DRAFT_SECONDS, subscription.test_clock, Task::Finalize { invoice }),
        }
    }

    pub(crate) fn trial_will_end(&mut self, id: &str, end: i64) {
        let applies = self
            .subscriptions
            .get(id)
            .is_some_and(|one| one.status == Status::Trialing && one.trial.is_some_and(|(_, at)| at == end));
        if applies {
            self.tell_subscription(id, "customer.subscription.trial_will_end");
        }
    }

    pub(crate) fn cancel_time_came(&mut self, id: &str, at: i64) {
        if self.subscriptions.get(id).is_some_and(|one| one.cancel_at == Some(at)) {
            self.cancel_subscription(id, "cancellation_requested", false);
        }
    }

    pub(crate) fn resume_collection(&mut self, id: &str, at: i64) {
        let due = self
            .subscriptions
            .get(id)
            .and_then(|one| one.pause_collection.as_ref())
            .is_some_and(|pause| pause.resumes_at == Some(at));
        if due {
            self.change_subscription(id, |one| one.pause_collection = None);
        }
    }
}
