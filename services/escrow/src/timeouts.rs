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
use domain::escrow::decide::decide;
use domain::escrow::decision::Decision;
use domain::escrow::input::{Command, Fact, Input};
use domain::escrow::terms::{AUTHORIZATION_LIFETIME, CAPTURE_MARGIN};
use domain::money::Money;
use domain::time::UnixSeconds;
use serde::Serialize;

use crate::change::{Applied, Cause, Learned, apply_in_txn, lock_in_txn, store_in_txn};
use crate::error::EscrowError;
use crate::notices::tell_in_txn;
use crate::runner::Runner;
use crate::steps::{Ask, Commit};

/// More than any run lets pass, so that those that cannot be decided now do not hide the rest.
const AT_MOST: i64 = 2_000;
/// Authorisations that are looked after in one round.
const TO_SECURE: i64 = 100;

/// Who starts a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The timer.
    Timer,
    /// A person, a scheduler or a job.
    Asked,
}

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

impl Timeouts {
    /// Gives back what has expired, as far as the breaker lets.
    pub(crate) async fn run(&self, trigger: Trigger) -> Result<TimeoutReport, EscrowError> {
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
        let mut tripped = None;
        for escrow in &waiting {
            match self.expire(escrow, &run, now).await {
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
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, escrow, "an expired escrow was not decided");
                    report.failed += 1;
                    report.success = false;
                }
            }
        }
        let conn = self.runner.store.reader().await?;
        report.left = count_expired_escrows(&conn, now, AT_MOST).await?;
        drop(conn);
        if let Some(limit) = tripped {
            report.breaker_tripped = true;
            self.tell_of_breaker(limit, &report, now).await?;
        }
        if report.found > 0 {
            tracing::info!(?trigger, ?report, "a run of time-outs");
        }
        Ok(report)
    }

    async fn expire(&self, escrow: &str, run: &Used, now: DateTime<Utc>) -> Result<Fate, EscrowError> {
        let is_decided = |fate: &Fate| matches!(fate, Fate::GivenBack(_) | Fate::SetAside);
        self.runner
            .store
            .commit_if(Commit::Expired, is_decided, |txn| {
                in_txn(self.expire_in_txn(txn, escrow, run, now))
            })
            .await
    }

    async fn expire_in_txn(
        &self,
        txn: &Transaction<'_>,
        escrow: &str,
        run: &Used,
        now: DateTime<Utc>,
    ) -> Result<Fate, EscrowError> {
        let held = lock_in_txn(txn, escrow).await?;
        let input = Input::Command(Command::Expire);
        let at = UnixSeconds(now.timestamp());
        match decide(&held.escrow, &input, at) {
            Decision::Apply { .. } if !held.is_set_aside => {}
            Decision::Apply { .. } | Decision::AlreadyApplied | Decision::Refused(_) => return Ok(Fate::Passed),
        }
        let what = giving_back(&held);
        let day = utc_day(at);
        let mut used = lock_day_in_txn(txn, day).await?;
        match self.limits.ask(run, &used, what) {
            Verdict::Trip(limit) => Ok(Fate::Tripped(limit)),
            Verdict::SetAside => {
                set_aside_in_txn(txn, held, now).await?;
                Ok(Fate::SetAside)
            }
            Verdict::Pass => {
                let cause = Cause {
                    actor: "sweeper",
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

    /// Captures authorisations that are about to end, of escrows whose creators asked for that. One that cannot be holds up no other.
    pub(crate) async fn secure(&self) -> Result<(), EscrowError> {
        let now = self.runner.clock.now();
        let before = now + TimeDelta::seconds(CAPTURE_MARGIN);
        let conn = self.runner.store.reader().await?;
        let escrows = list_escrows_to_secure(&conn, before, TO_SECURE).await?;
        drop(conn);
        for escrow in &escrows {
            if let Err(error) = self.secure_one(escrow, now).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, escrow, "an authorisation that is about to end was not captured");
            }
        }
        if !escrows.is_empty() {
            self.runner.pool.notify_one();
        }
        Ok(())
    }

    async fn secure_one(&self, escrow: &str, now: DateTime<Utc>) -> Result<(), EscrowError> {
        let capture_before = self.ask_when_it_ends(escrow).await?;
        self.runner
            .store
            .commit_if(
                Commit::Secured,
                |is_changed| *is_changed,
                |txn| {
                    in_txn(async move {
                        let mut held = lock_in_txn(txn, escrow).await?;
                        let cause = |action: &'static str| Cause {
                            actor: "sweeper",
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
            .map(drop)
    }

    /// When the authorisation ends, from Stripe, where no event has told. Of methods of which Stripe does not say, it is taken to end as
    /// early as any does.
    async fn ask_when_it_ends(&self, escrow: &str) -> Result<Option<UnixSeconds>, EscrowError> {
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
            return Ok(None);
        }
        let stripe = &self.runner.stripe;
        let charge = match (charge, payment) {
            (Some(charge), _) => Some(charge),
            (None, Some(payment)) => {
                let read = stripe.ask(Ask::AuthorizationEnd, |stripe| stripe.read_payment_intent(&payment));
                read.await.ok().and_then(|answer| answer.content.latest_charge)
            }
            (None, None) => None,
        };
        let Some(charge) = charge else { return Ok(None) };
        let read = stripe.ask(Ask::AuthorizationEnd, |stripe| stripe.read_charge(&charge));
        Ok(read.await.ok().map(|answer| {
            let charge = answer.content;
            let known = charge.capture_before.map(UnixSeconds);
            known.unwrap_or_else(|| UnixSeconds(charge.created).plus(AUTHORIZATION_LIFETIME))
        }))
    }
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

async fn set_aside_in_txn(txn: &Transaction<'_>, held: HeldEscrow, now: DateTime<Utc>) -> Result<(), EscrowError> {
    let next = HeldEscrow {
        is_set_aside: true,
        ..held.clone()
    };
    let id = held.escrow.terms.id.to_string();
    let amount = held.escrow.terms.split.amount();
    store_in_txn(txn, &held, next, now).await?;
    let summary = format!("Escrow {id} of {amount} has expired and is above the refund breaker's limit by itself.");
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
