//! Stripe's rules for amounts: known currencies, minimums and maximums of a charge, and the currencies whose amounts must be round.
//!
//! Source: <https://docs.stripe.com/currencies>. A minimum is judged after conversion to the settlement currency there; here everything
//! settles in its own currency, and a currency without a published minimum has none but 1.

use crate::error::{ApiError, ApiResult};

const KNOWN: &str = "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny \
    cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd jod jpy kes kgs khr \
    kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php \
    pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv \
    wst xaf xcd xof xpf yer zar zmw";

/// A charge may have eight digits.
const MAXIMUM: i64 = 99_999_999;

/// Smallest charge, in minor units.
fn minimum(currency: &str) -> i64 {
    match currency {
        "aed" | "myr" | "pln" | "ron" => 200,
        "bgn" => 100,
        "czk" => 1_500,
        "dkk" => 250,
        "gbp" => 30,
        "hkd" => 400,
        "huf" => 17_500,
        "jpy" | "aud" | "brl" | "cad" | "chf" | "eur" | "inr" | "nzd" | "sgd" | "usd" => 50,
        "mxn" | "thb" => 1_000,
        "nok" | "sek" => 300,
        _ => 1,
    }
}

/// What an amount has to be divisible by when it is charged.
fn charge_step(currency: &str) -> i64 {
    match currency {
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 10,
        "isk" | "ugx" => 100,
        _ => 1,
    }
}

/// As [`charge_step`], when it is paid out to a bank.
fn payout_step(currency: &str) -> i64 {
    match currency {
        "huf" | "twd" => 100,
        other => charge_step(other),
    }
}

/// The currency in lower case, if there is such a one.
pub(crate) fn known(given: &str) -> ApiResult<String> {
    let currency = given.to_ascii_lowercase();
    if KNOWN.split_ascii_whitespace().any(|one| one == currency) {
        return Ok(currency);
    }
    Err(ApiError::invalid(
        "currency",
        "",
        format!("Invalid currency: {given}. Stripe currently supports these currencies: {KNOWN}"),
    ))
}

/// An amount that must be at least 1.
pub(crate) fn positive(amount: i64) -> ApiResult<i64> {
    if amount >= 1 {
        return Ok(amount);
    }
    Err(ApiError::invalid(
        "amount",
        "parameter_invalid_integer",
        "This value must be greater than or equal to 1.",
    ))
}

/// Whether a charge of this amount is possible.
pub(crate) fn chargeable(amount: i64, currency: &str) -> ApiResult<()> {
    positive(amount)?;
    let minimum = minimum(currency);
    if amount < minimum {
        let message = format!("Amount must be at least {minimum} (minor units) {currency}");
        return Err(ApiError::invalid("amount", "amount_too_small", message));
    }
    if amount > MAXIMUM {
        let message = format!("Amount must be no more than {MAXIMUM} (minor units) {currency}");
        return Err(ApiError::invalid("amount", "amount_too_large", message));
    }
    round(amount, charge_step(currency), currency)
}

/// Whether a payout of this amount is possible.
pub(crate) fn payable(amount: i64, currency: &str) -> ApiResult<()> {
    positive(amount)?;
    round(amount, payout_step(currency), currency)
}

fn round(amount: i64, step: i64, currency: &str) -> ApiResult<()> {
    if amount.rem_euclid(step) == 0 {
        return Ok(());
    }
    Err(ApiError::invalid(
        "amount",
        "parameter_invalid_integer",
        format!("Amounts in {currency} must be divisible by {step}."),
    ))
}

#[cfg(test)]
mod tests {
    use super::{chargeable, known, payable};

    #[test]
    fn amounts_have_the_limits_of_their_currency() {
        for (amount, currency, charged, paid_out) in [
            (50, "eur", true, true),
            (49, "eur", false, true),
            (30, "gbp", true, true),
            (49, "jpy", false, true),
            (99_999_999, "usd", true, true),
            (100_000_000, "usd", false, true),
            (0, "usd", false, false),
            (-5, "usd", false, false),
            (1_234, "kwd", false, false),
            (1_230, "kwd", true, true),
            (150, "isk", false, false),
            (20_050, "huf", true, false),
            (20_000, "huf", true, true),
        ] {
            assert_eq!(
                chargeable(amount, currency).is_ok(),
                charged,
                "charge {amount} {currency}"
            );
            assert_eq!(
                payable(amount, currency).is_ok(),
                paid_out,
                "payout {amount} {currency}"
            );
        }
        assert_eq!(known("EUR").unwrap(), "eur");
        assert!(known("xxx").is_err() && known("euro").is_err() && known("").is_err());
    }
}
