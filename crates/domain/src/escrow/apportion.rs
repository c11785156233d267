//! Two ways to divide a whole number by weights, each exact in its sum.
//!
//! [`largest_remainder`] is the one that people expect of a split: each party gets its exact share rounded down, and what is left
//! goes to the largest fractions. It has a known flaw, the Alabama paradox: with a larger total a party can get *less*. That does
//! no harm to a payment, which is divided once. A refund grows in steps, and a party must never have to be given back what an
//! earlier step took from it; so refunds are divided by [`sainte_lague`], a divisor method, which is monotone in the total.
//!
//! Both are exact when the total equals the sum of the weights: each party then gets its own weight.

/// Divides `total` by largest remainder; of equal fractions the party that stands first gets the unit. `None` when `total` is
/// negative, a weight is negative, or all weights are zero.
#[must_use]
pub fn largest_remainder(total: i64, weights: &[i64]) -> Option<Vec<i64>> {
    let sum = checked_sum(total, weights)?;
    let mut parts = Vec::with_capacity(weights.len());
    let mut fractions = Vec::with_capacity(weights.len());
    for (place, weight) in weights.iter().enumerate() {
        let exact = i128::from(total).checked_mul(i128::from(*weight))?;
        parts.push(i64::try_from(exact.checked_div(sum)?).ok()?);
        fractions.push((exact.checked_rem(sum)?, place));
    }
    // A stable sort keeps the order of the parties where fractions are equal.
    fractions.sort_by_key(|(fraction, _)| std::cmp::Reverse(*fraction));
    let mut left = total.checked_sub(parts.iter().sum())?;
    for (_, place) in fractions {
        if left == 0 {
            break;
        }
        let part = parts.get_mut(place)?;
        *part = part.checked_add(1)?;
        left = left.checked_sub(1)?;
    }
    Some(parts)
}

/// Divides `total` by the method of Sainte-Laguë (Webster): units go one by one to the party with the highest
/// `weight / (2 * units it has + 1)`, of equals to the one that stands first. Monotone: no part shrinks when `total` grows. `None`
/// as in [`largest_remainder`].
///
/// The units are not really counted out one by one. With the divisor `d` that the method ends with, each part is `weight / d`
/// rounded, so the divisors' sum differs from `total` by at most half a unit per party; from that follows a lower bound of each
/// part that misses at most a few units, and only these are counted out. Starting from any lower bound gives the same result,
/// because the method hands out a fixed sequence of (party, unit) pairs by falling quotient.
#[must_use]
pub fn sainte_lague(total: i64, weights: &[i64]) -> Option<Vec<i64>> {
    let sum = checked_sum(total, weights)?;
    let parties = i64::try_from(weights.len()).ok()?;
    let surely = i128::from(total.saturating_sub(parties).max(0));
    let mut parts = Vec::with_capacity(weights.len());
    for weight in weights {
        let exact = surely.checked_mul(i128::from(*weight))?.checked_div(sum)?;
        parts.push(i64::try_from(exact).ok()?.saturating_sub(1).max(0));
    }
    let mut left = total.checked_sub(parts.iter().sum())?;
    while left > 0 {
        let place = next_in_line(weights, &parts)?;
        let part = parts.get_mut(place)?;
        *part = part.checked_add(1)?;
        left = left.checked_sub(1)?;
    }
    Some(parts)
}

/// Who gets the next unit: the highest quotient `weight / (2 * part + 1)`, compared without dividing.
fn next_in_line(weights: &[i64], parts: &[i64]) -> Option<usize> {
    let mut first: Option<(usize, i128, i128)> = None;
    for (place, (weight, part)) in weights.iter().zip(parts).enumerate() {
        let (weight, odd) = (i128::from(*weight), i128::from(*part).checked_mul(2)?.checked_add(1)?);
        let is_higher = match first {
            None => true,
            Some((_, best, best_odd)) => weight.checked_mul(best_odd)? > best.checked_mul(odd)?,
        };
        if is_higher {
            first = Some((place, weight, odd));
        }
    }
    first.map(|(place, _, _)| place)
}

fn checked_sum(total: i64, weights: &[i64]) -> Option<i128> {
    if total < 0 || weights.iter().any(|weight| *weight < 0) {
        return None;
    }
    let sum: i128 = weights.iter().copied().map(i128::from).sum();
    (sum > 0).then_some(sum)
}
