//! Short stories of escrows in which others act beside us, or things come in an order that nobody expects.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;

use domain::escrow::decide::{Effect, Reason, decide};
use domain::escrow::decision::Decision;
use domain::escrow::facts::DisputeStage;
use domain::escrow::failure::{ErrorCode, Failure};
use domain::escrow::held::{Escrow, Standing, Task};
use domain::escrow::input::{Command, Fact, Input, JobOutcome};
use domain::escrow::ledger::Account;
use domain::escrow::notice::{DisputeNews, Notice};
use domain::escrow::operation::Wish;
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

fn other_seller() -> AccountId {
    AccountId::parse("acct_other").expect("an id")
}

fn first_transfer() -> TransferId {
    TransferId::parse("tr_1").expect("an id")
}

#[derive(Clone)]
struct Story {
    escrow: Escrow,
    effects: Vec<Effect>,
    book: BTreeMap<Account, i64>,
}

impl Story {
    /// 100 € for one seller, of which 10 € are the platform's.
    fn new() -> Self {
        Self::of(&[seller()])
    }

    /// The same for two sellers, each of whom has half.
    fn of_two() -> Self {
        Self::of(&[seller(), other_seller()])
    }

    fn of(sellers: &[AccountId]) -> Self {
        let share = 10_000 / u32::try_from(sellers.len()).expect("few");
        let claims = sellers.iter().map(|account| Claim {
            account: account.clone(),
            share: Share::BasisPoints(share),
        });
        let claims: Vec<Claim> = claims.collect();
        let split = Split::new(eur(10_000), &claims, Fee::BasisPoints(1_000)).expect("a split");
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
            book: BTreeMap::new(),
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
                for effect in &effects {
                    let Effect::Post(posting) = effect else { continue };
                    posting
                        .lines()
                        .for_each(|(account, amount)| *self.book.entry(account.clone()).or_default() += amount);
                }
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

    fn balance(&self, account: &Account) -> i64 {
        self.book.get(account).copied().unwrap_or_default()
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
fn a_refund_made_by_hand_while_ours_stands_refused_is_taken_for_it() {
    for refused in [
        JobOutcome::Refused(transient()),
        JobOutcome::GivenUp(Some(Failure::new(ErrorCode::ChargeNotRefundable, 400))),
    ] {
        let mut story = Story::captured();
        story.ask(Command::Refund(Some(5_000)), NOW).expect("asked");
        story.end(&Task::Refund, refused.clone());
        let standing = story.jobs();
        story.hear(Fact::Refunded(eur(2_000)));
        assert!(story.has_told(&Notice::RefundedOutside));
        assert_eq!(story.jobs(), standing, "whoever pays it in parts is not overtaken");
        let mut again = story.clone();
        let (refund, _) = again.escrow.job_on(&Task::Refund).expect("a job");
        again.ask(Command::Retry { job: refund }, NOW).expect("asked");
        assert_eq!(again.escrow.wish(refund), Wish::Withdrawn);
        again.end(&Task::Refund, JobOutcome::Abandoned);
        assert_eq!(again.jobs(), [(Task::Refund, 3_000, Standing::Open)], "what is missing");
        story.hear(Fact::Refunded(eur(5_000)));
        assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Held));
        story.hear(Fact::Refunded(eur(6_000)));
        story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
        assert_eq!(
            story.jobs(),
            [(Task::Refund, 1_000, Standing::Open)],
            "what others refund otherwise is beside what is asked for"
        );
    }
}

/// A call whose answer nobody has may be what a person gave up waiting for.
#[test]
fn a_refund_made_by_hand_while_ours_is_unknown_is_taken_for_it_once_ours_is_known_not_to_be_made() {
    for amount in [4_000, 5_000, 6_000, 10_000] {
        for ended in [JobOutcome::Refused(transient()), JobOutcome::Abandoned] {
            let mut story = Story::captured();
            story.ask(Command::Refund(Some(amount)), NOW).expect("asked");
            story.hear(Fact::Refunded(eur(amount)));
            let (refund, _) = story.escrow.job_on(&Task::Refund).expect("a job");
            assert_eq!(story.escrow.wish(refund), Wish::Withdrawn, "it is not sent again");
            story.end(&Task::Refund, ended);
            assert_eq!((story.jobs(), story.escrow.refunded.total()), (vec![], amount));
        }
    }
}

/// Nobody had reason to make a refund by hand that was not even tried: theirs is beside ours.
#[test]
fn a_refund_by_others_before_ours_was_tried_is_another_one() {
    let mut story = Story::captured();
    story.ask(Command::Refund(Some(5_000)), NOW).expect("asked");
    story.hear(Fact::Refunded(eur(5_000)));
    story.end(&Task::Refund, JobOutcome::Dropped);
    assert_eq!(story.jobs(), [(Task::Refund, 5_000, Standing::Open)]);
    story.end(&Task::Refund, JobOutcome::Done(None));
    assert_eq!(story.escrow.refunded.total(), 10_000);
}

/// A call is made whole or not at all: what is less than it is others', and no loss that was booked is taken back for it.
#[test]
fn a_smaller_refund_by_others_while_ours_is_under_way_is_not_taken_for_it() {
    let mut story = Story::paid_out();
    story.ask(Command::Refund(None), NOW).expect("asked");
    let failure = Some(Failure::new(ErrorCode::AccountClosed, 400));
    story.end(&Task::Reverse(seller(), first_transfer()), JobOutcome::GivenUp(failure));
    story.ask(Command::BearLoss(seller()), NOW).expect("borne");
    assert_eq!(story.jobs(), [(Task::Refund, 10_000, Standing::Open)]);
    story.hear(Fact::Refunded(eur(3_000)));
    assert_eq!(story.escrow.recipients[0].written_off, 9_000);
    story.end(&Task::Refund, JobOutcome::Abandoned);
    assert_eq!(story.jobs(), [(Task::Refund, 7_000, Standing::Open)]);
    assert_eq!(story.escrow.recipients[0].written_off, 9_000);
}

#[test]
fn a_refund_whose_answer_is_behind_its_webhook_takes_nothing_more_from_the_recipient() {
    let mut story = Story::paid_out();
    story.ask(Command::Refund(Some(5_000)), NOW).expect("asked");
    story.end(&Task::Reverse(seller(), first_transfer()), JobOutcome::Done(None));
    assert_eq!(story.jobs(), [(Task::Refund, 5_000, Standing::Open)]);
    story.hear(Fact::Refunded(eur(5_000)));
    assert_eq!(story.jobs(), [(Task::Refund, 5_000, Standing::Open)]);
    let (refund, _) = story.escrow.job_on(&Task::Refund).expect("a job");
    assert_eq!(story.escrow.wish(refund), Wish::Withdrawn, "it may be this one");
    story.end(&Task::Refund, JobOutcome::Done(None));
    assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Distributed));
    assert_eq!(story.escrow.recipients[0].net(), 4_500);
    // What others refund beside ours is taken back as well, as soon as it is certain.
    story.ask(Command::Refund(Some(1_000)), NOW).expect("asked");
    story.end(&Task::Reverse(seller(), first_transfer()), JobOutcome::Done(None));
    story.hear(Fact::Refunded(eur(8_000)));
    assert_eq!(
        story.jobs(),
        [(Task::Refund, 1_000, Standing::Open), Story::reversal(1_800)]
    );
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
fn what_was_booked_as_a_loss_is_none_once_the_dispute_is_won_and_is_taken_back_for_a_refund() {
    let mut story = Story::paid_out();
    let dispute = |stage| Fact::Disputed {
        dispute: DisputeId::parse("dp_1").expect("an id"),
        stage,
        amount: eur(10_000),
    };
    story.hear(dispute(DisputeStage::Lost));
    let back = Task::Reverse(seller(), first_transfer());
    story.end(&back, JobOutcome::GivenUp(Some(transient())));
    assert_eq!(story.escrow.recipients[0].written_off, 9_000);
    story.hear(dispute(DisputeStage::Won));
    assert_eq!(story.escrow.recipients[0].written_off, 0);
    assert_eq!(story.balance(&Account::Losses), 0);
    assert_eq!(story.escrow.status, EscrowStatus::Distributed);
    story.ask(Command::Refund(Some(5_000)), NOW).expect("asked");
    assert_eq!(story.jobs(), [Story::reversal(4_500)]);
}

#[test]
fn a_loss_that_was_borne_for_a_refund_is_none_once_the_refund_is_withdrawn() {
    let mut story = Story::paid_out();
    story.ask(Command::Refund(Some(5_000)), NOW).expect("asked");
    let back = Task::Reverse(seller(), first_transfer());
    story.end(&back, JobOutcome::GivenUp(Some(transient())));
    story.ask(Command::BearLoss(seller()), NOW).expect("borne");
    assert_eq!(story.balance(&Account::Losses), -4_500);
    story.end(
        &Task::Refund,
        JobOutcome::GivenUp(Some(Failure::new(ErrorCode::ChargeNotRefundable, 400))),
    );
    story.ask(Command::WithdrawRefund, NOW).expect("withdrawn");
    assert_eq!(
        (story.escrow.recipients[0].written_off, story.balance(&Account::Losses)),
        (0, 0)
    );
    assert_eq!((story.jobs(), story.escrow.status), (vec![], EscrowStatus::Distributed));
}

/// The bank took its time, and the escrow's was over meanwhile.
#[test]
fn who_wins_a_dispute_is_paid_although_the_time_is_over_and_nobody_refunds_it_by_itself() {
    let mut story = Story::captured();
    let dispute = DisputeId::parse("dp_1").expect("an id");
    for stage in [DisputeStage::Open, DisputeStage::Won] {
        story.hear(Fact::Disputed {
            dispute: dispute.clone(),
            stage,
            amount: eur(10_000),
        });
    }
    assert!(story.has_told(&Notice::Dispute(DisputeNews::Won, dispute)));
    assert_eq!(story.escrow.status, EscrowStatus::Held);
    assert_eq!(story.ask(Command::Expire, LATE), Err(Reason::WaitsForPerson));
    let mut refunded = Story {
        escrow: story.escrow.clone(),
        ..Story::new()
    };
    refunded
        .ask(Command::Refund(None), LATE)
        .expect("a person may refund it");
    story.ask(Command::Release, LATE).expect("or release it");
    assert_eq!(story.jobs(), [(Task::Transfer(seller()), 9_000, Standing::Open)]);
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

#[test]
fn a_recipient_that_was_taken_from_is_paid_again_while_another_one_still_waits() {
    for standing in [
        JobOutcome::Refused(Failure::new(ErrorCode::InsufficientCapabilitiesForTransfer, 400)),
        JobOutcome::Refused(transient()),
    ] {
        let mut story = Story::of_two();
        story.hear(Fact::Captured(eur(10_000)));
        story.ask(Command::Release, NOW).expect("released");
        story.end(&Task::Transfer(seller()), JobOutcome::Done(Some(first_transfer())));
        story.end(&Task::Transfer(other_seller()), standing);
        let status = story.escrow.status;
        assert_eq!(
            story.ask(Command::Release, NOW),
            Err(Reason::WrongStatus(status)),
            "nobody is owed more"
        );
        story.hear(Fact::TransferReversed {
            account: seller(),
            transfer: first_transfer(),
            amount: eur(4_500),
            total: eur(4_500),
        });
        assert_eq!(story.escrow.status, status);
        story.ask(Command::Release, NOW).expect("released again");
        let to_seller = (Task::Transfer(seller()), 4_500, Standing::Open);
        assert!(story.jobs().contains(&to_seller), "{:?}", story.jobs());
        assert!(story.ask(Command::Release, NOW).is_err(), "once");
    }
}
