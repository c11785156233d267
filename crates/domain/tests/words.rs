//! The words of the domain that leave it (for the database, answers, announcements, metrics), written out once more: a word that
//! changes breaks whoever reads it.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use domain::billing::authority::BoundBy;
use domain::billing::charge::{DisputeStatus, RefundStatus};
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::decision::{Decision, Guard, Outcome, Reason, Transition};
use domain::billing::derive::{Basis, explain};
use domain::billing::fact::Act;
use domain::billing::payment::Evidence;
use domain::billing::register::Subscription;
use domain::billing::state::ClientState;
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Snapshots, Status, Voice};
use domain::ids::{CheckoutSessionId, ClientId, InvoiceId, SubscriptionId};
use domain::time::UnixSeconds;

fn told(words: &[&str]) -> String {
    words.join(" ")
}

#[test]
fn words_are_what_others_read() {
    assert_eq!(
        told(&[BoundBy::CheckoutSession, BoundBy::Metadata].map(BoundBy::as_str)),
        "checkout_session metadata"
    );
    assert_eq!(
        told(&[Basis::Snapshot, Basis::Payments].map(Basis::as_str)),
        "snapshot payments"
    );
    let voices = [
        Voice::Ended,
        Voice::Incomplete,
        Voice::Paused,
        Voice::Unpaid,
        Voice::PastDue,
        Voice::Trialing,
        Voice::Active,
    ];
    assert_eq!(
        told(&voices.map(Voice::as_str)),
        "ended incomplete paused unpaid past_due trialing active"
    );
    assert_eq!(
        told(&Status::ALL.map(Status::as_str)),
        "incomplete incomplete_expired trialing active past_due canceled unpaid paused"
    );
    assert_eq!(
        told(&ClientState::ALL.map(ClientState::as_str)),
        "TRIAL_PENDING TRIAL_ACTIVE ACTIVE PAST_DUE PAUSED CANCELED"
    );
    assert_eq!(Rank::from_number(3), None);
    for (rank, number) in [(Rank::Created, 0), (Rank::Updated, 1), (Rank::Ended, 2)] {
        assert_eq!((rank.number(), Rank::from_number(number)), (number, Some(rank)));
    }
}

#[test]
fn every_word_reads_back_and_no_two_are_alike() {
    fn check<T: Copy + PartialEq + std::fmt::Debug>(
        all: &[T],
        word: fn(T) -> &'static str,
        shown: fn(&T) -> String,
        parse: fn(&str) -> Option<T>,
    ) {
        let words: BTreeSet<&str> = all.iter().map(|one| word(*one)).collect();
        assert_eq!(words.len(), all.len(), "{words:?}");
        for one in all {
            assert_eq!(parse(word(*one)), Some(*one));
            assert_eq!(shown(one), word(*one));
        }
        assert_eq!(parse(""), None);
        assert_eq!(parse("xyzzy"), None);
    }
    let sources = [PaymentSource::None, PaymentSource::Stripe, PaymentSource::Manual];
    check(
        &sources,
        PaymentSource::as_str,
        ToString::to_string,
        PaymentSource::parse,
    );
    assert_eq!(told(&sources.map(PaymentSource::as_str)), "NONE STRIPE MANUAL");
    check(
        &ClientState::ALL,
        ClientState::as_str,
        ToString::to_string,
        ClientState::parse,
    );
    check(
        &Status::ALL,
        Status::as_str,
        |one| one.as_str().to_owned(),
        Status::parse,
    );
    check(Outcome::ALL, Outcome::as_str, ToString::to_string, Outcome::parse);
    check(Guard::ALL, Guard::as_str, ToString::to_string, Guard::parse);
    check(Reason::ALL, Reason::as_str, ToString::to_string, Reason::parse);
    check(
        RefundStatus::ALL,
        RefundStatus::as_str,
        ToString::to_string,
        RefundStatus::parse,
    );
    check(
        DisputeStatus::ALL,
        DisputeStatus::as_str,
        ToString::to_string,
        DisputeStatus::parse,
    );
}

#[test]
fn a_dispute_is_settled_well_when_nobody_has_anything_to_do_or_to_lose() {
    let well = |status: &&DisputeStatus| status.is_settled_well();
    let words: Vec<&str> = DisputeStatus::ALL
        .iter()
        .filter(well)
        .map(|status| status.as_str())
        .collect();
    assert_eq!(told(&words), "warning_closed charge_refunded prevented won");
}

#[test]
fn an_act_is_known_by_its_object_and_by_what_was_paid() {
    let invoice = || InvoiceId::parse("in_1").expect("an id");
    let checkout = |invoice| Act::Checkout {
        session: CheckoutSessionId::parse("cs_1").expect("an id"),
        invoice,
    };
    let by_invoice = |first| Act::Invoice {
        invoice: invoice(),
        first,
    };
    let cases = [
        (checkout(None), "cs_1", None, true),
        (checkout(Some(invoice())), "cs_1", Some(invoice()), true),
        (by_invoice(true), "in_1", Some(invoice()), true),
        (by_invoice(false), "in_1", Some(invoice()), false),
    ];
    for (act, object, paid, is_purchase) in cases {
        assert_eq!(
            (act.object_id(), act.invoice(), act.is_purchase()),
            (object, paid.as_ref(), is_purchase)
        );
    }
}

/// An operator's answer to "why": who speaks first, and on what that rests.
#[test]
fn the_explanation_lists_who_speaks_the_one_that_is_heard_first() {
    let contract = Contract {
        client: ClientId::parse("client_1").expect("an id"),
        source: PaymentSource::Stripe,
        initial: ClientState::TrialPending,
        has_customer: true,
        price: None,
        currency: None,
    };
    let snapshot = |status, start| Snapshot {
        status,
        collection_paused: false,
        cancel_at_period_end: false,
        start: UnixSeconds(start),
        current_period_end: None,
        trial_end: None,
        price: None,
        currency: None,
    };
    let shown = |status, start| {
        let before = Before::default();
        let observation = Observation {
            snapshot: snapshot(status, start),
            before,
        };
        Subscription {
            snapshots: Some(Snapshots::new(Rank::Updated, UnixSeconds(start), observation)),
            ..Subscription::default()
        }
    };
    let paid = Subscription {
        evidence: Evidence::of_payment(UnixSeconds(9)),
        ..Subscription::default()
    };
    let subscriptions: BTreeMap<SubscriptionId, Subscription> = [
        ("sub_a", shown(Status::Canceled, 50)),
        ("sub_b", shown(Status::Active, 5)),
        ("sub_c", paid),
        ("sub_d", Subscription::default()),
    ]
    .map(|(id, known)| (SubscriptionId::parse(id).expect("an id"), known))
    .into();
    let words: Vec<(&str, &str, Basis)> = explain(&contract, &subscriptions)
        .into_iter()
        .map(|(id, word)| (id.as_str(), word.voice.as_str(), word.basis))
        .collect();
    assert_eq!(
        words,
        [
            ("sub_c", "active", Basis::Payments),
            ("sub_b", "active", Basis::Snapshot),
            ("sub_a", "ended", Basis::Snapshot)
        ]
    );
}

#[test]
fn a_decision_changed_the_state_only_when_it_says_from_which_to_another() {
    let decision = |transition| Decision {
        outcome: Outcome::Applied,
        guard: None,
        reason: Reason::FactsRecorded,
        transition,
    };
    let (from, to) = (ClientState::Active, ClientState::PastDue);
    assert!(decision(Some(Transition { from, to })).changed_state());
    assert!(!decision(Some(Transition { from, to: from })).changed_state());
    assert!(!decision(None).changed_state());
}
