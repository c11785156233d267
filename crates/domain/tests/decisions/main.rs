//! Which guard is named, and what a contracted price admits: the cases of BIL-2, BIL-4, BIL-5 and BIL-13 that need more than one
//! fact before them. Tables of facts with the decision of the last one.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod payments;

use std::collections::{BTreeMap, BTreeSet};

use domain::billing::client::Client;
use domain::billing::contract::{Contract, PaymentSource};
use domain::billing::decision::{Guard, Outcome, Reason};
use domain::billing::fact::{Act, Fact, FactKind, Payment};
use domain::billing::state::ClientState;
use domain::billing::subscription::{Before, Observation, Rank, Snapshot, Status};
use domain::ids::{CheckoutSessionId, ClientId, InvoiceId, PriceId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

fn client(price: Option<&str>, currency: Option<&str>) -> Client {
    Client {
        contract: Contract {
            client: ClientId::parse("client_1").expect("an id"),
            source: PaymentSource::Stripe,
            initial: ClientState::TrialPending,
            has_customer: true,
            price: price.map(|id| PriceId::parse(id).expect("an id")),
            currency: currency.map(|code| Currency::parse(code).expect("a code")),
        },
        state: ClientState::TrialPending,
        version: 0,
        speaker: None,
        current_period_end: None,
        subscriptions: BTreeMap::new(),
    }
}

fn fact(subscription: &str, at: i64, kind: FactKind) -> Fact {
    Fact {
        subscription: SubscriptionId::parse(subscription).expect("an id"),
        at: UnixSeconds(at),
        kind,
    }
}

/// A subscription that started at `start`, as it is at `at`.
fn seen(subscription: &str, start: i64, at: i64, status: Status) -> Fact {
    priced(subscription, start, at, status, Some("price_1"), Some("eur"))
}

fn priced(id: &str, start: i64, at: i64, status: Status, price: Option<&str>, currency: Option<&str>) -> Fact {
    let snapshot = Snapshot {
        status,
        collection_paused: false,
        cancel_at_period_end: false,
        start: UnixSeconds(start),
        current_period_end: None,
        trial_end: None,
        price: price.map(|id| PriceId::parse(id).expect("an id")),
        currency: currency.map(|code| Currency::parse(code).expect("a code")),
    };
    let observation = Observation {
        snapshot,
        before: Before::default(),
    };
    fact(
        id,
        at,
        FactKind::Snapshot {
            rank: Rank::Updated,
            observation,
            other_prices: Vec::new(),
        },
    )
}

fn checkout(subscription: &str, at: i64, invoice: Option<&str>) -> Fact {
    let act = Act::Checkout {
        session: CheckoutSessionId::parse("cs_1").expect("an id"),
        invoice: invoice.map(|id| InvoiceId::parse(id).expect("an id")),
    };
    fact(
        subscription,
        at,
        FactKind::Paid(Payment {
            act,
            made_at: None,
            amount: euros(1_900),
            prices: BTreeSet::new(),
        }),
    )
}

fn invoice(subscription: &str, at: i64, id: &str, first: bool) -> Fact {
    fact(subscription, at, FactKind::Paid(bill(id, first, euros(1_900))))
}

fn bill(id: &str, first: bool, amount: Option<Money>) -> Payment {
    let invoice = InvoiceId::parse(id).expect("an id");
    Payment {
        act: Act::Invoice { invoice, first },
        made_at: None,
        amount,
        prices: BTreeSet::new(),
    }
}

fn euros(cents: i64) -> Option<Money> {
    Some(Money::new(cents, Currency::EUR))
}

/// Observes all facts and compares what became of the last one, and the state after it.
#[track_caller]
fn check(mut client: Client, facts: &[Fact], expected: (Outcome, Option<Guard>, Reason, ClientState)) {
    let mut last = None;
    for fact in facts {
        last = Some(client.observe(fact));
    }
    let found = last.map(|decision| (decision.outcome, decision.guard, decision.reason, client.state));
    assert_eq!(found, Some(expected), "{facts:#?}");
}

const CHANGED: (Outcome, Option<Guard>, Reason) = (Outcome::Applied, None, Reason::StateChanged);
const RECORDED: (Outcome, Option<Guard>, Reason) = (Outcome::Applied, None, Reason::FactsRecorded);
const SAME_ACT: (Outcome, Option<Guard>, Reason) = (Outcome::SemanticDuplicate, Some(Guard::Intent), Reason::ActKnown);
const NOT_CURRENT: (Outcome, Option<Guard>, Reason) = (
    Outcome::Ignored,
    Some(Guard::Identity),
    Reason::NotTheCurrentSubscription,
);
const PRICE: (Outcome, Option<Guard>, Reason) = (Outcome::Rejected, Some(Guard::Authority), Reason::PriceNotContracted);

fn with(
    (outcome, guard, reason): (Outcome, Option<Guard>, Reason),
    state: ClientState,
) -> (Outcome, Option<Guard>, Reason, ClientState) {
    (outcome, guard, reason, state)
}

/// Identity before order, intent and transition, as BIL-2 lists them.
#[test]
fn of_several_guards_the_first_is_named() {
    let upgraded = || {
        vec![
            seen("sub_old", 10, 50, Status::Active),
            seen("sub_new", 100, 100, Status::Active),
            seen("sub_old", 10, 101, Status::Canceled),
        ]
    };
    let order = (Outcome::Stale, Some(Guard::Order), Reason::NewerSnapshotKnown);
    let known = (Outcome::SemanticDuplicate, Some(Guard::Intent), Reason::SnapshotKnown);
    let active = ClientState::Active;
    let cases = [
        (
            "the old one, older",
            seen("sub_old", 10, 40, Status::PastDue),
            with(NOT_CURRENT, active),
        ),
        (
            "the old one, again",
            seen("sub_old", 10, 101, Status::Canceled),
            with(NOT_CURRENT, active),
        ),
        (
            "the old one, after its end",
            seen("sub_old", 10, 102, Status::Active),
            with(NOT_CURRENT, active),
        ),
        (
            "the old one, paid",
            invoice("sub_old", 102, "in_old", false),
            with(NOT_CURRENT, active),
        ),
        (
            "the current one, older",
            seen("sub_new", 100, 99, Status::PastDue),
            with(order, active),
        ),
        (
            "the current one, again",
            seen("sub_new", 100, 100, Status::Active),
            with(known, active),
        ),
        (
            "the current one, newer",
            seen("sub_new", 100, 103, Status::Active),
            with(RECORDED, active),
        ),
        (
            "the current one, past due",
            seen("sub_new", 100, 103, Status::PastDue),
            with(CHANGED, ClientState::PastDue),
        ),
    ];
    for (case, last, expected) in cases {
        println!("{case}");
        let mut facts = upgraded();
        facts.push(last);
        check(client(None, None), &facts, expected);
    }
}

#[test]
fn what_has_ended_is_rejected_by_the_graph_and_a_late_word_of_before_is_stale() {
    let ended = || {
        vec![
            seen("sub_1", 10, 10, Status::Active),
            seen("sub_1", 10, 50, Status::Canceled),
        ]
    };
    let transition = (Outcome::Rejected, Some(Guard::Transition), Reason::SubscriptionHasEnded);
    let order = (Outcome::Stale, Some(Guard::Order), Reason::NewerSnapshotKnown);
    for (at, expected) in [(51, transition), (50, order), (49, order)] {
        let mut facts = ended();
        facts.push(seen("sub_1", 10, at, Status::Active));
        check(client(None, None), &facts, with(expected, ClientState::Canceled));
    }
    let mut resubscribed = ended();
    resubscribed.push(seen("sub_2", 60, 60, Status::Active));
    check(client(None, None), &resubscribed, with(CHANGED, ClientState::Active));
}

#[test]
fn the_newest_of_equals_speaks_whatever_its_name() {
    for (older, newer) in [("sub_a", "sub_b"), ("sub_b", "sub_a")] {
        for facts in [
            [seen(older, 10, 90, Status::Active), seen(newer, 20, 20, Status::Active)],
            [seen(newer, 20, 20, Status::Active), seen(older, 10, 90, Status::Active)],
        ] {
            let mut client = client(None, None);
            for fact in &facts {
                client.observe(fact);
            }
            assert_eq!(
                client.speaker.map(|id| id.to_string()),
                Some(newer.to_owned()),
                "{facts:#?}"
            );
        }
    }
}

/// BIL-4: one purchase, told by its checkout and by its first invoice, in either order.
#[test]
fn a_checkout_and_its_first_invoice_are_one_act() {
    for distance in [0, 5, 60, 61, 600, 2_592_000] {
        for (session, linked) in [(None, "no link"), (Some("in_1"), "a link")] {
            let checkout_first = [
                checkout("sub_1", 100, session),
                invoice("sub_1", 100 + distance, "in_1", true),
            ];
            let invoice_first = [
                invoice("sub_1", 100, "in_1", true),
                checkout("sub_1", 100 + distance, session),
            ];
            for facts in [checkout_first, invoice_first] {
                println!("{distance} s, {linked}");
                check(client(None, None), &facts[..1], with(CHANGED, ClientState::Active));
                check(client(None, None), &facts, with(SAME_ACT, ClientState::Active));
            }
        }
    }
}

/// BIL-4: where nothing links two payments of a subscription, sixty seconds do, and no more; another subscription is never swallowed.
#[test]
fn the_window_ends_at_sixty_seconds_and_at_the_subscription() {
    for (distance, expected) in [
        (0, SAME_ACT),
        (59, SAME_ACT),
        (60, SAME_ACT),
        (61, RECORDED),
        (600, RECORDED),
    ] {
        for (first, second) in [(1_000, 1_000 + distance), (1_000 + distance, 1_000)] {
            let facts = [
                invoice("sub_1", first, "in_1", false),
                invoice("sub_1", second, "in_2", false),
            ];
            check(client(None, None), &facts, with(expected, ClientState::Active));
            let facts = [checkout("sub_1", first, None), invoice("sub_1", second, "in_2", false)];
            check(client(None, None), &facts, with(expected, ClientState::Active));
        }
    }
    let far = [
        invoice("sub_1", 1_000, "in_1", false),
        invoice("sub_1", 9_000, "in_1", false),
    ];
    check(client(None, None), &far, with(SAME_ACT, ClientState::Active));
    let linked = [
        checkout("sub_1", 1_000, Some("in_1")),
        invoice("sub_1", 9_000, "in_1", false),
    ];
    check(client(None, None), &linked, with(SAME_ACT, ClientState::Active));
    let twin = [checkout("sub_1", 1_000, None), checkout("sub_1", 9_000, None)];
    check(client(None, None), &twin, with(SAME_ACT, ClientState::Active));
    let another = [
        seen("sub_1", 10, 10, Status::PastDue),
        invoice("sub_1", 100, "in_1", false),
        invoice("sub_2", 101, "in_2", false),
    ];
    check(client(None, None), &another, with(CHANGED, ClientState::Active));
}

/// BIL-13: another price or currency activates nobody, and an unknown one does not either.
#[test]
fn only_the_contracted_price_activates() {
    let pending = ClientState::TrialPending;
    let cases = [
        (Some("price_1"), Some("eur"), with(CHANGED, ClientState::Active)),
        (Some("price_2"), Some("eur"), with(PRICE, pending)),
        (None, Some("eur"), with(PRICE, pending)),
        (Some("price_1"), Some("usd"), with(PRICE, pending)),
        (Some("price_1"), None, with(PRICE, pending)),
    ];
    for (price, currency, expected) in cases {
        let facts = [priced("sub_1", 10, 10, Status::Active, price, currency)];
        check(client(Some("price_1"), Some("eur")), &facts, expected);
    }
    let ended = [
        priced("sub_1", 10, 10, Status::Active, Some("price_1"), Some("eur")),
        priced("sub_1", 10, 20, Status::Canceled, None, None),
    ];
    check(
        client(Some("price_1"), Some("eur")),
        &ended,
        with(CHANGED, ClientState::Canceled),
    );
}

/// BIL-13 speaks of an activation: at another price a subscription takes nobody up, and who does not pay is not heard as one who does.
#[test]
fn another_price_lowers_the_state_and_never_raises_it_in_any_order() {
    let seen = |at, status, price| priced("sub_1", 10, at, status, Some(price), Some("eur"));
    let (active, past_due, trialing) = (Status::Active, Status::PastDue, Status::Trialing);
    let cases = [
        (
            vec![seen(10, active, "price_1"), seen(20, active, "price_2")],
            ClientState::Active,
        ),
        (
            vec![seen(10, active, "price_1"), seen(20, past_due, "price_2")],
            ClientState::PastDue,
        ),
        (
            vec![seen(10, active, "price_1"), seen(20, Status::Unpaid, "price_2")],
            ClientState::PastDue,
        ),
        (
            vec![seen(10, active, "price_1"), seen(20, Status::Paused, "price_2")],
            ClientState::Paused,
        ),
        (
            vec![seen(10, active, "price_1"), seen(20, Status::Canceled, "price_2")],
            ClientState::Canceled,
        ),
        // Back up to what was agreed, and no further.
        (
            vec![
                seen(10, active, "price_1"),
                seen(20, past_due, "price_2"),
                seen(30, active, "price_2"),
            ],
            ClientState::Active,
        ),
        (
            vec![seen(10, trialing, "price_1"), seen(20, active, "price_2")],
            ClientState::TrialActive,
        ),
        (
            vec![seen(10, past_due, "price_1"), seen(20, active, "price_2")],
            ClientState::PastDue,
        ),
        // What is agreed and newer counts alone.
        (
            vec![seen(10, past_due, "price_2"), seen(20, active, "price_1")],
            ClientState::Active,
        ),
        // Never seen as agreed, it says nothing, and what was paid for it was not as agreed either.
        (
            vec![seen(10, active, "price_2"), seen(20, past_due, "price_2")],
            ClientState::TrialPending,
        ),
        (
            vec![seen(10, active, "price_2"), invoice("sub_1", 11, "in_1", true)],
            ClientState::TrialPending,
        ),
    ];
    for (facts, expected) in cases {
        for order in [facts.clone(), facts.iter().rev().cloned().collect()] {
            let mut client = client(Some("price_1"), None);
            for fact in &order {
                client.observe(fact);
            }
            assert_eq!(client.state, expected, "{order:#?}");
        }
    }
    let lowered = [seen(10, active, "price_1"), seen(20, past_due, "price_2")];
    check(
        client(Some("price_1"), None),
        &lowered,
        with(CHANGED, ClientState::PastDue),
    );
    let kept = [seen(10, active, "price_1"), seen(20, active, "price_2")];
    check(client(Some("price_1"), None), &kept, with(PRICE, ClientState::Active));
}

/// What an invoice says whose lines name prices.
fn named(subscription: &str, at: i64, kind: fn(Payment) -> FactKind, prices: &[&str]) -> Fact {
    let payment = Payment {
        prices: prices.iter().map(|id| PriceId::parse(*id).expect("an id")).collect(),
        ..bill(&format!("in_{at}"), false, euros(1_900))
    };
    fact(subscription, at, kind(payment))
}

/// A payment that does not show its price activates only where none was agreed.
#[test]
fn a_payment_alone_activates_only_where_no_price_was_agreed() {
    let dollars = Some(Money::new(1_900, Currency::parse("usd").expect("a code")));
    let paid = |amount| [fact("sub_1", 10, FactKind::Paid(bill("in_1", true, amount)))];
    let (pending, active) = (ClientState::TrialPending, ClientState::Active);
    check(
        client(Some("price_1"), None),
        &paid(euros(1)),
        with(NOT_CURRENT, pending),
    );
    check(client(None, Some("eur")), &paid(euros(1)), with(CHANGED, active));
    check(client(None, Some("eur")), &paid(dollars), with(PRICE, pending));
    check(client(None, None), &paid(dollars), with(CHANGED, active));
    let nothing = (Outcome::Ignored, None, Reason::ZeroAmount);
    check(client(None, None), &paid(euros(0)), with(nothing, pending));
}

/// What a client comes to does not hang on whether its contract or its facts are told first: with a price added, the facts are at that
/// price; with one taken out, they are at any, or do not show theirs.
#[test]
fn a_contract_that_comes_after_the_facts_finds_what_one_before_them_would() {
    let at = |at, status, price| priced("sub_1", 10, at, status, Some(price), Some("eur"));
    let failed = |at| fact("sub_1", at, FactKind::Failed(bill("in_2", false, euros(1_900))));
    let unpriced = [
        vec![checkout("sub_1", 10, None)],
        vec![invoice("sub_1", 10, "in_1", true), failed(20)],
        vec![
            invoice("sub_1", 10, "in_1", true),
            failed(20),
            invoice("sub_1", 30, "in_2", false),
        ],
    ];
    let as_agreed = [
        vec![at(10, Status::Active, "price_1"), failed(20)],
        vec![at(10, Status::Active, "price_1"), at(20, Status::PastDue, "price_1")],
        vec![at(10, Status::Trialing, "price_1"), at(20, Status::Canceled, "price_2")],
        vec![named("sub_1", 10, FactKind::Paid, &["price_1"])],
        vec![
            checkout("sub_1", 10, None),
            named("sub_1", 20, FactKind::Paid, &["price_1", "price_2"]),
            named("sub_1", 30, FactKind::Failed, &["price_1"]),
        ],
    ];
    let priced = [
        vec![at(10, Status::Active, "price_2")],
        vec![at(10, Status::Active, "price_1"), at(20, Status::PastDue, "price_2")],
        vec![at(10, Status::Trialing, "price_1"), at(20, Status::Active, "price_2")],
        vec![at(10, Status::Active, "price_2"), at(10, Status::PastDue, "price_1")],
        vec![invoice("sub_1", 5, "in_1", true), at(10, Status::PastDue, "price_2")],
        vec![named("sub_1", 10, FactKind::Paid, &["price_2"])],
        vec![
            named("sub_1", 10, FactKind::Paid, &["price_2"]),
            named("sub_1", 20, FactKind::Failed, &["price_3"]),
        ],
        vec![
            named("sub_1", 10, FactKind::Paid, &["price_1"]),
            named("sub_1", 20, FactKind::Failed, &["price_1"]),
            named("sub_1", 30, FactKind::Paid, &["price_2"]),
        ],
    ];
    let (none, agreed) = (client(None, None), client(Some("price_1"), None));
    let added = as_agreed.iter().map(|facts| (facts, &none, &agreed));
    let taken_out = unpriced
        .iter()
        .chain(&as_agreed)
        .chain(&priced)
        .map(|facts| (facts, &agreed, &none));
    for (facts, before, after) in added.chain(taken_out) {
        let (mut contract_first, mut facts_first) = (after.clone(), before.clone());
        for fact in facts {
            contract_first.observe(fact);
            facts_first.observe(fact);
        }
        let was = facts_first.state;
        let changed = facts_first.agree(after.contract.clone());
        assert_eq!(
            (facts_first.state, &facts_first.speaker, facts_first.current_period_end),
            (
                contract_first.state,
                &contract_first.speaker,
                contract_first.current_period_end
            ),
            "{facts:#?}"
        );
        assert_eq!(changed.is_some(), was != facts_first.state, "{facts:#?}");
    }
}

/// Whoever paid before a price was agreed is not cut off by it, nor by paying on: what payments say counts on for that subscription, and for
/// no other.
#[test]
fn a_price_that_is_agreed_later_cuts_nobody_off_who_pays() {
    let failed = |at| fact("sub_1", at, FactKind::Failed(bill("in_2", false, euros(1_900))));
    let mut client = client(None, None);
    client.observe(&invoice("sub_1", 10, "in_1", true));
    let agreed = Contract {
        price: Some(PriceId::parse("price_1").expect("an id")),
        ..client.contract.clone()
    };
    assert_eq!((client.agree(agreed), client.state), (None, ClientState::Active));
    for (next, state) in [
        (invoice("sub_1", 2_000, "in_2", false), ClientState::Active),
        (failed(3_000), ClientState::PastDue),
        (invoice("sub_1", 4_000, "in_3", false), ClientState::Active),
        // Its snapshots count for more, and another subscription has to be seen at the price.
        (
            priced("sub_1", 10, 5_000, Status::PastDue, Some("price_1"), Some("eur")),
            ClientState::PastDue,
        ),
        (invoice("sub_2", 6_000, "in_4", true), ClientState::PastDue),
        (
            priced("sub_2", 10, 7_000, Status::Active, Some("price_1"), Some("eur")),
            ClientState::Active,
        ),
    ] {
        client.observe(&next);
        assert_eq!(client.state, state, "{next:?}");
    }
}

/// The first snapshot of a client that was known by payments alone shows the old price: the new one is agreed and Stripe has not changed it yet.
/// Also where whoever agreed on the price did not mark the subscription, or the client paid otherwise at that time.
#[test]
fn a_snapshot_at_the_old_price_cuts_nobody_off_who_paid_before_the_new_one_was_agreed() {
    let agreed = |client: &Client, price: &str| Contract {
        price: Some(PriceId::parse(price).expect("an id")),
        ..client.contract.clone()
    };
    let seen = |at, status, price| priced("sub_1", 10, at, status, Some(price), Some("eur"));
    for is_marked_late in [false, true] {
        let mut client = client(None, None);
        client.observe(&invoice("sub_1", 10, "in_1", true));
        if is_marked_late {
            client.contract = agreed(&client, "price_3");
        }
        assert_eq!(client.agree(agreed(&client, "price_2")), None);
        for (next, state) in [
            (seen(20, Status::Active, "price_1"), ClientState::Active),
            (seen(30, Status::PastDue, "price_1"), ClientState::PastDue),
            (seen(40, Status::Active, "price_1"), ClientState::Active),
            (seen(50, Status::Active, "price_2"), ClientState::Active),
        ] {
            client.observe(&next);
            assert_eq!(client.state, state, "{next:?}");
        }
    }
}

/// A change of plan is told to our side before Stripe does it, or after; neither cuts the client off.
#[test]
fn another_price_that_is_agreed_later_does_not_take_back_what_was_agreed() {
    let at = |at, status, price| priced("sub_1", 10, at, status, Some(price), Some("eur"));
    for facts in [
        [at(10, Status::Active, "price_1"), at(20, Status::Active, "price_2")],
        [at(20, Status::Active, "price_2"), at(10, Status::Active, "price_1")],
    ] {
        let mut client = client(Some("price_1"), None);
        client.observe(&facts[0]);
        let agreed = Contract {
            price: Some(PriceId::parse("price_2").expect("an id")),
            ..client.contract.clone()
        };
        client.agree(agreed);
        client.observe(&facts[1]);
        assert_eq!(client.state, ClientState::Active, "{facts:#?}");
    }
    let mut client = client(Some("price_1"), None);
    client.observe(&at(10, Status::Active, "price_1"));
    let agreed = Contract {
        price: Some(PriceId::parse("price_2").expect("an id")),
        ..client.contract.clone()
    };
    assert_eq!((client.agree(agreed), client.state), (None, ClientState::Active));
}

/// Of two active subscriptions the current one ends: the event was about the current one, although another speaks after it.
#[test]
fn the_end_of_the_current_subscription_counts_where_another_takes_over() {
    let two = [
        seen("sub_1", 1, 10, Status::Active),
        seen("sub_2", 2, 11, Status::Active),
    ];
    let active = ClientState::Active;
    let end_of = |id, start| [two.as_slice(), &[seen(id, start, 12, Status::Canceled)]].concat();
    check(client(None, None), &end_of("sub_2", 2), with(RECORDED, active));
    check(client(None, None), &end_of("sub_1", 1), with(NOT_CURRENT, active));
}
