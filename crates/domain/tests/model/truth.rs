//! What is true at the end, and what reading Stripe would show on the way.

use super::dice::Dice;
use super::{AT_THE_TILL, Checkout, Event, Invoice, Life, Stripe, Sub, Try, Word};

/// What is true at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub state: &'static str,
    /// The subscription that speaks; unknown where two that say the same began in the same second.
    pub speaker: Option<Option<usize>>,
    /// When its paid period ends, where it is known which one speaks and it was shown.
    pub period_end: Option<i64>,
}

impl Sub {
    /// BIL-1: "a live one speaks first (active, trialing, past_due, unpaid, paused), then an incomplete one, then an ended one".
    fn place_in_line(&self) -> usize {
        match self.life {
            Life::Canceled | Life::Expired => 6,
            Life::Incomplete => 5,
            Life::Paused => 4,
            _ if self.frozen => 4,
            Life::Unpaid => 3,
            Life::PastDue => 2,
            Life::Trial => 1,
            Life::Active => 0,
        }
    }

    /// BIL-1: Stripe's statuses in the words of a client.
    fn word(&self) -> &'static str {
        match self.life {
            Life::Canceled | Life::Expired => "CANCELED",
            Life::Incomplete => "TRIAL_PENDING",
            Life::Paused => "PAUSED",
            _ if self.frozen => "PAUSED",
            Life::Unpaid | Life::PastDue => "PAST_DUE",
            Life::Trial => "TRIAL_ACTIVE",
            Life::Active => "ACTIVE",
        }
    }
}

/// Whether the newest invoice was paid in the end, or one that was made with it.
fn ends_paid(tries: &[&Try]) -> bool {
    let newest = tries.iter().map(|it| it.made).max();
    tries.iter().any(|it| Some(it.made) == newest && it.succeeds)
}

impl Try {
    /// Of an invoice, by itself.
    pub fn of(invoice: Invoice, succeeds: bool) -> Self {
        Self {
            made: invoice.made,
            since: invoice.made,
            price: invoice.price,
            succeeds,
        }
    }

    /// Of the invoice of a checkout, which began before it and never tells its price.
    pub fn at_the_till(invoice: Invoice) -> Self {
        Self {
            made: invoice.made,
            since: invoice.made - AT_THE_TILL,
            price: None,
            succeeds: true,
        }
    }

    fn told_by(word: &Word) -> Option<Self> {
        match word {
            Word::Paid { invoice, cents, .. } => (*cents > 0).then(|| Self::of(*invoice, true)),
            Word::Failed { invoice } => Some(Self::of(*invoice, false)),
            Word::Checkout { invoice, how } => {
                matches!(how, Checkout::Paid | Checkout::PaidLater).then(|| Self::at_the_till(*invoice))
            }
            _ => None,
        }
    }
}

/// A subscription that has something to say.
struct Voice {
    id: usize,
    place: usize,
    since: i64,
    state: &'static str,
    period_end: Option<i64>,
}

impl Stripe {
    /// BIL-13: at another price than was agreed a subscription activates nobody; that it has ended counts all the same, and that it is
    /// no longer paid as well.
    pub fn is_agreed(&self, sub: &Sub) -> bool {
        !self.setting.priced || sub.price == 1 || sub.life.is_over()
    }

    /// What is true now.
    pub fn truth(&self) -> Truth {
        if self.setting.payments_only {
            let tries: Vec<_> = self.money.iter().map(|money| money.tries.clone()).collect();
            self.truth_of(&self.voices_of_payments(&tries))
        } else {
            self.truth_of(&self.voices_of_subscriptions())
        }
    }

    /// What is true as far as these events tell, where payments are all that is told.
    pub fn truth_as_told<'e>(&self, events: impl Iterator<Item = &'e Event>) -> Truth {
        let mut tries = vec![Vec::new(); self.subs.len()];
        for event in events {
            tries[event.sub].extend(Try::told_by(&event.word));
        }
        self.truth_of(&self.voices_of_payments(&tries))
    }

    fn truth_of(&self, voices: &[Voice]) -> Truth {
        let Some(place) = voices.iter().map(|voice| voice.place).min() else {
            let state = if self.setting.begins_in_trial {
                "TRIAL_ACTIVE"
            } else {
                "TRIAL_PENDING"
            };
            return Truth {
                state,
                speaker: Some(None),
                period_end: None,
            };
        };
        let equals = || voices.iter().filter(|voice| voice.place == place);
        let newest = equals().map(|voice| voice.since).max();
        let heard: Vec<&Voice> = equals().filter(|voice| Some(voice.since) == newest).collect();
        Truth {
            state: heard[0].state,
            speaker: (heard.len() == 1).then_some(Some(heard[0].id)),
            period_end: heard[0].period_end,
        }
    }

    fn voices_of_subscriptions(&self) -> Vec<Voice> {
        let heard = self.agreed.iter().zip(&self.subs).enumerate();
        let voice = |(id, (agreed, now)): (usize, (&Option<Sub>, &Sub))| {
            let agreed = agreed.as_ref()?;
            let sub = if agreed.place_in_line() > now.place_in_line() {
                agreed
            } else {
                now
            };
            Some(Voice {
                id,
                place: sub.place_in_line(),
                since: sub.start,
                state: sub.word(),
                period_end: Some(sub.period_end),
            })
        };
        heard.filter_map(voice).collect()
    }

    /// Whoever paid the newest invoice is active and whoever did not is past due, at whatever price; where one was agreed, whoever paid for it
    /// by name, and who fell behind there does not come back by paying for another. An older invoice may be tried again for as long as it
    /// likes: Stripe's own status goes by the newest as well.
    fn voices_of_payments(&self, tries: &[Vec<Try>]) -> Vec<Voice> {
        let is_agreed = |it: &&Try| !self.setting.priced || it.price.is_none_or(|price| price == 1);
        let counts = |tries: &[Try]| {
            let by_name = |it: &Try| it.succeeds && it.price.is_some();
            !self.setting.priced || tries.iter().filter(is_agreed).any(by_name)
        };
        let paid = tries.iter().enumerate().filter(|(_, tries)| counts(tries));
        paid.filter_map(|(id, tries)| {
            let agreed: Vec<&Try> = tries.iter().filter(is_agreed).collect();
            let since = agreed.iter().filter(|it| it.succeeds).map(|it| it.since).min()?;
            let is_paid = ends_paid(&agreed) && ends_paid(&tries.iter().collect::<Vec<_>>());
            let (place, state) = if is_paid { (0, "ACTIVE") } else { (2, "PAST_DUE") };
            Some(Voice {
                id,
                place,
                since,
                state,
                period_end: None,
            })
        })
        .collect()
    }

    /// Subscriptions that ended their last second in a condition that they had also left in that second: then no set of events
    /// tells which came last, and Stripe has to be asked.
    pub fn riddles(&self) -> Vec<usize> {
        (0..self.subs.len()).filter(|sub| self.is_a_riddle(*sub)).collect()
    }

    fn is_a_riddle(&self, sub: usize) -> bool {
        self.is_open(sub, &self.subs[sub], |_| true)
    }

    /// Subscriptions of which nobody can tell what was agreed last: that was a riddle, and what they are now is at another price. Reading
    /// them tells only what they are now.
    pub fn secrets(&self) -> Vec<usize> {
        let is_secret = |sub: &usize| {
            let agreed = self.agreed[*sub].as_ref().filter(|_| !self.is_agreed(&self.subs[*sub]));
            agreed.is_some_and(|end| self.is_open(*sub, end, |seen| self.is_agreed(seen)))
        };
        (0..self.subs.len()).filter(is_secret).collect()
    }

    /// Whether a subscription that ended its last second as `end` had also left that in it, going by the events that count.
    fn is_open(&self, sub: usize, end: &Sub, counts: impl Fn(&Sub) -> bool) -> bool {
        if end.life.is_over() {
            return false;
        }
        let updates = || {
            self.events.iter().filter(|event| {
                event.sub == sub && counts(&event.now) && matches!(event.word, Word::Updated(_) | Word::Told(_))
            })
        };
        let last = updates().map(|event| event.at).max();
        updates()
            .filter(|event| Some(event.at) == last)
            .any(|event| matches!(&event.word, Word::Updated(was) if was == end && *was != event.now))
    }

    /// A subscription as somebody reads it at a second, having heard of the first `heard` moments already; within that second
    /// it may be before or after what else happens in it.
    pub fn read(&self, sub: usize, at: i64, heard: usize, dice: &mut Dice) -> Option<&Sub> {
        let until = self.moments.iter().filter(|(now, _)| *now <= at).count();
        let before = self.moments.iter().filter(|(now, _)| *now < at).count();
        let from = heard.max(before).max(1);
        let moment = from + dice.below((until + 1).saturating_sub(from).max(1));
        self.moments.get(moment - 1)?.1.get(sub)
    }

    /// When a moment was.
    pub fn when(&self, moments: usize) -> i64 {
        moments.checked_sub(1).map_or(super::EPOCH, |last| self.moments[last].0)
    }
}
