//! A history as a person would tell it.

use std::fmt;

use super::{EPOCH, Event, Stripe, Sub, Word};

impl fmt::Display for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { agreed, begins, sent } = words(self);
        writeln!(f, "A client begins in {begins}, {agreed}; the endpoint gets {sent}.")?;
        for (number, event) in self.events.iter().enumerate() {
            writeln!(f, "  #{number:<2} {event}")?;
        }
        let truth = self.truth();
        match truth.speaker {
            Some(Some(id)) => writeln!(f, "In truth the client is {}, by sub_{id}.", truth.state),
            Some(None) | None => writeln!(f, "In truth the client is {}.", truth.state),
        }
    }
}

struct Setting {
    agreed: &'static str,
    begins: &'static str,
    sent: &'static str,
}

fn words(stripe: &Stripe) -> Setting {
    let setting = stripe.setting;
    Setting {
        agreed: if setting.priced {
            "price_1 was agreed"
        } else {
            "no price was agreed"
        },
        begins: if setting.begins_in_trial {
            "TRIAL_ACTIVE"
        } else {
            "TRIAL_PENDING"
        },
        sent: if setting.payments_only {
            "payments only"
        } else {
            "everything"
        },
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:>8} s  sub_{} ", self.at - EPOCH, self.sub)?;
        match &self.word {
            Word::Created => write!(f, "is created: {}", self.now),
            Word::Updated(was) => write!(f, "becomes {}, was {was}", self.now),
            Word::Told => write!(f, "is {}", self.now),
            Word::Deleted => write!(f, "is deleted"),
            Word::Checkout { invoice } => write!(f, "is checked out, cs_{invoice} pays in_{invoice}"),
            Word::Paid { invoice, first, cents } => {
                let which = if *first { "first" } else { "later" };
                write!(f, "is paid {cents} by its {which} invoice in_{invoice}")
            }
            Word::Failed { invoice, .. } => write!(f, "is not paid: in_{invoice} fails"),
        }
    }
}

impl fmt::Display for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.life)?;
        if self.frozen {
            write!(f, ", collection paused")?;
        }
        if self.ends {
            write!(f, ", ends with its period")?;
        }
        let period = (self.period_end - self.start) / 86_400;
        write!(f, ", price_{}, paid for {period} days", self.price)
    }
}
