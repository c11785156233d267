//! What can happen to a client's subscriptions.

use std::sync::LazyLock;

use super::billing::Bill;
use super::buying::Buy;
use super::changing::Change;
use super::charging::Charging;
use super::ending::End;
use super::{Stripe, Sub};

/// The moves of one kind, and a list of them.
macro_rules! moves {
    ($(#[$doc:meta])* $name:ident { $($variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}
pub(super) use moves;

pub const MONTH: i64 = 2_592_000;
pub const DAY: i64 = 86_400;
/// What a subscription costs.
pub const CENTS: i64 = 1_900;

/// One thing that happens. Where nothing is said of which, it happens to the subscription that began last and lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Buy(Buy),
    Bill(Bill),
    Change(Change),
    End(End),
    Charge(Charging),
}

impl Move {
    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Move>> = LazyLock::new(|| {
            let buy = Buy::ALL.iter().copied().map(Move::Buy);
            let bill = Bill::ALL.iter().copied().map(Move::Bill);
            let change = Change::ALL.iter().copied().map(Move::Change);
            let end = End::ALL.iter().copied().map(Move::End);
            let charge = Charging::ALL.iter().copied().map(Move::Charge);
            buy.chain(bill).chain(change).chain(end).chain(charge).collect()
        });
        &ALL
    }
}

impl Stripe {
    /// Makes a move, or says that it makes no sense here and changes nothing.
    pub fn make(&mut self, made: Move) -> Option<()> {
        match made {
            Move::Buy(made) => self.buys(made),
            Move::Bill(made) => self.bills(made),
            Move::Change(made) => self.changes(made),
            Move::End(made) => self.ends(made),
            Move::Charge(made) => self.charges(made),
        }
    }

    pub(super) fn newest(&self) -> Option<usize> {
        self.subs.iter().rposition(|sub| !sub.life.is_over())
    }

    pub(super) fn newest_that(&self, fits: impl Fn(&Sub) -> bool) -> Option<usize> {
        self.newest().filter(|id| fits(&self.subs[*id]))
    }

    /// What follows is not in the same second. A try to collect is never in the second in which the subscription was last paid.
    pub(super) fn later(&mut self) {
        self.now += 1;
    }
}
