//! One history, with everything that its orders are checked against.

use domain::billing::state::ClientState;

use crate::books::Books;
use crate::model::facts::{self, Said};
use crate::model::{Event, Stripe};
use crate::proof::{Tally, add};

/// A history, and what it comes to.
pub struct Trial {
    pub stripe: Stripe,
    /// What each event says.
    pub said: Vec<Said>,
    /// Subscriptions whose end the events alone do not tell.
    pub riddles: Vec<usize>,
    /// What the order in which it happened comes to.
    expected: Books,
}

impl Trial {
    pub fn new(mut stripe: Stripe, tally: &Tally) -> Result<Self, String> {
        // What says nothing to the rules is not delivered to them: that is for the tests of the whole pipeline.
        stripe.events.retain(|event| facts::said(event) != Said::Nothing);
        let said: Vec<Said> = stripe.events.iter().map(facts::said).collect();
        let riddles = stripe.riddles();
        let mut expected = Books::new(stripe.setting);
        for said in &said {
            expected.take(said);
        }
        let trial = Self {
            stripe,
            said,
            riddles,
            expected: expected.settled(),
        };
        if trial.can_be_told() {
            tally.states.borrow_mut().insert(trial.stripe.truth().state);
            trial.is_true(&trial.expected, "the order in which it happened")?;
        } else {
            add(&tally.riddles, 1);
            trial.is_noticed()?;
        }
        Ok(trial)
    }

    /// Whether the events tell what is true in the end.
    fn can_be_told(&self) -> bool {
        self.riddles.is_empty() && self.stripe.secrets().is_empty()
    }

    /// Exactly the subscriptions whose end the events do not tell are marked, so that they can be looked up.
    fn is_noticed(&self) -> Result<(), String> {
        let marked: Vec<_> = self.expected.undecided().into_iter().map(|(id, _)| id).collect();
        let riddles: Vec<_> = self.riddles.iter().map(|sub| facts::subscription(*sub)).collect();
        if marked == riddles {
            Ok(())
        } else {
            Err(format!("{riddles:?} have to be read, marked are {marked:?}"))
        }
    }

    /// The state, who speaks, until when is paid, and every charge are what they are at Stripe.
    pub fn is_true(&self, books: &Books, order: &str) -> Result<(), String> {
        let truth = self.stripe.truth();
        let client = &books.client;
        if client.state.as_str() != truth.state {
            return Err(format!(
                "{order} ends in {}, the truth is {}",
                client.state, truth.state
            ));
        }
        if let Some(speaker) = truth.speaker {
            let (found, paid_until) = (client.speaker.clone(), client.current_period_end.map(|end| end.0));
            let speaker = speaker.map(facts::subscription);
            if (&found, paid_until) != (&speaker, truth.period_end) {
                let truth = truth.period_end;
                return Err(format!(
                    "{order}: {found:?} speaks, paid until {paid_until:?}; in truth {speaker:?}, {truth:?}"
                ));
            }
        }
        if !books.undecided().is_empty() {
            return Err(format!("{order} ends undecided: {:?}", books.undecided()));
        }
        self.charges_are_true(books, order)
    }

    fn charges_are_true(&self, books: &Books, order: &str) -> Result<(), String> {
        for (id, charge) in self
            .stripe
            .charges
            .iter()
            .enumerate()
            .filter(|(_, charge)| charge.shown)
        {
            let known = books.charges.get(&facts::charge_id(id)).copied().flatten();
            let refunds = charge.refunds.iter().enumerate().all(|(refund, life)| {
                let known = books.refunds.get(&facts::refund_id(id, refund)).copied().flatten();
                known == Some(facts::refund_of(*life))
            });
            let disputes = charge.disputes.iter().enumerate().all(|(dispute, life)| {
                let known = books.disputes.get(&facts::dispute_id(id, dispute)).copied().flatten();
                known.map(|known| known.status) == Some(facts::dispute_status(*life))
            });
            if known != Some(facts::charge_of(charge.refunded)) || !refunds || !disputes {
                return Err(format!("{order}: ch_{id} is not what it is at Stripe: {books:?}"));
            }
        }
        Ok(())
    }

    /// Delivers one event, of which `delivered` are the numbers with all before it, and checks that the step was told as it was,
    /// and cut nobody off who is known to pay; and, where payments are all that is told, that they stand as far as they were.
    pub fn step(&self, books: &mut Books, said: &Said, delivered: &[usize]) -> Result<(), String> {
        self.deliver(books, said, delivered)?;
        if self.stripe.setting.payments_only {
            self.is_as_told(books.client.state, delivered)?;
        }
        self.is_safe(books.client.state, delivered)
    }

    fn is_as_told(&self, state: ClientState, delivered: &[usize]) -> Result<(), String> {
        let events = delivered.iter().map(|number| &self.stripe.events[*number]);
        let told = self.stripe.truth_as_told(events).state;
        if state.as_str() == told {
            return Ok(());
        }
        Err(format!("order {delivered:?}: {state} although {told} was told"))
    }

    /// Delivers one event and checks that the step was told as it was.
    pub fn deliver(&self, books: &mut Books, said: &Said, delivered: &[usize]) -> Result<(), String> {
        let (before, version) = (books.client.state, books.client.version);
        let decision = books.take(said);
        let after = books.client.state;
        let told = decision.is_some_and(|decision| decision.changed_state());
        if told != (after != before) || (books.client.version != version) != (after != before) {
            return Err(format!("order {delivered:?}: {decision:?} took {before} to {after}"));
        }
        if matches!(said, Said::OfCharge(_)) && after != before {
            return Err(format!("order {delivered:?}: a charge took {before} to {after}"));
        }
        Ok(())
    }

    fn is_safe(&self, state: ClientState, delivered: &[usize]) -> Result<(), String> {
        match self.known_to_live(delivered) {
            Some(sub) if state == ClientState::Canceled => Err(format!(
                "order {delivered:?}: CANCELED although sub_{sub} is known to live"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A subscription that was seen alive, as agreed, and whose end, if it has one, was not delivered yet.
    fn known_to_live(&self, delivered: &[usize]) -> Option<usize> {
        let told = |sub: usize, fits: &dyn Fn(&Event) -> bool| {
            delivered.iter().any(|number| {
                let event = &self.stripe.events[*number];
                event.sub == sub && event.shows_the_subscription() && fits(event)
            })
        };
        (0..self.stripe.subs.len()).find(|sub| {
            told(*sub, &|event| event.now.is_live() && self.stripe.is_agreed(&event.now))
                && !told(*sub, &|event| event.now.life.is_over())
        })
    }

    /// The end of one order: the truth, and the very facts that the true order left.
    pub fn has_arrived(&self, books: &Books, delivered: &[usize]) -> Result<(), String> {
        if self.can_be_told() {
            self.is_true(books, &format!("order {delivered:?}"))?;
        }
        let (found, expected) = (
            books.clone().settled().without_acts(),
            self.expected.clone().without_acts(),
        );
        if found == expected {
            return Ok(());
        }
        Err(format!(
            "order {delivered:?} ends in {} by {:?}, the true order in {} by {:?}, or with other facts",
            found.client.state, found.client.speaker, expected.client.state, expected.client.speaker
        ))
    }
}
