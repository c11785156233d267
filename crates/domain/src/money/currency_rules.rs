//! What Stripe demands of amounts in each currency.
//!
//! Source: Stripe's page "Supported currencies" (zero-decimal and three-decimal currencies, special cases, minimum and maximum
//! charge amounts). Amounts are in the minor unit of the API, also where a currency has none in daily life: 500 is ISK 5.

use super::{Currency, Money};

/// Why an amount cannot be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// Zero or less.
    #[error("must be more than zero")]
    NotPositive,
    /// Less than Stripe charges in this currency.
    #[error("is below the minimum of {0}")]
    BelowMinimum(Money),
    /// More digits than Stripe takes in this currency.
    #[error("is above the maximum of {0}")]
    AboveMaximum(Money),
    /// Not a multiple of what the currency can be charged in.
    #[error("must be a multiple of {0} minor units in this currency")]
    Granularity(i64),
    /// Stripe does not charge in this currency.
    #[error("is in a currency that Stripe does not charge")]
    Unsupported,
}

impl Currency {
    /// How many decimals the currency's major unit has in Stripe's API (its list of special cases; two for all others).
    ///
    /// ISK and UGX have none in daily life and yet two here, which must be 00: see [`Self::charge_unit`].
    #[must_use]
    pub fn decimals(self) -> u32 {
        match &self.0 {
            b"bif" | b"clp" | b"djf" | b"gnf" | b"jpy" | b"kmf" | b"krw" | b"mga" | b"pyg" | b"rwf" | b"vnd"
            | b"vuv" | b"xaf" | b"xof" | b"xpf" => 0,
            b"bhd" | b"jod" | b"kwd" | b"omr" | b"tnd" => 3,
            _ => 2,
        }
    }

    /// The amount, in minor units, that every charge and every refund must be a multiple of: 100 for ISK and UGX, whose two
    /// decimals must be 00; 10 with three decimals, whose last digit must be 0; else 1.
    #[must_use]
    pub fn charge_unit(self) -> i64 {
        match &self.0 {
            b"isk" | b"ugx" => 100,
            b"bhd" | b"jod" | b"kwd" | b"omr" | b"tnd" => 10,
            _ => 1,
        }
    }

    /// The amount, in minor units, that every payout must be a multiple of. As [`Self::charge_unit`], and 100 for HUF and TWD,
    /// which can be charged with decimals and only be paid out without.
    #[must_use]
    pub fn payout_unit(self) -> i64 {
        match &self.0 {
            b"huf" | b"twd" => 100,
            _ => self.charge_unit(),
        }
    }

    /// The smallest charge, in minor units, where the account settles in the same currency. Where Stripe names none, one unit:
    /// the minimum is then judged after conversion, and Stripe's `amount_too_small` has the last word.
    #[must_use]
    pub fn minimum_charge(self) -> i64 {
        match &self.0 {
            b"usd" | b"aud" | b"brl" | b"cad" | b"chf" | b"eur" | b"inr" | b"nzd" | b"sgd" | b"jpy" => 50,
            b"gbp" => 30,
            b"bgn" => 100,
            b"aed" | b"myr" | b"pln" | b"ron" => 200,
            b"dkk" => 250,
            b"nok" | b"sek" => 300,
            b"hkd" => 400,
            b"mxn" | b"thb" => 1_000,
            b"czk" => 1_500,
            b"huf" => 17_500,
            _ => self.charge_unit(),
        }
    }

    /// The largest charge, in minor units: eight digits, twelve for IDR.
    #[must_use]
    pub fn maximum_charge(self) -> i64 {
        match &self.0 {
            b"idr" => 999_999_999_999,
            _ => 99_999_999,
        }
    }

    /// Whether Stripe charges in this currency. What a connected account can be paid in depends on its country and is known when
    /// Stripe answers.
    #[must_use]
    pub fn is_charged_by_stripe(self) -> bool {
        SUPPORTED.contains(&self.as_str())
    }

    /// Checks that `minor` can be charged.
    ///
    /// # Errors
    /// The first of these that holds: unsupported, not positive, below the minimum, above the maximum, no multiple of the unit.
    pub fn check_charge(self, minor: i64) -> Result<(), ChargeError> {
        if !self.is_charged_by_stripe() {
            return Err(ChargeError::Unsupported);
        }
        if minor <= 0 {
            return Err(ChargeError::NotPositive);
        }
        if minor < self.minimum_charge() {
            return Err(ChargeError::BelowMinimum(Money::new(self.minimum_charge(), self)));
        }
        if minor > self.maximum_charge() {
            return Err(ChargeError::AboveMaximum(Money::new(self.maximum_charge(), self)));
        }
        if minor.checked_rem(self.charge_unit()) != Some(0) {
            return Err(ChargeError::Granularity(self.charge_unit()));
        }
        Ok(())
    }
}

/// The presentment currencies, and the five with three decimals.
#[rustfmt::skip]
const SUPPORTED: [&str; 139] = [
    "aed", "afn", "all", "amd", "ang", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd", "bdt", "bgn", "bhd", "bif",
    "bmd", "bnd", "bob", "brl", "bsd", "bwp", "byn", "bzd", "cad", "cdf", "chf", "clp", "cny", "cop", "crc", "cve",
    "czk", "djf", "dkk", "dop", "dzd", "egp", "etb", "eur", "fjd", "fkp", "gbp", "gel", "gip", "gmd", "gnf", "gtq",
    "gyd", "hkd", "hnl", "htg", "huf", "idr", "ils", "inr", "isk", "jmd", "jod", "jpy", "kes", "kgs", "khr", "kmf",
    "krw", "kwd", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "mad", "mdl", "mga", "mkd", "mmk", "mnt", "mop",
    "mur", "mvr", "mwk", "mxn", "myr", "mzn", "nad", "ngn", "nio", "nok", "npr", "nzd", "omr", "pab", "pen", "pgk",
    "php", "pkr", "pln", "pyg", "qar", "ron", "rsd", "rub", "rwf", "sar", "sbd", "scr", "sek", "sgd", "shp", "sle",
    "sos", "srd", "std", "szl", "thb", "tjs", "tnd", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "usd", "uyu",
    "uzs", "vnd", "vuv", "wst", "xaf", "xcd", "xof", "xpf", "yer", "zar", "zmw",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).expect("a code")
    }

    #[test]
    fn every_kind_of_currency_has_its_rules() {
        // code, decimals, charged in, paid out in, minimum, maximum
        let cases = [
            ("eur", 2, 1, 1, 50, 99_999_999),
            ("gbp", 2, 1, 1, 30, 99_999_999),
            ("jpy", 0, 1, 1, 50, 99_999_999),
            ("krw", 0, 1, 1, 1, 99_999_999),
            ("kwd", 3, 10, 10, 10, 99_999_999),
            ("isk", 2, 100, 100, 100, 99_999_999),
            ("ugx", 2, 100, 100, 100, 99_999_999),
            ("huf", 2, 1, 100, 17_500, 99_999_999),
            ("twd", 2, 1, 100, 1, 99_999_999),
            ("idr", 2, 1, 1, 1, 999_999_999_999),
        ];
        for (code, decimals, charge, payout, minimum, maximum) in cases {
            let it = currency(code);
            let found = (
                it.decimals(),
                it.charge_unit(),
                it.payout_unit(),
                it.minimum_charge(),
                it.maximum_charge(),
            );
            assert_eq!(found, (decimals, charge, payout, minimum, maximum), "{code}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_every_limit_is_a_multiple_of_the_unit() {
        assert!(SUPPORTED.is_sorted());
        for code in SUPPORTED {
            let it = currency(code);
            assert_eq!(it.minimum_charge() % it.charge_unit(), 0, "{code}");
            assert_eq!(it.payout_unit() % it.charge_unit(), 0, "{code}");
            assert!(it.check_charge(it.minimum_charge()).is_ok(), "{code}");
            assert!(it.check_charge(it.minimum_charge() - 1).is_err(), "{code}");
            let highest = it.maximum_charge() / it.charge_unit() * it.charge_unit();
            assert!(it.check_charge(highest).is_ok(), "{code}");
            assert!(it.check_charge(it.maximum_charge() + 1).is_err(), "{code}");
        }
    }

    #[test]
    fn what_cannot_be_charged_is_refused_by_name() {
        let money = |minor, code| Money::new(minor, currency(code));
        let cases = [
            (0, "eur", ChargeError::NotPositive),
            (i64::MIN, "eur", ChargeError::NotPositive),
            (49, "eur", ChargeError::BelowMinimum(money(50, "eur"))),
            (100_000_000, "eur", ChargeError::AboveMaximum(money(99_999_999, "eur"))),
            (
                i64::MAX,
                "idr",
                ChargeError::AboveMaximum(money(999_999_999_999, "idr")),
            ),
            (150, "isk", ChargeError::Granularity(100)),
            (5_124, "kwd", ChargeError::Granularity(10)),
            (1_000, "xxx", ChargeError::Unsupported),
        ];
        for (minor, code, expected) in cases {
            assert_eq!(currency(code).check_charge(minor), Err(expected), "{minor} {code}");
        }
    }
}
