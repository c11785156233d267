//! Charges: what is paid back, and what is disputed. None of it changes a subscription.

use super::moves::{CENTS, moves};
use super::{Stripe, Word};

moves! {
    /// What becomes of a charge, always of the last one.
    Charging {
        Show,
        RefundAPart,
        RefundSlowly,
        RefundArrives,
        RefundFails,
        Inquire,
        Dispute,
        AnswerDispute,
        LoseDispute,
        WinDispute,
    }
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundLife {
    Pending,
    Succeeded,
    Failed,
}

/// How far a dispute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeLife {
    Inquiry,
    Open,
    Answered,
    Lost,
    Won,
}

/// A charge as Stripe holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub sub: usize,
    pub at: i64,
    pub refunded: i64,
    pub refunds: Vec<RefundLife>,
    pub disputes: Vec<DisputeLife>,
    /// Whether an event has shown it.
    pub shown: bool,
}

impl Charge {
    pub fn new(sub: usize, at: i64) -> Self {
        Self {
            sub,
            at,
            refunded: 0,
            refunds: Vec::new(),
            disputes: Vec::new(),
            shown: false,
        }
    }
}

const A_PART: i64 = 500;

impl Stripe {
    pub(super) fn charges(&mut self, made: Charging) -> Option<()> {
        let id = self.charges.len().checked_sub(1)?;
        let charge = &self.charges[id];
        match made {
            Charging::Show => (!charge.shown).then(|| self.show(id)),
            Charging::RefundAPart | Charging::RefundSlowly => {
                (charge.refunded + A_PART <= CENTS).then_some(())?;
                self.refund(id, made == Charging::RefundSlowly);
                Some(())
            }
            Charging::RefundArrives => self.refund_becomes(id, RefundLife::Pending, RefundLife::Succeeded),
            Charging::RefundFails => self.refund_becomes(id, RefundLife::Succeeded, RefundLife::Failed),
            Charging::Inquire | Charging::Dispute => {
                let life = if made == Charging::Inquire {
                    DisputeLife::Inquiry
                } else {
                    DisputeLife::Open
                };
                self.show(id);
                self.charges[id].disputes.push(life);
                self.say_dispute(id, true);
                Some(())
            }
            Charging::AnswerDispute => self.dispute_becomes(id, &[DisputeLife::Open], DisputeLife::Answered),
            Charging::LoseDispute => {
                self.dispute_becomes(id, &[DisputeLife::Open, DisputeLife::Answered], DisputeLife::Lost)
            }
            // Also after it was lost.
            Charging::WinDispute => {
                self.dispute_becomes(id, &[DisputeLife::Answered, DisputeLife::Lost], DisputeLife::Won)
            }
        }
    }

    /// `charge.succeeded`, with the time at which it was.
    fn show(&mut self, id: usize) {
        if std::mem::replace(&mut self.charges[id].shown, true) {
            return;
        }
        let (sub, at) = (self.charges[id].sub, self.charges[id].at);
        let word = Word::Charged {
            charge: id,
            refunded: 0,
        };
        self.say(sub, word);
        if let Some(said) = self.events.last_mut() {
            said.at = at;
        }
    }

    fn refund(&mut self, id: usize, slowly: bool) {
        self.show(id);
        let charge = &mut self.charges[id];
        charge.refunded += A_PART;
        charge.refunds.push(if slowly {
            RefundLife::Pending
        } else {
            RefundLife::Succeeded
        });
        let (sub, refunded) = (charge.sub, charge.refunded);
        self.say(sub, Word::Charged { charge: id, refunded });
        self.say_refund(id);
    }

    fn refund_becomes(&mut self, id: usize, from: RefundLife, to: RefundLife) -> Option<()> {
        let refund = self.charges[id].refunds.last_mut().filter(|life| **life == from)?;
        *refund = to;
        self.say_refund(id);
        Some(())
    }

    fn say_refund(&mut self, id: usize) {
        let charge = &self.charges[id];
        let refund = charge.refunds.len() - 1;
        let word = Word::Refund {
            charge: id,
            refund,
            life: charge.refunds[refund],
        };
        self.say(charge.sub, word);
    }

    fn dispute_becomes(&mut self, id: usize, from: &[DisputeLife], to: DisputeLife) -> Option<()> {
        let dispute = self.charges[id]
            .disputes
            .last_mut()
            .filter(|life| from.contains(life))?;
        *dispute = to;
        self.say_dispute(id, false);
        Some(())
    }

    fn say_dispute(&mut self, id: usize, opened: bool) {
        let charge = &self.charges[id];
        let dispute = charge.disputes.len() - 1;
        let word = Word::Dispute {
            charge: id,
            dispute,
            life: charge.disputes[dispute],
            opened,
        };
        self.say(charge.sub, word);
    }
}
