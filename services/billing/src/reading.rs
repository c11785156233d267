//! From a message to what the rules need: which event it is, and what it says in the domain's words.
//!
//! This is the edge between Stripe's objects and `domain::billing`. What a type means is decided by its name in one place,
//! [`statement`]; what cannot be read as its type promises is set aside with a reason, never guessed.

use bus::{Incoming, headers};
use chrono::{DateTime, Utc};
use domain::billing::decision::Reason;
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Status};
use domain::ids::{CheckoutSessionId, ClientId, CustomerId, InvalidId, InvoiceId, PriceId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use stripe_gateway::envelope::{Envelope, Form};
use stripe_gateway::views::words::{BillingReason, CheckoutMode, CheckoutPaymentStatus, SubscriptionStatus};
use stripe_gateway::views::{Change, CheckoutSession, EventView, Invoice, PreviousSubscription, Subscription};

/// The last second of the year 9999. Times beyond it are Stripe's nonsense and are archived at this end.
const LAST_SECOND: i64 = 253_402_300_799;

/// An event as the consumer works with it.
#[derive(Debug)]
pub(crate) struct Reading<'m> {
    pub(crate) event_id: String,
    pub(crate) kind: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) endpoint: &'static str,
    pub(crate) account: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) livemode: Option<bool>,
    pub(crate) received_at: DateTime<Utc>,
    /// The body, byte for byte.
    pub(crate) payload: &'m str,
    pub(crate) content: Content,
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Content {
    /// Nothing to the state, by a named rule.
    Ignored(Reason),
    /// It cannot be read; why.
    Unreadable(String),
    /// A fact, and who it says it is about.
    Statement(Box<Statement>),
}

/// A fact, and who it says it is about.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) fact: Fact,
    pub(crate) customer: CustomerId,
    pub(crate) session: Option<CheckoutSessionId>,
    pub(crate) named: Option<ClientId>,
    pub(crate) is_checkout: bool,
}

/// Why a statement could not be made of an event's object.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    View(#[from] stripe_gateway::views::ViewError),
    #[error("{field} {source}")]
    Id { field: &'static str, source: InvalidId },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("subscription.status {0:?} is not one that Stripe documents")]
    Status(String),
    #[error("{field} {source}")]
    Currency {
        field: &'static str,
        source: domain::money::MoneyError,
    },
    #[error("{0} is negative")]
    Negative(&'static str),
    #[error("{0} lies outside the years 1970 to 9999")]
    Time(&'static str),
}

/// Reads a message, or says why it is not an event at all.
///
/// # Errors
/// When the body is not UTF-8 or has no event's envelope; such a message has no place in the archive and parks.
pub(crate) fn read(message: &Incoming, livemode: bool, now: DateTime<Utc>) -> Result<Reading<'_>, String> {
    let payload = std::str::from_utf8(&message.body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let envelope = stripe_gateway::envelope::peek(&message.body).map_err(|error| error.to_string())?;
    let endpoint = endpoint(message);
    let received_at = message
        .headers
        .get_str(headers::RECEIVED_AT)
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map_or(now, |time| time.with_timezone(&Utc));
    let content = match by_envelope(&envelope, endpoint, livemode) {
        Some(reason) => Content::Ignored(reason),
        None => match statement(&message.body, &envelope) {
            Ok(Ok(statement)) => Content::Statement(Box::new(statement)),
            Ok(Err(reason)) => Content::Ignored(reason),
            Err(error) => Content::Unreadable(describe(&error)),
        },
    };
    Ok(Reading {
        event_id: envelope.id.to_string(),
        kind: envelope.kind.to_string(),
        created: DateTime::from_timestamp(envelope.created.clamp(0, LAST_SECOND), 0).unwrap_or(now),
        endpoint,
        account: envelope.account.as_deref().map(ToOwned::to_owned),
        api_version: envelope.api_version.as_deref().map(ToOwned::to_owned),
        livemode: envelope.livemode,
        received_at,
        payload,
        content,
    })
}

fn describe(error: &Unreadable) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(500));
    text
}

/// The endpoint by the header, or by the routing key for what somebody published by hand.
fn endpoint(message: &Incoming) -> &'static str {
    let named = message
        .headers
        .get_str(headers::ENDPOINT)
        .unwrap_or(&message.routing_key);
    if named.starts_with("connect") {
        "connect"
    } else {
        "platform"
    }
}

/// The rules that need nothing but the envelope.
fn by_envelope(envelope: &Envelope<'_>, endpoint: &str, livemode: bool) -> Option<Reason> {
    if envelope.livemode != Some(livemode) {
        return Some(Reason::LivemodeMismatch);
    }
    if endpoint == "connect" || envelope.account.is_some() {
        return Some(Reason::ConnectedAccount);
    }
    match envelope.form {
        Form::Thin => Some(Reason::ThinEvent),
        Form::Snapshot => None,
    }
}

/// What an event says, by its type: a statement, or the rule by which it says nothing.
fn statement(body: &[u8], envelope: &Envelope<'_>) -> Result<Result<Statement, Reason>, Unreadable> {
    let kind: &str = &envelope.kind;
    let at = UnixSeconds(envelope.created);
    match kind {
        "customer.subscription.created" => subscription(body, at, Rank::Created).map(Ok),
        "customer.subscription.updated"
        | "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "customer.subscription.pending_update_applied"
        | "customer.subscription.pending_update_expired" => subscription(body, at, Rank::Updated).map(Ok),
        "customer.subscription.deleted" => deleted(body, at),
        "customer.subscription.trial_will_end" | "invoice.upcoming" | "invoice.will_be_due" => {
            Ok(Err(Reason::Advisory))
        }
        "invoice.paid" | "invoice.payment_succeeded" => invoice(body, at, true),
        "invoice.payment_failed" => invoice(body, at, false),
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => checkout(body, at),
        "checkout.session.async_payment_failed" => Ok(Err(Reason::CheckoutNotPaid)),
        _ => Ok(Err(Reason::NoEffectOnState)),
    }
}

fn subscription(body: &[u8], at: UnixSeconds, rank: Rank) -> Result<Statement, Unreadable> {
    let event = EventView::parse(body)?;
    let view = event.subscription()?;
    let before = match rank {
        Rank::Updated => before(&event.previous_subscription(&view)?)?,
        Rank::Created | Rank::Ended => Before::default(),
    };
    let status = status(&view.status)?;
    about_subscription(
        &view,
        at,
        rank,
        Observation {
            snapshot: snapshot(&view, status)?,
            before,
        },
    )
}

/// A deletion counts only when the subscription was really canceled (BIL-5).
fn deleted(body: &[u8], at: UnixSeconds) -> Result<Result<Statement, Reason>, Unreadable> {
    let view = EventView::parse(body)?.subscription()?;
    let told = status(&view.status)?;
    let status = match (told.is_final(), view.canceled_at) {
        (true, _) => told,
        (false, Some(_)) => Status::Canceled,
        (false, None) => return Ok(Err(Reason::DeletionWithoutCancellation)),
    };
    let observation = Observation {
        snapshot: snapshot(&view, status)?,
        before: Before::default(),
    };
    about_subscription(&view, at, Rank::Ended, observation).map(Ok)
}

fn about_subscription(
    view: &Subscription,
    at: UnixSeconds,
    rank: Rank,
    observation: Observation,
) -> Result<Statement, Unreadable> {
    Ok(Statement {
        fact: Fact {
            subscription: id("subscription.id", &view.id, SubscriptionId::parse)?,
            at,
            kind: FactKind::Snapshot { rank, observation },
        },
        customer: id("subscription.customer", &view.customer, CustomerId::parse)?,
        session: None,
        named: named(view.metadata.client_id()),
        is_checkout: false,
    })
}

fn snapshot(view: &Subscription, status: Status) -> Result<Snapshot, Unreadable> {
    let price = view.price.as_ref();
    Ok(Snapshot {
        status,
        collection_paused: view.collection_paused,
        cancel_at_period_end: view.cancel_at_period_end,
        start: time("subscription.start_date", view.start_date)?,
        current_period_end: view
            .current_period_end
            .map(|end| time("subscription.current_period_end", end))
            .transpose()?,
        trial_end: view
            .trial_end
            .map(|end| time("subscription.trial_end", end))
            .transpose()?,
        price: price
            .map(|price| id("subscription.items.data[0].price.id", &price.id, PriceId::parse))
            .transpose()?,
        currency: price
            .and_then(|price| price.currency.as_deref())
            .map(|code| currency("subscription.currency", code))
            .transpose()?,
    })
}

fn status(word: &SubscriptionStatus) -> Result<Status, Unreadable> {
    let text = word.as_str();
    Status::parse(text).ok_or_else(|| Unreadable::Status(text.chars().take(64).collect()))
}

fn before(previous: &PreviousSubscription) -> Result<Before, Unreadable> {
    let time = |change: &Change<i64>| match change {
        Change::Absent => None,
        Change::Null => Some(None),
        Change::Value(at) => Some(Some(UnixSeconds(*at))),
    };
    Ok(Before {
        status: match &previous.status {
            Change::Value(word) => Some(status(word)?),
            Change::Absent | Change::Null => None,
        },
        collection_paused: match previous.collection_paused {
            Change::Absent => None,
            Change::Null => Some(false),
            Change::Value(()) => Some(true),
        },
        cancel_at_period_end: match previous.cancel_at_period_end {
            Change::Value(ends) => Some(ends),
            Change::Absent | Change::Null => None,
        },
        current_period_end: time(&previous.current_period_end),
        trial_end: time(&previous.trial_end),
        price: match &previous.price {
            Change::Absent => None,
            Change::Null => Some(None),
            Change::Value(price) => Some(Some(id(
                "previous_attributes.items.data[0].price.id",
                &price.id,
                PriceId::parse,
            )?)),
        },
    })
}

fn invoice(body: &[u8], at: UnixSeconds, paid: bool) -> Result<Result<Statement, Reason>, Unreadable> {
    let view = EventView::parse(body)?.invoice()?;
    let Some(subscription) = &view.subscription else {
        return Ok(Err(Reason::InvoiceWithoutSubscription));
    };
    let payment = invoice_payment(&view, paid)?;
    let customer = view
        .customer
        .as_deref()
        .ok_or(Unreadable::Missing("invoice.customer"))?;
    Ok(Ok(Statement {
        fact: Fact {
            subscription: id("invoice.subscription", subscription, SubscriptionId::parse)?,
            at,
            kind: if paid {
                FactKind::Paid(payment)
            } else {
                FactKind::Failed(payment)
            },
        },
        customer: id("invoice.customer", customer, CustomerId::parse)?,
        session: None,
        named: named(view.client_id()),
        is_checkout: false,
    }))
}

fn invoice_payment(view: &Invoice, paid: bool) -> Result<Payment, Unreadable> {
    let minor = if paid { view.amount_paid } else { view.amount_due };
    let amount = not_negative(
        if paid {
            "invoice.amount_paid"
        } else {
            "invoice.amount_due"
        },
        minor,
    )?;
    Ok(Payment {
        act: Act::Invoice {
            invoice: id("invoice.id", &view.id, InvoiceId::parse)?,
            first: view.billing_reason == Some(BillingReason::SubscriptionCreate),
        },
        amount: Some(Money::new(amount, currency("invoice.currency", &view.currency)?)),
    })
}

fn checkout(body: &[u8], at: UnixSeconds) -> Result<Result<Statement, Reason>, Unreadable> {
    let view = EventView::parse(body)?.checkout_session()?;
    let Some(subscription) = view
        .subscription
        .as_ref()
        .filter(|_| view.mode == CheckoutMode::Subscription)
    else {
        return Ok(Err(Reason::CheckoutWithoutSubscription));
    };
    if view.payment_status != CheckoutPaymentStatus::Paid {
        return Ok(Err(Reason::CheckoutNotPaid));
    }
    let customer = view
        .customer
        .as_deref()
        .ok_or(Unreadable::Missing("checkout_session.customer"))?;
    let session = id("checkout_session.id", &view.id, CheckoutSessionId::parse)?;
    Ok(Ok(Statement {
        fact: Fact {
            subscription: id("checkout_session.subscription", subscription, SubscriptionId::parse)?,
            at,
            kind: FactKind::Paid(Payment {
                act: Act::Checkout {
                    session: session.clone(),
                    invoice: view
                        .invoice
                        .as_ref()
                        .map(|invoice| id("checkout_session.invoice", invoice, InvoiceId::parse))
                        .transpose()?,
                },
                amount: checkout_amount(&view)?,
            }),
        },
        customer: id("checkout_session.customer", customer, CustomerId::parse)?,
        session: Some(session),
        named: named(view.metadata.client_id()),
        is_checkout: true,
    }))
}

fn checkout_amount(view: &CheckoutSession) -> Result<Option<Money>, Unreadable> {
    let (Some(minor), Some(code)) = (view.amount_total, view.currency.as_deref()) else {
        return Ok(None);
    };
    let minor = not_negative("checkout_session.amount_total", minor)?;
    Ok(Some(Money::new(minor, currency("checkout_session.currency", code)?)))
}

/// A client id in metadata that is no id names nobody.
fn named(text: Option<&str>) -> Option<ClientId> {
    text.and_then(|text| ClientId::parse(text).ok())
}

fn id<T>(field: &'static str, text: &str, parse: impl Fn(String) -> Result<T, InvalidId>) -> Result<T, Unreadable> {
    parse(text.to_owned()).map_err(|source| Unreadable::Id { field, source })
}

fn currency(field: &'static str, code: &str) -> Result<Currency, Unreadable> {
    Currency::parse(code).map_err(|source| Unreadable::Currency { field, source })
}

/// A time that the database, and whoever reads the answer, can do something with.
fn time(field: &'static str, seconds: i64) -> Result<UnixSeconds, Unreadable> {
    if (0..=LAST_SECOND).contains(&seconds) {
        Ok(UnixSeconds(seconds))
    } else {
        Err(Unreadable::Time(field))
    }
}

fn not_negative(field: &'static str, minor: i64) -> Result<i64, Unreadable> {
    if minor < 0 {
        Err(Unreadable::Negative(field))
    } else {
        Ok(minor)
    }
}
