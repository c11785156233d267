//! Invoices: paid, paid by hand, of nothing, failed, recovered, given up.

use super::charging::Charge;
use super::moves::{CENTS, MONTH, moves};
use super::{Checkout, Life, Paid, Stripe, Sub, Told, Word};

moves! {
    /// What becomes of invoices.
    Bill {
        SettleFirst,
        FailFirst,
        ExpireFirst,
        DebitArrives,
        DebitFails,
        Renew,
        RenewForNothing,
        FailRenewal,
        Recover,
        RecoverOutOfBand,
        RecoverAndRenewAtOnce,
        GiveUpUnpaid,
        GiveUpCanceled,
        UpdateFails,
        OneOff,
        TwinOfTheLast,
    }
}

impl Stripe {
    pub(super) fn bills(&mut self, made: Bill) -> Option<()> {
        let is = |life: Life| move |sub: &Sub| sub.life == life;
        match made {
            Bill::SettleFirst => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.change(id, |sub| sub.life = Life::Active);
                self.pay(id, true, CENTS, Paid::Charged);
            }
            Bill::FailFirst => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.fail(id, true);
            }
            Bill::ExpireFirst => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.change(id, |sub| sub.life = Life::Expired);
            }
            Bill::DebitArrives | Bill::DebitFails => self.debit(made == Bill::DebitArrives)?,
            Bill::Renew | Bill::RenewForNothing => {
                let id = self.newest_that(is(Life::Active))?;
                let cents = if made == Bill::Renew { CENTS } else { 0 };
                self.change(id, |sub| sub.period_end += MONTH);
                self.pay(id, false, cents, Paid::Charged);
            }
            Bill::FailRenewal => {
                let id = self.newest_that(|sub| sub.life == Life::Active && !sub.frozen)?;
                self.later();
                self.change(id, |sub| sub.period_end += MONTH);
                self.change(id, |sub| sub.life = Life::PastDue);
                self.fail(id, false);
            }
            Bill::Recover | Bill::RecoverOutOfBand => {
                let id = self.newest_that(|sub| matches!(sub.life, Life::PastDue | Life::Unpaid))?;
                let how = if made == Bill::Recover {
                    Paid::Charged
                } else {
                    Paid::OutOfBand
                };
                self.pay(id, false, CENTS, how);
                self.change(id, |sub| sub.life = Life::Active);
            }
            Bill::RecoverAndRenewAtOnce => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.pay(id, false, CENTS, Paid::Charged);
                self.change(id, |sub| sub.life = Life::Active);
                self.change(id, |sub| sub.period_end += MONTH);
            }
            Bill::GiveUpUnpaid | Bill::GiveUpCanceled => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.later();
                self.fail(id, false);
                let life = if made == Bill::GiveUpUnpaid {
                    Life::Unpaid
                } else {
                    Life::Canceled
                };
                self.change(id, |sub| sub.life = life);
            }
            // A change that waits for its payment, which fails: the subscription goes on as it was.
            Bill::UpdateFails => {
                let id = self.newest_that(is(Life::Active))?;
                self.later();
                self.fail(id, false);
                self.say(id, Word::Told(Told::UpdateExpired));
            }
            Bill::OneOff => {
                let id = self.subs.len().checked_sub(1)?;
                self.invoices += 1;
                let invoice = self.invoices;
                self.say(id, Word::OneOff { invoice });
            }
            // Two events for one occurrence.
            Bill::TwinOfTheLast => {
                let twin = self.events.last()?.clone();
                self.events.push(twin);
            }
        }
        Some(())
    }

    fn debit(&mut self, arrives: bool) -> Option<()> {
        let id = self.newest_that(|sub| sub.life == Life::Active)?;
        let (invoice, price) = self.money[id].on_its_way?;
        self.later();
        self.money[id].on_its_way = None;
        let how = if arrives {
            self.settle(id, (invoice, price), true, CENTS, Paid::Charged);
            Checkout::PaidLater
        } else {
            self.change(id, |sub| sub.life = Life::PastDue);
            self.fall_behind(id, (invoice, price), true);
            Checkout::NeverPaid
        };
        self.check_out(id, invoice, how);
        Some(())
    }

    pub(super) fn pay(&mut self, sub: usize, first: bool, cents: i64, how: Paid) -> usize {
        self.invoices += 1;
        let invoice = self.invoices;
        self.settle(sub, (invoice, self.named(sub)), first, cents, how);
        invoice
    }

    fn settle(&mut self, sub: usize, (invoice, price): (usize, Option<u8>), first: bool, cents: i64, how: Paid) {
        let paid = |how| Word::Paid {
            invoice,
            first,
            cents,
            how,
            price,
        };
        self.say(sub, paid(how));
        if self.setting.both_words && how == Paid::Charged {
            self.say(sub, paid(Paid::Succeeded));
        }
        if cents > 0 {
            self.tries(sub, price, true);
            if how == Paid::Charged {
                self.charges.push(Charge::new(sub, self.now));
            }
        }
    }

    pub(super) fn fail(&mut self, sub: usize, first: bool) {
        self.invoices += 1;
        self.fall_behind(sub, (self.invoices, self.named(sub)), first);
    }

    fn fall_behind(&mut self, sub: usize, (invoice, price): (usize, Option<u8>), first: bool) {
        self.say(sub, Word::Failed { invoice, first, price });
        self.tries(sub, price, false);
    }

    /// A checkout never tells its price.
    pub(super) fn check_out(&mut self, sub: usize, invoice: usize, how: Checkout) {
        self.say(sub, Word::Checkout { invoice, how });
        match how {
            Checkout::Paid | Checkout::PaidLater => self.tries(sub, None, true),
            Checkout::Unpaid | Checkout::NeverPaid => {}
        }
    }
}
