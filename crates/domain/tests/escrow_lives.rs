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

#[path = "lives/stripe.rs"]
mod stripe;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use domain::escrow::decide::{Effect, Reason, decide};
use domain::escrow::decision::Decision;
use domain::escrow::facts::DisputeStage;
use domain::escrow::held::{Escrow, Standing, Task};
use domain::escrow::input::{Command, Fact, Input, JobOutcome};
use domain::escrow::ledger::{Account, Posting};
use domain::escrow::operation::Wish;
use domain::escrow::split::{Claim, Fee, Share, Split};
use domain::escrow::state::{EscrowStatus, may_become};
use domain::escrow::terms::{CaptureMethod, OnAuthorizationExpiry, Terms};
use domain::ids::EscrowId;
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use stripe::Stripe;

const NOW: UnixSeconds = UnixSeconds(10_000);

type Balances = BTreeMap<Account, i64>;

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

/// The ledger of the product, kept by adding its postings up.
struct Life {
    escrow: Escrow,
    stripe: Stripe,
    balances: Balances,
    seen: BTreeSet<EscrowStatus>,
    /// The job's outcomes that are known at Stripe and not here.
    called: BTreeSet<u32>,
    /// What we were told to refund, all together.
    told_to_refund: i64,
}

impl Life {
    fn command(&mut self, command: Command) -> TestCaseResult {
        let all = match self.escrow.payment.captured {
            Some(_) => self.escrow.refundable(),
            None => self.escrow.terms.split.amount().minor,
        };
        let wanted = match &command {
            Command::Refund(amount) => amount.unwrap_or(all),
            _ => 0,
        };
        if self.take(&Input::Command(command))? {
            self.told_to_refund += wanted;
        }
        Ok(())
    }

    fn take(&mut self, input: &Input) -> Result<bool, TestCaseError> {
        match decide(&self.escrow, input, NOW) {
            Decision::Apply { next, effects } => {
                for effect in effects {
                    match effect {
                        Effect::Post(posting) => self.post(&posting)?,
                        Effect::ReadAccount(account) => self.stripe.read(&account),
                        Effect::Begin { .. } | Effect::Notify(_) => {}
                    }
                }
                let (from, to) = (self.escrow.status, next.status);
                prop_assert!(from == to || may_become(from, to), "{} to {} by {:?}", from, to, input);
                self.seen.insert(to);
                self.escrow = next;
                self.check(input)?;
                Ok(true)
            }
            Decision::AlreadyApplied => Ok(false),
            Decision::Refused(Reason::Contradiction | Reason::CurrencyMismatch | Reason::UnknownRecipient) => {
                prop_assert!(false, "refused: {:?}", input);
                Ok(false)
            }
            Decision::Refused(_) => Ok(false),
        }
    }

    fn post(&mut self, posting: &Posting) -> TestCaseResult {
        prop_assert!(!posting.moves().is_empty());
        let mut sum = 0;
        for (account, amount) in posting.lines() {
            sum += amount;
            *self.balances.entry(account.clone()).or_default() += amount;
        }
        prop_assert_eq!(sum, 0);
        Ok(())
    }

    fn check(&self, input: &Input) -> TestCaseResult {
        let mut ours: Balances = self.balances.clone();
        ours.retain(|_, balance| *balance != 0);
        prop_assert_eq!(&ours, &book(&self.escrow), "after {:?} in {:?}", input, self.escrow);
        for (place, part) in self.escrow.terms.split.parts().iter().enumerate() {
            prop_assert!(
                self.stripe.net_of(place) <= part.amount,
                "paid twice: {:?}",
                self.escrow
            );
        }
        prop_assert!(self.stripe.refunded <= self.stripe.captured.unwrap_or(0));
        prop_assert!(
            self.stripe.refunded_by_us <= self.told_to_refund,
            "more refunded than was asked: {:?}",
            self.escrow
        );
        Ok(())
    }

    /// A worker picks a job up.
    fn work(&mut self, pick: usize, luck: u32, is_lost: bool) -> TestCaseResult {
        let open: Vec<u32> = self
            .escrow
            .jobs
            .iter()
            .filter(|(_, job)| job.standing == Standing::Open)
            .map(|(number, _)| *number)
            .collect();
        let Some(number) = open.get(pick % open.len().max(1)).copied() else {
            return Ok(());
        };
        if self.called.contains(&number) {
            return Ok(());
        }
        let job = self.escrow.jobs[&number].clone();
        let outcome = match self.escrow.wish(number) {
            Wish::Wanted => self.stripe.call(&job.task, job.amount, luck),
            Wish::Withdrawn => JobOutcome::Dropped,
            Wish::OnHold => return Ok(()),
        };
        let was_done = matches!(outcome, JobOutcome::Done(_));
        let done = Fact::JobDone { job: number, outcome };
        if let (Task::Reverse(account, _), true) = (&job.task, was_done) {
            let place = self.escrow.recipients.iter().position(|of| of.account == *account);
            let place = place.expect("a recipient");
            let transfers = self.escrow.recipients[place].transfers.values();
            let known: i64 = transfers.map(|transfer| transfer.reversed.outside).sum();
            let unheard_of = self.stripe.taken_outside_from(place) - known;
            prop_assert!(
                self.stripe.net_of(place) + unheard_of >= self.escrow.targets()[place],
                "more taken back than was to be: {:?}",
                self.escrow
            );
        }
        if is_lost {
            self.called.insert(number);
            self.stripe.told.push(done);
        } else {
            self.take(&Input::Fact(done))?;
        }
        Ok(())
    }

    fn deliver(&mut self, pick: usize, again: bool) -> TestCaseResult {
        if self.stripe.told.is_empty() {
            return Ok(());
        }
        let place = pick % self.stripe.told.len();
        let fact = if again {
            self.stripe.told[place].clone()
        } else {
            self.stripe.told.swap_remove(place)
        };
        if let Fact::JobDone { job, .. } = &fact {
            if again {
                return Ok(());
            }
            self.called.remove(job);
        }
        self.take(&Input::Fact(fact))?;
        Ok(())
    }

    /// Everything is delivered, disputes are closed, accounts are set up, and what was refused is tried again until nothing is left to do.
    fn come_to_rest(&mut self) -> TestCaseResult {
        for recipient in 0..self.stripe.ready.len() {
            if !self.stripe.ready[recipient] {
                self.stripe.act(9, i64::try_from(recipient).expect("small"));
            }
        }
        while self
            .stripe
            .disputes
            .iter()
            .any(|(stage, _)| *stage == DisputeStage::Open)
        {
            self.stripe.act(5, 0);
        }
        for round in 0..200 {
            while !self.stripe.told.is_empty() {
                self.deliver(round, false)?;
            }
            if self.escrow.jobs.is_empty() {
                return Ok(());
            }
            let numbers: Vec<u32> = self.escrow.jobs.keys().copied().collect();
            for (place, number) in numbers.into_iter().enumerate() {
                let Some(job) = self.escrow.jobs.get(&number) else {
                    continue;
                };
                match (job.standing, &job.task) {
                    (Standing::GivenUp(_), Task::Reverse(account, _)) if round > 3 => {
                        let account = account.clone();
                        self.take(&Input::Command(Command::BearLoss(account)))?;
                    }
                    (Standing::Refused(_) | Standing::GivenUp(_), _) => {
                        self.take(&Input::Command(Command::Retry { job: number }))?;
                    }
                    (Standing::Open, _) => self.work(place, 9, false)?,
                }
            }
        }
        prop_assert!(false, "never comes to rest: {:?}", self.escrow);
        Ok(())
    }

    fn check_the_end(&self) -> TestCaseResult {
        let it = &self.escrow;
        prop_assert_eq!(it.refunded.total(), self.stripe.refunded);
        prop_assert_eq!(it.lost(), self.stripe.lost());
        prop_assert_eq!(it.payment.captured, self.stripe.captured);
        for (place, (recipient, target)) in it.recipients.iter().zip(it.targets()).enumerate() {
            prop_assert_eq!(recipient.net(), self.stripe.net_of(place));
            prop_assert!(recipient.net() <= target + recipient.written_off);
            if matches!(it.status, EscrowStatus::Distributed) {
                prop_assert!(recipient.net() >= target);
            }
        }
        let written_off: i64 = it.recipients.iter().map(|recipient| recipient.written_off).sum();
        let out: i64 = (0..it.recipients.len())
            .map(|place| self.stripe.net_of(place))
            .sum::<i64>()
            + self.stripe.refunded;
        let over = (it.given_back() - it.terms.split.amount().minor).max(0);
        prop_assert!(
            out + self.stripe.lost() <= it.captured() + written_off + over,
            "more out than in: {:?}",
            it
        );
        prop_assert!(
            !matches!(
                it.status,
                EscrowStatus::Refunding
                    | EscrowStatus::Disputed
                    | EscrowStatus::TransferFailed
                    | EscrowStatus::PendingUserSetup
                    | EscrowStatus::Processing
            ),
            "{:?}",
            it
        );
        Ok(())
    }
}

/// The book as it must be, computed from the facts as they stand and not from any posting.
fn book(escrow: &Escrow) -> Balances {
    let mut book = Balances::new();
    let returned = escrow.terms.split.returned(escrow.given_back());
    let released = escrow.payment.captured.is_some() && escrow.asked.release;
    let over = (escrow.given_back() - escrow.terms.split.amount().minor).max(0);
    let net: i64 = escrow
        .recipients
        .iter()
        .map(domain::escrow::facts::Recipient::net)
        .sum();
    let at_stripe = escrow.captured() - net - escrow.refunded.total() - escrow.lost() - escrow.in_dispute();
    book.insert(Account::Clearing, -at_stripe);
    book.insert(Account::Disputes, -escrow.in_dispute());
    let written_off: i64 = escrow.recipients.iter().map(|recipient| recipient.written_off).sum();
    book.insert(Account::Losses, -over - written_off);
    let mut held = escrow.captured() - (escrow.refunded.total() + escrow.lost() - over);
    for ((recipient, part), back) in escrow
        .recipients
        .iter()
        .zip(escrow.terms.split.parts())
        .zip(returned.parts)
    {
        let share = if released { part.amount - back } else { 0 };
        held -= share;
        book.insert(
            Account::Recipient(recipient.account.clone()),
            share - recipient.net() + recipient.written_off,
        );
    }
    let fee = if released {
        escrow.terms.split.fee() - returned.fee
    } else {
        0
    };
    book.insert(Account::PlatformFee, fee);
    book.insert(Account::Escrow, held - fee);
    book.retain(|_, balance| *balance != 0);
    book
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
