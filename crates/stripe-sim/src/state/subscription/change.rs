//! Updates: items in place with proration, metadata, payment method, scheduled cancellation, paused collection, the trial's end.

use super::proration::rest_of_period;
use super::{Item, MissingMethod, PauseCollection, Status};
use crate::error::{ApiError, ApiResult};
use crate::state::World;
use crate::state::catalog::Price;
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::invoice::{InvoiceItem, NewInvoice, Reason};
use crate::state::object::Object;
use crate::time::Task;

/// One entry of `items` in an update.
#[derive(Clone, Debug)]
pub(crate) struct ItemChange {
    pub(crate) id: Option<String>,
    pub(crate) price: Option<Price>,
    pub(crate) quantity: Option<i64>,
    pub(crate) deleted: bool,
}

/// What an update asks for; `None` leaves as it is, an inner `None` unsets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Update {
    pub(crate) items: Vec<ItemChange>,
    pub(crate) proration: Option<&'static str>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) default_payment_method: Option<Option<String>>,
    pub(crate) cancel_at_period_end: Option<bool>,
    pub(crate) cancel_at: Option<Option<i64>>,
    pub(crate) pause_collection: Option<Option<PauseCollection>>,
    pub(crate) trial_end: Option<i64>,
    pub(crate) missing_method: Option<MissingMethod>,
}

impl World {
    pub(crate) fn update_subscription(&mut self, id: &str, update: Update) -> ApiResult<()> {
        let before = self.subscription(id, "id")?.clone();
        if before.status.is_terminal() {
            if update.items.is_empty()
                && update.trial_end.is_none()
                && update.pause_collection.is_none()
                && update.cancel_at_period_end.is_none()
            {
                self.change_subscription(id, |one| merge_metadata(&mut one.metadata, update.metadata));
                return Ok(());
            }
            return Err(ApiError::state(
                "",
                "A canceled subscription can only update its cancellation_details and metadata.",
            ));
        }
        let now = self.now_on(before.test_clock.as_deref());
        let items = self.changed_items(&before, &update.items, now)?;
        let interval = |items: &[Item]| items.first().and_then(|item| item.price.recurring);
        let new_interval = interval(&items) != interval(&before.items);
        let items_changed = !update.items.is_empty();
        let proration = update.proration.unwrap_or("create_prorations");

        let mut after = before.clone();
        after.items = items;
        merge_metadata(&mut after.metadata, update.metadata);
        if let Some(description) = update.description {
            after.description = description;
        }
        if let Some(method) = update.default_payment_method {
            after.default_payment_method = method;
        }
        if let Some(missing) = update.missing_method {
            after.missing_method = missing;
        }
        if let Some(at_end) = update.cancel_at_period_end {
            after.cancel_at_period_end = at_end;
            after.cancel_at = at_end.then_some(after.period.1);
            after.canceled_at = at_end.then_some(now);
            after.cancel_reason = at_end.then_some("cancellation_requested");
        }
        if let Some(at) = update.cancel_at {
            after.cancel_at = at;
            after.canceled_at = at.map(|_| now);
            after.cancel_reason = at.map(|_| "cancellation_requested");
            if let Some(at) = at {
                self.agenda.add(
                    at,
                    after.test_clock.clone(),
                    Task::CancelAt {
                        subscription: id.to_owned(),
                        at,
                    },
                );
            }
        }
        if let Some(pause) = update.pause_collection {
            if let Some(at) = pause.as_ref().and_then(|pause| pause.resumes_at) {
                self.agenda.add(
                    at,
                    after.test_clock.clone(),
                    Task::ResumeCollection {
                        subscription: id.to_owned(),
                        at,
                    },
                );
            }
            after.pause_collection = pause;
        }

        let mut lines = Vec::new();
        if items_changed && proration != "none" && before.status != Status::Trialing {
            lines.extend(
                before
                    .items
                    .iter()
                    .filter(|item| !after.items.iter().any(|kept| same(kept, item)))
                    .map(|item| rest_of_period(&mut self.ids, &before, item, now, true)),
            );
            if !new_interval {
                let changed = after
                    .items
                    .iter()
                    .filter(|item| !before.items.iter().any(|old| same(old, item)));
                lines.extend(changed.map(|item| rest_of_period(&mut self.ids, &after, item, now, false)));
            }
        }
        let ends_trial = update.trial_end.is_some_and(|end| end <= now) && before.status == Status::Trialing;
        if let Some(end) = update.trial_end.filter(|end| *end > now) {
            after.trial = Some((after.trial.map_or(now, |(start, _)| start), end));
            after.status = Status::Trialing;
            after.anchor = end;
            after.period.1 = end;
            self.agenda.add(
                end,
                after.test_clock.clone(),
                Task::PeriodEnd {
                    subscription: id.to_owned(),
                    end,
                },
            );
        }
        if ends_trial || (items_changed && new_interval && before.status != Status::Trialing) {
            after.anchor = now;
            after.period = (now, after.next_end(now));
            after.trial = after.trial.map(|(start, end)| (start, end.min(now)));
            after.status = if ends_trial { Status::Active } else { after.status };
            let end = after.period.1;
            self.agenda.add(
                end,
                after.test_clock.clone(),
                Task::PeriodEnd {
                    subscription: id.to_owned(),
                    end,
                },
            );
            after.pending.extend(lines);
            self.change_subscription(id, |one| *one = after);
            let reason = if ends_trial {
                Reason::SubscriptionCycle
            } else {
                Reason::SubscriptionUpdate
            };
            self.invoice_now(id, reason, (before.period.0, now));
        } else {
            for line in &lines {
                let item =
                    InvoiceItem::of_line(line, &before.customer, &before.currency, now, before.test_clock.clone());
                self.emit("invoiceitem.created", Object::InvoiceItem(item));
            }
            let now_due = proration == "always_invoice" && !lines.is_empty();
            if !now_due {
                after.pending.extend(lines.iter().cloned());
            }
            self.change_subscription(id, |one| *one = after);
            if now_due {
                let invoice = self.create_invoice(NewInvoice {
                    customer: before.customer.clone(),
                    subscription: Some(id.to_owned()),
                    reason: Reason::SubscriptionUpdate,
                    currency: before.currency.clone(),
                    lines,
                    period: (now, now),
                    collection: before.collection,
                    metadata: Metadata::new(),
                    description: None,
                    auto_advance: true,
                });
                self.change_subscription(id, |one| one.latest_invoice = Some(invoice.clone()));
                self.finalize_invoice(&invoice);
                self.attempt_invoice(&invoice, None, false);
            }
        }
        Ok(())
    }

    /// Invoices the current period and collects at once.
    pub(super) fn invoice_now(&mut self, id: &str, reason: Reason, collected: (i64, i64)) {
        let before = self.subscriptions.get(id).cloned();
        let invoice = self.invoice_period(id, reason, collected);
        if let (Some(before), Some(after)) = (before, self.subscriptions.get(id).cloned()) {
            self.emit_change(
                "customer.subscription.updated",
                Object::Subscription(before.into()),
                Object::Subscription(after.into()),
            );
        }
        self.finalize_invoice(&invoice);
        self.attempt_invoice(&invoice, None, false);
    }

    fn changed_items(
        &mut self,
        before: &super::Subscription,
        changes: &[ItemChange],
        now: i64,
    ) -> ApiResult<Vec<Item>> {
        let mut items = before.items.clone();
        for change in changes {
            match &change.id {
                Some(id) if change.deleted => items.retain(|item| item.id != *id),
                Some(id) => {
                    let item = items
                        .iter_mut()
                        .find(|item| item.id == *id)
                        .ok_or_else(|| ApiError::missing("subscription_item", id, "items"))?;
                    item.price = change.price.clone().unwrap_or_else(|| item.price.clone());
                    item.quantity = change.quantity.unwrap_or(item.quantity);
                }
                None => {
                    let price = change.price.clone();
                    let price = price.ok_or_else(|| {
                        ApiError::invalid("items", "parameter_missing", "An item needs an id or a price.")
                    })?;
                    let quantity = change.quantity.unwrap_or(1);
                    items.push(Item {
                        id: self.ids.next("si"),
                        created: now,
                        price,
                        quantity,
                        metadata: Metadata::new(),
                    });
                }
            }
        }
        if items.is_empty() {
            return Err(ApiError::state(
                "",
                "A subscription must have at least one active plan.",
            ));
        }
        Ok(items)
    }
}

fn same(a: &Item, b: &Item) -> bool {
    a.id == b.id && a.price.id == b.price.id && a.quantity == b.quantity
}
