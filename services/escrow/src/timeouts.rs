//! The run of time-outs (ESC-7) under the refund breaker, and authorisations that are captured in time (ESC-9).
//!
//! Takes no input, may run anywhere and at any time: each escrow is decided in a transaction of its own, which also counts it for the
//! day. A run that dies has lost nothing, and what it let pass is counted.

use chrono::{DateTime, TimeDelta, Utc};
use db::escrow::breaker::{
    count_expired_escrows, list_escrows_to_secure, list_expired_escrows, lock_day_in_txn, store_day_in_txn,
};
use db::escrow::held::HeldEscrow;
use db::{Transaction, in_txn};
use domain::alert::{Alert, AlertKind};
use domain::escrow::breaker::{GivingBack, Limit, Limits, Used, Verdict, utc_day};
use domain::escrow::decide::{Reason, decide};
use domain::escrow::decision::Decision;
use domain::escrow::input::{Command, Fact, Input};
use domain::escrow::terms::{AUTHORIZATION_LIFETIME, CAPTURE_MARGIN};
use domain::money::Money;
use domain::time::UnixSeconds;
use serde::Serialize;
use stripe_gateway::client::read::ReadError;

use crate::change::{Applied, Cause, Learned, apply_in_txn, lock_in_txn, store_in_txn};
use crate::error::EscrowError;
use crate::notices::{tell_in_txn, tell_more_rarely_in_txn};
use crate::runner::{Runner, Unseen, blindness};
use crate::steps::{Ask, Commit};

/// More than any run lets pass, so that those that cannot be decided now do not hide the rest.
const AT_MOST: i64 = 2_000;
/// Authorisations that are looked after in one round.
const TO_SECURE: i64 = 100;

/// More escrows that failed are not told of one by one.
const TOLD_OF_FAILURES: usize = 20;
/// The timer, in the audit trail.
pub(crate) const SWEEPER: &str = "sweeper";

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TimeoutReport {
    /// Nothing failed. A breaker that tripped is no failure.
    pub success: bool,
    /// Escrows whose time was over.
    pub found: i64,
    /// Escrows that were decided: given back or set aside.
    pub processed: i64,
    /// Escrows that are being given back.
    pub succeeded: i64,
    /// Escrows that could not be decided because something failed.
    pub failed: i64,
    /// Escrows whose time is over still.
    pub left: i64,
    /// Escrows above the limit by themselves, which wait for a person now.
    pub set_aside: i64,
    /// The breaker stopped the run.
    pub breaker_tripped: bool,
}

/// The run.
#[derive(Clone)]
pub(crate) struct Timeouts {
    pub(crate) runner: Runner,
    pub(crate) limits: Limits,
}

/// What became of one escrow.
enum Fate {
    GivenBack(GivingBack),
    SetAside,
    Passed,
    Tripped(Limit),
}

/// What became of an authorisation that may be about to end.
enum Secured {
    /// Its end is known, and what that asks for is done.
    Seen,
    /// Stripe does not say when it ends.
    Unread(ReadError),
}

impl Timeouts {
    /// Gives back what has expired, as far as the breaker lets. The audit trail says that it was `actor` who wanted it.
    ///
    /// # Errors
    /// When it could not begin; nothing was given back then.
    pub(crate) async fn run(&self, actor: &str) -> Result<TimeoutReport, EscrowError> {
        let now = self.runner.clock.now();
        let conn = self.runner.store.reader().await?;
        let waiting = list_expired_escrows(&conn, now, AT_MOST).await?;
        drop(conn);
        let mut report = TimeoutReport {
            success: true,
            found: i64::try_from(waiting.len()).unwrap_or(i64::MAX),
            ..TimeoutReport::default()
        };
        let mut run = Used::default();
        let (mut tripped, mut failed) = (None, Vec::new());
        for escrow in &waiting {
            match self.expire(escrow, &run, actor, now).await {
                Ok(Fate::GivenBack(what)) => {
                    run.count(what);
                    report.processed += 1;
                    report.succeeded += 1;
                }
                Ok(Fate::SetAside) => {
                    report.processed += 1;
                    report.set_aside += 1;
                }
                Ok(Fate::Passed) => {}
                Ok(Fate::Tripped(limit)) => {
                    tripped = Some(limit);
                    break;
                }
                Err(error) => {
                    let told: &dyn std::error::Error = &error;
                    tracing::warn!(error = told, escrow, "an expired escrow was not decided");
                    report.failed += 1;
                    report.success = false;
                    failed.push(not_given_back(escrow));
                }
            }
        }
        report.breaker_tripped = tripped.is_some();
        // What fails from here on does not undo the run: whoever took that for one that has to be made again would double its limits.
        if let Err(error) = self.conclude(tripped, failed, &mut report, now).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, ?report, "what a run of time-outs came to was not told");
            report.success = false;
        }
        if report.found > 0 {
            tracing::info!(actor, ?report, "a run of time-outs");
        }
        Ok(report)
    }

    /// Counts what is left, and tells of what stopped the run or failed in it.
    async fn conclude(
        &self,
        tripped: Option<Limit>,
        failed: Vec<(&str, Alert)>,
        report: &mut TimeoutReport,
        now: DateTime<Utc>,
    ) -> Result<(), EscrowError> {
        let counted = self.count_left(now).await;
        report.left = match &counted {
            Ok(left) => *left,
            Err(_) => report.found.saturating_sub(report.processed),
        };
        if let Some(limit) = tripped {
            self.tell_of_breaker(limit, report, now).await?;
        }
        self.tell_of_failures(failed, now).await?;
        counted.map(drop)
    }

    async fn count_left(&self, now: DateTime<Utc>) -> Result<i64, EscrowError> {
        let conn = self.runner.store.reader().await?;
        Ok(count_expired_escrows(&conn, now, AT_MOST).await?)
    }

    async fn expire(&self, escrow: &str, run: &Used, actor: &str, now: DateTime<Utc>) -> Result<Fate, EscrowError> {
        let is_decided = |fate: &Fate| matches!(fate, Fate::GivenBack(_) | Fate::SetAside);
        self.runner
            .store
            .commit_if(Commit::Expired, is_decided, |txn| {
                in_txn(self.expire_in_txn(txn, escrow, run, actor, now))
            })
            .await
    }

    async fn expire_in_txn(
        &self,
        txn: &Transaction<'_>,
        escrow: &str,
        run: &Used,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<Fate, EscrowError> {
        let held = lock_in_txn(txn, escrow).await?;
        let input = Input::Command(Command::Expire);
        let at = UnixSeconds(now.timestamp());
        match decide(&held.escrow, &input, at) {
            Decision::Apply { .. } if !held.is_set_aside => {}
            // The version before did not set it aside when the dispute was won.
            Decision::Refused(Reason::WaitsForPerson) if !held.is_set_aside => {
                set_aside_in_txn(txn, held, "a dispute about it was won, and a person decides", now).await?;
                return Ok(Fate::SetAside);
            }
            Decision::Apply { .. } | Decision::AlreadyApplied | Decision::Refused(_) => return Ok(Fate::Passed),
        }
        let what = giving_back(&held);
        let day = utc_day(at);
        let mut used = lock_day_in_txn(txn, day).await?;
        match self.limits.ask(run, &used, what) {
            Verdict::Trip(limit) => Ok(Fate::Tripped(limit)),
            Verdict::SetAside => {
                set_aside_in_txn(txn, held, "it is above the refund breaker's limit by itself", now).await?;
                Ok(Fate::SetAside)
            }
            Verdict::Pass => {
                let cause = Cause {
                    actor,
                    action: "expire",
                    operation: None,
                    reason: Some("its time is over"),
                    at: now,
                };
                match apply_in_txn(txn, &held, &input, &Learned::default(), cause).await? {
                    Applied::Changed(_) => {
                        used.count(what);
                        store_day_in_txn(txn, day, &used).await?;
                        Ok(Fate::GivenBack(what))
                    }
                    Applied::Known(_) | Applied::Refused(_) => Ok(Fate::Passed),
                }
            }
        }
    }

    async fn tell_of_breaker(
        &self,
        limit: Limit,
        report: &TimeoutReport,
        now: DateTime<Utc>,
    ) -> Result<(), EscrowError> {
        metrics::counter!("holdfast_refund_breaker_trips_total").increment(1);
        let summary = format!(
            "The refund breaker stopped the run of time-outs ({}): {} expired escrows are held past their time until the next run.",
            word(limit),
            report.left
        );
        let alert = Alert::new(AlertKind::RefundBreaker, word(limit), summary)
            .with("given_back", report.succeeded)
            .with("left", report.left);
        self.runner
            .store
            .commit(Commit::BreakerTold, |txn| {
                let alert = alert.clone();
                in_txn(async move { tell_in_txn(txn, None, vec![alert], now).await })
            })
            .await
    }

    /// One that fails again and again would stay beyond its time, and nobody would know (ESC-7).
    async fn tell_of_failures(&self, failed: Vec<(&str, Alert)>, now: DateTime<Utc>) -> Result<(), EscrowError> {
        for (escrow, alert) in failed.into_iter().take(TOLD_OF_FAILURES) {
            self.tell(escrow, alert, now).await?;
        }
        Ok(())
    }

    /// Captures authorisations that are about to end, of escrows whose creators asked for that. One that cannot be holds up no other.
    pub(crate) async fn secure(&self) -> Result<(), EscrowError> {
        let now = self.runner.clock.now();
        let before = now + TimeDelta::seconds(CAPTURE_MARGIN);
        let conn = self.runner.store.reader().await?;
        let escrows = list_escrows_to_secure(&conn, before, TO_SECURE).await?;
        drop(conn);
        let mut unread = None;
        for escrow in &escrows {
            match self.secure_one(escrow, now).await {
                Ok(Secured::Seen) => {}
                Ok(Secured::Unread(error)) => {
                    unread.get_or_insert((escrow.as_str(), error));
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, escrow, "an authorisation that is about to end was not captured");
                }
            }
        }
        // Once a round: what Stripe does not say of one it says of none.
        if let Some((escrow, error)) = unread {
            let alert = blindness(Unseen::AuthorizationEnd, escrow, &error);
            self.tell(escrow, alert, now).await?;
        }
        if !escrows.is_empty() {
            self.runner.pool.notify_one();
            self.runner.relay.notify_one();
        }
        Ok(())
    }

    async fn secure_one(&self, escrow: &str, now: DateTime<Utc>) -> Result<Secured, EscrowError> {
        let capture_before = match self.ask_when_it_ends(escrow).await? {
            Ok(capture_before) => capture_before,
            Err(error) => return Ok(Secured::Unread(error)),
        };
        self.runner
            .store
            .commit_if(
                Commit::Secured,
                |is_changed| *is_changed,
                |txn| {
                    in_txn(async move {
                        let mut held = lock_in_txn(txn, escrow).await?;
                        let cause = |action: &'static str| Cause {
                            actor: SWEEPER,
                            action,
                            operation: None,
                            reason: Some("its authorisation is about to end"),
                            at: now,
                        };
                        let mut is_changed = false;
                        if capture_before.is_some() {
                            let fact = Input::Fact(Fact::Authorized { capture_before });
                            let cause = cause("authorization_read");
                            match apply_in_txn(txn, &held, &fact, &Learned::default(), cause).await? {
                                Applied::Changed(next) => (held, is_changed) = (*next, true),
                                Applied::Known(next) => held = *next,
                                Applied::Refused(_) => return Ok(false),
                            }
                        }
                        let command = Input::Command(Command::SecureAuthorization);
                        let cause = cause("secure_authorization");
                        let applied = apply_in_txn(txn, &held, &command, &Learned::default(), cause).await?;
                        Ok(is_changed || matches!(applied, Applied::Changed(_)))
                    })
                },
            )
            .await
            .map(|_| Secured::Seen)
    }

    /// When the authorisation ends, from Stripe, where no event has told. Of methods of which Stripe does not say, it is taken to end as
    /// early as any does.
    async fn ask_when_it_ends(&self, escrow: &str) -> Result<Result<Option<UnixSeconds>, ReadError>, EscrowError> {
        let (authorized, charge, payment) = self
            .runner
            .store
            .read(|txn| {
                in_txn(async move {
                    let held = lock_in_txn(txn, escrow).await?;
                    Ok::<_, EscrowError>((held.escrow.payment.authorized, held.charge, held.payment_intent))
                })
            })
            .await?;
        if authorized.flatten().is_some() {
            return Ok(Ok(None));
        }
        Ok(self.read_when_it_ends(charge, payment).await)
    }

    async fn read_when_it_ends(
        &self,
        charge: Option<String>,
        payment: Option<String>,
    ) -> Result<Option<UnixSeconds>, ReadError> {
        let stripe = &self.runner.stripe;
        let charge = match (charge, payment) {
            (Some(charge), _) => Some(charge),
            (None, Some(payment)) => {
                let read = stripe.ask(Ask::AuthorizationEnd, |stripe| stripe.read_payment_intent(&payment));
                read.await?.content.latest_charge
            }
            (None, None) => None,
        };
        let Some(charge) = charge else { return Ok(None) };
        let read = stripe.ask(Ask::AuthorizationEnd, |stripe| stripe.read_charge(&charge));
        let charge = read.await?.content;
        let known = charge.capture_before.map(UnixSeconds);
        Ok(Some(known.unwrap_or_else(|| {
            UnixSeconds(charge.created).plus(AUTHORIZATION_LIFETIME)
        })))
    }

    /// What each round finds again.
    async fn tell(&self, escrow: &str, alert: Alert, now: DateTime<Utc>) -> Result<(), EscrowError> {
        self.runner
            .store
            .commit_as(
                |()| None,
                |txn| {
                    let alert = alert.clone();
                    in_txn(async move { tell_more_rarely_in_txn(txn, escrow, alert, now).await })
                },
            )
            .await
    }
}

fn not_given_back(escrow: &str) -> (&str, Alert) {
    let summary = format!(
        "Escrow {escrow} has expired and cannot be given back, because something fails; it is tried again by each run."
    );
    let alert = Alert::new(AlertKind::EscrowAttention, format!("{escrow}/not_given_back"), summary);
    (escrow, alert)
}

/// What giving the escrow back would move.
fn giving_back(held: &HeldEscrow) -> GivingBack {
    if held.escrow.payment.captured.is_some() {
        let currency = held.escrow.terms.split.amount().currency;
        GivingBack::Refund(Money::new(held.escrow.refundable(), currency))
    } else {
        GivingBack::Cancel
    }
}

async fn set_aside_in_txn(
    txn: &Transaction<'_>,
    held: HeldEscrow,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), EscrowError> {
    let next = HeldEscrow {
        is_set_aside: true,
        ..held.clone()
    };
    let id = held.escrow.terms.id.to_string();
    let amount = held.escrow.terms.split.amount();
    store_in_txn(txn, &held, next, now).await?;
    let summary = format!("Escrow {id} of {amount} has expired and is not given back by itself: {why}.");
    let alert = Alert::new(AlertKind::RefundSetAside, id.as_str(), summary);
    tell_in_txn(txn, Some(&id), vec![alert], now).await
}

const fn word(limit: Limit) -> &'static str {
    match limit {
        Limit::RunCount => "run_count",
        Limit::RunAmount => "run_amount",
        Limit::DayCount => "day_count",
        Limit::DayAmount => "day_amount",
    }
}
