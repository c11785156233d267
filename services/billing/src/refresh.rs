//! What events alone cannot decide is read from Stripe, one object at a time, by a timer.
//!
//! Three things are looked for, and nothing else is ever asked of Stripe here:
//! - thin events whose object could not be read: each goes back into billing's queue when its time has come;
//! - subscriptions whose last observations differ within one second;
//! - charges that a refund or a dispute speaks of and that no event has shown; once, until the customer or the client that it is of changes.
//!
//! What was read goes through the same pipeline as an event, under the same locks and guards, as one more observation. It is not an
//! event, so it has no row in the archive; the timeline tells of it where it changed something. A round takes no input and can be
//! repeated, by any instance at any time. An object that a reading did not settle is left alone, twice as long each time, and while
//! there is nothing to do or nothing can be done, rounds become rarer.

use std::collections::HashMap;
use std::time::Duration;

use bus::AlertRaiser;
use chrono::{DateTime, Utc};
use db::billing::subscriptions::{Undecided, find_undecided};
use db::billing::waiting::{find_kinds_waited_for, find_unknown_charges, take_events_waiting_for_stripe_in_txn};
use db::outbox::insert_outbox_in_txn;
use db::{Database, DbError, in_txn};
use domain::billing::decision::Outcome;
use domain::billing::subscription::observed_at;
use domain::time::UnixSeconds;
use stripe_gateway::client::read::ReadError;
use stripe_gateway::client::{Answer, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::announcement;
use crate::consumer::Decider;
use crate::error::BillingError;
use crate::hydrate::cannot_ask;
use crate::pauses::Standing;
use crate::reading::{Content, Reading, of_charge, of_subscription};

/// Objects that a round reads, of each kind.
const A_ROUND: i64 = 25;
/// Thin events that a round sends back, for each kind of object.
const SENT_BACK: i64 = 500;
/// The same while it is to be seen whether the kind can be read.
const SENT_TO_SEE: i64 = 25;
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long an object is left alone that a reading did not settle: at first, and at most; twice as long each time.
const ALONE_AT_FIRST: Duration = Duration::from_secs(4);
const ALONE_AT_MOST: Duration = Duration::from_secs(600);

/// Reads what has to be read.
pub(crate) struct Refresher {
    decider: Decider,
    stripe: Client,
    database: Database,
    alerts: AlertRaiser,
    /// Objects that a reading did not settle.
    left_alone: HashMap<String, Alone>,
    /// Stripe did not answer the last question. The others of its kind would wait as long, and everything else behind them.
    is_away: bool,
}

/// An object that a reading did not settle.
#[derive(Debug, Clone, Copy)]
struct Alone {
    until: Instant,
    next: Duration,
}

impl Refresher {
    pub(crate) fn new(decider: Decider, stripe: Client, database: Database, alerts: AlertRaiser) -> Self {
        Self {
            decider,
            stripe,
            database,
            alerts,
            left_alone: HashMap::new(),
            is_away: false,
        }
    }

    /// Runs rounds until the stop, which also ends one that waits for Stripe: nothing is half done then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut wait = SHORTEST_WAIT;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let settled = tokio::select! {
                () = stop.cancelled() => return,
                settled = self.round() => settled,
            };
            wait = if settled > 0 {
                SHORTEST_WAIT
            } else {
                wait.saturating_mul(2).min(LONGEST_WAIT)
            };
        }
    }

    /// Does what can be done now; answers how much that was. What fails is logged and leaves the rest to be done.
    async fn round(&mut self) -> usize {
        let now = Instant::now();
        self.left_alone.retain(|_, alone| alone.until + ALONE_AT_MOST > now);
        let mut settled = logged(self.send_thin_events_back().await);
        for subscription in logged(self.undecided().await) {
            settled += usize::from(logged(self.read_subscription(&subscription).await));
            if self.is_away {
                break;
            }
        }
        for charge in logged(self.unknown_charges().await) {
            settled += usize::from(logged(self.read_charge(&charge).await));
            if self.is_away {
                break;
            }
        }
        settled
    }

    async fn undecided(&self) -> Result<Vec<Undecided>, DbError> {
        let conn = self.database.conn().await?;
        find_undecided(&conn, A_ROUND, &self.alone()).await
    }

    async fn unknown_charges(&self) -> Result<Vec<String>, DbError> {
        let conn = self.database.conn().await?;
        find_unknown_charges(&conn, A_ROUND, &self.alone()).await
    }

    fn alone(&self) -> Vec<String> {
        let now = Instant::now();
        let alone = self.left_alone.iter().filter(|(_, alone)| alone.until > now);
        alone.map(|(id, _)| id.clone()).collect()
    }

    /// Reads a subscription and lets it speak; not before the second that it is about is safely over.
    async fn read_subscription(&mut self, undecided: &Undecided) -> Result<bool, BillingError> {
        let id = undecided.id.as_str();
        let answer = self.stripe.read_subscription(id).await;
        let Some((view, answered)) = self.taken(answer, id) else {
            return Ok(false);
        };
        let at = observed_at(answered, None);
        if at <= undecided.at {
            self.leave_alone(id);
            return Ok(false);
        }
        let content = of_subscription(&view, at);
        self.decide("read.subscription", id, answered, content).await
    }

    async fn read_charge(&mut self, id: &str) -> Result<bool, BillingError> {
        let answer = self.stripe.read_charge(id).await;
        let Some((view, answered)) = self.taken(answer, id) else {
            return Ok(false);
        };
        self.decide("read.charge", id, answered, of_charge(&view)).await
    }

    /// What was read, and when Stripe answered. An object that cannot be read by asking again is left alone.
    fn taken<T>(&mut self, answer: Result<Answer<T>, ReadError>, id: &str) -> Option<(T, UnixSeconds)> {
        self.is_away = matches!(&answer, Err(error) if error.is_transient());
        match answer {
            Ok(answer) => Some((answer.content, answer.receipt.answered_at?)),
            Err(error) if error.is_transient() => {
                cannot_ask(&error, &self.alerts);
                None
            }
            Err(error) => {
                tracing::warn!(id, %error, "what events leave open cannot be read from Stripe either");
                self.leave_alone(id);
                None
            }
        }
    }

    fn leave_alone(&mut self, id: &str) {
        let now = Instant::now();
        let first = Alone {
            until: now,
            next: ALONE_AT_FIRST,
        };
        let alone = self.left_alone.entry(id.to_owned()).or_insert(first);
        alone.until = now + alone.next;
        alone.next = alone.next.saturating_mul(2).min(ALONE_AT_MOST);
    }

    /// Puts what was read through the pipeline. Answers whether it settled something; if not, the object is left alone.
    async fn decide(
        &mut self,
        kind: &str,
        id: &str,
        answered: UnixSeconds,
        content: Content,
    ) -> Result<bool, BillingError> {
        let now = self.decider.clock.now();
        let created = DateTime::<Utc>::from_timestamp(answered.0, 0).unwrap_or(now);
        let reading = Reading::of_read_object(kind, id, created, content);
        self.leave_alone(id);
        let report = self.decider.decide(&[reading], now).await?;
        if report.wrote_outbox {
            self.decider.nudge.notify_one();
        }
        let decision = report.decisions.first().copied().flatten();
        let settled = decision.is_some_and(|decision| settles(decision.outcome));
        if settled {
            self.left_alone.remove(id);
        }
        tracing::info!(
            id,
            kind,
            outcome = decision.map(|decision| decision.outcome.as_str()),
            reason = decision.map(|decision| decision.reason.as_str()),
            "read from Stripe what events leave open"
        );
        Ok(settled)
    }

    /// Sends thin events back whose time has come, but for those whose kind of object is not asked for at present.
    async fn send_thin_events_back(&self) -> Result<usize, DbError> {
        let now = self.decider.clock.now();
        let conn = self.database.conn().await?;
        let kinds = find_kinds_waited_for(&conn, now).await?;
        drop(conn);
        let mut sent = 0;
        for kind in kinds {
            let limit = match self.decider.hydrator.pauses.standing(&kind) {
                Standing::Open => SENT_BACK,
                Standing::Doubted => SENT_TO_SEE,
                Standing::Paused => continue,
            };
            sent += self.send_back(&kind, now, limit).await?;
        }
        Ok(sent)
    }

    async fn send_back(&self, kind: &str, now: DateTime<Utc>, limit: i64) -> Result<usize, DbError> {
        let sent = self
            .database
            .transact(|txn| {
                in_txn(async move {
                    let waiting = take_events_waiting_for_stripe_in_txn(txn, kind, now, limit).await?;
                    let rows: Vec<_> = waiting.into_iter().map(announcement::decide_again).collect();
                    if !rows.is_empty() {
                        insert_outbox_in_txn(txn, &rows).await?;
                    }
                    Ok::<usize, DbError>(rows.len())
                })
            })
            .await?;
        self.decider.nudge.notify_one();
        Ok(sent)
    }
}

/// Whether nothing is left to ask, or more is known than what was asked for. A charge without a customer is noted too: what is said of it
/// waits no longer. What is rejected or waits would be so again.
const fn settles(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Applied | Outcome::SemanticDuplicate | Outcome::Stale | Outcome::Ignored => true,
        Outcome::Rejected | Outcome::Waiting | Outcome::Parked => false,
    }
}

/// What was done, or nothing and a line in the log.
fn logged<T: Default, E: std::error::Error + 'static>(done: Result<T, E>) -> T {
    done.unwrap_or_else(|error| {
        let source: &dyn std::error::Error = &error;
        tracing::error!(error = source, "what events leave open could not be looked at");
        T::default()
    })
}
