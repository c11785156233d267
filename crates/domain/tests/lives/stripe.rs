//! What really happened: a Stripe that does what it is asked, or refuses, and tells about it in no order.

use domain::escrow::facts::{DisputeStage, Readiness};
use domain::escrow::failure::{ErrorCode, Failure};
use domain::escrow::held::Task;
use domain::escrow::input::{Fact, JobOutcome};
use domain::ids::{AccountId, DisputeId, TransferId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

pub struct Transfer {
    pub to: usize,
    pub amount: i64,
    pub reversed: i64,
    /// How much of it others did.
    pub reversed_outside: i64,
}

pub struct Stripe {
    pub amount: i64,
    pub currency: Currency,
    pub authorized: bool,
    pub captured: Option<i64>,
    pub canceled: bool,
    pub refunded: i64,
    /// How much of it our own calls did.
    pub refunded_by_us: i64,
    pub disputes: Vec<(DisputeStage, i64)>,
    pub transfers: Vec<Transfer>,
    pub ready: Vec<bool>,
    pub clock: i64,
    /// Webhooks and outcomes that were not delivered yet.
    pub told: Vec<Fact>,
}

pub fn account(recipient: usize) -> AccountId {
    AccountId::parse(format!("acct_{recipient}")).expect("an id")
}

fn transfer_id(number: usize) -> TransferId {
    TransferId::parse(format!("tr_{number}")).expect("an id")
}

pub fn dispute(number: usize) -> DisputeId {
    DisputeId::parse(format!("dp_{number}")).expect("an id")
}

fn refusal(code: ErrorCode) -> Failure {
    Failure::new(code, 400)
}

impl Stripe {
    pub fn new(amount: Money, recipients: usize) -> Self {
        Self {
            amount: amount.minor,
            currency: amount.currency,
            authorized: false,
            captured: None,
            canceled: false,
            refunded: 0,
            refunded_by_us: 0,
            disputes: Vec::new(),
            transfers: Vec::new(),
            ready: vec![true; recipients],
            clock: 1_000,
            told: Vec::new(),
        }
    }

    pub fn lost(&self) -> i64 {
        self.disputes
            .iter()
            .filter(|(stage, _)| *stage == DisputeStage::Lost)
            .map(|(_, amount)| amount)
            .sum()
    }

    pub fn net_of(&self, recipient: usize) -> i64 {
        let own = self.transfers.iter().filter(|transfer| transfer.to == recipient);
        own.map(|transfer| transfer.amount - transfer.reversed).sum()
    }

    pub fn taken_outside_from(&self, recipient: usize) -> i64 {
        let own = self.transfers.iter().filter(|transfer| transfer.to == recipient);
        own.map(|transfer| transfer.reversed_outside).sum()
    }

    fn money(&self, minor: i64) -> Money {
        Money::new(minor, self.currency)
    }

    fn tell_transfer(&mut self, number: usize) {
        let transfer = &self.transfers[number];
        let (account, amount, total) = (
            account(transfer.to),
            self.money(transfer.amount),
            self.money(transfer.reversed),
        );
        let transfer = transfer_id(number);
        self.told.push(if total.minor == 0 {
            Fact::Transferred {
                account,
                transfer,
                amount,
            }
        } else {
            Fact::TransferReversed {
                account,
                transfer,
                amount,
                total,
            }
        });
    }

    fn tell_dispute(&mut self, number: usize) {
        let (stage, amount) = self.disputes[number];
        self.told.push(Fact::Disputed {
            dispute: dispute(number),
            stage,
            amount: self.money(amount),
        });
    }

    fn tell_account(&mut self, recipient: usize) {
        self.clock += 1;
        let readiness = if self.ready[recipient] {
            Readiness::Ready
        } else {
            Readiness::NotReady(ErrorCode::InsufficientCapabilitiesForTransfer)
        };
        self.told.push(Fact::AccountSeen {
            account: account(recipient),
            readiness,
            at: UnixSeconds(self.clock),
        });
    }

    /// Somebody reads an account.
    pub fn read(&mut self, account_read: &AccountId) {
        let mut all = 0..self.ready.len();
        self.tell_account(
            all.find(|recipient| account(*recipient) == *account_read)
                .expect("a recipient"),
        );
    }

    /// Something that nobody on our side asked for. What is not possible is not done.
    pub fn act(&mut self, kind: u32, argument: i64) {
        let is_live = !self.canceled && self.captured.is_none();
        let recipient = usize::try_from(argument).expect("small") % self.ready.len();
        match kind {
            0 if is_live && !self.authorized => self.told.push(Fact::PaymentFailed),
            1 if is_live && !self.authorized => {
                self.authorized = true;
                self.told.push(Fact::Authorized {
                    capture_before: Some(UnixSeconds(1_000_000)),
                });
            }
            2 if is_live => {
                self.authorized = true;
                self.captured = Some(self.amount);
                self.told.push(Fact::Captured(self.money(self.amount)));
            }
            3 if is_live && argument % 4 == 0 => {
                self.canceled = true;
                self.told.push(Fact::PaymentCanceled);
            }
            4 if self.captured.is_some() && self.disputes.len() < 2 => {
                // Now and then for more than the charge.
                self.disputes
                    .push((DisputeStage::Open, 1 + argument % (self.amount + self.amount / 4)));
                self.tell_dispute(self.disputes.len() - 1);
            }
            5 | 6 => {
                if let Some(open) = self.disputes.iter().position(|(stage, _)| *stage == DisputeStage::Open) {
                    self.disputes[open].0 = if kind == 5 {
                        DisputeStage::Lost
                    } else {
                        DisputeStage::Won
                    };
                    self.tell_dispute(open);
                } else if let Some(lost) = self.disputes.iter().position(|(stage, _)| *stage == DisputeStage::Lost) {
                    self.disputes[lost].0 = DisputeStage::Won;
                    self.tell_dispute(lost);
                }
            }
            7 => {
                let left = self.captured.unwrap_or(0) - self.refunded;
                if left > 0 {
                    self.refunded += 1 + argument % left;
                    self.told.push(Fact::Refunded(self.money(self.refunded)));
                }
            }
            8 if !self.transfers.is_empty() => {
                let number = usize::try_from(argument).expect("small") % self.transfers.len();
                let left = self.transfers[number].amount - self.transfers[number].reversed;
                if left > 0 {
                    let taken = 1 + argument % left;
                    self.transfers[number].reversed += taken;
                    self.transfers[number].reversed_outside += taken;
                    self.tell_transfer(number);
                }
            }
            9 => {
                self.ready[recipient] = !self.ready[recipient];
                self.tell_account(recipient);
            }
            10 => self.told.push(Fact::PayoutFailed(account(recipient))),
            _ => {}
        }
    }

    /// A call arrives. `luck` 0 and 1 refuse where Stripe may refuse.
    pub fn call(&mut self, task: &Task, amount: i64, luck: u32) -> JobOutcome {
        let transient = JobOutcome::Refused(refusal(ErrorCode::BalanceInsufficient));
        let hopeless = JobOutcome::GivenUp(Some(refusal(ErrorCode::AccountClosed)));
        match (task, luck) {
            (Task::Capture, 0) => return transient,
            (Task::Capture, 1) => return JobOutcome::GivenUp(Some(refusal(ErrorCode::ChargeExpiredForCapture))),
            (Task::Transfer(_) | Task::Reverse(..) | Task::Refund, 0) => return transient,
            (Task::Transfer(_) | Task::Reverse(..) | Task::Refund, 1) => return hopeless,
            _ => {}
        }
        match task {
            Task::Capture if self.canceled || self.captured.is_some() => hopeless,
            Task::Capture => {
                self.captured = Some(amount);
                self.told.push(Fact::Captured(self.money(amount)));
                JobOutcome::Done(None)
            }
            Task::Cancel if self.captured.is_some() => hopeless,
            Task::Cancel => {
                self.canceled = true;
                self.told.push(Fact::PaymentCanceled);
                JobOutcome::Done(None)
            }
            Task::Transfer(to) => self.transfer(to, amount),
            Task::Reverse(_, id) => {
                let mut numbers = 0..self.transfers.len();
                let number = numbers
                    .find(|number| transfer_id(*number) == *id)
                    .expect("a transfer that was made");
                if self.transfers[number].amount - self.transfers[number].reversed < amount {
                    return hopeless;
                }
                self.transfers[number].reversed += amount;
                self.tell_transfer(number);
                JobOutcome::Done(None)
            }
            Task::Refund if self.refunded + amount > self.captured.unwrap_or(0) => hopeless,
            Task::Refund if self.disputes.iter().any(|(stage, _)| *stage == DisputeStage::Open) => {
                JobOutcome::Refused(refusal(ErrorCode::BalanceInsufficient))
            }
            Task::Refund => {
                self.refunded += amount;
                self.refunded_by_us += amount;
                self.told.push(Fact::Refunded(self.money(self.refunded)));
                JobOutcome::Done(None)
            }
        }
    }

    fn transfer(&mut self, to: &AccountId, amount: i64) -> JobOutcome {
        let to = (0..self.ready.len())
            .find(|recipient| account(*recipient) == *to)
            .expect("a recipient");
        if !self.ready[to] {
            return JobOutcome::Refused(refusal(ErrorCode::InsufficientCapabilitiesForTransfer));
        }
        self.transfers.push(Transfer {
            to,
            amount,
            reversed: 0,
            reversed_outside: 0,
        });
        let number = self.transfers.len() - 1;
        self.tell_transfer(number);
        JobOutcome::Done(Some(transfer_id(number)))
    }
}
