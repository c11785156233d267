//! What payments come to that name prices, where one is agreed (BIL-13).

use std::collections::{BTreeMap, BTreeSet};

use domain::billing::contract::Contract;
use domain::billing::decision::{Outcome, Reason};
use domain::billing::fact::{Fact, FactKind, Payment};
use domain::billing::state::ClientState;
use domain::billing::subscription::Status;
use domain::ids::PriceId;
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

use crate::{
    CHANGED, NOT_CURRENT, PRICE, SAME_ACT, bill, check, checkout, client, euros, fact, invoice, named, priced, with,
};

/// Paid, or failed.
type Kind = fn(Payment) -> FactKind;

/// BIL-13 by payments alone: one that names the agreed price activates, also among others; one that names others only is refused.
#[test]
fn a_payment_that_names_the_agreed_price_activates() {
    let (pending, active) = (ClientState::TrialPending, ClientState::Active);
    let (paid, failed) = (FactKind::Paid, FactKind::Failed);
    for (prices, expected) in [
        (["price_1"].as_slice(), with(CHANGED, active)),
        (&["price_2", "price_1"], with(CHANGED, active)),
        (&["price_2"], with(PRICE, pending)),
        (&[], with(NOT_CURRENT, pending)),
    ] {
        for currency in [None, Some("eur")] {
            let facts = [named("sub_1", 10, paid, prices)];
            check(client(Some("price_1"), currency), &facts, expected);
        }
        let abroad = [named("sub_1", 10, paid, prices)];
        check(client(Some("price_1"), Some("usd")), &abroad, with(PRICE, pending));
    }
    // Only who has paid.
    let fails = [named("sub_1", 10, failed, &["price_1"])];
    check(client(Some("price_1"), None), &fails, with(NOT_CURRENT, pending));
    // Nothing was paid for a trial, at whatever price.
    let nothing = |price| {
        let payment = Payment {
            amount: euros(0),
            prices: BTreeSet::from([PriceId::parse(price).expect("an id")]),
            ..bill("in_1", true, None)
        };
        [fact("sub_1", 10, FactKind::Paid(payment))]
    };
    let says_nothing = (Outcome::Ignored, None, Reason::ZeroAmount);
    check(
        client(Some("price_1"), None),
        &nothing("price_1"),
        with(says_nothing, pending),
    );
    check(client(Some("price_1"), None), &nothing("price_2"), with(PRICE, pending));
    // Of another subscription it says nothing.
    let of_two = [
        named("sub_1", 10, paid, &["price_1"]),
        named("sub_2", 20, failed, &["price_2"]),
    ];
    check(client(Some("price_1"), None), &of_two, with(PRICE, active));
    let both = [
        named("sub_1", 10, paid, &["price_2"]),
        named("sub_2", 20, paid, &["price_1"]),
    ];
    check(client(Some("price_1"), None), &both, with(CHANGED, active));
}

/// The checkout of a purchase names no price, its invoice does: they activate in either order, and count as one act.
#[test]
fn a_checkout_and_an_invoice_that_names_the_agreed_price_activate_in_either_order() {
    let invoice = Payment {
        prices: BTreeSet::from([PriceId::parse("price_1").expect("an id")]),
        ..bill("in_1", true, euros(1_900))
    };
    let (checkout, invoice) = (checkout("sub_1", 10, None), fact("sub_1", 10, FactKind::Paid(invoice)));
    let active = ClientState::Active;
    check(
        client(Some("price_1"), None),
        &[checkout.clone(), invoice.clone()],
        with(CHANGED, active),
    );
    check(
        client(Some("price_1"), None),
        &[invoice, checkout],
        with(SAME_ACT, active),
    );
}

/// As snapshots do: at another price a payment takes nobody up but to what was agreed, and one that failed takes down.
#[test]
fn payments_at_another_price_lower_the_state_and_never_raise_it_in_any_order() {
    let (paid, failed): (Kind, Kind) = (FactKind::Paid, FactKind::Failed);
    let by = |at, kind, price: &'static str| named("sub_1", at, kind, &[price]);
    let silent = |at, kind| named("sub_1", at, kind, &[]);
    let (agreed, other) = ("price_1", "price_2");
    let (pending, active, past_due) = (ClientState::TrialPending, ClientState::Active, ClientState::PastDue);
    for (facts, expected) in [
        (vec![by(10, paid, agreed), by(20, paid, other)], active),
        (vec![by(10, paid, agreed), by(20, failed, other)], past_due),
        (
            vec![by(10, paid, agreed), by(20, failed, other), by(30, paid, other)],
            active,
        ),
        (
            vec![by(10, paid, agreed), by(20, failed, other), by(30, paid, "price_3")],
            active,
        ),
        (
            vec![by(10, paid, agreed), by(20, failed, other), by(30, paid, agreed)],
            active,
        ),
        (
            vec![by(10, paid, agreed), by(20, failed, agreed), by(30, paid, other)],
            past_due,
        ),
        (
            vec![by(10, paid, agreed), by(20, failed, agreed), silent(30, paid)],
            active,
        ),
        (vec![by(10, paid, other), silent(20, paid)], pending),
        (vec![by(10, paid, other), by(20, failed, agreed)], pending),
        (vec![by(10, paid, other), by(20, paid, agreed)], active),
        (
            vec![silent(10, paid), by(20, failed, other), by(30, paid, agreed)],
            active,
        ),
        // What was seen last outranks what was paid at another price, and what was seen as agreed all that was paid.
        (
            vec![
                by(10, paid, agreed),
                priced("sub_1", 5, 15, Status::Active, Some(other), None),
                by(20, failed, other),
            ],
            active,
        ),
        (
            vec![
                by(10, paid, agreed),
                priced("sub_1", 5, 15, Status::PastDue, Some(other), None),
                by(20, paid, other),
            ],
            past_due,
        ),
        (
            vec![
                by(10, paid, agreed),
                by(12, failed, agreed),
                priced("sub_1", 5, 15, Status::Active, Some(other), None),
            ],
            past_due,
        ),
        (
            vec![
                by(10, failed, other),
                priced("sub_1", 5, 15, Status::Active, Some(agreed), None),
            ],
            active,
        ),
    ] {
        for order in [facts.clone(), facts.iter().rev().cloned().collect()] {
            let mut client = client(Some(agreed), None);
            for fact in &order {
                client.observe(fact);
            }
            assert_eq!(client.state, expected, "{order:#?}");
        }
    }
    let lowered = [by(10, paid, agreed), by(20, failed, other)];
    check(client(Some(agreed), None), &lowered, with(CHANGED, past_due));
    let again = [by(10, paid, agreed), by(20, failed, other), by(20, failed, other)];
    check(client(Some(agreed), None), &again, with(PRICE, past_due));
    let back = [by(10, paid, agreed), by(20, failed, other), by(30, paid, other)];
    check(client(Some(agreed), None), &back, with(CHANGED, active));
}

/// Also in another currency: what was agreed counts, a failure takes down, a payment takes back up to it.
#[test]
fn payments_in_another_currency_lower_the_state_and_never_raise_it() {
    let dollars = || Some(Money::new(1_900, Currency::parse("usd").expect("a code")));
    let abroad = |at, kind: Kind| fact("sub_1", at, kind(bill("in_2", false, dollars())));
    let at_home = invoice("sub_1", 10, "in_1", true);
    let (active, past_due) = (ClientState::Active, ClientState::PastDue);
    let steps = [
        (at_home, with(CHANGED, active)),
        (abroad(100, FactKind::Paid), with(PRICE, active)),
        (abroad(200, FactKind::Failed), with(CHANGED, past_due)),
        (abroad(300, FactKind::Paid), with(CHANGED, active)),
    ];
    for until in 1..=steps.len() {
        let facts: Vec<Fact> = steps[..until].iter().map(|(fact, _)| fact.clone()).collect();
        check(client(None, Some("eur")), &facts, steps[until - 1].1);
    }
}

/// What was billed by a price counts from when that is agreed on; what was not still does not.
#[test]
fn a_price_that_is_agreed_instead_makes_what_was_billed_by_it_count() {
    let (paid, failed): (Kind, Kind) = (FactKind::Paid, FactKind::Failed);
    let by = |at, kind, price: &'static str| named("sub_1", at, kind, &[price]);
    let (pending, active, past_due) = (ClientState::TrialPending, ClientState::Active, ClientState::PastDue);
    for (facts, before, after) in [
        (vec![by(10, paid, "price_2")], pending, active),
        (
            vec![by(10, paid, "price_2"), by(20, failed, "price_2")],
            pending,
            past_due,
        ),
        (
            vec![by(10, paid, "price_2"), by(20, failed, "price_3")],
            pending,
            past_due,
        ),
        (
            vec![
                by(10, paid, "price_2"),
                by(20, failed, "price_3"),
                by(30, paid, "price_3"),
            ],
            pending,
            active,
        ),
        (vec![by(10, failed, "price_2")], pending, pending),
        (
            vec![by(10, failed, "price_2"), named("sub_1", 20, paid, &[])],
            pending,
            pending,
        ),
        (vec![by(10, paid, "price_3")], pending, pending),
        // What had been agreed when it came stays so.
        (vec![by(10, paid, "price_1")], active, active),
        (
            vec![by(10, paid, "price_1"), by(20, failed, "price_2")],
            past_due,
            past_due,
        ),
        (
            vec![
                by(10, paid, "price_1"),
                by(20, failed, "price_1"),
                by(30, paid, "price_2"),
            ],
            past_due,
            active,
        ),
    ] {
        let mut client = client(Some("price_1"), None);
        for fact in &facts {
            client.observe(fact);
        }
        assert_eq!(client.state, before, "{facts:#?}");
        let agreed = Contract {
            price: Some(PriceId::parse("price_2").expect("an id")),
            ..client.contract.clone()
        };
        let changed = client.agree(agreed);
        assert_eq!(
            (client.state, changed.is_some()),
            (after, before != after),
            "{facts:#?}"
        );
        // Decided again it is known.
        let (state, known) = (client.state, client.subscriptions.clone());
        for fact in &facts {
            client.observe(fact);
        }
        client.subscriptions.values_mut().for_each(|known| known.acts.clear());
        let without_acts = known.into_iter().map(|(id, mut known)| {
            known.acts.clear();
            (id, known)
        });
        let without_acts: BTreeMap<_, _> = without_acts.collect();
        if facts.iter().all(|fact| client.is_contracted(fact)) {
            assert_eq!(client.subscriptions, without_acts, "{facts:#?}");
        }
        assert_eq!(client.state, state, "{facts:#?}");
    }
}

/// A session is made before the invoice on which a first card fails: that says nothing, in whatever order, and whatever it was billed by.
#[test]
fn a_first_card_that_fails_takes_nobody_down_whom_a_second_one_paid_for() {
    let pending = ClientState::TrialPending;
    let fails = Fact {
        kind: FactKind::Failed(Payment {
            made_at: Some(UnixSeconds(600)),
            ..bill("in_1", true, euros(1_900))
        }),
        ..invoice("sub_1", 610, "in_1", true)
    };
    let mut paid = checkout("sub_1", 700, Some("in_1"));
    if let FactKind::Paid(payment) = &mut paid.kind {
        payment.made_at = Some(UnixSeconds(0));
    }
    let nothing = (Outcome::Ignored, None, Reason::FirstInvoiceFailed);
    check(client(None, None), std::slice::from_ref(&fails), with(nothing, pending));
    check(
        client(None, None),
        &[fails.clone(), paid.clone()],
        with(CHANGED, ClientState::Active),
    );
    check(client(None, None), &[paid, fails], with(nothing, ClientState::Active));
    let elsewhere = [
        named("sub_1", 10, FactKind::Paid, &["price_1"]),
        fact(
            "sub_1",
            20,
            FactKind::Failed(Payment {
                prices: BTreeSet::from([PriceId::parse("price_2").expect("an id")]),
                ..bill("in_1", true, euros(1_900))
            }),
        ),
    ];
    check(
        client(Some("price_1"), None),
        &elsewhere,
        with(PRICE, ClientState::Active),
    );
}
