//! Subscriptions begin: bought, tried, bought again, exchanged for another one.

use super::moves::{CENTS, DAY, moves};
use super::{Checkout, Life, Paid, Stripe, Sub};

moves! {
    /// How a subscription begins.
    Buy {
        ByCheckout,
        ByInvoice,
        ByDebit,
        Incomplete,
        Trial,
        ASecond,
        TryASecond,
        AtAnotherPrice,
        Again,
        AgainAsAnotherCustomer,
        UpgradeByNewOne,
        UpgradeOldDeletedFirst,
        UpgradeTwice,
        UpgradeFails,
    }
}

const TWO_WEEKS: i64 = 14 * DAY;

impl Stripe {
    pub(super) fn buys(&mut self, made: Buy) -> Option<()> {
        match made {
            Buy::ByCheckout | Buy::ByInvoice => {
                self.newest().is_none().then_some(())?;
                self.buy(made == Buy::ByCheckout, 1);
            }
            Buy::ByDebit => {
                self.newest().is_none().then_some(())?;
                self.buy_by_debit();
            }
            Buy::Incomplete => {
                self.newest().is_none().then_some(())?;
                self.begin(Life::Incomplete, 1, None);
            }
            Buy::Trial => {
                self.newest().is_none().then_some(())?;
                let id = self.begin(Life::Trial, 1, Some(self.now + TWO_WEEKS));
                self.pay(id, true, 0, Paid::Charged);
            }
            Buy::ASecond => {
                self.newest_that(Sub::is_live)?;
                self.buy(true, 1);
            }
            Buy::TryASecond => {
                self.newest_that(Sub::is_live)?;
                self.begin(Life::Trial, 1, Some(self.now + TWO_WEEKS));
            }
            Buy::AtAnotherPrice => {
                self.setting.priced.then_some(())?;
                self.buy(true, 2);
            }
            Buy::Again | Buy::AgainAsAnotherCustomer => {
                (!self.subs.is_empty() && self.newest().is_none()).then_some(())?;
                if made == Buy::AgainAsAnotherCustomer {
                    self.customer += 1;
                }
                self.buy(true, 1);
            }
            Buy::UpgradeByNewOne | Buy::UpgradeOldDeletedFirst | Buy::UpgradeTwice | Buy::UpgradeFails => {
                let old = self.newest_that(Sub::is_live)?;
                self.upgrade(made, old);
            }
        }
        Some(())
    }

    fn upgrade(&mut self, made: Buy, old: usize) {
        let price = self.subs[old].price;
        let price = if self.setting.priced { price } else { price + 1 };
        match made {
            Buy::UpgradeOldDeletedFirst => {
                self.cancel(old);
                self.buy(true, price);
            }
            Buy::UpgradeTwice => {
                let between = self.buy(false, price);
                self.cancel(old);
                self.buy(false, price);
                self.cancel(between);
            }
            Buy::UpgradeFails => {
                let new = self.begin(Life::Incomplete, price, None);
                self.fail(new, true);
                self.now += DAY - 3_600;
                self.change(new, |sub| sub.life = Life::Expired);
            }
            _ => {
                self.buy(true, price);
                self.cancel(old);
            }
        }
    }

    fn buy(&mut self, by_checkout: bool, price: u8) -> usize {
        let id = self.begin(Life::Active, price, None);
        let invoice = self.pay(id, true, CENTS, Paid::Charged);
        if by_checkout {
            self.check_out(id, invoice, Checkout::Paid);
        }
        id
    }

    /// The subscription is active at once and the money comes days later, or does not.
    fn buy_by_debit(&mut self) {
        let id = self.begin(Life::Active, 1, None);
        let invoice = self.invoice(id, true);
        self.money[id].on_its_way = Some(invoice);
        self.check_out(id, invoice, Checkout::Unpaid);
    }
}
