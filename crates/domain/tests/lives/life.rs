//! One escrow and its Stripe, and what has to hold after every step.

use std::collections::BTreeSet;

use domain::escrow::decide::{Effect, Reason, decide};
use domain::escrow::decision::Decision;
use domain::escrow::facts::DisputeStage;
use domain::escrow::held::{Escrow, Job, Standing, Task};
use domain::escrow::input::{Command, Fact, Input, JobOutcome};
use domain::escrow::ledger::Posting;
use domain::escrow::operation::Wish;
use domain::escrow::state::{EscrowStatus, may_become};
use domain::time::UnixSeconds;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::book::{Balances, book};
use crate::stripe::{self, Stripe};

pub const NOW: UnixSeconds = UnixSeconds(10_000);
/// When the escrow's time is over.
const LATE: UnixSeconds = UnixSeconds(30_000);

/// The ledger of the product, kept by adding its postings up.
pub struct Life {
    pub escrow: Escrow,
    pub stripe: Stripe,
    pub balances: Balances,
    pub seen: BTreeSet<EscrowStatus>,
    /// The job's outcomes that are known at Stripe and not here.
    pub called: BTreeSet<u32>,
    /// The jobs whose call was made once and did not happen.
    pub tried: BTreeSet<u32>,
    /// What we were told to refund, all together.
    pub told_to_refund: i64,
}

impl Life {
    pub fn command(&mut self, command: Command) -> TestCaseResult {
        let all = match self.escrow.payment.captured {
            Some(_) => self.escrow.refundable(),
            None => self.escrow.terms.split.amount().minor,
        };
        let is_captured = self.escrow.payment.captured.is_some();
        let (wanted, now) = match &command {
            Command::Refund(amount) => (amount.unwrap_or(all), NOW),
            Command::Expire if is_captured => (all, LATE),
            Command::Expire => (0, LATE),
            _ => (0, NOW),
        };
        if self.take(&Input::Command(command), now)? {
            self.told_to_refund += wanted;
        }
        Ok(())
    }

    fn take(&mut self, input: &Input, now: UnixSeconds) -> Result<bool, TestCaseError> {
        match decide(&self.escrow, input, now) {
            Decision::Apply { next, effects } => {
                for effect in effects {
                    match effect {
                        Effect::Post(posting) => self.post(&posting)?,
                        Effect::ReadAccount(account) => self.stripe.read(&account),
                        Effect::Begin { .. } | Effect::Notify(_) => {}
                    }
                }
                let (from, to) = (self.escrow.status, next.status);
                prop_assert!(from == to || may_become(from, to), "{} to {} by {:?}", from, to, input);
                self.seen.insert(to);
                self.escrow = next;
                self.check(input)?;
                Ok(true)
            }
            Decision::AlreadyApplied => Ok(false),
            Decision::Refused(Reason::Contradiction | Reason::CurrencyMismatch | Reason::UnknownRecipient) => {
                prop_assert!(false, "refused: {:?}", input);
                Ok(false)
            }
            Decision::Refused(_) => Ok(false),
        }
    }

    fn post(&mut self, posting: &Posting) -> TestCaseResult {
        prop_assert!(!posting.moves().is_empty());
        let mut sum = 0;
        for (account, amount) in posting.lines() {
            sum += amount;
            *self.balances.entry(account.clone()).or_default() += amount;
        }
        prop_assert_eq!(sum, 0);
        Ok(())
    }

    fn check(&self, input: &Input) -> TestCaseResult {
        let mut ours: Balances = self.balances.clone();
        ours.retain(|_, balance| *balance != 0);
        prop_assert_eq!(&ours, &book(&self.escrow), "after {:?} in {:?}", input, self.escrow);
        for (place, part) in self.escrow.terms.split.parts().iter().enumerate() {
            prop_assert!(
                self.stripe.net_of(place) <= part.amount,
                "paid twice: {:?}",
                self.escrow
            );
        }
        prop_assert!(self.stripe.refunded <= self.stripe.captured.unwrap_or(0));
        prop_assert!(
            self.stripe.refunded_by_us <= self.told_to_refund,
            "more refunded than was asked: {:?}",
            self.escrow
        );
        Ok(())
    }

    /// A worker picks a job up.
    pub fn work(&mut self, pick: usize, luck: u32, is_lost: bool) -> TestCaseResult {
        let open: Vec<u32> = self
            .escrow
            .jobs
            .iter()
            .filter(|(_, job)| job.standing == Standing::Open)
            .map(|(number, _)| *number)
            .collect();
        let Some(number) = open.get(pick % open.len().max(1)).copied() else {
            return Ok(());
        };
        if self.called.contains(&number) {
            return Ok(());
        }
        let job = self.escrow.jobs[&number].clone();
        let outcome = match self.escrow.wish(number) {
            // It does not get through, which is found out by and by.
            Wish::Wanted if luck == 2 => {
                self.tried.insert(number);
                return Ok(());
            }
            Wish::Wanted => self.stripe.call(&job.task, job.amount, luck),
            Wish::Withdrawn if self.tried.contains(&number) => JobOutcome::Abandoned,
            Wish::Withdrawn => JobOutcome::Dropped,
            Wish::OnHold => return Ok(()),
        };
        if matches!(outcome, JobOutcome::Refused(_)) {
            self.tried.insert(number);
        }
        let was_done = matches!(outcome, JobOutcome::Done(_));
        let done = Fact::JobDone { job: number, outcome };
        if let (Task::Reverse(account, _), true) = (&job.task, was_done) {
            let place = self.escrow.recipients.iter().position(|of| of.account == *account);
            let place = place.expect("a recipient");
            let transfers = self.escrow.recipients[place].transfers.values();
            let known: i64 = transfers.map(|transfer| transfer.reversed.outside).sum();
            let unheard_of = self.stripe.taken_outside_from(place) - known;
            prop_assert!(
                self.stripe.net_of(place) + unheard_of >= self.least_of(place),
                "more taken back than was to be: {:?}",
                self.escrow
            );
        }
        if is_lost {
            self.called.insert(number);
            self.stripe.told.push(done);
        } else {
            self.take(&Input::Fact(done), NOW)?;
        }
        Ok(())
    }

    /// What a recipient is to have at least, by what has really happened at Stripe and what is still to be refunded, and not by what was
    /// heard of it. A dispute that is lost here or there counts as lost.
    fn least_of(&self, place: usize) -> i64 {
        let split = &self.escrow.terms.split;
        let lost_here = |number: usize| {
            let known = self.escrow.disputes.get(&stripe::dispute(number));
            known.is_some_and(|known| known.stage == DisputeStage::Lost)
        };
        let disputes = self.stripe.disputes.iter().enumerate();
        let lost: i64 = disputes
            .filter(|(number, (stage, _))| *stage == DisputeStage::Lost || lost_here(*number))
            .map(|(_, (_, amount))| amount)
            .sum();
        let captured = self.stripe.captured.unwrap_or(0);
        let still_asked = (self.escrow.asked.refund - self.stripe.refunded_by_us).max(0);
        let still_to_refund = still_asked.min((captured - self.stripe.refunded - lost).max(0));
        let back = split.amount().minor - captured + self.stripe.refunded + lost + still_to_refund;
        split.parts()[place].amount - split.returned(back).parts[place]
    }

    pub fn deliver(&mut self, pick: usize, again: bool) -> TestCaseResult {
        if self.stripe.told.is_empty() {
            return Ok(());
        }
        let place = pick % self.stripe.told.len();
        let fact = if again {
            self.stripe.told[place].clone()
        } else {
            self.stripe.told.swap_remove(place)
        };
        if let Fact::JobDone { job, .. } = &fact {
            if again {
                return Ok(());
            }
            self.called.remove(job);
        }
        let before = self.escrow.clone();
        // A dispute that is won late makes more to refund; a refund never does.
        let is_of_a_refund = matches!(fact, Fact::Refunded(_));
        self.take(&Input::Fact(fact), NOW)?;
        let stands = |(_, job): (u32, &Job)| job.standing != Standing::Open;
        if is_of_a_refund && before.job_on(&Task::Refund).is_some_and(stands) {
            let more = self.escrow.refunded.total() - before.refunded.total();
            prop_assert!(
                self.escrow.refund_due() <= (before.refund_due() - more).max(0),
                "what was made by hand is made again: {:?}",
                self.escrow
            );
        }
        Ok(())
    }

    /// Everything is delivered, disputes are closed, accounts are set up, and what was refused is tried again until nothing is left to do.
    pub fn come_to_rest(&mut self) -> TestCaseResult {
        for recipient in 0..self.stripe.ready.len() {
            if !self.stripe.ready[recipient] {
                self.stripe.act(9, i64::try_from(recipient).expect("small"));
            }
        }
        while self
            .stripe
            .disputes
            .iter()
            .any(|(stage, _)| *stage == DisputeStage::Open)
        {
            self.stripe.act(5, 0);
        }
        for round in 0..200 {
            while !self.stripe.told.is_empty() {
                self.deliver(round, false)?;
            }
            if self.escrow.jobs.is_empty() {
                return Ok(());
            }
            let numbers: Vec<u32> = self.escrow.jobs.keys().copied().collect();
            for (place, number) in numbers.into_iter().enumerate() {
                let Some(job) = self.escrow.jobs.get(&number) else {
                    continue;
                };
                match (job.standing, &job.task) {
                    (Standing::GivenUp(_), Task::Reverse(account, _)) if round > 3 => {
                        let account = account.clone();
                        self.take(&Input::Command(Command::BearLoss(account)), NOW)?;
                    }
                    (Standing::Refused(_) | Standing::GivenUp(_), _) => {
                        self.take(&Input::Command(Command::Retry { job: number }), NOW)?;
                    }
                    (Standing::Open, _) => self.work(place, 9, false)?,
                }
            }
        }
        prop_assert!(false, "never comes to rest: {:?}", self.escrow);
        Ok(())
    }

    pub fn check_the_end(&self) -> TestCaseResult {
        let it = &self.escrow;
        prop_assert_eq!(it.refunded.total(), self.stripe.refunded);
        prop_assert_eq!(it.lost(), self.stripe.lost());
        prop_assert_eq!(it.payment.captured, self.stripe.captured);
        for (place, (recipient, target)) in it.recipients.iter().zip(it.targets()).enumerate() {
            prop_assert_eq!(recipient.net(), self.stripe.net_of(place));
            prop_assert!(recipient.net() <= target + recipient.written_off);
            prop_assert!(
                recipient.written_off <= (recipient.net() - target).max(0),
                "no loss: {:?}",
                it
            );
            if matches!(it.status, EscrowStatus::Distributed) {
                prop_assert!(recipient.net() >= target);
            }
        }
        let written_off: i64 = it.recipients.iter().map(|recipient| recipient.written_off).sum();
        let out: i64 = (0..it.recipients.len())
            .map(|place| self.stripe.net_of(place))
            .sum::<i64>()
            + self.stripe.refunded;
        let over = (it.given_back() - it.terms.split.amount().minor).max(0);
        prop_assert!(
            out + self.stripe.lost() <= it.captured() + written_off + over,
            "more out than in: {:?}",
            it
        );
        prop_assert!(
            !matches!(
                it.status,
                EscrowStatus::Refunding
                    | EscrowStatus::Disputed
                    | EscrowStatus::TransferFailed
                    | EscrowStatus::PendingUserSetup
                    | EscrowStatus::Processing
            ),
            "{:?}",
            it
        );
        Ok(())
    }
}
