//! Invoices: paid, paid by hand, of nothing, failed, recovered, given up.

use super::charging::Charge;
use super::moves::{CENTS, MONTH, moves};
use super::{Checkout, Invoice, Life, Paid, Stripe, Sub, Told, Try, Word};

moves! {
    /// What becomes of invoices.
    Bill {
        SettleFirst,
        CheckOutFirst,
        FailFirst,
        ExpireFirst,
        DebitArrives,
        DebitFails,
        Renew,
        RenewForNothing,
        FailRenewal,
        FailNextRenewal,
        RenewWhileBehind,
        OlderIsPaid,
        OlderFailsAgain,
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
            // At a checkout, a second card is tried where the first one fails.
            Bill::SettleFirst | Bill::CheckOutFirst => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.change(id, |sub| sub.life = Life::Active);
                let open = self.money[id].open.last().copied();
                let first = open.unwrap_or_else(|| self.invoice(id, true));
                self.settle(id, first, CENTS, Paid::Charged);
                if made == Bill::CheckOutFirst {
                    self.check_out(id, first, Checkout::Paid);
                }
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
                self.fail_new(id, false);
            }
            // The next period's invoice, while the one before is not paid.
            Bill::FailNextRenewal => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.later();
                self.change(id, |sub| sub.period_end += MONTH);
                self.fail_new(id, false);
            }
            Bill::RenewWhileBehind => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.later();
                self.change(id, |sub| sub.period_end += MONTH);
                let invoice = self.invoice(id, false);
                self.settle(id, invoice, CENTS, Paid::Charged);
                self.change(id, |sub| sub.life = Life::Active);
            }
            // Stripe tries for weeks: an invoice that a newer one has followed says nothing of the subscription any more.
            Bill::OlderIsPaid | Bill::OlderFailsAgain => {
                let id = self.newest_that(Sub::is_live)?;
                let (open, life) = (&self.money[id].open, self.subs[id].life);
                let newest = open.last().filter(|_| life != Life::Active);
                let older = *open
                    .first()
                    .filter(|first| newest.is_none_or(|newest| first.made < newest.made))?;
                self.later();
                if made == Bill::OlderIsPaid {
                    self.settle(id, older, CENTS, Paid::Charged);
                } else {
                    self.fall_behind(id, older);
                }
            }
            Bill::Recover | Bill::RecoverOutOfBand => {
                let id = self.newest_that(|sub| matches!(sub.life, Life::PastDue | Life::Unpaid))?;
                let how = if made == Bill::Recover {
                    Paid::Charged
                } else {
                    Paid::OutOfBand
                };
                self.pay_open(id, how);
                self.change(id, |sub| sub.life = Life::Active);
            }
            Bill::RecoverAndRenewAtOnce => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.pay_open(id, Paid::Charged);
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
                let invoice = self.invoice(id, false);
                self.say_failed(id, invoice);
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
        let invoice = self.money[id].on_its_way?;
        self.later();
        self.money[id].on_its_way = None;
        let how = if arrives {
            self.settle(id, invoice, CENTS, Paid::Charged);
            Checkout::PaidLater
        } else {
            self.change(id, |sub| sub.life = Life::PastDue);
            self.fall_behind(id, invoice);
            Checkout::NeverPaid
        };
        self.check_out(id, invoice, how);
        Some(())
    }

    /// A new invoice is paid.
    pub(super) fn pay(&mut self, sub: usize, first: bool, cents: i64, how: Paid) -> Invoice {
        let invoice = self.invoice(sub, first);
        self.settle(sub, invoice, cents, how);
        invoice
    }

    /// The newest invoice that is open is paid, or a new one where none is.
    fn pay_open(&mut self, sub: usize, how: Paid) {
        let open = self.money[sub].open.last().copied();
        let invoice = open.unwrap_or_else(|| self.invoice(sub, false));
        self.settle(sub, invoice, CENTS, how);
    }

    fn settle(&mut self, sub: usize, invoice: Invoice, cents: i64, how: Paid) {
        let paid = |how| Word::Paid { invoice, cents, how };
        self.say(sub, paid(how));
        if self.setting.both_words && how == Paid::Charged {
            self.say(sub, paid(Paid::Succeeded));
        }
        self.money[sub].open.retain(|open| open.number != invoice.number);
        if cents > 0 {
            self.money[sub].tries.push(Try::of(invoice, true));
            if how == Paid::Charged {
                self.charges.push(Charge::new(sub, self.now));
            }
        }
    }

    /// The newest invoice that is open fails again, or a new one where none is.
    pub(super) fn fail(&mut self, sub: usize, first: bool) {
        match self.money[sub].open.last().copied() {
            Some(open) => self.fall_behind(sub, open),
            None => self.fail_new(sub, first),
        }
    }

    /// A new invoice fails.
    pub(super) fn fail_new(&mut self, sub: usize, first: bool) {
        let invoice = self.invoice(sub, first);
        self.fall_behind(sub, invoice);
    }

    /// An invoice fails and will be tried again.
    fn fall_behind(&mut self, sub: usize, invoice: Invoice) {
        self.say_failed(sub, invoice);
        let open = &mut self.money[sub].open;
        if open.iter().all(|known| known.number != invoice.number) {
            open.push(invoice);
            open.sort_by_key(|open| (open.made, open.number));
        }
    }

    fn say_failed(&mut self, sub: usize, invoice: Invoice) {
        self.say(sub, Word::Failed { invoice });
        self.money[sub].tries.push(Try::of(invoice, false));
    }

    pub(super) fn check_out(&mut self, sub: usize, invoice: Invoice, how: Checkout) {
        self.say(sub, Word::Checkout { invoice, how });
        match how {
            Checkout::Paid | Checkout::PaidLater => self.money[sub].tries.push(Try::at_the_till(invoice)),
            Checkout::Unpaid | Checkout::NeverPaid => {}
        }
    }
}
