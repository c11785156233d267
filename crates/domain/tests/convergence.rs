//! Every order of delivery, with any repeats, ends in what is true at Stripe (BIL-6), and no step on the way cuts a paying client
//! off. What is true is told by an independent model ([`model`]), not by the code under test.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod model;

use std::cell::Cell;
use std::collections::BTreeSet;

use domain::billing::authority::{Authority, Binding, Claim, NamedBy, judge};
use domain::billing::client::Client;
use domain::billing::contract::PaymentSource;
use domain::billing::fact::Fact;
use domain::billing::state::ClientState;
use domain::billing::subscription::Snapshots;
use model::{Setting, Stripe, Word, facts};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestCaseResult, TestError, TestRunner};

type Script = (Setting, Vec<(usize, i64)>);

fn script(moves: std::ops::Range<usize>) -> impl Strategy<Value = Script> {
    let setting = [0.5, 0.2, 0.1, 0.3].map(prop::bool::weighted);
    let setting = setting.prop_map(|[begins_in_trial, priced, payments_only, stamps_badly]| Setting {
        begins_in_trial,
        priced,
        payments_only,
        stamps_badly,
    });
    let gap = select(vec![0, 0, 0, 0, 1, 1, 30, 60, 61, 3_600, 2_592_000]);
    (setting, prop::collection::vec((any::<usize>(), gap), moves))
}

/// How much was tried, for the line that the test prints.
#[derive(Default)]
struct Tally {
    histories: Cell<u64>,
    orders: Cell<u64>,
    steps: Cell<u64>,
    riddles: Cell<u64>,
    longest: Cell<usize>,
    states: std::cell::RefCell<BTreeSet<&'static str>>,
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// One history, with everything that its orders are checked against.
struct Trial<'t> {
    stripe: Stripe,
    facts: Vec<Fact>,
    /// Where the events alone do not tell the end: what the true order came to.
    riddle: bool,
    expected: Client,
    tally: &'t Tally,
}

impl<'t> Trial<'t> {
    fn new(stripe: Stripe, tally: &'t Tally) -> Result<Self, TestCaseError> {
        let facts: Vec<Fact> = stripe.events.iter().map(facts::fact).collect();
        let riddles: Vec<usize> = (0..stripe.subs.len()).filter(|sub| stripe.is_a_riddle(*sub)).collect();
        let mut expected = facts::client(stripe.setting, PaymentSource::Stripe);
        for fact in &facts {
            expected.observe(fact);
        }
        add(&tally.histories);
        tally.longest.set(tally.longest.get().max(facts.len()));
        let trial = Self {
            stripe,
            facts,
            riddle: !riddles.is_empty(),
            expected,
            tally,
        };
        if trial.riddle {
            add(&tally.riddles);
            trial.is_noticed(&riddles)?;
        } else {
            tally.states.borrow_mut().insert(trial.stripe.truth().state);
            trial.is_true(&trial.expected, "the order in which it happened")?;
        }
        Ok(trial)
    }

    /// A subscription whose end the events do not tell is marked, so that it can be looked up.
    fn is_noticed(&self, riddles: &[usize]) -> TestCaseResult {
        for sub in riddles {
            let known = self.expected.subscriptions.get(&facts::subscription(*sub));
            let reading = known.and_then(|known| known.snapshots.as_ref()?.read());
            if !reading.is_some_and(|reading| reading.undecided) {
                return self.fail(format!("sub_{sub} is a riddle and is read as decided: {reading:?}"));
            }
        }
        Ok(())
    }

    fn is_true(&self, client: &Client, order: &str) -> TestCaseResult {
        let truth = self.stripe.truth();
        if client.state.as_str() != truth.state {
            return self.fail(format!(
                "{order} ends in {}, the truth is {}",
                client.state, truth.state
            ));
        }
        if let Some(speaker) = truth.speaker {
            let speaker = speaker.map(facts::subscription);
            if client.speaker != speaker {
                return self.fail(format!("{order}: {:?} speaks, in truth {speaker:?}", client.speaker));
            }
        }
        let undecided = client.subscriptions.values().any(|known| {
            known
                .snapshots
                .as_ref()
                .and_then(Snapshots::read)
                .is_some_and(|reading| reading.undecided)
        });
        if undecided {
            return self.fail(format!("{order} ends undecided, although the events tell the end"));
        }
        Ok(())
    }

    fn fail(&self, what: String) -> TestCaseResult {
        Err(TestCaseError::fail(format!("{what}\n{}", self.stripe)))
    }

    /// Delivers one event; `delivered` are the numbers of all before it and itself.
    fn step(&self, client: &mut Client, delivered: &[usize]) -> TestCaseResult {
        add(&self.tally.steps);
        let before = client.state;
        let event = delivered[delivered.len() - 1];
        let version = client.version;
        let decision = client.observe(&self.facts[event]);
        if decision.changed_state() != (client.state != before)
            || (client.version != version) != (client.state != before)
        {
            return self.fail(format!(
                "order {delivered:?}: {decision:?} took {before} to {}",
                client.state
            ));
        }
        if client.state == ClientState::Canceled
            && let Some(sub) = self.known_to_live(delivered)
        {
            return self.fail(format!(
                "order {delivered:?}: CANCELED although sub_{sub} is known to live"
            ));
        }
        Ok(())
    }

    /// A subscription that was seen alive, and whose end, if it has one, was not delivered yet.
    fn known_to_live(&self, delivered: &[usize]) -> Option<usize> {
        let told = |sub: usize, fits: &dyn Fn(&model::Event) -> bool| {
            delivered.iter().any(|number| {
                let event = &self.stripe.events[*number];
                event.sub == sub && event.shows_the_subscription() && fits(event)
            })
        };
        (0..self.stripe.subs.len())
            .find(|sub| told(*sub, &|event| event.now.is_live()) && !told(*sub, &|event| event.now.life.is_over()))
    }

    /// The end of one order: the truth, and the very facts that the true order left.
    fn has_arrived(&self, client: &Client, delivered: &[usize]) -> TestCaseResult {
        add(&self.tally.orders);
        let order = format!("order {delivered:?}");
        if !self.riddle {
            self.is_true(client, &order)?;
        }
        let same_facts = client.subscriptions.len() == self.expected.subscriptions.len()
            && client.subscriptions.iter().all(|(id, known)| {
                let other = self.expected.subscriptions.get(id);
                other.is_some_and(|other| other.snapshots == known.snapshots && other.evidence == known.evidence)
            });
        let same = client.state == self.expected.state
            && client.speaker == self.expected.speaker
            && client.current_period_end == self.expected.current_period_end;
        if same && same_facts {
            return Ok(());
        }
        let end = |client: &Client| format!("{} by {:?}", client.state, client.speaker);
        self.fail(format!(
            "{order} ends in {}, the true order in {}",
            end(client),
            end(&self.expected)
        ))
    }

    fn every_order(&self, client: &Client, delivered: &mut Vec<usize>) -> TestCaseResult {
        if delivered.len() == self.facts.len() {
            return self.has_arrived(client, delivered);
        }
        for next in 0..self.facts.len() {
            if delivered.contains(&next) {
                continue;
            }
            let mut client = client.clone();
            delivered.push(next);
            self.step(&mut client, delivered)?;
            self.every_order(&client, delivered)?;
            delivered.pop();
        }
        Ok(())
    }

    /// An order with repeats, as `dice` falls.
    fn one_order(&self, dice: &mut Dice) -> TestCaseResult {
        let mut order: Vec<usize> = (0..self.facts.len()).collect();
        for _ in 0..dice.below(1 + self.facts.len()) {
            order.push(dice.below(self.facts.len()));
        }
        for place in (1..order.len()).rev() {
            order.swap(place, dice.below(place + 1));
        }
        let mut client = facts::client(self.stripe.setting, PaymentSource::Stripe);
        for until in 1..=order.len() {
            self.step(&mut client, &order[..until])?;
        }
        self.has_arrived(&client, &order)
    }

    /// The events of a client that does not pay by Stripe, with every claim that they can be made to carry.
    fn changes_nothing_for_others(&self, source: PaymentSource) -> TestCaseResult {
        let mut client = facts::client(self.stripe.setting, source);
        for has_customer in [true, false] {
            client.contract.has_customer = has_customer;
            let contract = client.contract.clone();
            for (event, fact) in self.stripe.events.iter().zip(&self.facts) {
                for bits in 1..8_u8 {
                    let at = |bit: u8| bits & bit != 0;
                    let claim = Claim {
                        owner: at(1).then_some(&contract),
                        session_owner: at(2).then_some(&contract),
                        named: at(4).then_some(&contract.client),
                        named_contract: at(4).then_some(&contract),
                        by: NamedBy::Customer,
                        is_checkout: matches!(event.word, Word::Checkout { .. }),
                    };
                    for binding in [Binding::FirstUse, Binding::RegisteredOnly] {
                        if let Authority::Granted { .. } = judge(claim, binding) {
                            client.observe(fact);
                        }
                    }
                }
            }
        }
        let untouched =
            client.state == client.contract.initial && client.version == 0 && client.subscriptions.is_empty();
        if untouched {
            Ok(())
        } else {
            self.fail(format!("a client with payment source {source} became {}", client.state))
        }
    }
}

/// A small generator of numbers, so that an order is a function of its seed (`xorshift64*`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).expect("31 bits") % end
    }
}

fn run<S: Strategy>(name: &str, cases: u32, strategy: &S, test: impl Fn(S::Value, &Tally) -> TestCaseResult) {
    let tally = Tally::default();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_global_rejects: cases * 20,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(strategy, |value| test(value, &tally));
    match result {
        Ok(()) => println!(
            "{name}: {} histories of up to {} events ({} that the events alone do not tell), {} orders, {} deliveries, ending in {:?}",
            tally.histories.get(),
            tally.longest.get(),
            tally.riddles.get(),
            tally.orders.get(),
            tally.steps.get(),
            tally.states.borrow()
        ),
        Err(TestError::Fail(reason, _)) => panic!("{name}: {reason}"),
        Err(TestError::Abort(reason)) => panic!("{name} gave up: {reason}"),
    }
}

#[test]
fn every_order_of_a_short_history_ends_in_the_truth() {
    run("every order", 600, &script(1..6), |(setting, moves), tally| {
        let stripe = Stripe::play(setting, &moves, 6);
        prop_assume!(stripe.events.len() > 2);
        let trial = Trial::new(stripe, tally)?;
        let client = facts::client(setting, PaymentSource::Stripe);
        trial.every_order(&client, &mut Vec::new())
    });
}

#[test]
fn many_orders_of_a_long_history_with_repeats_end_in_the_truth() {
    run(
        "orders with repeats",
        1_500,
        &(script(5..20), 1_u64..),
        |((setting, moves), seed), tally| {
            let stripe = Stripe::play(setting, &moves, 20);
            prop_assume!(stripe.events.len() > 4);
            let trial = Trial::new(stripe, tally)?;
            let mut dice = Dice(seed);
            (0..12).try_for_each(|_| trial.one_order(&mut dice))
        },
    );
}

#[test]
fn no_history_changes_a_client_that_does_not_pay_by_stripe() {
    run("payment source", 300, &script(3..20), |(setting, moves), tally| {
        let stripe = Stripe::play(setting, &moves, 20);
        let trial = Trial::new(stripe, tally)?;
        [PaymentSource::None, PaymentSource::Manual]
            .into_iter()
            .try_for_each(|source| trial.changes_nothing_for_others(source))
    });
}
