//! The laws under which charges, refunds, disputes and readings of Stripe merge, over generated observations in which equal times,
//! amounts and statuses are the rule.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use domain::billing::charge::{Charge, Dispute, DisputeStatus, DisputeWord, Refund, RefundStatus, merge};
use domain::billing::subscription::{
    Before, CLOCKS_APART, Merged, Observation, Rank, Snapshot, Snapshots, Status, observed_at,
};
use domain::money::Currency;
use domain::time::UnixSeconds;
use proptest::prelude::*;
use proptest::sample::select;

fn currency() -> impl Strategy<Value = Currency> {
    select(vec![Currency::EUR, Currency::parse("jpy").expect("a code")])
}

prop_compose! {
    fn charge()(refunded in 0_i64..4, amount in 3_i64..5, currency in currency()) -> Charge {
        Charge { refunded, amount, currency }
    }
}

prop_compose! {
    fn refund()(status in select(RefundStatus::ALL.to_vec()), amount in 1_i64..3, currency in currency()) -> Refund {
        Refund { status, amount, currency }
    }
}

prop_compose! {
    fn dispute()(
        word in select(vec![DisputeWord::Opened, DisputeWord::Later, DisputeWord::Later]),
        at in 0_i64..3,
        status in select(DisputeStatus::ALL.to_vec()),
        amount in 1_i64..3,
        currency in currency(),
        due_by in proptest::option::of((7_i64..9).prop_map(UnixSeconds)),
    ) -> Dispute {
        Dispute { word, at: UnixSeconds(at), status, amount, currency, due_by }
    }
}

fn all<T: Ord + Copy>(seen: &[T]) -> Option<T> {
    let mut known = None;
    for one in seen {
        merge(&mut known, *one);
    }
    known
}

/// Commutative, associative and idempotent: any grouping, order and repeat of the same observations comes to the same, and each
/// merge says what it did.
fn holds_the_laws<T: Ord + Copy + std::fmt::Debug>(a: &[T], b: &[T], c: &[T]) -> Result<(), TestCaseError> {
    let joined = |parts: &[&[T]]| all(&parts.concat());
    let expected = joined(&[a, b, c]);
    for order in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        prop_assert_eq!(joined(&order), expected);
    }
    prop_assert_eq!(joined(&[a, b, c, a, b, c]), expected);
    let grouped: Vec<T> = [all(a), all(&[b, c].concat())].into_iter().flatten().collect();
    prop_assert_eq!(all(&grouped), expected);
    let mut known = None;
    for seen in [a, b, c].concat() {
        let before = known;
        let said = merge(&mut known, seen);
        prop_assert_eq!(said == Merged::Changed, known != before);
        prop_assert_eq!(said == Merged::Known, before == Some(seen));
        prop_assert!(said != Merged::Older || before > Some(seen));
    }
    Ok(())
}

fn some<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    proptest::collection::vec(one, 0..4)
}

/// The dispute that counts, told in words: an opening never overrides, then the newest second, then the latest part of its life.
fn dispute_that_counts(seen: &[Dispute]) -> Option<(DisputeWord, UnixSeconds, DisputeStatus)> {
    let later = seen.iter().any(|one| one.word == DisputeWord::Later);
    let heard = || {
        let fits = move |one: &&Dispute| !later || one.word == DisputeWord::Later;
        seen.iter().filter(fits)
    };
    let at = heard().map(|one| one.at).max()?;
    let life = |status: &DisputeStatus| DisputeStatus::ALL.iter().position(|other| other == status);
    let last = heard().filter(|one| one.at == at).max_by_key(|one| life(&one.status))?;
    Some((last.word, at, last.status))
}

fn snapshot(status: Status, collection_paused: bool) -> Snapshot {
    Snapshot {
        status,
        collection_paused,
        cancel_at_period_end: false,
        start: UnixSeconds(1),
        current_period_end: None,
        trial_end: None,
        price: None,
        currency: None,
    }
}

/// What a register holds after some events and readings: events say what was before, readings don't.
fn register() -> impl Strategy<Value = Snapshots> {
    let seen = || (select(Status::ALL.to_vec()), any::<bool>()).prop_map(|(status, paused)| snapshot(status, paused));
    let event = (0_i64..4, seen(), proptest::option::of(select(Status::ALL.to_vec())));
    let event = event.prop_map(|(at, snapshot, status)| {
        let before = Before {
            status,
            ..Before::default()
        };
        Snapshots::new(Rank::Updated, UnixSeconds(at), Observation { snapshot, before })
    });
    let reading = (2_i64..6, proptest::option::of((0_i64..4).prop_map(UnixSeconds)), seen());
    let reading = reading.prop_map(|(answered, because_of, snapshot)| {
        let at = observed_at(UnixSeconds(answered), because_of);
        let before = Before::default();
        Snapshots::new(Rank::Updated, at, Observation { snapshot, before })
    });
    let one = prop_oneof![event, reading];
    proptest::collection::vec(one, 1..5).prop_map(|ones| {
        let (first, rest) = ones.split_first().expect("at least one");
        rest.iter().fold(first.clone(), merged)
    })
}

fn merged(mut one: Snapshots, other: &Snapshots) -> Snapshots {
    one.merge(other);
    one
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn charges_merge_in_any_order_and_grouping(a in some(charge()), b in some(charge()), c in some(charge())) {
        holds_the_laws(&a, &b, &c)?;
        let most = [&a[..], &b, &c].concat().iter().map(|charge| charge.refunded).max();
        prop_assert_eq!(all(&[a, b, c].concat()).map(|charge| charge.refunded), most);
    }

    #[test]
    fn refunds_merge_in_any_order_and_grouping(a in some(refund()), b in some(refund()), c in some(refund())) {
        holds_the_laws(&a, &b, &c)?;
        let seen = [a, b, c].concat();
        let furthest = RefundStatus::ALL.iter().copied().rfind(|status| seen.iter().any(|one| one.status == *status));
        prop_assert_eq!(all(&seen).map(|refund| refund.status), furthest);
    }

    #[test]
    fn disputes_merge_in_any_order_and_grouping(a in some(dispute()), b in some(dispute()), c in some(dispute())) {
        holds_the_laws(&a, &b, &c)?;
        let seen = [a, b, c].concat();
        let counts = all(&seen).map(|dispute| (dispute.word, dispute.at, dispute.status));
        prop_assert_eq!(counts, dispute_that_counts(&seen));
    }

    #[test]
    fn readings_merge_with_events_in_any_order_and_grouping(a in register(), b in register(), c in register()) {
        prop_assert_eq!(merged(a.clone(), &b), merged(b.clone(), &a));
        prop_assert_eq!(merged(merged(a.clone(), &b), &c), merged(a.clone(), &merged(b.clone(), &c)));
        let once = merged(a, &b);
        prop_assert_eq!(merged(once.clone(), &b), once);
    }

    /// Early enough that no event after it can seem older, and never before the event that it was read for.
    #[test]
    fn a_reading_speaks_for_a_moment_before_its_answer_and_not_before_its_event(
        answered in 0_i64..100,
        because_of in proptest::option::of(0_i64..100),
    ) {
        let at = observed_at(UnixSeconds(answered), because_of.map(UnixSeconds)).0;
        prop_assert_eq!(at, because_of.unwrap_or(i64::MIN).max(answered - CLOCKS_APART));
    }
}
