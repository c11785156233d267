//! Scripts: what happens one after the other, so that a history can be told again with less in it.

use super::dice::Dice;
use super::moves::Move;
use super::{Setting, Stripe};

/// A move, and how many seconds after the one before it.
pub type Step = (Move, i64);

/// What a history is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub setting: Setting,
    pub steps: Vec<Step>,
}

const GAPS: [i64; 12] = [0, 0, 0, 0, 0, 1, 1, 2, 30, 60, 61, 2_592_000];

impl Setting {
    pub fn by(dice: &mut Dice) -> Self {
        Self {
            begins_in_trial: dice.percent(50),
            priced: dice.percent(20),
            payments_only: dice.percent(20),
            stamps_badly: dice.percent(30),
            both_words: dice.percent(30),
            names_prices: dice.percent(70),
        }
    }

    /// The same with one switch less, for every switch that is on.
    pub fn simpler(self) -> Vec<Self> {
        let less = [
            Self {
                begins_in_trial: false,
                ..self
            },
            Self { priced: false, ..self },
            Self {
                payments_only: false,
                ..self
            },
            Self {
                stamps_badly: false,
                ..self
            },
            Self {
                both_words: false,
                ..self
            },
            Self {
                names_prices: false,
                ..self
            },
        ];
        less.into_iter().filter(|simpler| *simpler != self).collect()
    }
}

impl Script {
    /// A script that chance makes in a setting of its own, of any length up to `most` events.
    pub fn any(dice: &mut Dice, most: usize) -> Self {
        let setting = Setting::by(dice);
        let most = 2 + dice.below(most - 1);
        Self::by(dice, setting, most)
    }

    /// A script that chance makes, with `most` events at most.
    pub fn by(dice: &mut Dice, setting: Setting, most: usize) -> Self {
        let mut stripe = Stripe::new(setting);
        let mut steps = Vec::new();
        loop {
            let gap = *dice.of(&GAPS);
            let mut next = stripe.clone();
            next.now += gap;
            let made = loop {
                let made = *dice.of(Move::all());
                if next.make(made).is_some() {
                    break made;
                }
            };
            if next.events.len() > most || steps.len() == most {
                return Self { setting, steps };
            }
            steps.push((made, gap));
            stripe = next;
        }
    }

    /// What happens. Steps that make no sense where they stand are left out.
    pub fn play(&self) -> Stripe {
        let mut stripe = Stripe::new(self.setting);
        for (made, gap) in &self.steps {
            let now = stripe.now;
            stripe.now += gap;
            if stripe.make(*made).is_none() {
                stripe.now = now;
            }
        }
        stripe
    }

    /// Every script that has a little less in it.
    pub fn smaller(&self) -> Vec<Self> {
        let without = |place: usize| {
            let mut smaller = self.clone();
            smaller.steps.remove(place);
            smaller
        };
        let at_once = |place: usize, gap: i64| {
            let mut smaller = self.clone();
            smaller.steps[place].1 = gap;
            smaller
        };
        let steps = (0..self.steps.len()).rev();
        let mut all: Vec<Self> = steps.clone().map(without).collect();
        all.extend(self.setting.simpler().into_iter().map(|setting| Self {
            setting,
            ..self.clone()
        }));
        for place in steps {
            let gap = self.steps[place].1;
            all.extend(
                [0, 1]
                    .into_iter()
                    .filter(|less| *less < gap)
                    .map(|less| at_once(place, less)),
            );
        }
        all
    }
}
