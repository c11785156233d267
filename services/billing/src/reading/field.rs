//! Single fields on their way into the domain's types, each with its name for whoever reads why an event was parked.

use domain::ids::InvalidId;
use domain::money::{Currency, Money, MoneyError};
use domain::time::UnixSeconds;
use stripe_gateway::views::ViewError;

/// The last second of the year 9999. Times beyond it are nonsense that no database and no reader can do anything with.
pub(super) const LAST_SECOND: i64 = 253_402_300_799;

/// Why a statement could not be made of an object.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("{field} {source}")]
    Id { field: &'static str, source: InvalidId },
    #[error("{field} does not begin with {begins}")]
    Kind { field: &'static str, begins: &'static str },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field} {word:?} is not one that Stripe documents")]
    Word { field: &'static str, word: String },
    #[error("{field} {source}")]
    Currency { field: &'static str, source: MoneyError },
    #[error("{0} is negative")]
    Negative(&'static str),
    #[error("{0} lies outside the years 1970 to 9999")]
    Time(&'static str),
}

pub(super) fn id<T>(
    field: &'static str,
    text: &str,
    parse: impl Fn(String) -> Result<T, InvalidId>,
) -> Result<T, Unreadable> {
    parse(text.to_owned()).map_err(|source| Unreadable::Id { field, source })
}

/// The id of an object whose kind Stripe has always shown by it. One of another kind would become a subscription that nobody can end.
pub(super) fn id_of_kind<T>(
    field: &'static str,
    text: &str,
    begins: &'static str,
    parse: impl Fn(String) -> Result<T, InvalidId>,
) -> Result<T, Unreadable> {
    if text.starts_with(begins) {
        id(field, text, parse)
    } else {
        Err(Unreadable::Kind { field, begins })
    }
}

/// An id that has to be there.
pub(super) fn required_id<T>(
    field: &'static str,
    text: Option<&str>,
    parse: impl Fn(String) -> Result<T, InvalidId>,
) -> Result<T, Unreadable> {
    id(field, text.ok_or(Unreadable::Missing(field))?, parse)
}

/// A word that the domain has to know.
pub(super) fn word<T>(field: &'static str, text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Unreadable> {
    parse(text).ok_or_else(|| Unreadable::Word {
        field,
        word: text.chars().take(64).collect(),
    })
}

pub(super) fn currency(field: &'static str, code: &str) -> Result<Currency, Unreadable> {
    Currency::parse(code).map_err(|source| Unreadable::Currency { field, source })
}

/// A time that the database, and whoever reads the answer, can do something with.
pub(super) fn time(field: &'static str, seconds: i64) -> Result<UnixSeconds, Unreadable> {
    if (0..=LAST_SECOND).contains(&seconds) {
        Ok(UnixSeconds(seconds))
    } else {
        Err(Unreadable::Time(field))
    }
}

pub(super) fn not_negative(field: &'static str, minor: i64) -> Result<i64, Unreadable> {
    if minor < 0 {
        Err(Unreadable::Negative(field))
    } else {
        Ok(minor)
    }
}

pub(super) fn money(amount: (&'static str, i64), currency_code: (&'static str, &str)) -> Result<Money, Unreadable> {
    Ok(Money::new(
        not_negative(amount.0, amount.1)?,
        currency(currency_code.0, currency_code.1)?,
    ))
}
