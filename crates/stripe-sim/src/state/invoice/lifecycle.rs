//! An invoice is made, finalised, voided or given up.

use super::{Invoice, InvoicePayment, InvoiceStatus, Line, Reason};
use crate::state::World;
use crate::state::customer::Metadata;
use crate::state::object::Object;
use crate::state::payment::{Intent, IntentStatus};
use crate::state::subscription::Collection;
use crate::time::{Task, add_days, year_of};

/// What an invoice is made from.
#[derive(Clone, Debug)]
pub(crate) struct NewInvoice {
    pub(crate) customer: String,
    pub(crate) subscription: Option<String>,
    pub(crate) reason: Reason,
    pub(crate) currency: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) period: (i64, i64),
    pub(crate) collection: Collection,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) auto_advance: bool,
}

impl World {
    pub(crate) fn create_invoice(&mut self, new: NewInvoice) -> String {
        let customer = self.customers.get(&new.customer).cloned();
        let clock = customer.as_ref().and_then(|one| one.test_clock.clone());
        let now = self.now_on(clock.as_deref());
        let subscription = new.subscription.as_deref().and_then(|id| self.subscriptions.get(id));
        let invoice = Invoice {
            subscription_metadata: subscription.map(|one| one.metadata.clone()).unwrap_or_default(),
            id: self.ids.next("in"),
            created: now,
            number: None,
            customer_email: customer.as_ref().and_then(|one| one.email.clone()),
            customer_name: customer.as_ref().and_then(|one| one.name.clone()),
            customer: new.customer,
            subscription: new.subscription,
            status: InvoiceStatus::Draft,
            reason: new.reason,
            currency: new.currency,
            lines: new.lines,
            period: new.period,
            credit_used: 0,
            amount_paid: 0,
            attempt_count: 0,
            next_payment_attempt: (new.auto_advance && new.collection == Collection::Automatic).then_some(now + 3_600),
            auto_advance: new.auto_advance,
            collection: new.collection,
            due_date: match new.collection {
                Collection::Automatic => None,
                Collection::Send(days) => Some(add_days(now, days)),
            },
            finalized_at: None,
            paid_at: None,
            voided_at: None,
            uncollectible_at: None,
            paid_out_of_band: false,
            intent: None,
            charge: None,
            payments: Vec::new(),
            default_payment_method: None,
            description: new.description,
            metadata: new.metadata,
            test_clock: clock,
        };
        let id = invoice.id.clone();
        self.invoices.insert(&id, invoice.clone());
        self.emit("invoice.created", Object::Invoice(invoice.into()));
        id
    }

    /// Changes an invoice and tells of it when something changed.
    pub(crate) fn change_invoice(&mut self, id: &str, change: impl FnOnce(&mut Invoice)) {
        let Some(invoice) = self.invoices.get_mut(id) else {
            return;
        };
        let before = invoice.clone();
        change(invoice);
        let after = invoice.clone();
        self.emit_change(
            "invoice.updated",
            Object::Invoice(before.into()),
            Object::Invoice(after.into()),
        );
    }

    pub(crate) fn tell_invoice(&mut self, id: &str, kind: &str) {
        if let Some(invoice) = self.invoices.get(id).cloned() {
            self.emit(kind, Object::Invoice(invoice.into()));
        }
    }

    /// Closes a draft: number, the customer's credit, a PaymentIntent for what is due. Nothing due is paid at once.
    pub(crate) fn finalize_invoice(&mut self, id: &str) {
        let Some(draft) = self
            .invoices
            .get(id)
            .filter(|one| one.status == InvoiceStatus::Draft)
            .cloned()
        else {
            return;
        };
        let now = self.now_on(draft.test_clock.as_deref());
        let total = draft.total();
        let credit_used = self.use_credit(&draft.customer, total);
        let number = self.next_number(&draft.customer, now);
        let metadata = draft
            .subscription
            .as_deref()
            .and_then(|id| self.subscriptions.get(id))
            .map(|one| one.metadata.clone());
        let Some(invoice) = self.invoices.get_mut(id) else {
            return;
        };
        invoice.subscription_metadata = metadata.unwrap_or_default();
        invoice.status = InvoiceStatus::Open;
        invoice.finalized_at = Some(now);
        invoice.number = Some(number);
        invoice.credit_used = credit_used;
        let due = invoice.amount_due();
        if due > 0 {
            self.attach_intent(id, due);
        }
        self.tell_invoice(id, "invoice.finalized");
        if due == 0 {
            self.settle_invoice(id, None, false);
        } else if let Some(due_date) = draft.due_date {
            self.tell_invoice(id, "invoice.sent");
            self.agenda
                .add(due_date, draft.test_clock, Task::Overdue { invoice: id.to_owned() });
        }
    }

    fn attach_intent(&mut self, id: &str, due: i64) {
        let Some(invoice) = self.invoices.get(id).cloned() else {
            return;
        };
        let method = invoice
            .default_payment_method
            .clone()
            .or_else(|| self.paying_method(invoice.subscription.as_deref(), &invoice.customer));
        let what = if invoice.reason == Reason::SubscriptionCreate {
            "Subscription creation"
        } else {
            "Subscription update"
        };
        let intent = self.create_intent(Intent {
            customer: Some(invoice.customer.clone()),
            status: if method.is_some() {
                IntentStatus::RequiresConfirmation
            } else {
                IntentStatus::RequiresPaymentMethod
            },
            payment_method: method,
            invoice: Some(id.to_owned()),
            description: Some(if invoice.subscription.is_some() {
                what.to_owned()
            } else {
                "Payment for Invoice".to_owned()
            }),
            test_clock: invoice.test_clock.clone(),
            ..Intent::of(due, &invoice.currency)
        });
        let payment = InvoicePayment {
            id: self.ids.next("inpay"),
            created: self.now_on(invoice.test_clock.as_deref()),
            invoice: id.to_owned(),
            intent: intent.clone(),
            amount: due,
            currency: invoice.currency,
            paid_at: None,
            canceled_at: None,
            test_clock: invoice.test_clock,
        };
        if let Some(invoice) = self.invoices.get_mut(id) {
            invoice.intent = Some(intent);
            invoice.payments.push(payment);
        }
    }

    /// Takes from the customer's credit what the total needs, or gives to it what the total is below zero.
    fn use_credit(&mut self, customer: &str, total: i64) -> i64 {
        let balance = self.customers.get(customer).map_or(0, |one| one.balance);
        let used = if total < 0 { total } else { total.min((-balance).max(0)) };
        if used != 0 {
            self.change_customer(customer, |one| one.balance += used);
        }
        used
    }

    fn next_number(&mut self, customer: &str, now: i64) -> String {
        let Some(one) = self.customers.get_mut(customer) else {
            return format!("{}-0001", year_of(now));
        };
        let number = format!("{}-{:04}", one.invoice_prefix, one.next_invoice);
        one.next_invoice += 1;
        number
    }

    pub(crate) fn void_invoice(&mut self, id: &str) {
        self.close_unpaid(id, InvoiceStatus::Void, "invoice.voided");
    }

    pub(crate) fn mark_uncollectible(&mut self, id: &str) {
        self.close_unpaid(id, InvoiceStatus::Uncollectible, "invoice.marked_uncollectible");
    }

    fn close_unpaid(&mut self, id: &str, status: InvoiceStatus, kind: &str) {
        let Some(invoice) = self.invoices.get(id).cloned() else {
            return;
        };
        let now = self.now_on(invoice.test_clock.as_deref());
        self.change_invoice(id, |one| {
            one.status = status;
            one.auto_advance = false;
            one.next_payment_attempt = None;
            if status == InvoiceStatus::Void {
                one.voided_at = Some(now);
                one.payments
                    .iter_mut()
                    .filter(|payment| payment.paid_at.is_none())
                    .for_each(|payment| payment.canceled_at = Some(now));
            } else {
                one.uncollectible_at = Some(now);
            }
        });
        if let Some(intent) = invoice.intent.filter(|_| status == InvoiceStatus::Void) {
            self.cancel_intent(&intent, Some("void_invoice"));
        }
        self.tell_invoice(id, kind);
    }
}
