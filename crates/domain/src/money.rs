//! Money: integer minor units with a currency. No floating point, no arithmetic that can wrap.
//!
//! [`currency_rules`] is what Stripe demands of amounts in each currency.

pub mod currency_rules;

use std::fmt;

/// An ISO 4217 currency code, three lower-case ASCII letters as Stripe writes it.
///
/// Which codes exist is Stripe's business and changes; that a code has the right shape is checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Why an amount or a currency was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three ASCII letters.
    #[error("is not a currency code of three letters")]
    Currency,
    /// Two amounts of different currencies were put together.
    #[error("has another currency")]
    CurrencyMismatch,
    /// The result does not fit 64 bits.
    #[error("is too large")]
    Overflow,
}

impl Currency {
    /// Euro.
    pub const EUR: Self = Self(*b"eur");

    /// Reads a code in either case.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] when it is not three ASCII letters.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let bytes: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        if bytes.iter().all(u8::is_ascii_alphabetic) {
            Ok(Self(bytes.map(|byte| byte.to_ascii_lowercase())))
        } else {
            Err(MoneyError::Currency)
        }
    }

    /// The code in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().to_ascii_uppercase())
    }
}

/// An amount in minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units (cents, yen, fils).
    pub minor: i64,
    /// Their currency.
    pub currency: Currency,
}

impl Money {
    /// An amount.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// When the currencies differ or the sum does not fit.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self {
            minor,
            currency: self.currency,
        })
    }

    /// The difference; negative where `other` is more.
    ///
    /// # Errors
    /// When the currencies differ or the difference does not fit.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(minor, self.currency))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        let unit = 10_u64.pow(decimals);
        let (sign, minor) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        let major = minor / unit;
        if decimals == 0 {
            write!(f, "{} {sign}{major}", self.currency)
        } else {
            write!(
                f,
                "{} {sign}{major}.{:0width$}",
                self.currency,
                minor % unit,
                width = decimals as usize
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::parse(code).expect("a code"))
    }

    #[test]
    fn prints_every_number_of_decimals() {
        assert_eq!(money(1205, "eur").to_string(), "EUR 12.05");
        assert_eq!(money(-5, "USD").to_string(), "USD -0.05");
        assert_eq!(money(500, "jpy").to_string(), "JPY 500");
        assert_eq!(money(1_234_560, "kwd").to_string(), "KWD 1234.560");
        assert_eq!(money(i64::MIN, "jpy").to_string(), "JPY -9223372036854775808");
    }

    #[test]
    fn never_wraps_and_never_mixes() {
        assert_eq!(
            money(i64::MAX, "eur").checked_add(money(1, "eur")),
            Err(MoneyError::Overflow)
        );
        assert_eq!(
            money(1, "eur").checked_add(money(1, "usd")),
            Err(MoneyError::CurrencyMismatch)
        );
        assert_eq!(money(1, "eur").checked_add(money(2, "EUR")), Ok(money(3, "eur")));
        assert_eq!(
            money(i64::MIN, "eur").checked_sub(money(1, "eur")),
            Err(MoneyError::Overflow)
        );
        assert_eq!(
            money(1, "eur").checked_sub(money(1, "usd")),
            Err(MoneyError::CurrencyMismatch)
        );
        assert_eq!(money(1, "eur").checked_sub(money(3, "eur")), Ok(money(-2, "eur")));
    }

    #[test]
    fn refuses_what_is_no_code() {
        for bad in ["", "eu", "euro", "e1r", "\u{20ac}"] {
            assert_eq!(Currency::parse(bad), Err(MoneyError::Currency), "{bad:?}");
        }
    }
}
