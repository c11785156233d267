//! Splits and refunds add up to the last minor unit, in every currency (ESC-1, ESC-8). The right answer is computed here in another
//! way than in the code: unit by unit, with exact fractions.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use domain::escrow::apportion::{largest_remainder, sainte_lague};
use domain::escrow::split::{Claim, Fee, Part, Share, Split, SplitError};
use domain::ids::AccountId;
use domain::money::currency_rules::ChargeError;
use domain::money::{Currency, Money};
use proptest::prelude::*;
use proptest::sample::select;

fn money(minor: i64, code: &str) -> Money {
    Money::new(minor, Currency::parse(code).expect("a code"))
}

fn claims(shares: &[Share]) -> Vec<Claim> {
    let claim = |(place, share): (usize, &Share)| Claim {
        account: AccountId::parse(format!("acct_{place}")).expect("an id"),
        share: *share,
    };
    shares.iter().enumerate().map(claim).collect()
}

fn points(shares: &[u32]) -> Vec<Claim> {
    claims(
        &shares
            .iter()
            .map(|points| Share::BasisPoints(*points))
            .collect::<Vec<_>>(),
    )
}

fn amounts(shares: &[i64]) -> Vec<Claim> {
    claims(&shares.iter().map(|minor| Share::Amount(*minor)).collect::<Vec<_>>())
}

fn parts(split: &Split) -> Vec<i64> {
    split.parts().iter().map(|part| part.amount).collect()
}

/// An amount with its claims and fee, and what the recipients and the platform get.
type Divided = (Money, Vec<Claim>, Fee, &'static [i64], i64);

#[test]
fn shares_come_out_as_told() {
    let cases: [Divided; 16] = [
        (money(10_000, "eur"), points(&[10_000]), Fee::NONE, &[10_000], 0),
        (
            money(10_000, "eur"),
            points(&[7_000, 3_000]),
            Fee::BasisPoints(1_000),
            &[6_300, 2_700],
            1_000,
        ),
        (
            money(100, "eur"),
            points(&[3_334, 3_333, 3_333]),
            Fee::NONE,
            &[34, 33, 33],
            0,
        ),
        (money(101, "eur"), points(&[5_000, 5_000]), Fee::NONE, &[51, 50], 0),
        // Half a cent of fee is the recipients'; more than half is the platform's.
        (money(50, "eur"), points(&[10_000]), Fee::BasisPoints(100), &[50], 0),
        (money(150, "eur"), points(&[10_000]), Fee::BasisPoints(100), &[149], 1),
        (money(250, "eur"), points(&[10_000]), Fee::BasisPoints(100), &[248], 2),
        (money(260, "eur"), points(&[10_000]), Fee::BasisPoints(100), &[257], 3),
        (
            money(10_000, "eur"),
            amounts(&[6_000, 3_500]),
            Fee::Amount(500),
            &[6_000, 3_500],
            500,
        ),
        (
            money(1_000, "jpy"),
            points(&[3_333, 6_667]),
            Fee::BasisPoints(250),
            &[325, 650],
            25,
        ),
        (
            money(5_000, "kwd"),
            points(&[3_333, 6_667]),
            Fee::NONE,
            &[1_670, 3_330],
            0,
        ),
        // What is below one payable unit stays with the platform.
        (
            money(20_050, "huf"),
            points(&[5_000, 5_000]),
            Fee::NONE,
            &[10_000, 10_000],
            50,
        ),
        (
            money(20_050, "huf"),
            points(&[5_000, 5_000]),
            Fee::Amount(60),
            &[10_000, 9_900],
            150,
        ),
        (
            money(20_050, "huf"),
            amounts(&[10_000, 10_000]),
            Fee::Amount(50),
            &[10_000, 10_000],
            50,
        ),
        (
            money(1_000, "isk"),
            points(&[5_000, 5_000]),
            Fee::BasisPoints(500),
            &[500, 400],
            100,
        ),
        (
            money(999_999_999_990, "idr"),
            points(&[1, 9_999]),
            Fee::NONE,
            &[100_000_000, 999_899_999_990],
            0,
        ),
    ];
    for (amount, claims, fee, expected, kept) in cases {
        let split = Split::new(amount, &claims, fee).expect("a split");
        assert_eq!(
            (parts(&split).as_slice(), split.fee()),
            (expected, kept),
            "{amount} {claims:?} {fee:?}"
        );
    }
}

#[test]
fn what_cannot_be_divided_is_refused_by_name() {
    use SplitError::{
        Charge, DuplicateRecipient, FeeOverAmount, MixedShares, NegativeFee, NoRecipients, Overflow, ShareBelowOneUnit,
        ShareNotPayable, ShareNotPositive, SharesOverWhole, SharesUnderWhole,
    };
    let eur = |minor| money(minor, "eur");
    let twice = {
        let mut twice = points(&[5_000, 5_000]);
        twice[1].account = twice[0].account.clone();
        twice
    };
    let mixed = claims(&[Share::BasisPoints(5_000), Share::Amount(100)]);
    let cases: [(Money, Vec<Claim>, Fee, SplitError); 22] = [
        (eur(0), points(&[10_000]), Fee::NONE, Charge(ChargeError::NotPositive)),
        (
            eur(-100),
            points(&[10_000]),
            Fee::NONE,
            Charge(ChargeError::NotPositive),
        ),
        (
            eur(49),
            points(&[10_000]),
            Fee::NONE,
            Charge(ChargeError::BelowMinimum(eur(50))),
        ),
        (
            eur(100_000_000),
            points(&[10_000]),
            Fee::NONE,
            Charge(ChargeError::AboveMaximum(eur(99_999_999))),
        ),
        (
            money(1_001, "isk"),
            points(&[10_000]),
            Fee::NONE,
            Charge(ChargeError::Granularity(100)),
        ),
        (
            money(1_000, "zzz"),
            points(&[10_000]),
            Fee::NONE,
            Charge(ChargeError::Unsupported),
        ),
        (eur(1_000), points(&[]), Fee::NONE, NoRecipients),
        (eur(1_000), twice, Fee::NONE, DuplicateRecipient { recipient: 1 }),
        (eur(1_000), mixed, Fee::NONE, MixedShares { recipient: 1 }),
        (
            eur(1_000),
            points(&[10_000, 0]),
            Fee::NONE,
            ShareNotPositive { recipient: 1 },
        ),
        (
            eur(1_000),
            amounts(&[1_100, -100]),
            Fee::NONE,
            ShareNotPositive { recipient: 1 },
        ),
        (eur(1_000), points(&[5_000, 5_001]), Fee::NONE, SharesOverWhole),
        (eur(1_000), points(&[5_000, 4_999]), Fee::NONE, SharesUnderWhole),
        (eur(1_000), points(&[u32::MAX, u32::MAX]), Fee::NONE, SharesOverWhole),
        (eur(1_000), amounts(&[901]), Fee::Amount(100), SharesOverWhole),
        (eur(1_000), amounts(&[899]), Fee::Amount(100), SharesUnderWhole),
        (eur(1_000), amounts(&[i64::MAX, 1]), Fee::NONE, Overflow),
        (
            eur(1_000),
            points(&[9_999, 1]),
            Fee::NONE,
            ShareBelowOneUnit { recipient: 1, unit: 1 },
        ),
        (
            money(20_000, "huf"),
            points(&[9_999, 1]),
            Fee::NONE,
            ShareBelowOneUnit {
                recipient: 1,
                unit: 100,
            },
        ),
        (
            money(20_000, "huf"),
            amounts(&[19_950]),
            Fee::Amount(50),
            ShareNotPayable {
                recipient: 0,
                unit: 100,
            },
        ),
        (eur(1_000), points(&[10_000]), Fee::Amount(-1), NegativeFee),
        (eur(1_000), points(&[10_000]), Fee::BasisPoints(10_001), FeeOverAmount),
    ];
    for (amount, claims, fee, expected) in cases {
        assert_eq!(
            Split::new(amount, &claims, fee),
            Err(expected),
            "{amount} {claims:?} {fee:?}"
        );
    }
    assert_eq!(
        Split::new(eur(1_000), &points(&[10_000]), Fee::Amount(1_001)),
        Err(FeeOverAmount)
    );
    let nothing_left = Split::new(eur(1_000), &points(&[10_000]), Fee::Amount(1_000));
    assert_eq!(nothing_left, Err(ShareBelowOneUnit { recipient: 0, unit: 1 }));
}

#[test]
fn a_stored_split_that_does_not_add_up_is_not_restored() {
    let part = |amount| Part {
        account: AccountId::parse("acct_0").expect("an id"),
        amount,
    };
    assert!(Split::restore(money(1_000, "eur"), 100, vec![part(900)]).is_some());
    assert!(Split::restore(money(1_000, "eur"), 100, vec![part(901)]).is_none());
    assert!(Split::restore(money(1_000, "eur"), -100, vec![part(1_100)]).is_none());
    assert!(Split::restore(money(1_000, "eur"), 100, vec![part(1_000), part(-100)]).is_none());
    assert!(Split::restore(money(1_000, "eur"), 1_000, vec![]).is_none());
    assert!(Split::restore(money(1_000, "eur"), i64::MAX, vec![part(i64::MAX)]).is_none());
}

/// The reason for a second method: with largest remainder a growing refund would give the third party a unit back.
#[test]
fn largest_remainder_shrinks_a_part_where_sainte_lague_does_not() {
    let weights = [6, 6, 2];
    assert_eq!(largest_remainder(10, &weights), Some(vec![4, 4, 2]));
    assert_eq!(largest_remainder(11, &weights), Some(vec![5, 5, 1]));
    assert_eq!(sainte_lague(10, &weights), Some(vec![5, 4, 1]));
    assert_eq!(sainte_lague(11, &weights), Some(vec![5, 5, 1]));
}

/// Sainte-Laguë as its definition has it: unit after unit to the highest quotient.
fn counted_out(total: i64, weights: &[i64]) -> Vec<i64> {
    let mut parts = vec![0_i64; weights.len()];
    for _ in 0..total {
        let mut best = 0;
        for place in 1..weights.len() {
            let (ours, theirs) = (2 * parts[place] + 1, 2 * parts[best] + 1);
            if i128::from(weights[place]) * i128::from(theirs) > i128::from(weights[best]) * i128::from(ours) {
                best = place;
            }
        }
        parts[best] += 1;
    }
    parts
}

/// Shares in basis points that add up to the whole.
fn whole_points() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::btree_set(1..10_000_u32, 0..8).prop_map(|cuts| {
        let ends = cuts.iter().copied().chain([10_000]);
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        ends.zip(starts).map(|(end, start)| end - start).collect()
    })
}

fn currency() -> impl Strategy<Value = Currency> {
    let codes = vec![
        "eur", "usd", "jpy", "krw", "kwd", "bhd", "isk", "ugx", "huf", "twd", "idr",
    ];
    select(codes).prop_map(|code| Currency::parse(code).expect("a code"))
}

fn payment() -> impl Strategy<Value = Money> {
    currency().prop_flat_map(|currency| {
        let unit = currency.charge_unit();
        let (least, most) = (currency.minimum_charge() / unit, currency.maximum_charge() / unit);
        prop_oneof![least..=(least + 300), least..=most].prop_map(move |units| Money::new(units * unit, currency))
    })
}

fn a_split() -> impl Strategy<Value = Split> {
    let fee = prop_oneof![
        (0..=10_000_u32).prop_map(Fee::BasisPoints),
        (0..2_000_i64).prop_map(Fee::Amount)
    ];
    (payment(), whole_points(), fee).prop_filter_map("cannot be divided", |(amount, shares, fee)| {
        Split::new(amount, &points(&shares), fee).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_split_adds_up_and_everybody_is_within_one_unit_of_the_exact_share(
        amount in payment(), shares in whole_points(), fee in 0..=10_000_u32,
    ) {
        let unit = amount.currency.payout_unit();
        match Split::new(amount, &points(&shares), Fee::BasisPoints(fee)) {
            Ok(split) => {
                prop_assert_eq!(parts(&split).iter().sum::<i64>() + split.fee(), amount.minor);
                let left = amount.minor - split.fee();
                // The fee is the exact one, to within half a unit of rounding and what is not payable.
                let exact = i128::from(amount.minor) * i128::from(fee);
                let kept = i128::from(split.fee()) * 10_000;
                prop_assert!(kept - exact < i128::from(unit) * 10_000 && exact - kept <= 5_000);
                for (part, share) in parts(&split).into_iter().zip(&shares) {
                    prop_assert_eq!(part % unit, 0);
                    prop_assert!(part > 0);
                    let off = i128::from(part) * 10_000 - i128::from(left) * i128::from(*share);
                    prop_assert!(off.abs() < i128::from(unit) * 10_000);
                }
            }
            Err(SplitError::ShareBelowOneUnit { recipient, .. }) => {
                let left = i128::from(amount.minor) * i128::from(10_000 - fee) / 10_000;
                prop_assert!(left * i128::from(shares[recipient]) < i128::from(2 * unit) * 10_000);
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn the_quick_way_is_sainte_lague_as_defined(
        total in 0..400_i64, weights in prop::collection::vec(0..1_000_i64, 1..9),
    ) {
        if weights.iter().sum::<i64>() > 0 {
            prop_assert_eq!(sainte_lague(total, &weights), Some(counted_out(total, &weights)));
        } else {
            prop_assert_eq!(sainte_lague(total, &weights), None);
        }
    }

    #[test]
    fn a_refund_adds_up_never_gives_back_and_a_full_one_takes_all(
        split in a_split(), steps in prop::collection::vec(0..=1_000_u32, 1..8),
    ) {
        let amount = split.amount().minor;
        let mut totals: Vec<i64> =
            steps.iter().map(|step| i64::try_from(i128::from(amount) * i128::from(*step) / 1_000).expect("fits")).collect();
        totals.extend([0, 1, 2.min(amount), amount - 1, amount]);
        totals.sort_unstable();
        let mut before = split.returned(0);
        prop_assert!(before.fee == 0 && before.parts.iter().all(|part| *part == 0));
        for total in totals {
            let now = split.returned(total);
            prop_assert_eq!(now.parts.iter().sum::<i64>() + now.fee, total);
            prop_assert!(now.fee >= before.fee && now.fee <= split.fee());
            for ((now, before), part) in now.parts.iter().zip(&before.parts).zip(split.parts()) {
                prop_assert!(now >= before && *now <= part.amount, "{} then {} of {}", before, now, part.amount);
            }
            let (charged_in, paid_in) = (split.amount().currency.charge_unit(), split.amount().currency.payout_unit());
            if total % charged_in == 0 {
                prop_assert!(now.parts.iter().all(|part| part % charged_in == 0) && now.fee % charged_in == 0);
            }
            if total % paid_in == 0 || total == amount {
                prop_assert!(now.parts.iter().all(|part| part % paid_in == 0), "what is left of a share can be paid out");
            }
            before = now;
        }
        prop_assert_eq!(before.parts, parts(&split));
        prop_assert_eq!(split.returned(i64::MAX), split.returned(amount));
        prop_assert_eq!(split.returned(-1), split.returned(0));
    }

    #[test]
    fn every_single_step_of_a_small_refund_is_monotone(split in a_split()) {
        let unit = split.amount().currency.charge_unit();
        let from = (split.amount().minor - 300 * unit).max(0);
        let mut before = split.returned(from);
        for total in from..=(from + 300).min(split.amount().minor) {
            let now = split.returned(total);
            prop_assert!(now.fee >= before.fee);
            prop_assert!(now.parts.iter().zip(&before.parts).all(|(now, before)| now >= before));
            prop_assert_eq!(now.parts.iter().sum::<i64>() + now.fee, total);
            before = now;
        }
    }
}
