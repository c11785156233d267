//! A subscription begins. `customer.subscription.created` carries the state after the first payment when that was tried at once
//! (`allow_incomplete`), and `incomplete` when the payment comes later (`default_incomplete`, Checkout).

use super::proration::period_line;
use super::{Collection, Item, MissingMethod, Status, Subscription};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::catalog::Price;
use crate::state::customer::Metadata;
use crate::state::invoice::{NewInvoice, Reason};
use crate::state::object::Object;
use crate::state::payment::{Attempt, NO_METHOD};
use crate::state::payment_method::Behaviour;
use crate::time::Task;

const INCOMPLETE_SECONDS: i64 = 23 * 3_600;
const TRIAL_NOTICE_SECONDS: i64 = 3 * 86_400;

/// `payment_behavior`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstPayment {
    /// `allow_incomplete`.
    Try,
    /// `default_incomplete`.
    Wait,
    /// `error_if_incomplete`.
    MustSucceed,
}

/// What a subscription is made from, every id already resolved.
#[derive(Clone, Debug)]
pub(crate) struct NewSubscription {
    pub(crate) customer: String,
    pub(crate) items: Vec<(Price, i64, Metadata)>,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) missing_method: MissingMethod,
    pub(crate) default_payment_method: Option<String>,
    pub(crate) collection: Collection,
    pub(crate) behavior: FirstPayment,
    pub(crate) cancel_at: Option<i64>,
    pub(crate) cancel_at_period_end: bool,
}

impl World {
    pub(crate) fn create_subscription(&mut self, new: NewSubscription) -> ApiResult<String> {
        let first = new
            .items
            .first()
            .ok_or_else(|| ApiError::invalid("items", "parameter_missing", "Missing required param: items."))?;
        let currency = first.0.currency.clone();
        let clock = self.customer(&new.customer, "customer")?.test_clock.clone();
        let now = self.now_on(clock.as_deref());
        let trial = new.trial_end.filter(|end| *end > now).map(|end| (now, end));
        self.check_first_payment(&new, trial.is_some())?;

        let mark = self.staged();
        let id = self.ids.next("sub");
        let items = new.items.into_iter().map(|(price, quantity, metadata)| Item {
            id: self.ids.next("si"),
            created: now,
            price,
            quantity,
            metadata,
        });
        let mut subscription = Subscription {
            id: id.clone(),
            created: now,
            customer: new.customer,
            status: if trial.is_some() {
                Status::Trialing
            } else {
                Status::Incomplete
            },
            items: items.collect(),
            currency,
            metadata: new.metadata,
            description: new.description,
            anchor: trial.map_or(now, |(_, end)| end),
            period: (now, now),
            trial,
            missing_method: new.missing_method,
            default_payment_method: new.default_payment_method,
            collection: new.collection,
            latest_invoice: None,
            pause_collection: None,
            cancel_at_period_end: new.cancel_at_period_end,
            cancel_at: new.cancel_at,
            canceled_at: new.cancel_at_period_end.then_some(now),
            ended_at: None,
            cancel_reason: new.cancel_at_period_end.then_some("cancellation_requested"),
            pending: Vec::new(),
            test_clock: clock.clone(),
            announced: false,
        };
        subscription.period.1 = trial.map_or_else(|| subscription.next_end(now), |(_, end)| end);
        if subscription.cancel_at_period_end {
            subscription.cancel_at = Some(subscription.period.1);
        }
        let end = subscription.period.1;
        self.subscriptions.insert(&id, subscription);
        self.agenda.add(
            end,
            clock.clone(),
            Task::PeriodEnd {
                subscription: id.clone(),
                end,
            },
        );
        if let Some(at) = new.cancel_at {
            self.agenda.add(
                at,
                clock.clone(),
                Task::CancelAt {
                    subscription: id.clone(),
                    at,
                },
            );
        }

        let invoice = self.invoice_period(&id, Reason::SubscriptionCreate, (now, now));
        self.finalize_invoice(&invoice);
        match (new.behavior, new.collection) {
            (_, Collection::Send(_)) => self.change_subscription(&id, |one| {
                if one.status == Status::Incomplete {
                    one.status = Status::Active;
                }
            }),
            (FirstPayment::Wait, Collection::Automatic) => {}
            (FirstPayment::Try | FirstPayment::MustSucceed, Collection::Automatic) => {
                self.attempt_invoice(&invoice, None, false);
            }
        }
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.announced = true;
            let (status, created) = (subscription.status, Object::Subscription(subscription.clone().into()));
            self.emit("customer.subscription.created", created);
            self.move_last_to(mark);
            if status == Status::Incomplete {
                self.agenda.add(
                    now + INCOMPLETE_SECONDS,
                    clock.clone(),
                    Task::IncompleteExpires {
                        subscription: id.clone(),
                    },
                );
            }
        }
        if let Some((_, end)) = trial {
            let task = Task::TrialWillEnd {
                subscription: id.clone(),
                end,
            };
            self.agenda.add((end - TRIAL_NOTICE_SECONDS).max(now), clock, task);
        }
        Ok(id)
    }

    /// Refuses what Stripe refuses before anything is made.
    fn check_first_payment(&self, new: &NewSubscription, trial: bool) -> ApiResult<()> {
        let amount: i64 = new
            .items
            .iter()
            .map(|(price, quantity, _)| price.unit_amount.saturating_mul(*quantity))
            .sum();
        let automatic = new.collection == Collection::Automatic && new.behavior != FirstPayment::Wait;
        if trial || amount == 0 || !automatic {
            return Ok(());
        }
        let method = new
            .default_payment_method
            .clone()
            .or_else(|| self.paying_method(None, &new.customer));
        let Some(method) = method.and_then(|id| self.payment_methods.get(&id)) else {
            return Err(ApiError::state(
                "resource_missing",
                "This customer has no attached payment source or default payment method. Please consider adding a default payment method.",
            ));
        };
        match (new.behavior, method.card.behaviour) {
            (FirstPayment::MustSucceed, Behaviour::Declined(failure)) => Err(ApiError::card(&failure)),
            (FirstPayment::MustSucceed, Behaviour::NeedsAuthentication) => {
                Err(ApiError::card(&crate::state::payment::AUTHENTICATION))
            }
            _ => Ok(()),
        }
    }

    /// A draft invoice whose lines pay for the subscription's current period, with everything that waited for it. `collected` is the
    /// invoice's own period, in which that came together: the time before, as at Stripe.
    pub(super) fn invoice_period(&mut self, id: &str, reason: Reason, collected: (i64, i64)) -> String {
        let Some(subscription) = self.subscriptions.get(id).cloned() else {
            return String::new();
        };
        let trial = subscription.status == Status::Trialing;
        let mut lines = subscription.pending.clone();
        for item in &subscription.items {
            lines.push(period_line(&mut self.ids, &subscription, item, trial));
        }
        let invoice = self.create_invoice(NewInvoice {
            customer: subscription.customer.clone(),
            subscription: Some(subscription.id.clone()),
            reason,
            currency: subscription.currency.clone(),
            lines,
            period: collected,
            collection: subscription.collection,
            metadata: Metadata::new(),
            description: None,
            auto_advance: true,
        });
        let latest = invoice.clone();
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            subscription.pending.clear();
            subscription.latest_invoice = Some(latest);
        }
        invoice
    }

    /// Pays a subscription's first invoice with the customer present, as Checkout does.
    pub(crate) fn pay_first_invoice(&mut self, id: &str, method: Option<&str>) -> Attempt {
        let invoice = self.subscriptions.get(id).and_then(|one| one.latest_invoice.clone());
        invoice.map_or(Attempt::Failed(NO_METHOD), |invoice| {
            self.attempt_invoice(&invoice, method, true)
        })
    }
}
