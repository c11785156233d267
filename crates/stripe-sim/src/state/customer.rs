//! Customers and their test cards.

use std::collections::BTreeMap;

use super::World;
use super::object::Object;
use super::payment_method::{PaymentMethod, card_of};
use crate::error::{ApiError, ApiResult};

pub(crate) type Metadata = BTreeMap<String, String>;

/// Merges an update of metadata: an empty value deletes.
pub(crate) fn merge_metadata(into: &mut Metadata, update: Option<Metadata>) {
    let Some(update) = update else { return };
    if update.is_empty() {
        into.clear();
    }
    for (key, value) in update {
        if value.is_empty() {
            into.remove(&key);
        } else {
            into.insert(key, value);
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) default_payment_method: Option<String>,
    /// Negative: credit that the next invoice uses up.
    pub(crate) balance: i64,
    pub(crate) invoice_prefix: String,
    pub(crate) next_invoice: u32,
    pub(crate) test_clock: Option<String>,
    pub(crate) deleted: bool,
}

impl World {
    pub(crate) fn customer(&self, id: &str, param: &str) -> ApiResult<&Customer> {
        self.customers
            .get(id)
            .filter(|one| !one.deleted)
            .ok_or_else(|| ApiError::missing("customer", id, param))
    }

    pub(crate) fn create_customer(&mut self, mut customer: Customer) -> Customer {
        customer.id = self.ids.next("cus");
        customer.invoice_prefix = self.ids.secret("invoice_prefix", 8).to_ascii_uppercase();
        customer.next_invoice = 1;
        customer.created = self.now_on(customer.test_clock.as_deref());
        self.customers.insert(&customer.id, customer.clone());
        self.emit("customer.created", Object::Customer(customer.clone()));
        customer
    }

    /// Changes a customer and tells of it when something changed.
    pub(crate) fn change_customer(&mut self, id: &str, change: impl FnOnce(&mut Customer)) {
        let Some(customer) = self.customers.get_mut(id) else {
            return;
        };
        let before = customer.clone();
        change(customer);
        let after = customer.clone();
        self.emit_change("customer.updated", Object::Customer(before), Object::Customer(after));
    }

    /// Resolves `pm_card_..` to a new card of the customer, or an existing `pm_..` to itself; attaches it when it is nobody's.
    ///
    /// Stripe refuses to attach cards that are always declined. Here they can be given wherever a payment method can, so that a declined
    /// first payment needs no browser; only an explicit attach refuses them.
    pub(crate) fn payment_method_for(&mut self, customer: &str, given: &str, param: &str) -> ApiResult<String> {
        if let Some(known) = self.payment_methods.get(given) {
            return match known.customer.as_deref() {
                Some(owner) if owner == customer => Ok(given.to_owned()),
                Some(_) => Err(ApiError::state(
                    "resource_missing",
                    format!(
                        "The customer does not have a payment method with the ID {given}. The payment method must be attached to the customer."
                    ),
                )),
                None => Ok(self.attach(given, customer)),
            };
        }
        let card = card_of(given).ok_or_else(|| ApiError::missing("PaymentMethod", given, param))?;
        let method = self.new_payment_method(card);
        Ok(self.attach(&method, customer))
    }

    pub(crate) fn new_payment_method(&mut self, card: super::payment_method::Card) -> String {
        let method = PaymentMethod {
            id: self.ids.next("pm"),
            created: self.now(),
            customer: None,
            fingerprint: self.ids.secret("fingerprint", 16),
            card,
        };
        self.payment_methods.insert(&method.id, method.clone());
        method.id
    }

    pub(crate) fn attach(&mut self, method: &str, customer: &str) -> String {
        if let Some(known) = self.payment_methods.get_mut(method) {
            known.customer = Some(customer.to_owned());
            let after = Object::PaymentMethod(known.clone());
            self.emit("payment_method.attached", after);
        }
        method.to_owned()
    }
}

impl Customer {
    /// A customer about whom nothing is known yet.
    pub(crate) const fn blank() -> Self {
        Self {
            id: String::new(),
            created: 0,
            email: None,
            name: None,
            phone: None,
            description: None,
            metadata: Metadata::new(),
            default_payment_method: None,
            balance: 0,
            invoice_prefix: String::new(),
            next_invoice: 0,
            test_clock: None,
            deleted: false,
        }
    }
}
