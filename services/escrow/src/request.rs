//! The body of `POST /api/escrows`, checked field by field: whoever sends it is told of all of them at once.

use std::collections::BTreeMap;

use chrono::DateTime;
use domain::escrow::failure::ErrorCode;
use domain::escrow::split::{Claim, Fee, Share, Split, SplitError};
use domain::escrow::terms::{CaptureMethod, OnAuthorizationExpiry, Terms, TermsError};
use domain::ids::{AccountId, EscrowId, StripeObjectId};
use domain::money::currency_rules::ChargeError;
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use serde_json::{Map, Value, json};
use service_kit::fields::{FieldError, FieldErrors};
use service_kit::problem::Problem;

/// More would not fit what Stripe keeps of one payment's transfers, nor one transaction of ours.
const MAX_RECIPIENTS: usize = 100;
/// Stripe keeps 50 pairs, two of which are ours.
const MAX_METADATA: usize = 48;
const MAX_METADATA_NAME: usize = 40;
const MAX_METADATA_TEXT: usize = 500;
/// Names in the metadata that are ours.
const RESERVED: [&str; 2] = ["escrow_id", "operation_id"];

/// A request that is good, but for what only Stripe knows.
#[derive(Debug)]
pub(crate) struct EscrowRequest {
    pub(crate) terms: Terms,
    pub(crate) metadata: Value,
}

const FIELDS: [&str; 8] = [
    "amount",
    "currency",
    "recipients",
    "platform_fee",
    "capture",
    "on_authorization_expiry",
    "expires_at",
    "metadata",
];

/// A field that cannot be used.
pub(crate) fn invalid(field: &str, detail: impl std::fmt::Display) -> FieldError {
    FieldError::new(field, detail)
}

impl EscrowRequest {
    /// Reads the body of a request for an escrow that will have this id. Whether its time is still to come is asked where it is
    /// created: a repeat of the request may come later.
    ///
    /// # Errors
    /// 400 that names every field that cannot be used. Whether the shares add up is only asked of what can be read.
    pub(crate) fn read(body: &Value, id: EscrowId) -> Result<Self, Problem> {
        let fields = object(body)?;
        let mut wrong = FieldErrors::default();
        wrong.extend(unknown(fields, "an escrow", &FIELDS));
        let currency = wrong.take(currency(fields));
        let amount = wrong.take(integer(fields, "amount", "amount"));
        let claims = claims(fields, &mut wrong);
        let fee = fee(fields, &mut wrong);
        let split = match (currency, amount, claims, fee) {
            (Some(currency), Some(amount), Some(claims), Some(fee)) => {
                let split = Split::new(Money::new(amount, currency), &claims, fee);
                wrong.take(split.map_err(|why| of_split(&why)))
            }
            _ => None,
        };
        let capture = word(fields, "capture", "manual or automatic", CaptureMethod::parse);
        let capture = wrong.take(capture.and_then(|word| word.ok_or_else(|| missing("capture"))));
        let on_authorization_expiry = wrong.take(word(
            fields,
            "on_authorization_expiry",
            "refuse or capture",
            OnAuthorizationExpiry::parse,
        ));
        let expires_at = wrong.take(time(fields));
        let metadata = wrong.take(metadata(fields));
        let whole = || {
            let terms = Terms {
                id,
                split: split?,
                capture: capture?,
                on_authorization_expiry: on_authorization_expiry?.unwrap_or(OnAuthorizationExpiry::Refuse),
                expires_at: expires_at?,
            };
            Some(Self {
                terms,
                metadata: metadata?,
            })
        };
        wrong.finish(whole())
    }
}

/// The field that a problem with the terms is about.
pub(crate) fn of_terms(why: TermsError) -> FieldError {
    match why {
        TermsError::ExpiresInThePast | TermsError::OutlivesAuthorization => invalid("expires_at", why),
        TermsError::NotSettled(_) => invalid("currency", why),
    }
}

/// The field that Stripe's refusal of the payment is about, where it is about one.
pub(crate) fn field_of(code: ErrorCode) -> Option<&'static str> {
    const FIELDS: [(ErrorCode, &str); 3] = [
        (ErrorCode::AmountTooLarge, "amount"),
        (ErrorCode::AmountTooSmall, "amount"),
        (ErrorCode::CurrencyNotSupported, "currency"),
    ];
    FIELDS.iter().find(|(of, _)| *of == code).map(|(_, field)| *field)
}

/// The body in one spelling: whoever writes the same fields in another order says the same.
pub(crate) fn spelled(body: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields: BTreeMap<&String, &Value> = fields.iter().collect();
                fields
                    .into_iter()
                    .map(|(name, value)| (name.clone(), sorted(value)))
                    .collect()
            }
            Value::Array(values) => values.iter().map(sorted).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
    sorted(body).to_string()
}

/// The body of `POST /api/escrows/{id}/refund`.
///
/// # Errors
/// 400 that names the fields.
pub(crate) fn refund_amount(body: &[u8]) -> Result<Option<i64>, Problem> {
    optional(body, "amount", |fields| integer(fields, "amount", "amount"))
}

/// The body of `POST /api/escrows/{id}/operations/{number}/retry`: for a call that happened twice, the object that counts.
///
/// # Errors
/// 400 that names the fields.
pub(crate) fn object_that_counts(body: &[u8]) -> Result<Option<StripeObjectId>, Problem> {
    optional(body, "object", |fields| {
        let id = text(fields, "object")?;
        StripeObjectId::parse(id).map_err(|_| invalid("object", "object is no id of Stripe's"))
    })
}

/// A body that may be empty, of one field that may be left out. What a caller left empty by mistake is not left out.
fn optional<T>(
    body: &[u8],
    name: &str,
    read: impl Fn(&Map<String, Value>) -> Result<T, FieldError>,
) -> Result<Option<T>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| no_object())?;
    let fields = object(&body)?;
    let mut wrong = FieldErrors::default();
    wrong.extend(unknown(fields, "an escrow", &[name]));
    let read = fields.contains_key(name).then(|| read(fields)).transpose();
    let read = wrong.take(read);
    wrong.finish(read)
}

fn no_object() -> Problem {
    Problem::bad_request("body_malformed", "The body has to be a JSON object.")
}

fn object(body: &Value) -> Result<&Map<String, Value>, Problem> {
    body.as_object().ok_or_else(no_object)
}

/// An object within the body.
fn part<'v>(value: &'v Value, path: &str) -> Result<&'v Map<String, Value>, FieldError> {
    let fields = value.as_object();
    fields.ok_or_else(|| invalid(path, format_args!("{path} has to be an object")))
}

fn unknown(fields: &Map<String, Value>, whole: &str, known: &[&str]) -> impl Iterator<Item = FieldError> {
    let unknown = fields.keys().filter(|name| !known.contains(&name.as_str()));
    unknown.map(move |name| invalid(name, format_args!("{name} is not a field of {whole}")))
}

fn missing(field: &str) -> FieldError {
    invalid(field, format_args!("{field} is missing"))
}

fn currency(fields: &Map<String, Value>) -> Result<Currency, FieldError> {
    Currency::parse(text(fields, "currency")?).map_err(|why| invalid("currency", format_args!("currency {why}")))
}

fn text<'v>(fields: &'v Map<String, Value>, name: &str) -> Result<&'v str, FieldError> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(missing(name)),
        Some(_) => Err(invalid(name, format_args!("{name} has to be a text"))),
    }
}

fn integer(fields: &Map<String, Value>, name: &str, path: &str) -> Result<i64, FieldError> {
    match fields.get(name) {
        None | Some(Value::Null) => Err(missing(path)),
        Some(value) => value.as_i64().ok_or_else(|| {
            invalid(
                path,
                format_args!("{path} has to be an integer of minor units or basis points"),
            )
        }),
    }
}

fn word<T>(
    fields: &Map<String, Value>,
    name: &str,
    words: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, FieldError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => parse(text)
            .map(Some)
            .ok_or_else(|| invalid(name, format_args!("{name} has to be {words}"))),
        Some(_) => Err(invalid(name, format_args!("{name} has to be {words}"))),
    }
}

/// RFC 3339, or seconds since 1970.
fn time(fields: &Map<String, Value>) -> Result<UnixSeconds, FieldError> {
    let wrong = || {
        invalid(
            "expires_at",
            "expires_at has to be a time (RFC 3339) or whole seconds since 1970",
        )
    };
    let seconds = match fields.get("expires_at") {
        None | Some(Value::Null) => return Err(missing("expires_at")),
        Some(Value::String(text)) => DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?.timestamp(),
        Some(Value::Number(number)) => number.as_i64().ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    DateTime::from_timestamp(seconds, 0).ok_or_else(wrong)?;
    Ok(UnixSeconds(seconds))
}

fn claims(fields: &Map<String, Value>, wrong: &mut FieldErrors) -> Option<Vec<Claim>> {
    let recipients = fields.get("recipients").and_then(Value::as_array);
    let recipients = wrong.take(recipients.ok_or_else(|| invalid("recipients", "recipients has to be a list")))?;
    if recipients.len() > MAX_RECIPIENTS {
        let many = format_args!("recipients has more than {MAX_RECIPIENTS} entries");
        return wrong.take(Err(invalid("recipients", many)));
    }
    // Every one is looked at, also after one that is wrong.
    let claims = recipients
        .iter()
        .enumerate()
        .map(|(place, value)| claim(place, value, wrong));
    let claims: Vec<Option<Claim>> = claims.collect();
    claims.into_iter().collect()
}

fn claim(place: usize, value: &Value, wrong: &mut FieldErrors) -> Option<Claim> {
    let path = format!("recipients.{place}");
    let fields = wrong.take(part(value, &path))?;
    wrong.extend(unknown(fields, &path, &["account", "share_bps", "amount"]));
    let account = wrong.take(account(fields, &path));
    let share = wrong.take(share(fields, &path));
    Some(Claim {
        account: account?,
        share: share?,
    })
}

fn account(fields: &Map<String, Value>, path: &str) -> Result<AccountId, FieldError> {
    let field = format!("{path}.account");
    let account = fields.get("account").and_then(Value::as_str);
    let account = account.ok_or_else(|| missing(&field))?;
    // The id stands in the path of a call to Stripe.
    let is_plain = account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    AccountId::parse(account)
        .ok()
        .filter(|_| is_plain)
        .ok_or_else(|| invalid(&field, format_args!("{field} is no account id")))
}

fn share(fields: &Map<String, Value>, path: &str) -> Result<Share, FieldError> {
    match (fields.get("share_bps"), fields.get("amount")) {
        (Some(_), None) => {
            let field = format!("{path}.share_bps");
            let points = integer(fields, "share_bps", &field)?;
            u32::try_from(points)
                .map(Share::BasisPoints)
                .map_err(|_| invalid(&field, format_args!("{field} has to lie between 1 and 10000")))
        }
        (None, Some(_)) => integer(fields, "amount", &format!("{path}.amount")).map(Share::Amount),
        (None, None) | (Some(_), Some(_)) => Err(invalid(
            path,
            format_args!("{path} has to have either share_bps or amount"),
        )),
    }
}

fn fee(fields: &Map<String, Value>, wrong: &mut FieldErrors) -> Option<Fee> {
    let Some(value) = fields.get("platform_fee").filter(|value| !value.is_null()) else {
        return Some(Fee::NONE);
    };
    let fields = wrong.take(part(value, "platform_fee"))?;
    wrong.extend(unknown(fields, "platform_fee", &["bps", "amount"]));
    wrong.take(fee_of(fields))
}

fn fee_of(fields: &Map<String, Value>) -> Result<Fee, FieldError> {
    match (fields.get("bps"), fields.get("amount")) {
        (Some(_), None) => {
            let points = integer(fields, "bps", "platform_fee.bps")?;
            u32::try_from(points)
                .map(Fee::BasisPoints)
                .map_err(|_| invalid("platform_fee.bps", "platform_fee.bps has to lie between 0 and 10000"))
        }
        (None, Some(_)) => integer(fields, "amount", "platform_fee.amount").map(Fee::Amount),
        (None, None) | (Some(_), Some(_)) => {
            Err(invalid("platform_fee", "platform_fee has to have either bps or amount"))
        }
    }
}

fn metadata(fields: &Map<String, Value>) -> Result<Value, FieldError> {
    let Some(value) = fields.get("metadata").filter(|value| !value.is_null()) else {
        return Ok(json!({}));
    };
    let pairs = value
        .as_object()
        .ok_or_else(|| invalid("metadata", "metadata has to be an object"))?;
    let is_good = |(name, value): (&String, &Value)| {
        let text = value.as_str();
        !name.is_empty()
            && name.chars().count() <= MAX_METADATA_NAME
            && !name.contains(['[', ']', '\0'])
            && text.is_some_and(|text| text.chars().count() <= MAX_METADATA_TEXT && !text.contains('\0'))
    };
    if pairs.len() > MAX_METADATA || !pairs.iter().all(is_good) {
        return Err(invalid(
            "metadata",
            "metadata has to hold at most 48 texts of at most 500 characters under names of at most 40",
        ));
    }
    if let Some(ours) = RESERVED.iter().find(|name| pairs.contains_key(**name)) {
        return Err(invalid("metadata", format_args!("metadata.{ours} is set by Holdfast")));
    }
    Ok(value.clone())
}

/// The field that a split's problem is about.
fn of_split(why: &SplitError) -> FieldError {
    let field = match why {
        SplitError::Charge(ChargeError::Unsupported) => "currency".to_owned(),
        SplitError::Charge(
            ChargeError::NotPositive
            | ChargeError::BelowMinimum(_)
            | ChargeError::AboveMaximum(_)
            | ChargeError::Granularity(_),
        ) => "amount".to_owned(),
        SplitError::NoRecipients
        | SplitError::SharesOverWhole
        | SplitError::SharesUnderWhole
        | SplitError::Overflow => "recipients".to_owned(),
        SplitError::DuplicateRecipient { recipient } => format!("recipients.{recipient}.account"),
        SplitError::MixedShares { recipient }
        | SplitError::ShareNotPositive { recipient }
        | SplitError::ShareBelowOneUnit { recipient, .. } => format!("recipients.{recipient}"),
        SplitError::ShareNotPayable { recipient, .. } => format!("recipients.{recipient}.amount"),
        SplitError::NegativeFee | SplitError::FeeOverAmount => "platform_fee".to_owned(),
    };
    let detail = match why {
        SplitError::Charge(ChargeError::Unsupported) => format!("currency {}", ChargeError::Unsupported),
        SplitError::Charge(
            ChargeError::NotPositive
            | ChargeError::BelowMinimum(_)
            | ChargeError::AboveMaximum(_)
            | ChargeError::Granularity(_),
        )
        | SplitError::NoRecipients
        | SplitError::SharesOverWhole
        | SplitError::SharesUnderWhole
        | SplitError::Overflow
        | SplitError::DuplicateRecipient { .. }
        | SplitError::MixedShares { .. }
        | SplitError::ShareNotPositive { .. }
        | SplitError::ShareBelowOneUnit { .. }
        | SplitError::ShareNotPayable { .. }
        | SplitError::NegativeFee
        | SplitError::FeeOverAmount => why.to_string(),
    };
    invalid(&field, detail)
}
