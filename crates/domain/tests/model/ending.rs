//! Subscriptions end.

use super::moves::moves;
use super::{Life, Stripe, Sub};

moves! {
    /// How a subscription ends.
    End {
        Now,
        TheOldestNow,
        WithItsPeriod,
        TrialWithoutCard,
    }
}

impl Stripe {
    pub(super) fn ends(&mut self, made: End) -> Option<()> {
        let id = match made {
            End::Now => self.newest()?,
            End::TheOldestNow => self.subs.iter().position(|sub| !sub.life.is_over())?,
            End::WithItsPeriod => self.newest_that(|sub: &Sub| sub.is_live() && sub.ends)?,
            End::TrialWithoutCard => self.newest_that(|sub| sub.life == Life::Trial)?,
        };
        self.cancel(id);
        Some(())
    }

    pub(super) fn cancel(&mut self, id: usize) {
        self.change(id, |sub| sub.life = Life::Canceled);
    }
}
