//! The laws under which registers merge, over generated registers in which equal times are the rule.
//!
//! Convergence (BIL-6) rests on these: a merge that is commutative, associative and idempotent gives one result for all orders
//! and repeats of the same events.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use domain::billing::payment::{Evidence, Standing};
use domain::billing::state::ClientState;
use domain::billing::subscription::{Before, Merged, Observation, Rank, Snapshot, Snapshots, Status};
use domain::ids::PriceId;
use domain::money::Currency;
use domain::time::UnixSeconds;
use proptest::prelude::*;
use proptest::sample::select;

fn price() -> impl Strategy<Value = Option<PriceId>> {
    prop_oneof![
        Just(None),
        select(vec!["price_basic", "price_pro"]).prop_map(|id| Some(PriceId::parse(id).expect("an id"))),
    ]
}

fn end() -> impl Strategy<Value = Option<UnixSeconds>> {
    proptest::option::of((100_i64..102).prop_map(UnixSeconds))
}

prop_compose! {
    fn snapshot_of(statuses: Vec<Status>)(
        status in select(statuses),
        (collection_paused, cancel_at_period_end) in any::<(bool, bool)>(),
        (current_period_end, trial_end, price) in (end(), end(), price()),
    ) -> Snapshot {
        Snapshot {
            status,
            collection_paused,
            cancel_at_period_end,
            start: UnixSeconds(1),
            current_period_end,
            trial_end,
            price,
            currency: Some(Currency::EUR),
        }
    }
}

fn living() -> Vec<Status> {
    Status::ALL.into_iter().filter(|status| !status.is_final()).collect()
}

prop_compose! {
    fn before()(
        status in proptest::option::of(select(Status::ALL.to_vec())),
        (collection_paused, cancel_at_period_end) in any::<(Option<bool>, Option<bool>)>(),
        current_period_end in proptest::option::of(end()),
        trial_end in proptest::option::of(end()),
        price in proptest::option::of(price()),
    ) -> Before {
        Before { status, collection_paused, cancel_at_period_end, current_period_end, trial_end, price }
    }
}

fn rank() -> impl Strategy<Value = Rank> {
    select(vec![Rank::Created, Rank::Updated, Rank::Updated, Rank::Ended])
}

/// One event's register. Three seconds only, so that ties are common.
fn single() -> impl Strategy<Value = Snapshots> {
    let observation = (
        snapshot_of(Status::ALL.to_vec()),
        prop_oneof![Just(Before::default()), before()],
    );
    (rank(), 0_i64..3, observation).prop_map(|(rank, at, (snapshot, before))| {
        Snapshots::new(rank, UnixSeconds(at), Observation { snapshot, before })
    })
}

fn merged(mut one: Snapshots, other: &Snapshots) -> Snapshots {
    one.merge(other);
    one
}

fn all(singles: &[Snapshots]) -> Snapshots {
    let (first, rest) = singles.split_first().expect("at least one");
    rest.iter().fold(first.clone(), merged)
}

/// A register of one to five events.
fn register() -> impl Strategy<Value = Snapshots> {
    proptest::collection::vec(single(), 1..6).prop_map(|singles| all(&singles))
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let one = (any::<bool>(), 0_i64..4).prop_map(|(paid, at)| {
        let at = UnixSeconds(at);
        if paid {
            Evidence::of_payment(at)
        } else {
            Evidence::of_failure(at)
        }
    });
    proptest::collection::vec(one, 0..5).prop_map(|ones| ones.into_iter().fold(Evidence::default(), Evidence::merge))
}

/// A change that an `updated` event tells: the snapshot after it, and exactly what was different before.
fn step(from: &Snapshot, to: &Snapshot) -> Observation {
    fn told<T: PartialEq + Clone>(from: &T, to: &T) -> Option<T> {
        (from != to).then(|| from.clone())
    }
    Observation {
        snapshot: to.clone(),
        before: Before {
            status: told(&from.status, &to.status),
            collection_paused: told(&from.collection_paused, &to.collection_paused),
            cancel_at_period_end: told(&from.cancel_at_period_end, &to.cancel_at_period_end),
            current_period_end: told(&from.current_period_end, &to.current_period_end),
            trial_end: told(&from.trial_end, &to.trial_end),
            price: told(&from.price, &to.price),
        },
    }
}

fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for chosen in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(chosen);
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            orders.push(order);
        }
    }
    orders
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn registers_merge_in_either_direction(a in register(), b in register()) {
        prop_assert_eq!(merged(a.clone(), &b), merged(b, &a));
    }

    #[test]
    fn registers_merge_in_any_grouping(a in register(), b in register(), c in register()) {
        prop_assert_eq!(merged(merged(a.clone(), &b), &c), merged(a, &merged(b, &c)));
    }

    #[test]
    fn a_repeated_merge_changes_nothing_and_says_so(a in register(), b in register()) {
        prop_assert_eq!(merged(a.clone(), &a), a.clone());
        let mut once = merged(a, &b);
        let kept = once.clone();
        let said = once.merge(&b);
        prop_assert_ne!(said, Merged::Changed);
        prop_assert_eq!(once, kept);
    }

    #[test]
    fn a_merge_says_whether_it_changed_the_register(a in register(), b in register()) {
        let mut register = a.clone();
        let said = register.merge(&b);
        prop_assert_eq!(said == Merged::Changed, register != a);
        let beaten = (a.rank(), a.at()) > (b.rank(), b.at());
        prop_assert_eq!(matches!(said, Merged::Older | Merged::AfterTheEnd), beaten);
        let revives = a.rank() == Rank::Ended && b.rank() != Rank::Ended && b.at() > a.at();
        prop_assert_eq!(said == Merged::AfterTheEnd, revives);
    }

    #[test]
    fn an_ended_register_never_comes_back(
        ended in (snapshot_of(vec![Status::Canceled, Status::IncompleteExpired]), 0_i64..3),
        others in proptest::collection::vec(single(), 0..8),
        place in any::<prop::sample::Index>(),
    ) {
        let end = Observation { snapshot: ended.0, before: Before::default() };
        let mut singles = others;
        let place = place.index(singles.len() + 1);
        singles.insert(place, Snapshots::new(Rank::Updated, UnixSeconds(ended.1), end));
        for until in place + 1..=singles.len() {
            let register = all(&singles[..until]);
            prop_assert_eq!(register.rank(), Rank::Ended);
        }
    }

    #[test]
    fn created_never_overrides(
        late in (snapshot_of(living()), 0_i64..9),
        later_kinds in proptest::collection::vec(single(), 1..6),
    ) {
        let known = all(&later_kinds);
        prop_assume!(known.rank() > Rank::Created);
        let created = Observation { snapshot: late.0, before: Before::default() };
        let created = Snapshots::new(Rank::Created, UnixSeconds(late.1), created);
        prop_assert_eq!(merged(known.clone(), &created), known.clone());
        prop_assert_eq!(merged(created, &known), known);
    }

    #[test]
    fn a_tied_set_is_read_the_same_whatever_came_first(
        tied in proptest::collection::vec((snapshot_of(living()), before()), 1..5),
    ) {
        let singles: Vec<Snapshots> = tied
            .into_iter()
            .map(|(snapshot, before)| Snapshots::new(Rank::Updated, UnixSeconds(7), Observation { snapshot, before }))
            .collect();
        let expected = all(&singles);
        let expected = expected.read().expect("not empty");
        for order in permutations(&singles) {
            let register = all(&order);
            prop_assert_eq!(register.read(), Some(expected));
        }
    }

    /// Also where the chain passes through the snapshot that it started from, as long as it does not end in one that it left
    /// within this second.
    #[test]
    fn a_chain_of_one_second_is_read_as_its_last_link_in_every_order(
        snapshots in proptest::collection::vec(snapshot_of(living()), 2..6),
    ) {
        let mut snapshots = snapshots;
        snapshots.dedup();
        let last = snapshots.pop().expect("at least one");
        prop_assume!(!snapshots.is_empty() && !snapshots.contains(&last));
        snapshots.push(last.clone());
        let links: Vec<Snapshots> = snapshots
            .windows(2)
            .map(|pair| Snapshots::new(Rank::Updated, UnixSeconds(7), step(&pair[0], &pair[1])))
            .collect();
        for order in permutations(&links) {
            let register = all(&order);
            let reading = register.read().expect("not empty");
            prop_assert!(!reading.undecided, "undecided: {:?}", register.tied());
            prop_assert_eq!(reading.snapshot, &last);
        }
    }

    #[test]
    fn there_and_back_within_a_second_is_undecided_and_cuts_nobody_off(
        (here, there) in (snapshot_of(living()), snapshot_of(living())),
    ) {
        prop_assume!(here != there);
        let register = merged(
            Snapshots::new(Rank::Updated, UnixSeconds(7), step(&here, &there)),
            &Snapshots::new(Rank::Updated, UnixSeconds(7), step(&there, &here)),
        );
        let reading = register.read().expect("not empty");
        prop_assert!(reading.undecided);
        prop_assert_eq!(reading.snapshot.voice(), here.voice().max(there.voice()));
    }

    #[test]
    fn a_register_is_what_was_stored(a in register()) {
        let stored = Snapshots::restore(a.rank(), a.at(), a.tied().clone());
        prop_assert_eq!(stored, Some(a));
    }

    #[test]
    fn evidence_merges_in_any_order_and_grouping(a in evidence(), b in evidence(), c in evidence()) {
        prop_assert_eq!(a.merge(b), b.merge(a));
        prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
        prop_assert_eq!(a.merge(a), a);
        prop_assert_eq!(a.merge(Evidence::default()), a);
        let stored = Evidence::restore(a.first_paid(), a.last_paid(), a.last_failed());
        prop_assert_eq!(stored, a);
    }

    /// Computed from the plain list of what happened: who ever paid is behind when the last failure is later than every payment.
    #[test]
    fn evidence_stands_for_the_list_of_what_happened(happened in proptest::collection::vec((any::<bool>(), 0_i64..5), 0..7)) {
        let total = happened.iter().fold(Evidence::default(), |sum, (paid, at)| {
            let at = UnixSeconds(*at);
            sum.merge(if *paid { Evidence::of_payment(at) } else { Evidence::of_failure(at) })
        });
        let mut payments: Vec<i64> = happened.iter().filter(|(paid, _)| *paid).map(|(_, at)| *at).collect();
        payments.sort_unstable();
        let behind = happened.iter().any(|(paid, at)| !paid && payments.iter().all(|payment| payment < at));
        let expected = match payments.first() {
            None => Standing::NeverPaid,
            Some(first) if behind => Standing::Behind { since: UnixSeconds(*first) },
            Some(first) => Standing::Paid { since: UnixSeconds(*first) },
        };
        prop_assert_eq!(total.standing(), expected);
    }
}

/// An event that does not say what was before tells nobody's end, also where only something differs that no event would tell.
#[test]
fn what_says_nothing_of_before_comes_after_nothing() {
    let shown = |start| {
        let snapshot = Snapshot {
            status: Status::Active,
            collection_paused: false,
            cancel_at_period_end: false,
            start: UnixSeconds(start),
            current_period_end: None,
            trial_end: None,
            price: None,
            currency: None,
        };
        let before = Before::default();
        Snapshots::new(Rank::Updated, UnixSeconds(7), Observation { snapshot, before })
    };
    let one_says_nothing = merged(shown(1), &shown(2));
    assert!(one_says_nothing.read().is_some_and(|reading| reading.undecided));
    // The first of the two tells a step into the second: then that one, which says nothing, is not taken for its follower.
    let told = Observation {
        snapshot: shown(1).tied().first().expect("one").snapshot.clone(),
        before: Before {
            status: Some(Status::PastDue),
            ..Before::default()
        },
    };
    let tied = merged(Snapshots::new(Rank::Updated, UnixSeconds(7), told), &shown(2));
    assert!(tied.read().is_some_and(|reading| reading.undecided));
}

#[test]
fn an_empty_set_is_no_register() {
    assert_eq!(Snapshots::restore(Rank::Updated, UnixSeconds(1), BTreeSet::new()), None);
}

#[test]
fn a_final_status_ends_a_subscription_whatever_event_told_it() {
    for rank in [Rank::Created, Rank::Updated, Rank::Ended] {
        for status in [Status::Canceled, Status::IncompleteExpired] {
            let snapshot = Snapshot {
                status,
                collection_paused: true,
                cancel_at_period_end: false,
                start: UnixSeconds(1),
                current_period_end: None,
                trial_end: None,
                price: None,
                currency: None,
            };
            assert_eq!(snapshot.state(), ClientState::Canceled);
            let before = Before::default();
            let register = Snapshots::new(rank, UnixSeconds(1), Observation { snapshot, before });
            assert_eq!(register.rank(), Rank::Ended);
        }
    }
}

/// Stripe tells a change inside of `pause_collection` as "was paused before", and it is paused still: the register sees no step.
#[test]
fn a_change_inside_a_field_does_not_hide_the_last_word() {
    let snapshot = |collection_paused| Snapshot {
        status: Status::Active,
        collection_paused,
        cancel_at_period_end: false,
        start: UnixSeconds(1),
        current_period_end: None,
        trial_end: None,
        price: None,
        currency: None,
    };
    let told = |was, before, now| {
        let before = Before {
            collection_paused: before,
            cancel_at_period_end: was,
            ..Before::default()
        };
        let snapshot = snapshot(now);
        Snapshots::new(Rank::Updated, UnixSeconds(7), Observation { snapshot, before })
    };
    let (kept, paused, paused_otherwise) = (
        told(Some(true), None, false),
        told(None, Some(false), true),
        told(None, Some(true), true),
    );
    for order in permutations(&[kept, paused, paused_otherwise]) {
        let register = all(&order);
        let reading = register.read().expect("not empty");
        assert!(!reading.undecided && reading.snapshot.collection_paused, "{reading:?}");
    }
}
