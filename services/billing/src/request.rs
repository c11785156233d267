//! The body of `PUT /api/clients/{client_id}`, checked field by field: whoever sends it is told of all of them at once.

use db::billing::registration::{Agreed, Registration};
use domain::billing::contract::PaymentSource;
use domain::billing::state::ClientState;
use domain::ids::{self, InvalidId};
use domain::money::Currency;
use serde_json::{Map, Value};
use service_kit::fields::{FieldError, FieldErrors};
use service_kit::problem::Problem;

const FIELDS: [&str; 7] = [
    "org_id",
    "payment_source",
    "state",
    "stripe_customer_id",
    "checkout_session_id",
    "contracted_price_id",
    "contracted_currency",
];

/// A registration that is good in itself.
#[derive(Debug)]
pub(crate) struct ClientRequest {
    org: String,
    source: PaymentSource,
    initial: ClientState,
    customer: Option<String>,
    checkout_session: Option<String>,
    price: Agreed<String>,
    currency: Agreed<String>,
}

impl ClientRequest {
    /// Reads the body of a registration.
    ///
    /// # Errors
    /// 400 that names every field that cannot be used.
    pub(crate) fn read(body: &Value) -> Result<Self, Problem> {
        let Some(fields) = body.as_object() else {
            return Err(Problem::bad_request(
                "body_malformed",
                "The body has to be a JSON object.",
            ));
        };
        let mut wrong = FieldErrors::default();
        let unknown = fields.keys().filter(|name| !FIELDS.contains(&name.as_str()));
        wrong.extend(unknown.map(|name| invalid(name, format_args!("{name} is not a field of a client"))));
        let source = wrong.take(required(fields, "payment_source"));
        let org = wrong.take(required(fields, "org_id").and_then(without_comma));
        let source = source.and_then(|word| wrong.take(payment_source(&word)));
        let initial = wrong.take(text(fields, "state").and_then(|word| initial_state(word.as_deref())));
        let customer = wrong.take(text(fields, "stripe_customer_id"));
        let checkout_session = wrong.take(text(fields, "checkout_session_id"));
        let price = wrong.take(price(fields, "contracted_price_id"));
        let currency = wrong.take(text(fields, "contracted_currency").and_then(currency));
        let whole = || {
            Some(Self {
                org: org?,
                source: source?,
                initial: initial?,
                customer: customer?,
                checkout_session: checkout_session?,
                price: agreed(fields, "contracted_price_id", price?),
                currency: agreed(fields, "contracted_currency", currency?),
            })
        };
        wrong.finish(whole())
    }

    pub(crate) fn registration<'r>(&'r self, client: &'r str) -> Registration<'r> {
        Registration {
            client,
            org: &self.org,
            source: self.source,
            initial: self.initial,
            customer: self.customer.as_deref(),
            checkout_session: self.checkout_session.as_deref(),
            price: self.price.as_ref().map(String::as_str),
            currency: self.currency.as_ref().map(String::as_str),
        }
    }
}

fn invalid(field: &str, why: impl std::fmt::Display) -> FieldError {
    FieldError::new(field, why)
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, FieldError> {
    text_of(fields, name, ids::check)
}

/// A price may be called anything.
fn price(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, FieldError> {
    text_of(fields, name, ids::check_chosen)
}

fn text_of(
    fields: &Map<String, Value>,
    name: &str,
    check: fn(&str) -> Result<(), InvalidId>,
) -> Result<Option<String>, FieldError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            check(text).map_err(|why| invalid(name, format_args!("{name} {why}")))?;
            Ok(Some(text.clone()))
        }
        Some(_) => Err(invalid(name, format_args!("{name} has to be a text"))),
    }
}

fn required(fields: &Map<String, Value>, name: &str) -> Result<String, FieldError> {
    text(fields, name)?.ok_or_else(|| invalid(name, format_args!("{name} is missing")))
}

fn without_comma(org: String) -> Result<String, FieldError> {
    if org.contains(',') {
        return Err(invalid("org_id", "org_id has a comma in it"));
    }
    Ok(org)
}

fn payment_source(word: &str) -> Result<PaymentSource, FieldError> {
    PaymentSource::parse(word)
        .ok_or_else(|| invalid("payment_source", "payment_source has to be NONE, STRIPE or MANUAL"))
}

fn initial_state(word: Option<&str>) -> Result<ClientState, FieldError> {
    match word {
        None | Some("TRIAL_PENDING") => Ok(ClientState::TrialPending),
        Some("TRIAL_ACTIVE") => Ok(ClientState::TrialActive),
        Some(_) => Err(invalid("state", "state has to be TRIAL_PENDING or TRIAL_ACTIVE")),
    }
}

fn currency(code: Option<String>) -> Result<Option<String>, FieldError> {
    code.map(|code| Currency::parse(&code).map(|currency| currency.as_str().to_owned()))
        .transpose()
        .map_err(|why| invalid("contracted_currency", format_args!("contracted_currency {why}")))
}

/// What is left out stays as it was; null ends it.
fn agreed(fields: &Map<String, Value>, name: &str, value: Option<String>) -> Agreed<String> {
    match (value, fields.contains_key(name)) {
        (Some(value), _) => Agreed::On(value),
        (None, true) => Agreed::NoMore,
        (None, false) => Agreed::AsBefore,
    }
}
