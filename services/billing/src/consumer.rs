//! The consumer of `billing.events`: messages in, verdicts out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bus::{BatchError, BatchHandler, Incoming, Verdict};
use chrono::{DateTime, Utc};
use db::billing::inbox::{EventKey, find_known_events};
use db::{Database, DbError, in_txn};
use domain::billing::authority::Binding;
use domain::billing::decision::{Decision, Guard, Outcome, Reason};
use serde_json::Value;
use service_kit::clock::Clock;
use tokio::sync::Notify;

use crate::error::BillingError;
use crate::hydrate::Hydrator;
use crate::pipeline::{BatchReport, Rules, decide_batch};
use crate::reading::{Content, Reading, read};

/// How often a batch starts over because another consumer was faster; each time there is less left to race for.
const MAX_RACES: u32 = 5;

/// Decides batches of events.
#[derive(Clone)]
pub(crate) struct Decider {
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) livemode: bool,
    pub(crate) binding: Binding,
    /// Wakes the relay after a batch that wrote to the outbox.
    pub(crate) nudge: Arc<Notify>,
    /// Reads the objects of thin events.
    pub(crate) hydrator: Arc<Hydrator>,
}

impl BatchHandler for Decider {
    async fn handle(&self, batch: &[Incoming]) -> Result<Vec<Verdict>, BatchError> {
        let now = self.clock.now();
        let messages: Vec<Result<Reading<'_>, String>> =
            batch.iter().map(|message| read(message, self.livemode, now)).collect();
        let mut verdicts: Vec<Verdict> = messages.iter().map(verdict_of_reading).collect();
        let (places, mut readings): (Vec<usize>, Vec<Reading<'_>>) = messages
            .into_iter()
            .enumerate()
            .filter_map(|(place, message)| Some((place, message.ok()?)))
            .unzip();
        if readings.is_empty() {
            return Ok(verdicts);
        }
        let decided = self.decided_thin_events(&readings).await;
        let decided = decided.map_err(|error| batch_error(&error.into()))?;
        self.hydrator.hydrate(&mut readings, decided).await;
        let decisions = self.decide_and_tell(&readings, &places, &mut verdicts, now).await?;
        let put_off = readings.into_iter().zip(places).zip(decisions);
        let put_off = put_off.filter(|((reading, _), decision)| was_put_off(reading, *decision));
        let (mut put_off, places): (Vec<Reading<'_>>, Vec<usize>) = put_off.map(|(reading, _)| reading).unzip();
        self.hydrator.complete(&mut put_off).await;
        // What was not asked for waits as it was put off.
        let (put_off, places): (Vec<Reading<'_>>, Vec<usize>) = put_off
            .into_iter()
            .zip(places)
            .filter(|(reading, _)| reading.whole().is_none())
            .map(|(reading, place)| (reading.again(), place))
            .unzip();
        if !put_off.is_empty() {
            self.decide_and_tell(&put_off, &places, &mut verdicts, now).await?;
        }
        Ok(verdicts)
    }

    /// Writes down that an event is parked, so that the archive and the client's timeline know of it. Deciding it after a replay replaces
    /// this. What is no event has no place in the archive.
    async fn gave_up(&self, message: &Incoming, reason: &str) -> Result<(), BatchError> {
        let now = self.clock.now();
        let Ok(reading) = read(message, self.livemode, now) else {
            return Ok(());
        };
        let reading = [reading.given_up(reason.to_owned())];
        let report = self.decide(&reading, now).await.map_err(|error| batch_error(&error))?;
        count(reading.iter().zip(&report.decisions), self.clock.now());
        Ok(())
    }
}

/// Whether it waits for the whole of what it shows a part of.
fn was_put_off(reading: &Reading<'_>, decision: Option<Decision>) -> bool {
    let waits = decision.is_some_and(|decision| decision.reason == Reason::ObjectNotRead);
    waits && reading.whole().is_some()
}

impl Decider {
    /// Decides, counts and logs; and parks what cannot be read.
    async fn decide_and_tell(
        &self,
        readings: &[Reading<'_>],
        places: &[usize],
        verdicts: &mut [Verdict],
        now: DateTime<Utc>,
    ) -> Result<Vec<Option<Decision>>, BatchError> {
        let report = self.decide(readings, now).await.map_err(|error| batch_error(&error))?;
        count(readings.iter().zip(&report.decisions), self.clock.now());
        let told = report.decisions.iter().zip(&report.details);
        for ((place, reading), (decision, details)) in places.iter().zip(readings).zip(told) {
            log(reading, *decision, details);
            if let (
                Some(Decision {
                    outcome: Outcome::Parked,
                    ..
                }),
                Content::Unreadable(why),
            ) = (decision, &reading.content)
                && let Some(verdict) = verdicts.get_mut(*place)
            {
                *verdict = Verdict::Park { reason: why.clone() };
            }
        }
        if report.wrote_outbox {
            self.nudge.notify_one();
        }
        Ok(report.decisions)
    }

    /// The thin events of a batch that are decided: a repeat is worth no call to Stripe. A database that is away is noticed here, before
    /// anything is read: what is read then could not be kept, and would be read again and again.
    async fn decided_thin_events(&self, readings: &[Reading<'_>]) -> Result<BTreeSet<EventKey>, DbError> {
        let thin = || readings.iter().filter(|reading| reading.thin().is_some());
        let ids: Vec<&str> = thin().map(|reading| reading.event_id.as_str()).collect();
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let created: Vec<DateTime<Utc>> = thin().map(|reading| reading.created).collect();
        let conn = self.database.conn().await?;
        let known = find_known_events(&conn, &ids, &created).await?;
        let decided = known.into_iter().filter(|(_, event)| event.is_decided());
        Ok(decided.map(|(key, _)| key).collect())
    }

    /// Decides a batch in one transaction, and starts over where another consumer was faster.
    pub(crate) async fn decide(
        &self,
        readings: &[Reading<'_>],
        now: DateTime<Utc>,
    ) -> Result<BatchReport, BillingError> {
        let rules = Rules {
            binding: self.binding,
            now,
        };
        let mut races = 0;
        loop {
            let decided = self
                .database
                .transact(|txn| in_txn(decide_batch(txn, readings, rules)))
                .await;
            match decided {
                Err(BillingError::Raced(what)) if races < MAX_RACES => {
                    races += 1;
                    tracing::debug!(what, races, "another consumer was faster, the batch starts over");
                }
                other => return other,
            }
        }
    }
}

/// A message that is no event parks; whether an event parks is known when it has been decided.
fn verdict_of_reading(message: &Result<Reading<'_>, String>) -> Verdict {
    match message {
        Ok(_) => Verdict::Done,
        Err(why) => Verdict::Park { reason: why.clone() },
    }
}

fn batch_error(error: &BillingError) -> BatchError {
    match error {
        BillingError::Database(error) => BatchError::of_database(error),
        BillingError::Raced(_) => BatchError::failed(error),
    }
}

/// Counts a batch that was committed `now`: each counter is looked up once, since that costs more than counting.
fn count<'r>(told: impl Iterator<Item = (&'r Reading<'r>, &'r Option<Decision>)>, now: DateTime<Utc>) {
    let mut by_guard: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    let mut by_kind: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    let lags = metrics::histogram!("holdfast_event_lag_seconds");
    for (reading, decision) in told {
        let outcome = outcome(*decision);
        *by_guard.entry((outcome, guard(*decision))).or_default() += 1;
        *by_kind.entry((&reading.kind, outcome)).or_default() += 1;
        lags.record(now.signed_duration_since(reading.created).as_seconds_f64().max(0.0));
    }
    for ((outcome, guard), count) in by_guard {
        metrics::counter!("holdfast_decisions_total", "outcome" => outcome, "guard" => guard).increment(count);
    }
    for ((kind, outcome), count) in by_kind {
        metrics::counter!("holdfast_events_total", "service" => crate::NAME, "type" => kind.to_owned(), "outcome" => outcome)
            .increment(count);
    }
}

fn outcome(decision: Option<Decision>) -> &'static str {
    decision.map_or("duplicate", |decision| decision.outcome.as_str())
}

fn guard(decision: Option<Decision>) -> &'static str {
    match decision {
        None => Guard::Idempotency.as_str(),
        Some(decision) => decision.guard.map_or("none", Guard::as_str),
    }
}

/// For what a person may ask about, one log line per event.
fn log(reading: &Reading<'_>, decision: Option<Decision>, details: &Value) {
    let (outcome, guard) = (outcome(decision), guard(decision));
    let Some(decision) = decision else {
        tracing::debug!(
            event_id = reading.event_id,
            r#type = reading.kind,
            "a repeat of a decided event"
        );
        return;
    };
    let (event_id, kind, reason) = (&reading.event_id, &reading.kind, decision.reason.as_str());
    match decision.outcome {
        Outcome::Applied => {
            tracing::debug!(event_id, r#type = kind, outcome, reason, "decided");
        }
        Outcome::SemanticDuplicate
        | Outcome::Stale
        | Outcome::Ignored
        | Outcome::Rejected
        | Outcome::Waiting
        | Outcome::Parked => {
            tracing::info!(event_id, r#type = kind, outcome, guard, reason, source = reading.endpoint, %details, "not applied");
        }
    }
}
