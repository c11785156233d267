//! Whole lives of escrows: random commands, refusals, outcomes and webhooks in any order and more than once. After every step the
//! ledger is what an independent book says, the step is in the graph, and no recipient has more than its part; and every life comes
//! to rest with everybody's money where it belongs.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "lives/book.rs"]
mod book;
#[path = "lives/life.rs"]
mod life;
#[path = "lives/stripe.rs"]
mod stripe;

use std::cell::RefCell;
use std::collections::BTreeSet;

use book::Balances;
use domain::escrow::decide::{Effect, decide};
use domain::escrow::decision::Decision;
use domain::escrow::held::{Escrow, Task};
use domain::escrow::input::{Command, Fact, Input};
use domain::escrow::split::{Claim, Fee, Share, Split};
use domain::escrow::state::EscrowStatus;
use domain::escrow::terms::{CaptureMethod, OnAuthorizationExpiry, Terms};
use domain::ids::EscrowId;
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use life::{Life, NOW};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use stripe::Stripe;

fn escrow(amount: Money, shares: &[u32], fee: u32) -> Option<Escrow> {
    let claims: Vec<Claim> = shares
        .iter()
        .enumerate()
        .map(|(place, points)| Claim {
            account: stripe::account(place),
            share: Share::BasisPoints(*points),
        })
        .collect();
    let split = Split::new(amount, &claims, Fee::BasisPoints(fee)).ok()?;
    Some(Escrow::new(Terms {
        id: EscrowId::parse("escrow_1").expect("an id"),
        split,
        capture: CaptureMethod::Manual,
        on_authorization_expiry: OnAuthorizationExpiry::Capture,
        expires_at: UnixSeconds(20_000),
    }))
}

#[derive(Debug, Clone)]
enum Step {
    Act(u32, i64),
    Deliver(usize, bool),
    Work(usize, u32, bool),
    Release,
    Refund(i64),
    RefundAll,
    Retry(u32),
    WithdrawRefund,
    BearLoss(usize),
    Secure,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..11_u32, 0..100_000_i64).prop_map(|(kind, argument)| Step::Act(kind, argument)),
        6 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(pick, again)| Step::Deliver(pick, again)),
        6 => (any::<usize>(), 0..8_u32, prop::bool::weighted(0.3)).prop_map(|(pick, luck, lost)| Step::Work(pick, luck, lost)),
        3 => Just(Step::Release),
        1 => (1..100_000_i64).prop_map(Step::Refund),
        1 => Just(Step::RefundAll),
        2 => (0..12_u32).prop_map(Step::Retry),
        1 => Just(Step::WithdrawRefund),
        1 => (0..3_usize).prop_map(Step::BearLoss),
        1 => Just(Step::Secure),
        1 => Just(Step::Expire),
    ]
}

fn setting() -> impl Strategy<Value = Escrow> {
    let shares = prop::sample::select(vec![vec![10_000], vec![7_000, 3_000], vec![3_334, 3_333, 3_333]]);
    let currency = prop::sample::select(vec!["eur", "jpy", "huf", "kwd", "isk"]);
    (currency, 1..2_000_i64, shares, 0..3_000_u32).prop_filter_map("cannot be divided", |(code, units, shares, fee)| {
        let currency = Currency::parse(code).expect("a code");
        let amount = currency.minimum_charge() + units * currency.charge_unit();
        escrow(Money::new(amount, currency), &shares, fee)
    })
}

thread_local! {
    static REACHED: RefCell<BTreeSet<EscrowStatus>> = const { RefCell::new(BTreeSet::new()) };
}

fn live(escrow: Escrow, steps: &[Step]) -> TestCaseResult {
    let stripe = Stripe::new(escrow.terms.split.amount(), escrow.recipients.len());
    let mut life = Life {
        escrow,
        stripe,
        balances: Balances::new(),
        seen: BTreeSet::new(),
        called: BTreeSet::new(),
        tried: BTreeSet::new(),
        told_to_refund: 0,
    };
    for step in steps {
        match step {
            Step::Act(kind, argument) => life.stripe.act(*kind, *argument),
            Step::Deliver(pick, again) => life.deliver(*pick, *again)?,
            Step::Work(pick, luck, lost) => life.work(*pick, *luck, *lost)?,
            Step::Release => life.command(Command::Release)?,
            Step::Refund(seed) => {
                let unit = life.escrow.terms.split.amount().currency.charge_unit();
                let amount = (seed % (life.escrow.refundable() / unit).max(1) + 1) * unit;
                life.command(Command::Refund(Some(amount)))?;
            }
            Step::RefundAll => life.command(Command::Refund(None))?,
            Step::Retry(job) => life.command(Command::Retry { job: *job })?,
            Step::WithdrawRefund => life.command(Command::WithdrawRefund)?,
            Step::BearLoss(recipient) => life.command(Command::BearLoss(stripe::account(*recipient)))?,
            Step::Secure => life.command(Command::SecureAuthorization)?,
            Step::Expire => life.command(Command::Expire)?,
        }
    }
    life.come_to_rest()?;
    life.check_the_end()?;
    REACHED.with_borrow_mut(|reached| reached.extend(life.seen));
    Ok(())
}

#[test]
fn every_life_keeps_its_book_and_comes_to_rest() {
    let config = ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let lives = (setting(), prop::collection::vec(step(), 5..80));
    runner
        .run(&lives, |(escrow, steps)| live(escrow, &steps))
        .unwrap_or_else(|error| panic!("{error}"));
    let reached = REACHED.with_borrow(Clone::clone);
    let missing: Vec<_> = EscrowStatus::ALL
        .iter()
        // Nothing comes back to where it began, and whether something is noted there is chance.
        .filter(|status| **status != EscrowStatus::AwaitingPayment && !reached.contains(status))
        .collect();
    assert!(missing.is_empty(), "not every status was reached: {missing:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// What Stripe tells is merged to the same whatever the order, with repeats or without; and so is the ledger.
    #[test]
    fn no_order_of_webhooks_matters(
        escrow in setting(), acts in prop::collection::vec((0..11_u32, 0..100_000_i64), 1..25),
        paid in any::<bool>(), order in prop::collection::vec(any::<usize>(), 60), repeats in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let mut stripe = Stripe::new(escrow.terms.split.amount(), escrow.recipients.len());
        stripe.act(2, 0);
        if paid {
            for (place, part) in escrow.terms.split.parts().iter().enumerate() {
                stripe.call(&Task::Transfer(stripe::account(place)), part.amount, 9);
            }
        }
        acts.iter().for_each(|(kind, argument)| stripe.act(*kind, *argument));
        let told = stripe.told;
        let mut shuffled = told.clone();
        for (place, pick) in order.iter().enumerate().take(shuffled.len()) {
            let other = pick % shuffled.len();
            shuffled.swap(place, other);
        }
        shuffled.extend(repeats.iter().map(|pick| told[pick % told.len()].clone()));
        let end = |facts: &[Fact]| {
            let mut it = escrow.clone();
            let mut balances = Balances::new();
            for fact in facts {
                if let Decision::Apply { next, effects } = decide(&it, &Input::Fact(fact.clone()), NOW) {
                    for effect in effects {
                        if let Effect::Post(posting) = effect {
                            posting.lines().for_each(|(account, amount)| *balances.entry(account.clone()).or_default() += amount);
                        }
                    }
                    it = next;
                }
            }
            balances.retain(|_, balance| *balance != 0);
            // What is certain of others depends on what of ours was under way when it was told; what counts is the total.
            let all = it.recipients.iter_mut().flat_map(|recipient| recipient.transfers.values_mut());
            all.for_each(|transfer| transfer.reversed.outside = 0);
            (it.payment, it.refunded.total(), it.disputes.clone(), it.recipients.clone(), it.plan(), it.derive_status(), balances)
        };
        prop_assert_eq!(end(&told), end(&shuffled));
    }
}
