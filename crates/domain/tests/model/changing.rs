//! Subscriptions change and go on: trials, pauses, prices, announced ends.

use super::moves::{CENTS, DAY, MONTH, moves};
use super::{Life, Paid, Stripe, Sub, Told, Word};

moves! {
    /// What changes.
    Change {
        EndTrialPaid,
        EndTrialEarly,
        EndTrialUnpaid,
        EndTrialWithoutCard,
        ExtendTrial,
        Freeze,
        Thaw,
        FreezeTheOldest,
        FreezeAndThaw,
        ThawFreezeAndEnd,
        Pause,
        ResumePaid,
        ResumeBehind,
        CancelAtPeriodEnd,
        WithdrawCancellation,
        Price,
        PriceUnpaid,
        PriceOnTrial,
        Touch,
    }
}

impl Stripe {
    pub(super) fn changes(&mut self, made: Change) -> Option<()> {
        match made {
            Change::EndTrialPaid
            | Change::EndTrialEarly
            | Change::EndTrialUnpaid
            | Change::EndTrialWithoutCard
            | Change::ExtendTrial => {
                let id = self.newest_that(|sub| sub.life == Life::Trial)?;
                self.trial(made, id);
            }
            Change::Freeze | Change::Thaw => {
                let freeze = made == Change::Freeze;
                let id = self.newest_that(|sub| sub.is_live() && sub.frozen != freeze)?;
                self.change(id, |sub| sub.frozen = freeze);
            }
            Change::FreezeTheOldest => {
                let id = self.subs.iter().position(|sub| sub.is_live() && !sub.frozen)?;
                self.change(id, |sub| sub.frozen = true);
            }
            Change::FreezeAndThaw => {
                let id = self.newest_that(|sub| sub.is_live() && !sub.frozen)?;
                self.change(id, |sub| sub.frozen = true);
                self.change(id, |sub| sub.frozen = false);
            }
            Change::ThawFreezeAndEnd => {
                let id = self.newest_that(|sub| sub.is_live() && sub.frozen && !sub.ends)?;
                self.change(id, |sub| sub.frozen = false);
                self.change(id, |sub| sub.frozen = true);
                self.change(id, |sub| sub.ends = true);
            }
            Change::Pause => {
                let id = self.newest_that(|sub| sub.life == Life::Active)?;
                self.change(id, |sub| sub.life = Life::Paused);
                self.say(id, Word::Told(Told::Paused));
            }
            Change::ResumePaid | Change::ResumeBehind => {
                let id = self.newest_that(|sub| sub.life == Life::Paused)?;
                let paid = made == Change::ResumePaid;
                self.change(id, |sub| sub.life = if paid { Life::Active } else { Life::PastDue });
                self.say(id, Word::Told(Told::Resumed));
            }
            Change::CancelAtPeriodEnd | Change::WithdrawCancellation => {
                let ends = made == Change::CancelAtPeriodEnd;
                let id = self.newest_that(|sub| sub.is_live() && sub.ends != ends)?;
                self.change(id, |sub| sub.ends = ends);
            }
            Change::Price | Change::PriceUnpaid | Change::PriceOnTrial => self.price(made)?,
            Change::Touch => {
                let id = self.newest()?;
                self.say(id, Word::Told(Told::Touched));
            }
        }
        Some(())
    }

    fn trial(&mut self, made: Change, id: usize) {
        let now = self.now;
        match made {
            Change::EndTrialPaid | Change::EndTrialEarly => {
                self.change(id, |sub| {
                    sub.life = Life::Active;
                    if made == Change::EndTrialEarly {
                        sub.trial_end = Some(now);
                        sub.period_end = now;
                    }
                    sub.period_end += MONTH;
                });
                self.pay(id, false, CENTS, Paid::Charged);
            }
            Change::EndTrialUnpaid => {
                self.later();
                self.change(id, |sub| {
                    sub.life = Life::Active;
                    sub.period_end += MONTH;
                });
                self.fail_new(id, false);
                self.change(id, |sub| sub.life = Life::PastDue);
            }
            Change::ExtendTrial => self.change(id, |sub| {
                sub.trial_end = sub.trial_end.map(|end| end + DAY);
                sub.period_end += DAY;
            }),
            _ => {
                self.change(id, |sub| sub.life = Life::Paused);
                self.say(id, Word::Told(Told::Paused));
            }
        }
    }

    /// An upgrade in place, or back. What is not agreed is not in the same second as anything else: of a second whose events are
    /// only partly heard nobody could tell the end.
    fn price(&mut self, made: Change) -> Option<()> {
        let fits = |sub: &Sub| match made {
            Change::PriceUnpaid => sub.life == Life::Active,
            Change::PriceOnTrial => sub.life == Life::Trial,
            _ => sub.is_live(),
        };
        let id = self.newest_that(fits)?;
        let price = match (self.setting.priced, self.subs[id].price) {
            (true, 1) | (false, _) => self.subs[id].price + 1,
            (true, _) => 1,
        };
        let apart = i64::from(self.setting.priced);
        self.now += apart;
        self.change(id, |sub| sub.price = price);
        self.now += apart;
        if made == Change::PriceUnpaid {
            self.later();
            self.fail_new(id, false);
            self.change(id, |sub| sub.life = Life::PastDue);
        }
        Some(())
    }
}
