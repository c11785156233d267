//! Who gets how much of a payment, and who bears how much of a refund, to the last minor unit.
//!
//! **The payment.** The platform's fee comes off first. What is left is divided among the recipients by basis points (largest
//! remainder, in the order in which they were given) or is given out in fixed amounts. A recipient is only ever given whole payable
//! units (see [`Currency::payout_unit`]): a share of HUF 10.50 could not be paid out. What is left below one such unit stays with
//! the platform and is part of its fee.
//!
//! **The refund.** Every part of a refund is borne by recipients and fee in proportion to what each was to get. The division is a
//! function of the *cumulative* amount returned, and monotone ([`sainte_lague`]): refunding in steps takes from each exactly what
//! one refund of the sum takes, no step ever gives anything back, and a full refund takes all.

use std::collections::BTreeSet;

use super::apportion::{largest_remainder, sainte_lague};
use crate::ids::AccountId;
#[cfg(doc)]
use crate::money::Currency;
use crate::money::Money;
use crate::money::currency_rules::ChargeError;

/// All of something, in basis points.
pub const WHOLE: u32 = 10_000;

/// What one recipient is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// Hundredths of a percent of what is left after the fee.
    BasisPoints(u32),
    /// Minor units.
    Amount(i64),
}

/// What the platform keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fee {
    /// Hundredths of a percent of the payment, to the nearest minor unit; a half is the recipients'.
    BasisPoints(u32),
    /// Minor units.
    Amount(i64),
}

impl Fee {
    /// No fee.
    pub const NONE: Self = Self::Amount(0);
}

/// A recipient as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The connected account.
    pub account: AccountId,
    /// Its share.
    pub share: Share,
}

/// Why a payment cannot be divided as asked. `recipient` counts from 0 and names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The payment itself cannot be charged.
    #[error("amount {0}")]
    Charge(#[from] ChargeError),
    /// There is nobody to pay.
    #[error("recipients must not be empty")]
    NoRecipients,
    /// An account is named twice.
    #[error("recipients.{recipient}.account is named twice")]
    DuplicateRecipient {
        /// The later of the two.
        recipient: usize,
    },
    /// Some shares are in basis points and some are amounts.
    #[error("recipients.{recipient} has another kind of share than the first one")]
    MixedShares {
        /// The first that differs.
        recipient: usize,
    },
    /// A share of zero or less.
    #[error("recipients.{recipient} must get more than zero")]
    ShareNotPositive {
        /// Whose.
        recipient: usize,
    },
    /// A share that comes out as less than can be paid out.
    #[error("recipients.{recipient} would get less than the smallest payable amount, {unit} minor units")]
    ShareBelowOneUnit {
        /// Whose.
        recipient: usize,
        /// The smallest payable amount.
        unit: i64,
    },
    /// A fixed amount that cannot be paid out.
    #[error("recipients.{recipient}.amount must be a multiple of {unit} minor units in this currency")]
    ShareNotPayable {
        /// Whose.
        recipient: usize,
        /// What it must be a multiple of.
        unit: i64,
    },
    /// The shares come to more than there is.
    #[error("recipients get more than what is left after the fee")]
    SharesOverWhole,
    /// The shares come to less than there is.
    #[error("recipients get less than what is left after the fee")]
    SharesUnderWhole,
    /// A fee below zero.
    #[error("platform_fee must not be negative")]
    NegativeFee,
    /// A fee above the payment.
    #[error("platform_fee is more than the amount")]
    FeeOverAmount,
    /// The fixed amounts do not fit 64 bits.
    #[error("recipients get too much")]
    Overflow,
}

/// A payment, divided. The parts and the fee add up to the amount.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Split {
    amount: Money,
    fee: i64,
    parts: Vec<Part>,
}

/// One recipient's part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// The connected account.
    pub account: AccountId,
    /// Minor units, a multiple of the currency's payout unit.
    pub amount: i64,
}

/// Who bears how much of what was given back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Returned {
    /// Minor units, in the order of the recipients.
    pub parts: Vec<i64>,
    /// Minor units of the fee.
    pub fee: i64,
}

impl Split {
    /// Divides a payment.
    ///
    /// # Errors
    /// A [`SplitError`] that names the field: first the amount, then the fee, then the recipients in their order, then their sum.
    pub fn new(amount: Money, claims: &[Claim], fee: Fee) -> Result<Self, SplitError> {
        amount.currency.check_charge(amount.minor)?;
        let fee = fee_of(amount.minor, fee)?;
        check_claims(claims)?;
        let unit = amount.currency.payout_unit();
        let left = amount.minor.checked_sub(fee).ok_or(SplitError::Overflow)?;
        let units = left.checked_div(unit).ok_or(SplitError::Overflow)?;
        let shares = match claims.first().map(|claim| claim.share) {
            None => return Err(SplitError::NoRecipients),
            Some(Share::BasisPoints(_)) => by_basis_points(units, unit, claims)?,
            Some(Share::Amount(_)) => by_amounts(units, unit, claims)?,
        };
        let given: i64 = shares.iter().sum();
        let parts = claims.iter().zip(shares);
        Ok(Self {
            amount,
            fee: amount.minor.checked_sub(given).ok_or(SplitError::Overflow)?,
            parts: parts
                .map(|(claim, amount)| Part {
                    account: claim.account.clone(),
                    amount,
                })
                .collect(),
        })
    }

    /// A split that was made before and stored. `None` when it does not add up, which means that the store is damaged.
    #[must_use]
    pub fn restore(amount: Money, fee: i64, parts: Vec<Part>) -> Option<Self> {
        let given = parts.iter().try_fold(fee, |sum, part| {
            sum.checked_add(part.amount).filter(|_| part.amount > 0)
        })?;
        (given == amount.minor && fee >= 0 && !parts.is_empty()).then_some(Self { amount, fee, parts })
    }

    /// The whole payment.
    #[must_use]
    pub const fn amount(&self) -> Money {
        self.amount
    }

    /// What the platform keeps, in minor units: its fee and what could not be paid out in whole units.
    #[must_use]
    pub const fn fee(&self) -> i64 {
        self.fee
    }

    /// The recipients' parts, in the order in which they were asked for.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Who bears how much when `total` minor units of the payment have been given back, all steps together. More than the payment
    /// counts as the payment, less than nothing as nothing.
    ///
    /// Parts are multiples of the currency's payout unit, so that what is left of a share can be paid out; what of the fee is less than
    /// a unit goes back last. Where `total` is no multiple (a dispute or a refund made elsewhere), the party that the next whole unit
    /// falls on bears the odd rest, which keeps every part monotone.
    #[must_use]
    pub fn returned(&self, total: i64) -> Returned {
        let unit = self.amount.currency.payout_unit();
        let odd = self.fee.rem_euclid(unit);
        let total = total.clamp(0, self.amount.minor);
        let in_units = total.min(self.amount.minor.saturating_sub(odd));
        let parts = self.parts.iter().map(|part| part.amount);
        let weights: Vec<i64> = parts.chain([self.fee.saturating_sub(odd)]).collect();
        let whole = divide(in_units.div_euclid(unit), unit, &weights);
        let rest = in_units.rem_euclid(unit);
        let mut shares = if rest == 0 {
            whole
        } else {
            let next = divide(in_units.div_euclid(unit).saturating_add(1), unit, &weights);
            let grown = whole.iter().zip(&next);
            grown
                .map(|(now, then)| if then > now { now.saturating_add(rest) } else { *now })
                .collect()
        };
        let fee = shares.pop().unwrap_or_default();
        let fee = fee.saturating_add(total.saturating_sub(in_units));
        Returned { parts: shares, fee }
    }
}

/// `units` whole units by weight, in minor units. Never fails here: a split has positive weights that add up to at least `units`.
fn divide(units: i64, unit: i64, weights: &[i64]) -> Vec<i64> {
    let parts = sainte_lague(units, weights).unwrap_or_else(|| vec![0; weights.len()]);
    parts.into_iter().map(|part| part.saturating_mul(unit)).collect()
}

fn fee_of(amount: i64, fee: Fee) -> Result<i64, SplitError> {
    match fee {
        Fee::Amount(minor) if minor < 0 => Err(SplitError::NegativeFee),
        Fee::Amount(minor) if minor > amount => Err(SplitError::FeeOverAmount),
        Fee::Amount(minor) => Ok(minor),
        Fee::BasisPoints(points) if points > WHOLE => Err(SplitError::FeeOverAmount),
        Fee::BasisPoints(points) => {
            let left = WHOLE.saturating_sub(points);
            let parts = largest_remainder(amount, &[i64::from(left), i64::from(points)]).ok_or(SplitError::Overflow)?;
            parts.last().copied().ok_or(SplitError::Overflow)
        }
    }
}

fn check_claims(claims: &[Claim]) -> Result<(), SplitError> {
    let first = claims.first().ok_or(SplitError::NoRecipients)?;
    let mut seen = BTreeSet::new();
    for (recipient, claim) in claims.iter().enumerate() {
        if !seen.insert(&claim.account) {
            return Err(SplitError::DuplicateRecipient { recipient });
        }
        let is_positive = match (claim.share, first.share) {
            (Share::BasisPoints(points), Share::BasisPoints(_)) => points > 0,
            (Share::Amount(minor), Share::Amount(_)) => minor > 0,
            (Share::BasisPoints(_), Share::Amount(_)) | (Share::Amount(_), Share::BasisPoints(_)) => {
                return Err(SplitError::MixedShares { recipient });
            }
        };
        if !is_positive {
            return Err(SplitError::ShareNotPositive { recipient });
        }
    }
    Ok(())
}

fn by_basis_points(units: i64, unit: i64, claims: &[Claim]) -> Result<Vec<i64>, SplitError> {
    let weights: Vec<i64> = claims
        .iter()
        .map(|claim| match claim.share {
            Share::BasisPoints(points) => i64::from(points),
            Share::Amount(_) => 0,
        })
        .collect();
    match weights.iter().sum::<i64>().cmp(&i64::from(WHOLE)) {
        std::cmp::Ordering::Less => return Err(SplitError::SharesUnderWhole),
        std::cmp::Ordering::Greater => return Err(SplitError::SharesOverWhole),
        std::cmp::Ordering::Equal => {}
    }
    let parts = largest_remainder(units, &weights).ok_or(SplitError::Overflow)?;
    if let Some(recipient) = parts.iter().position(|part| *part == 0) {
        return Err(SplitError::ShareBelowOneUnit { recipient, unit });
    }
    let in_minor_units = parts.into_iter().map(|part| part.checked_mul(unit));
    in_minor_units.collect::<Option<_>>().ok_or(SplitError::Overflow)
}

fn by_amounts(units: i64, unit: i64, claims: &[Claim]) -> Result<Vec<i64>, SplitError> {
    let mut amounts = Vec::with_capacity(claims.len());
    let mut sum = 0_i64;
    for (recipient, claim) in claims.iter().enumerate() {
        let minor = match claim.share {
            Share::Amount(minor) => minor,
            Share::BasisPoints(_) => 0,
        };
        if minor.checked_rem(unit) != Some(0) {
            return Err(SplitError::ShareNotPayable { recipient, unit });
        }
        sum = sum.checked_add(minor).ok_or(SplitError::Overflow)?;
        amounts.push(minor);
    }
    let left = units.checked_mul(unit).ok_or(SplitError::Overflow)?;
    match sum.cmp(&left) {
        std::cmp::Ordering::Less => Err(SplitError::SharesUnderWhole),
        std::cmp::Ordering::Greater => Err(SplitError::SharesOverWhole),
        std::cmp::Ordering::Equal => Ok(amounts),
    }
}
