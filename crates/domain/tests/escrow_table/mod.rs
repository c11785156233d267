//! The places where an escrow can stand, and what can happen to it there.

use domain::escrow::decide::decide;
use domain::escrow::decision::Decision;
use domain::escrow::facts::{DisputeStage, Readiness};
use domain::escrow::failure::{ErrorCode, Failure};
use domain::escrow::held::Escrow;
use domain::escrow::input::{Command, Fact, Input, JobOutcome};
use domain::escrow::split::{Claim, Fee, Share, Split};
use domain::escrow::state::EscrowStatus;
use domain::escrow::terms::{CaptureMethod, OnAuthorizationExpiry, Terms};
use domain::ids::{AccountId, DisputeId, EscrowId, TransferId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

const NOW: i64 = 1_000_000;
const CAPTURE_BEFORE: i64 = NOW + 7 * 86_400;
const EXPIRES: i64 = NOW + 30 * 86_400;

pub fn account(name: &str) -> AccountId {
    AccountId::parse(format!("acct_{name}")).expect("an id")
}

fn transfer(name: &str) -> TransferId {
    TransferId::parse(format!("tr_{name}")).expect("an id")
}

fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::EUR)
}

/// EUR 100.00: EUR 10.00 of fee, EUR 63.00 to A, EUR 27.00 to B.
fn fresh() -> Escrow {
    let claim = |name, points| Claim {
        account: account(name),
        share: Share::BasisPoints(points),
    };
    let claims = [claim("a", 7_000), claim("b", 3_000)];
    Escrow::new(Terms {
        id: EscrowId::parse("escrow_1").expect("an id"),
        split: Split::new(eur(10_000), &claims, Fee::BasisPoints(1_000)).expect("a split"),
        capture: CaptureMethod::Manual,
        on_authorization_expiry: OnAuthorizationExpiry::Capture,
        expires_at: UnixSeconds(EXPIRES),
    })
}

/// A place where an escrow can stand: the way to it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub status: EscrowStatus,
    pub because: &'static str,
    way: &'static [Kind],
}

impl Place {
    pub fn all() -> Vec<Self> {
        EscrowStatus::ALL.iter().copied().flat_map(Self::of).collect()
    }

    /// The ways to come to a status. A new status has to be given its own.
    fn of(status: EscrowStatus) -> Vec<Self> {
        use Kind::{
            AllRefunded, Authorized, Captured, DisputeLost, DisputeOpened, JobDone, JobNotReady, JobRefused,
            PaymentCanceled, PaymentFailed, RefundAll, Release, TakenBackOutside,
        };
        let ways: &[(&'static str, &'static [Kind])] = match status {
            EscrowStatus::AwaitingPayment => &[("nothing has happened", &[])],
            EscrowStatus::PaymentFailed => &[("the payment was declined", &[PaymentFailed])],
            EscrowStatus::Held => &[("authorised", &[Authorized]), ("captured", &[Captured])],
            EscrowStatus::Processing => &[
                ("released, being captured", &[Authorized, Release]),
                ("released, being paid out", &[Captured, Release]),
            ],
            EscrowStatus::Distributed => &[("both are paid", &[Captured, Release, JobDone, JobDone])],
            EscrowStatus::TransferFailed => &[(
                "A was refused for lack of funds, B is paid",
                &[Captured, Release, JobRefused, Kind::SecondJobDone],
            )],
            EscrowStatus::PendingUserSetup => &[(
                "A cannot receive, B is paid",
                &[Captured, Release, JobNotReady, Kind::SecondJobDone],
            )],
            EscrowStatus::Refunding => &[
                ("being canceled before its capture", &[Authorized, RefundAll]),
                ("captured, being refunded", &[Captured, RefundAll]),
                (
                    "paid out, being reversed before it is refunded",
                    &[Captured, Release, JobDone, JobDone, RefundAll],
                ),
            ],
            EscrowStatus::Refunded => &[(
                "refunded before its release",
                &[Captured, RefundAll, JobDone, AllRefunded],
            )],
            EscrowStatus::Canceled => &[("canceled before its capture", &[Authorized, PaymentCanceled])],
            EscrowStatus::Reversed => &[
                (
                    "a dispute was lost before its release",
                    &[Captured, DisputeOpened, DisputeLost],
                ),
                (
                    "A was taken back in the dashboard",
                    &[Captured, Release, JobDone, JobDone, TakenBackOutside],
                ),
            ],
            EscrowStatus::Disputed => &[
                ("disputed before its release", &[Captured, DisputeOpened]),
                ("disputed while it is paid out", &[Captured, Release, DisputeOpened]),
                (
                    "disputed after it was paid out",
                    &[Captured, Release, JobDone, JobDone, DisputeOpened],
                ),
                (
                    "lost after it was paid out, being clawed back",
                    &[Captured, Release, JobDone, JobDone, DisputeLost],
                ),
            ],
        };
        ways.iter()
            .map(|(because, way)| Self { status, because, way })
            .collect()
    }

    pub fn escrow(self) -> Escrow {
        let mut escrow = fresh();
        for kind in self.way {
            let (input, now) = kind.input(&escrow);
            if let Decision::Apply { next, .. } = decide(&escrow, &input, now) {
                escrow = next;
            }
        }
        escrow
    }
}

macro_rules! kinds {
    ($($name:ident => $told:literal,)*) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($name,)* }

        impl Kind {
            /// All, in the order of the document.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// In words.
            pub fn told(self) -> &'static str {
                match self { $(Self::$name => $told,)* }
            }
        }
    };
}

kinds! {
    Release => "*release*",
    RefundAll => "*refund* all that is left",
    RefundPart => "*refund* EUR 10.00",
    RefundTooMuch => "*refund* EUR 100.01",
    Expire => "*expire*, after its time",
    ExpireEarly => "*expire*, before its time",
    Secure => "*secure* its authorisation, shortly before that ends",
    Retry => "*retry* its first job",
    WithdrawRefund => "*withdraw the refund* that was refused",
    BearLoss => "*bear the loss* of A",
    PaymentFailed => "the payment was declined",
    Authorized => "the payment was authorised",
    Captured => "the payment was captured",
    PaymentCanceled => "the payment was canceled",
    PartRefunded => "EUR 10.00 are refunded in all",
    AllRefunded => "EUR 100.00 are refunded in all",
    DisputeOpened => "a dispute of EUR 100.00 was opened",
    DisputeWon => "that dispute was won",
    DisputeLost => "that dispute was lost",
    Inquiry => "a bank inquires",
    TransferExists => "the transfer to A exists",
    TakenBackOutside => "the transfer to A was reversed",
    LegacyTransferFailed => "`transfer.failed` of the transfer to A",
    AccountBarred => "A cannot receive",
    AccountReady => "A can receive",
    PayoutFailed => "a payout of A's failed",
    WrongCurrency => "a capture in another currency",
    Stranger => "a transfer to a stranger",
    JobDone => "its first job was done",
    SecondJobDone => "its second job was done",
    JobRefused => "its first job was refused for lack of funds",
    JobNotReady => "its first job was refused: the account is not set up",
    JobGivenUp => "its first job was refused for good",
    JobDropped => "its first job was withdrawn",
    JobAbandoned => "its first job did not happen and is not wanted any more",
}

impl Kind {
    /// The input, and when it comes.
    pub fn input(self, escrow: &Escrow) -> (Input, UnixSeconds) {
        let now = match self {
            Self::Expire => EXPIRES,
            Self::Secure => CAPTURE_BEFORE - 3_600,
            _ => NOW,
        };
        let command = |command| Input::Command(command);
        let input = match self {
            Self::Release => command(Command::Release),
            Self::RefundAll => command(Command::Refund(None)),
            Self::RefundPart => command(Command::Refund(Some(1_000))),
            Self::RefundTooMuch => command(Command::Refund(Some(10_001))),
            Self::Expire | Self::ExpireEarly => command(Command::Expire),
            Self::Secure => command(Command::SecureAuthorization),
            Self::Retry => command(Command::Retry { job: first_job(escrow) }),
            Self::WithdrawRefund => command(Command::WithdrawRefund),
            Self::BearLoss => command(Command::BearLoss(account("a"))),
            Self::PaymentFailed
            | Self::Authorized
            | Self::Captured
            | Self::PaymentCanceled
            | Self::PartRefunded
            | Self::AllRefunded
            | Self::DisputeOpened
            | Self::DisputeWon
            | Self::DisputeLost
            | Self::Inquiry
            | Self::TransferExists
            | Self::TakenBackOutside
            | Self::LegacyTransferFailed
            | Self::AccountBarred
            | Self::AccountReady
            | Self::PayoutFailed
            | Self::WrongCurrency
            | Self::Stranger
            | Self::JobDone
            | Self::SecondJobDone
            | Self::JobRefused
            | Self::JobNotReady
            | Self::JobGivenUp
            | Self::JobDropped
            | Self::JobAbandoned => Input::Fact(self.fact(escrow)),
        };
        (input, UnixSeconds(now))
    }

    fn fact(self, escrow: &Escrow) -> Fact {
        let done = |job, outcome| Fact::JobDone { job, outcome };
        let dispute = |stage| Fact::Disputed {
            dispute: DisputeId::parse("dp_1").expect("an id"),
            stage,
            amount: eur(10_000),
        };
        let seen = |readiness, at| Fact::AccountSeen {
            account: account("a"),
            readiness,
            at: UnixSeconds(at),
        };
        let refused = |code| JobOutcome::Refused(Failure::new(code, 400));
        match self {
            Self::PaymentFailed => Fact::PaymentFailed,
            Self::Authorized => Fact::Authorized {
                capture_before: Some(UnixSeconds(CAPTURE_BEFORE)),
            },
            Self::PaymentCanceled => Fact::PaymentCanceled,
            Self::WrongCurrency => Fact::Captured(Money::new(10_000, Currency::parse("usd").expect("a code"))),
            Self::PartRefunded => Fact::Refunded(eur(1_000)),
            Self::AllRefunded => Fact::Refunded(eur(10_000)),
            Self::DisputeOpened => dispute(DisputeStage::Open),
            Self::DisputeWon => dispute(DisputeStage::Won),
            Self::DisputeLost => dispute(DisputeStage::Lost),
            Self::Inquiry => dispute(DisputeStage::Inquiry),
            Self::TransferExists => Fact::Transferred {
                account: account("a"),
                transfer: transfer("a"),
                amount: eur(6_300),
            },
            Self::TakenBackOutside => Fact::TransferReversed {
                account: account("a"),
                transfer: transfer("a"),
                amount: eur(6_300),
                total: eur(6_300),
            },
            Self::LegacyTransferFailed => Fact::TransferFailed {
                account: account("a"),
                transfer: transfer("a"),
                amount: eur(6_300),
            },
            Self::Stranger => Fact::Transferred {
                account: account("c"),
                transfer: transfer("c"),
                amount: eur(6_300),
            },
            Self::AccountBarred => seen(Readiness::NotReady(ErrorCode::InsufficientCapabilitiesForTransfer), NOW),
            Self::AccountReady => seen(Readiness::Ready, NOW + 60),
            Self::PayoutFailed => Fact::PayoutFailed(account("a")),
            Self::JobDone => done(first_job(escrow), job_done(escrow)),
            Self::SecondJobDone => done(2, JobOutcome::Done(Some(transfer("b")))),
            Self::JobRefused => done(first_job(escrow), refused(ErrorCode::BalanceInsufficient)),
            Self::JobNotReady => done(
                first_job(escrow),
                refused(ErrorCode::InsufficientCapabilitiesForTransfer),
            ),
            Self::JobGivenUp => {
                let failure = Failure::new(ErrorCode::AccountClosed, 400);
                done(first_job(escrow), JobOutcome::GivenUp(Some(failure)))
            }
            Self::JobDropped => done(first_job(escrow), JobOutcome::Dropped),
            Self::JobAbandoned => done(first_job(escrow), JobOutcome::Abandoned),
            _ => Fact::Captured(eur(10_000)),
        }
    }
}

fn first_job(escrow: &Escrow) -> u32 {
    escrow.jobs.keys().next().copied().unwrap_or(99)
}

fn job_done(escrow: &Escrow) -> JobOutcome {
    let to_b = escrow.jobs.values().next().is_some_and(|job| job.amount == 2_700);
    JobOutcome::Done(Some(transfer(if to_b { "b" } else { "a" })))
}

/// An input that no row is of would not be decided in the document: a new one stops the build here.
pub const fn has_rows(input: &Input) -> bool {
    match input {
        Input::Command(
            Command::Release
            | Command::Refund(_)
            | Command::Expire
            | Command::SecureAuthorization
            | Command::Retry { .. }
            | Command::WithdrawRefund
            | Command::BearLoss(_),
        )
        | Input::Fact(
            Fact::PaymentFailed
            | Fact::Authorized { .. }
            | Fact::Captured(_)
            | Fact::PaymentCanceled
            | Fact::Refunded(_)
            | Fact::Disputed { .. }
            | Fact::Transferred { .. }
            | Fact::TransferReversed { .. }
            | Fact::AccountSeen { .. }
            | Fact::TransferFailed { .. }
            | Fact::PayoutFailed(_)
            | Fact::JobDone { .. },
        ) => true,
    }
}
