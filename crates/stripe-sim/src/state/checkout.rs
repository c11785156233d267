//! Checkout sessions. The customer's part (filling in the form) is `/_sim/act` with `complete_checkout`.

use super::World;
use super::catalog::Price;
use super::customer::{Customer, Metadata};
use super::object::Object;
use super::payment::{Attempt, CaptureMethod, Failure, Intent, IntentStatus};
use super::subscription::{Collection, FirstPayment, MissingMethod, NewSubscription, Status};
use crate::error::{ApiError, ApiResult};
use crate::time::Task;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Payment,
    Subscription,
    Setup,
}

impl Mode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Subscription => "subscription",
            Self::Setup => "setup",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) expires_at: i64,
    pub(crate) mode: Mode,
    pub(crate) status: &'static str,
    pub(crate) payment_status: &'static str,
    pub(crate) line_items: Vec<(String, Price, i64)>,
    pub(crate) currency: Option<String>,
    pub(crate) customer: Option<String>,
    pub(crate) customer_email: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) success_url: Option<String>,
    pub(crate) cancel_url: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) subscription_metadata: Metadata,
    pub(crate) intent_metadata: Metadata,
    pub(crate) transfer_group: Option<String>,
    pub(crate) capture: CaptureMethod,
    pub(crate) trial_days: Option<i64>,
    pub(crate) subscription: Option<String>,
    pub(crate) intent: Option<String>,
    pub(crate) invoice: Option<String>,
}

impl Session {
    pub(crate) fn amount(&self) -> i64 {
        self.line_items
            .iter()
            .map(|(_, price, quantity)| price.unit_amount.saturating_mul(*quantity))
            .sum()
    }
}

/// How the customer behaves at the form.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) payment_method: String,
    pub(crate) email: Option<String>,
    /// A payment that is only known days later (payment mode): the session completes `unpaid`.
    pub(crate) delayed: bool,
}

impl World {
    pub(crate) fn session(&self, id: &str) -> ApiResult<&Session> {
        self.sessions
            .get(id)
            .ok_or_else(|| ApiError::missing("checkout.session", id, "id"))
    }

    pub(crate) fn create_session(&mut self, mut session: Session) -> Session {
        session.id = self.ids.next("cs_test");
        session.created = self.now();
        if session.expires_at == 0 {
            session.expires_at = session.created + 86_400;
        }
        self.agenda.add(
            session.expires_at,
            None,
            Task::SessionExpires {
                session: session.id.clone(),
            },
        );
        self.sessions.insert(&session.id, session.clone());
        session
    }

    fn set_session(&mut self, id: &str, change: impl FnOnce(&mut Session)) -> ApiResult<Session> {
        let session = self
            .sessions
            .get_mut(id)
            .ok_or_else(|| ApiError::missing("checkout.session", id, "id"))?;
        change(session);
        Ok(session.clone())
    }

    pub(crate) fn expire_session(&mut self, id: &str) -> ApiResult<Session> {
        if self.session(id)?.status != "open" {
            return Err(ApiError::state(
                "",
                "Only Checkout Sessions with a status in [\"open\"] can be expired.",
            ));
        }
        let session = self.set_session(id, |one| one.status = "expired")?;
        self.emit("checkout.session.expired", Object::Session(session.clone().into()));
        Ok(session)
    }

    /// The customer fills in the form. A declined card leaves the session open, as on Stripe's page.
    pub(crate) fn complete_session(&mut self, id: &str, how: &Completion) -> ApiResult<Session> {
        let session = self.session(id)?.clone();
        if session.status != "open" {
            return Err(ApiError::state(
                "",
                format!("This Checkout Session is {}.", session.status),
            ));
        }
        let customer = self.session_customer(&session, how);
        self.set_session(id, |one| one.customer = Some(customer.clone()))?;
        let method = self.payment_method_for(&customer, &how.payment_method, "payment_method")?;
        let paid = match session.mode {
            Mode::Subscription => self.complete_subscription(id, &session, &customer, &method)?,
            Mode::Payment => self.complete_payment(id, &session, &customer, &method, how.delayed)?,
            Mode::Setup => "no_payment_required",
        };
        let session = self.set_session(id, |one| {
            one.status = "complete";
            one.payment_status = paid;
        })?;
        self.emit("checkout.session.completed", Object::Session(session.clone().into()));
        Ok(session)
    }

    /// A delayed payment of a completed session succeeds or fails.
    pub(crate) fn settle_session(&mut self, id: &str, succeeds: bool) -> ApiResult<Session> {
        let session = self.session(id)?.clone();
        let (Some(intent), "complete", "unpaid") = (session.intent.clone(), session.status, session.payment_status)
        else {
            return Err(ApiError::state("", "This Checkout Session waits for no payment."));
        };
        let token = if succeeds {
            "pm_card_visa"
        } else {
            "pm_card_chargeCustomerFail"
        };
        let method =
            self.payment_method_for(session.customer.as_deref().unwrap_or_default(), token, "payment_method")?;
        self.confirm_intent(&intent, &method, true);
        let session = self.set_session(id, |one| one.payment_status = if succeeds { "paid" } else { "unpaid" })?;
        let kind = if succeeds {
            "checkout.session.async_payment_succeeded"
        } else {
            "checkout.session.async_payment_failed"
        };
        self.emit(kind, Object::Session(session.clone().into()));
        Ok(session)
    }

    fn session_customer(&mut self, session: &Session, how: &Completion) -> String {
        if let Some(known) = &session.customer {
            return known.clone();
        }
        let email = session
            .customer_email
            .clone()
            .or_else(|| how.email.clone())
            .unwrap_or_else(|| "customer@example.com".to_owned());
        let name = Some("Jenny Rosen".to_owned());
        self.create_customer(Customer {
            email: Some(email),
            name,
            ..Customer::blank()
        })
        .id
    }

    fn complete_subscription(
        &mut self,
        id: &str,
        session: &Session,
        customer: &str,
        method: &str,
    ) -> ApiResult<&'static str> {
        if let Some(failure) = self.would_fail(method) {
            return Err(ApiError::card(&failure));
        }
        let clock = self.customer(customer, "customer")?.test_clock.clone();
        let now = self.now_on(clock.as_deref());
        let subscription = self.create_subscription(NewSubscription {
            customer: customer.to_owned(),
            items: session
                .line_items
                .iter()
                .map(|(_, price, quantity)| (price.clone(), *quantity, Metadata::new()))
                .collect(),
            metadata: session.subscription_metadata.clone(),
            description: None,
            trial_end: session.trial_days.map(|days| now + days * 86_400),
            missing_method: MissingMethod::CreateInvoice,
            default_payment_method: Some(method.to_owned()),
            collection: Collection::Automatic,
            behavior: FirstPayment::Wait,
            cancel_at: None,
            cancel_at_period_end: false,
        })?;
        if self.subscription(&subscription, "id")?.status == Status::Incomplete {
            self.pay_first_invoice(&subscription, Some(method));
        }
        let made = self.subscription(&subscription, "id")?;
        let (trialing, invoice) = (made.status == Status::Trialing, made.latest_invoice.clone());
        self.set_session(id, |one| {
            one.subscription = Some(subscription);
            one.invoice = invoice;
        })?;
        Ok(if trialing { "no_payment_required" } else { "paid" })
    }

    fn complete_payment(
        &mut self,
        id: &str,
        session: &Session,
        customer: &str,
        method: &str,
        delayed: bool,
    ) -> ApiResult<&'static str> {
        let known = self.session(id)?.intent.clone();
        let intent = known.unwrap_or_else(|| {
            self.create_intent(Intent {
                customer: Some(customer.to_owned()),
                capture: session.capture,
                transfer_group: session.transfer_group.clone(),
                metadata: session.intent_metadata.clone(),
                ..Intent::of(session.amount(), session.currency.as_deref().unwrap_or("usd"))
            })
        });
        self.set_session(id, |one| one.intent = Some(intent.clone()))?;
        if delayed {
            if let Some(one) = self.intents.get_mut(&intent) {
                one.status = IntentStatus::Processing;
                let after = Object::Intent(one.clone());
                self.emit("payment_intent.processing", after);
            }
            return Ok("unpaid");
        }
        match self.confirm_intent(&intent, method, true) {
            Attempt::Paid { .. } | Attempt::NeedsAction if session.capture == CaptureMethod::Manual => Ok("unpaid"),
            Attempt::Paid { .. } | Attempt::NeedsAction => Ok("paid"),
            Attempt::Failed(failure) => Err(ApiError::card(&failure)),
        }
    }

    fn would_fail(&self, method: &str) -> Option<Failure> {
        match self.payment_methods.get(method)?.card.behaviour {
            super::payment_method::Behaviour::Declined(failure) => Some(failure),
            _ => None,
        }
    }
}
