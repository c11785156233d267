//! Short stories of escrows in which others act beside us, or things come in an order that nobody expects.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use domain::escrow::decide::{Effect, Reason, decide};
use domain::escrow::decision::Decision;
use domain::escrow::facts::DisputeStage;
use domain::escrow::failure::{ErrorCode, Failure};
use domain::escrow::held::{Escrow, Standing, Task};
use domain::escrow::input::{Command, Fact, Input, JobOutcome};
use domain::escrow::notice::Notice;
use domain::escrow::split::{Claim, Fee, Share, Split};
use domain::escrow::state::EscrowStatus;
use domain::escrow::terms::{CaptureMethod, OnAuthorizationExpiry, Terms};
use domain::ids::{AccountId, DisputeId, EscrowId, TransferId};
use domain::money::{Currency, Money};
use domain::time::UnixSeconds;

const NOW: UnixSeconds = UnixSeconds(10_000);
const LATE: UnixSeconds = UnixSeconds(30_000);

fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::parse("eur").expect("a code"))
}

fn seller() -> AccountId {
    AccountId::parse("acct_seller").expect("an id")
}

fn first_transfer() -> TransferId {
    TransferId::parse("tr_1").expect("an id")
}

struct Story {
    escrow: Escrow,
    effects: Vec<Effect>,
}

impl Story {
    /// 100 € for one seller, of which 10 € are the platform's.
    fn new() -> Self {
        let claim = Claim {
            account: seller(),
            share: Share::BasisPoints(10_000),
        };
        let split = Split::new(eur(10_000), &[claim], Fee::BasisPoints(1_000)).expect("a split");
        let escrow = Escrow::new(Terms {
            id: EscrowId::parse("escrow_1").expect("an id"),
            split,
            capture: CaptureMethod::Manual,
            on_authorization_expiry: OnAuthorizationExpiry::Capture,
            expires_at: UnixSeconds(20_000),
        });
        Self {
            escrow,
            effects: Vec::new(),
        }
    }

    fn captured() -> Self {
        let mut story = Self::new();
        story.hear(Fact::Captured(eur(10_000)));
        story
    }

    fn paid_out() -> Self {
        let mut story = Self::captured();
        story.ask(Command::Release, NOW).expect("released");
        story.end(&Task::Transfer(seller()), JobOutcome::Done(Some(first_transfer())));
        story
    }

    fn take(&mut self, input: &Input, now: UnixSeconds) -> Result<(), Reason> {
        match decide(&self.escrow, input, now) {
            Decision::Apply { next, effects } => {
                self.escrow = next;
                self.effects = effects;
                Ok(())
            }
            Decision::AlreadyApplied => {
                self.effects.clear();
                Ok(())
            }
            Decision::Refused(reason) => Err(reason),
        }
    }

    fn ask(&mut self, command: Command, now: UnixSeconds) -> Result<(), Reason> {
        self.take(&Input::Command(command), now)
    }

    fn hear(&mut self, fact: Fact) {
        self.take(&Input::Fact(fact), NOW).expect("a fact");
    }

    /// The call of the job on this task ends.
    fn end(&mut self, task: &Task, outcome: JobOutcome) {
        let (job, _) = self.escrow.job_on(task).expect("a job on it");
        self.hear(Fact::JobDone { job, outcome });
    }

    fn jobs(&self) -> Vec<(Task, i64, Standing)> {
        let jobs = self.escrow.jobs.values();
        jobs.map(|job| (job.task.clone(), job.amount, job.standing)).collect()
    }

    fn reversal(amount: i64) -> (Task, i64, Standing) {
        (Task::Reverse(seller(), first_transfer()), amount, Standing::Open)
    }

    fn has_told(&self, notice: &Notice) -> bool {
        self.effects.contains(&Effect::Notify(notice.clone()))
    }
}

fn transient() -> Failure {
    Failure::new(ErrorCode::BalanceInsufficient, 400)
}

#[test]
fn what_was_refunded_in_the_dashboard_is_not_refunded_again() {
    let mut story = Story::captured();
    story.hear(Fact::Refunded(eur(5_000)));
    assert!(story.has_told(&Notice::RefundedOutside));
    story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
    assert_eq!(story.jobs(), [(Task::Refund, 1_000, Standing::Open)]);
    story.end(&Task::Refund, JobOutcome::Done(None));
    assert_eq!((story.jobs(), story.escrow.refunded.total()), (vec![], 6_000));
    assert_eq!(story.escrow.refundable(), 4_000);
    // Our own refund's webhook says nothing new.
    story.hear(Fact::Refunded(eur(6_000)));
    assert_eq!((story.escrow.refunded.total(), story.effects.len()), (6_000, 0));
}

#[test]
fn a_refund_that_was_accepted_is_made_although_others_refund_meanwhile() {
    let mut story = Story::captured();
    story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
    story.hear(Fact::Refunded(eur(5_000)));
    assert_eq!(story.jobs(), [(Task::Refund, 1_000, Standing::Open)]);
    story.end(&Task::Refund, JobOutcome::Done(None));
    story.hear(Fact::Refunded(eur(6_000)));
    assert_eq!((story.jobs(), story.escrow.refunded.total()), (vec![], 6_000));
}

#[test]
fn what_was_reversed_in_the_dashboard_is_not_taken_back_again() {
    let mut story = Story::paid_out();
    let reversed = |total| Fact::TransferReversed {
        account: seller(),
        transfer: first_transfer(),
        amount: eur(9_000),
        total: eur(total),
    };
    story.hear(reversed(500));
    assert!(story.has_told(&Notice::ReversedOutside(first_transfer())));
    story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
    assert_eq!(story.jobs(), [Story::reversal(400)]);
    story.end(&Task::Reverse(seller(), first_transfer()), JobOutcome::Done(None));
    assert_eq!(story.jobs(), [(Task::Refund, 1_000, Standing::Open)]);
    assert_eq!(story.escrow.recipients[0].net(), 8_100);
}

#[test]
fn a_reversal_from_outside_replaces_as_much_of_ours_that_was_not_made_yet() {
    let mut story = Story::paid_out();
    story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
    assert_eq!(story.jobs(), [Story::reversal(900)]);
    story.hear(Fact::TransferReversed {
        account: seller(),
        transfer: first_transfer(),
        amount: eur(9_000),
        total: eur(500),
    });
    let task = Task::Reverse(seller(), first_transfer());
    story.end(&task, JobOutcome::Dropped);
    assert_eq!(story.jobs(), [Story::reversal(400)]);
    story.end(&task, JobOutcome::Done(None));
    assert_eq!(story.escrow.recipients[0].net(), 8_100);
}

#[test]
fn what_expired_and_was_paid_at_the_last_moment_is_refunded_under_the_breaker() {
    let mut story = Story::new();
    story.ask(Command::Expire, LATE).expect("expired");
    assert_eq!(story.jobs(), [(Task::Cancel, 10_000, Standing::Open)]);
    story.hear(Fact::Captured(eur(10_000)));
    story.end(&Task::Cancel, JobOutcome::Dropped);
    assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Held));
    story
        .ask(Command::Expire, LATE)
        .expect("by the next run, which counts its amount");
    assert_eq!(story.jobs(), [(Task::Refund, 10_000, Standing::Open)]);
}

/// Stripe refuses to cancel what was captured, and its call is settled an hour later: nobody waits for that.
#[test]
fn what_expired_and_was_captured_is_refunded_while_the_cancellation_is_not_settled() {
    let refused = Failure::new(ErrorCode::PaymentIntentUnexpectedState, 400);
    let mut story = Story::new();
    story.ask(Command::Expire, LATE).expect("expired");
    story.hear(Fact::Captured(eur(10_000)));
    assert_eq!(story.escrow.status, EscrowStatus::Held);
    story.ask(Command::Expire, LATE).expect("the next run does not wait");
    assert_eq!(
        story.jobs(),
        [
            (Task::Cancel, 10_000, Standing::Open),
            (Task::Refund, 10_000, Standing::Open)
        ]
    );
    story.end(&Task::Cancel, JobOutcome::GivenUp(Some(refused)));
    assert_eq!(story.jobs(), [(Task::Refund, 10_000, Standing::Open)]);
    story.end(&Task::Refund, JobOutcome::Done(None));
    assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Refunded));
}

/// Our capture is refused because others have canceled the payment.
#[test]
fn what_was_canceled_as_it_was_released_is_canceled() {
    let refused = Failure::new(ErrorCode::PaymentIntentUnexpectedState, 400);
    for command in [Command::Release, Command::SecureAuthorization] {
        let mut story = Story::new();
        story.hear(Fact::Authorized {
            capture_before: Some(UnixSeconds(NOW.0 + 1)),
        });
        story.ask(command, NOW).expect("asked");
        assert_eq!(story.jobs(), [(Task::Capture, 10_000, Standing::Open)]);
        story.hear(Fact::PaymentCanceled);
        story.end(&Task::Capture, JobOutcome::GivenUp(Some(refused)));
        assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Canceled));
    }
}

#[test]
fn what_a_person_gave_up_and_was_captured_is_refunded_at_once() {
    let mut story = Story::new();
    story.ask(Command::Refund(None), NOW).expect("asked");
    story.hear(Fact::Captured(eur(10_000)));
    story.end(&Task::Cancel, JobOutcome::Dropped);
    assert_eq!(story.jobs(), [(Task::Refund, 10_000, Standing::Open)]);
}

#[test]
fn what_was_refunded_or_disputed_was_authorised_before() {
    let dispute = |stage| Fact::Disputed {
        dispute: DisputeId::parse("dp_1").expect("an id"),
        stage,
        amount: eur(10_000),
    };
    for fact in [
        Fact::Refunded(eur(100)),
        dispute(DisputeStage::Won),
        dispute(DisputeStage::Lost),
    ] {
        let mut story = Story::new();
        story.hear(fact);
        assert_eq!(story.escrow.payment.authorized, Some(None));
        // It was captured as well, and so is not to be captured.
        story.ask(Command::Release, NOW).expect("released");
        assert_eq!(story.jobs(), []);
    }
    let mut story = Story::new();
    story.hear(dispute(DisputeStage::Inquiry));
    assert_eq!(story.escrow.payment.authorized, None);
}

#[test]
fn a_claw_back_is_a_loss_only_when_the_money_is_not_there() {
    let lost = |failure: Failure| {
        let mut story = Story::paid_out();
        for stage in [DisputeStage::Open, DisputeStage::Lost] {
            story.hear(Fact::Disputed {
                dispute: DisputeId::parse("dp_1").expect("an id"),
                stage,
                amount: eur(10_000),
            });
        }
        story.end(
            &Task::Reverse(seller(), first_transfer()),
            JobOutcome::GivenUp(Some(failure)),
        );
        (story.escrow.recipients[0].written_off, story.jobs())
    };
    assert_eq!(lost(transient()), (9_000, vec![]));
    let of_our_key = Failure::new(ErrorCode::ApiKeyExpired, 401);
    let (written_off, jobs) = lost(of_our_key);
    assert_eq!((written_off, jobs.len()), (0, 1), "it waits for a person");
}

#[test]
fn after_a_lost_dispute_what_a_refund_needs_back_still_waits_for_a_person() {
    let mut story = Story::paid_out();
    for stage in [DisputeStage::Open, DisputeStage::Lost] {
        story.hear(Fact::Disputed {
            dispute: DisputeId::parse("dp_1").expect("an id"),
            stage,
            amount: eur(3_000),
        });
    }
    let back = Task::Reverse(seller(), first_transfer());
    story.end(&back, JobOutcome::Done(None));
    assert_eq!(story.jobs(), [], "it was taken back");
    story.ask(Command::Refund(Some(2_000)), NOW).expect("asked");
    story.end(&back, JobOutcome::GivenUp(Some(transient())));
    assert_eq!(story.escrow.recipients[0].written_off, 0);
    let jobs: Vec<Task> = story.jobs().into_iter().map(|(task, ..)| task).collect();
    assert_eq!(jobs, [back], "nothing is refunded before it");
}

#[test]
fn a_refund_that_stripe_never_makes_is_withdrawn_and_the_rest_goes_on() {
    let mut story = Story::paid_out();
    assert_eq!(
        story.ask(Command::WithdrawRefund, NOW),
        Err(Reason::WrongStatus(EscrowStatus::Distributed))
    );
    story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
    story.end(&Task::Reverse(seller(), first_transfer()), JobOutcome::Done(None));
    assert_eq!(
        story.ask(Command::WithdrawRefund, NOW),
        Err(Reason::NothingToWithdraw),
        "it may just be made"
    );
    story.end(
        &Task::Refund,
        JobOutcome::GivenUp(Some(Failure::new(ErrorCode::ChargeNotRefundable, 400))),
    );
    assert_eq!(story.escrow.status, EscrowStatus::Refunding);
    story.ask(Command::WithdrawRefund, NOW).expect("withdrawn");
    assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Reversed));
    story
        .ask(Command::Release, NOW)
        .expect("what was taken back is paid again");
    assert_eq!(story.jobs(), [(Task::Transfer(seller()), 900, Standing::Open)]);
}

#[test]
fn a_capture_in_time_that_is_refused_is_tried_again_by_the_rules_of_refusals() {
    let mut story = Story::new();
    story.hear(Fact::Authorized {
        capture_before: Some(NOW),
    });
    story.ask(Command::SecureAuthorization, NOW).expect("due");
    story.end(&Task::Capture, JobOutcome::Refused(transient()));
    let refused = Standing::Refused(transient());
    assert_eq!(story.jobs(), [(Task::Capture, 10_000, refused)]);
    assert_eq!(story.escrow.status, EscrowStatus::Held);
    story.ask(Command::SecureAuthorization, NOW).expect("due");
    assert_eq!(story.jobs(), [(Task::Capture, 10_000, refused)], "no second job");
    let (job, _) = story.escrow.job_on(&Task::Capture).expect("a job");
    story.ask(Command::Retry { job }, NOW).expect("the retry service asks");
    assert_eq!(story.jobs(), [(Task::Capture, 10_000, Standing::Open)]);
}
