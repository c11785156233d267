//! What can happen to a customer's subscriptions.

use super::{Life, Stripe, Sub, Word};

macro_rules! moves {
    ($($name:ident,)*) => {
        /// One thing that happens. Where nothing is said of which, it happens to the subscription that began last and lives.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Move { $($name,)* }

        impl Move {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

moves! {
    BuyByCheckout,
    BuyByInvoice,
    BuyIncomplete,
    BuyTrial,
    SettleFirstInvoice,
    FailFirstInvoice,
    ExpireFirstInvoice,
    Renew,
    FailRenewal,
    Recover,
    RecoverAndRenewAtOnce,
    GiveUpUnpaid,
    GiveUpCanceled,
    EndTrialPaid,
    EndTrialUnpaid,
    EndTrialWithoutCard,
    ExtendTrial,
    Freeze,
    Thaw,
    FreezeTheOldest,
    Pause,
    ResumePaid,
    ResumeBehind,
    CancelNow,
    CancelTheOldest,
    CancelAtPeriodEnd,
    WithdrawCancellation,
    PeriodEnds,
    ChangePrice,
    UpgradeByNewOne,
    UpgradeOldDeletedFirst,
    UpgradeTwice,
    UpgradeFails,
    FreezeAndThaw,
    ThawFreezeAndEnd,
    BuyASecond,
    TryASecond,
    Resubscribe,
}

const MONTH: i64 = 2_592_000;

impl Stripe {
    fn newest(&self) -> Option<usize> {
        self.subs.iter().rposition(|sub| !sub.life.is_over())
    }

    fn newest_that(&self, fits: impl Fn(&Sub) -> bool) -> Option<usize> {
        self.newest().filter(|id| fits(&self.subs[*id]))
    }

    fn buy(&mut self, by_checkout: bool, price: u8) -> usize {
        let id = self.begin(Life::Active, price, None);
        let invoice = self.pay(id, true, 1_900);
        if by_checkout {
            self.say(id, Word::Checkout { invoice });
        }
        id
    }

    fn next_price(&self, id: usize) -> u8 {
        let price = self.subs[id].price;
        if self.setting.priced { price } else { price + 1 }
    }

    /// A try to collect is never in the second in which the subscription was last paid.
    fn later(&mut self) {
        self.now += 1;
    }

    /// What is there after a move; `None` where it makes no sense.
    pub fn after(&self, made: Move) -> Option<Self> {
        let mut next = self.clone();
        next.make(made)?;
        Some(next)
    }

    fn make(&mut self, made: Move) -> Option<()> {
        let is = |life: Life| move |sub: &Sub| sub.life == life;
        match made {
            Move::BuyByCheckout | Move::BuyByInvoice => {
                self.newest().is_none().then_some(())?;
                self.buy(made == Move::BuyByCheckout, 1);
            }
            Move::Resubscribe => {
                (!self.subs.is_empty() && self.newest().is_none()).then_some(())?;
                self.buy(true, 1);
            }
            Move::BuyIncomplete => {
                self.newest().is_none().then_some(())?;
                self.begin(Life::Incomplete, 1, None);
            }
            Move::BuyTrial => {
                self.newest().is_none().then_some(())?;
                let id = self.begin(Life::Trial, 1, Some(self.now + 1_209_600));
                self.pay(id, true, 0);
            }
            Move::SettleFirstInvoice => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.change(id, |sub| sub.life = Life::Active);
                self.pay(id, true, 1_900);
            }
            Move::FailFirstInvoice => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.fail(id, true);
            }
            Move::ExpireFirstInvoice => {
                let id = self.newest_that(is(Life::Incomplete))?;
                self.change(id, |sub| sub.life = Life::Expired);
            }
            Move::Renew => {
                let id = self.newest_that(is(Life::Active))?;
                self.change(id, |sub| sub.period_end += MONTH);
                self.pay(id, false, 1_900);
            }
            Move::FailRenewal => {
                let id = self.newest_that(|sub| sub.life == Life::Active && !sub.frozen)?;
                self.later();
                self.change(id, |sub| sub.period_end += MONTH);
                self.change(id, |sub| sub.life = Life::PastDue);
                self.fail(id, false);
            }
            Move::Recover => {
                let id = self.newest_that(|sub| matches!(sub.life, Life::PastDue | Life::Unpaid))?;
                self.pay(id, false, 1_900);
                self.change(id, |sub| sub.life = Life::Active);
            }
            Move::RecoverAndRenewAtOnce => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.pay(id, false, 1_900);
                self.change(id, |sub| sub.life = Life::Active);
                self.change(id, |sub| sub.period_end += MONTH);
            }
            Move::GiveUpUnpaid => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.later();
                self.fail(id, false);
                self.change(id, |sub| sub.life = Life::Unpaid);
            }
            Move::GiveUpCanceled => {
                let id = self.newest_that(is(Life::PastDue))?;
                self.later();
                self.fail(id, false);
                self.change(id, |sub| sub.life = Life::Canceled);
            }
            Move::EndTrialPaid => {
                let id = self.newest_that(is(Life::Trial))?;
                self.change(id, |sub| {
                    sub.life = Life::Active;
                    sub.period_end += MONTH;
                });
                self.pay(id, false, 1_900);
            }
            Move::EndTrialUnpaid => {
                let id = self.newest_that(is(Life::Trial))?;
                self.later();
                self.change(id, |sub| {
                    sub.life = Life::Active;
                    sub.period_end += MONTH;
                });
                self.fail(id, false);
                self.change(id, |sub| sub.life = Life::PastDue);
            }
            Move::EndTrialWithoutCard => {
                let id = self.newest_that(is(Life::Trial))?;
                self.change(id, |sub| sub.life = Life::Paused);
                self.say(id, Word::Told);
            }
            Move::ExtendTrial => {
                let id = self.newest_that(is(Life::Trial))?;
                self.change(id, |sub| {
                    sub.trial_end = sub.trial_end.map(|end| end + 86_400);
                    sub.period_end += 86_400;
                });
            }
            Move::Freeze | Move::Thaw => {
                let freeze = made == Move::Freeze;
                let id = self.newest_that(|sub| sub.is_live() && sub.frozen != freeze)?;
                self.change(id, |sub| sub.frozen = freeze);
            }
            Move::FreezeTheOldest => {
                let id = self.subs.iter().position(|sub| sub.is_live() && !sub.frozen)?;
                self.change(id, |sub| sub.frozen = true);
            }
            Move::Pause => {
                let id = self.newest_that(is(Life::Active))?;
                self.change(id, |sub| sub.life = Life::Paused);
                self.say(id, Word::Told);
            }
            Move::ResumePaid | Move::ResumeBehind => {
                let id = self.newest_that(is(Life::Paused))?;
                let paid = made == Move::ResumePaid;
                self.change(id, |sub| sub.life = if paid { Life::Active } else { Life::PastDue });
                self.say(id, Word::Told);
            }
            Move::CancelNow => {
                let id = self.newest()?;
                self.change(id, |sub| sub.life = Life::Canceled);
            }
            Move::CancelTheOldest => {
                let id = self.subs.iter().position(|sub| !sub.life.is_over())?;
                self.change(id, |sub| sub.life = Life::Canceled);
            }
            Move::CancelAtPeriodEnd | Move::WithdrawCancellation => {
                let ends = made == Move::CancelAtPeriodEnd;
                let id = self.newest_that(|sub| sub.is_live() && sub.ends != ends)?;
                self.change(id, |sub| sub.ends = ends);
            }
            Move::PeriodEnds => {
                let id = self.newest_that(|sub| sub.is_live() && sub.ends)?;
                self.change(id, |sub| sub.life = Life::Canceled);
            }
            Move::ChangePrice => {
                let id = self.newest_that(Sub::is_live)?;
                (!self.setting.priced).then_some(())?;
                self.change(id, |sub| sub.price += 1);
            }
            Move::UpgradeByNewOne | Move::UpgradeOldDeletedFirst => {
                let old = self.newest_that(Sub::is_live)?;
                let price = self.next_price(old);
                if made == Move::UpgradeOldDeletedFirst {
                    self.change(old, |sub| sub.life = Life::Canceled);
                    self.buy(true, price);
                } else {
                    self.buy(true, price);
                    self.change(old, |sub| sub.life = Life::Canceled);
                }
            }
            Move::UpgradeTwice => {
                let old = self.newest_that(Sub::is_live)?;
                let price = self.next_price(old);
                let between = self.buy(false, price);
                self.change(old, |sub| sub.life = Life::Canceled);
                self.buy(false, price);
                self.change(between, |sub| sub.life = Life::Canceled);
            }
            Move::UpgradeFails => {
                let old = self.newest_that(Sub::is_live)?;
                let new = self.begin(Life::Incomplete, self.next_price(old), None);
                self.fail(new, true);
                self.now += 82_800;
                self.change(new, |sub| sub.life = Life::Expired);
            }
            Move::FreezeAndThaw => {
                let id = self.newest_that(|sub| sub.is_live() && !sub.frozen)?;
                self.change(id, |sub| sub.frozen = true);
                self.change(id, |sub| sub.frozen = false);
            }
            Move::ThawFreezeAndEnd => {
                let id = self.newest_that(|sub| sub.is_live() && sub.frozen && !sub.ends)?;
                self.change(id, |sub| sub.frozen = false);
                self.change(id, |sub| sub.frozen = true);
                self.change(id, |sub| sub.ends = true);
            }
            Move::BuyASecond => {
                self.newest_that(Sub::is_live)?;
                self.buy(true, 1);
            }
            Move::TryASecond => {
                self.newest_that(Sub::is_live)?;
                self.begin(Life::Trial, 1, Some(self.now + 1_209_600));
            }
        }
        Some(())
    }
}
