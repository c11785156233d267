//! A history as a person would tell it.

use std::fmt;

use super::{Checkout, EPOCH, Event, Invoice, Paid, Stripe, Sub, Told, Word};

impl fmt::Display for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.setting;
        let begins = if setting.begins_in_trial {
            "TRIAL_ACTIVE"
        } else {
            "TRIAL_PENDING"
        };
        let agreed = if setting.priced {
            "price_1 was agreed"
        } else {
            "no price was agreed"
        };
        let sent = if setting.payments_only {
            "payments only"
        } else {
            "everything"
        };
        write!(f, "A client begins in {begins}, {agreed}; the endpoint gets {sent}")?;
        if setting.names_prices {
            write!(f, ", invoices that name their prices")?;
        }
        if setting.stamps_badly {
            write!(
                f,
                ", the first event of a subscription stamped late and the last one early"
            )?;
        }
        writeln!(f, ".")?;
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

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:>8} s  sub_{} ", self.at - EPOCH, self.sub)?;
        match &self.word {
            Word::Created => write!(f, "is created for cus_{}: {}", self.now.customer, self.now),
            Word::Updated(was) => write!(f, "becomes {}, was {was}", self.now),
            Word::Told(told) => write!(f, "{}: {}", told.as_words(), self.now),
            Word::Deleted => write!(f, "is deleted"),
            Word::Checkout { invoice, how } => write!(f, "is checked out, cs_{} {}", invoice.number, how.as_words()),
            Word::Paid { invoice, cents, how } => write!(f, "is paid {cents} by {invoice} {}", how.as_words()),
            Word::Failed { invoice } => write!(f, "is not paid: {invoice} fails"),
            Word::OneOff { invoice } => write!(f, "has nothing to do with in_{invoice}, which is paid"),
            Word::Charged { charge, refunded } => write!(f, "has ch_{charge}, of which {refunded} are paid back"),
            Word::Refund { charge, refund, life } => write!(f, "has a refund re_{charge}_{refund}: {life:?}"),
            Word::Dispute {
                charge,
                dispute,
                life,
                opened,
            } => {
                let says = if *opened { "is opened" } else { "goes on" };
                write!(f, "has a dispute du_{charge}_{dispute} that {says}: {life:?}")
            }
        }
    }
}

impl fmt::Display for Invoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.first { "first" } else { "later" };
        write!(
            f,
            "its {which} invoice in_{}, made at {} s",
            self.number,
            self.made - EPOCH
        )?;
        match self.price {
            Some(price) => write!(f, " for price_{price},"),
            None => write!(f, ","),
        }
    }
}

impl Told {
    fn as_words(self) -> &'static str {
        match self {
            Self::Paused => "is paused",
            Self::Resumed => "is resumed",
            Self::Touched => "is touched",
            Self::UpdateExpired => "has an update that expired",
        }
    }
}

impl Checkout {
    fn as_words(self) -> &'static str {
        match self {
            Self::Paid => "is paid",
            Self::Unpaid => "is complete, its money on the way",
            Self::PaidLater => "is paid at last",
            Self::NeverPaid => "is not paid after all",
        }
    }
}

impl Paid {
    fn as_words(self) -> &'static str {
        match self {
            Self::Charged => "(invoice.paid)",
            Self::Succeeded => "(invoice.payment_succeeded)",
            Self::OutOfBand => "out of band",
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
