//! What events alone cannot decide is read from Stripe, one object at a time, by a timer and by a nudge.
//!
//! Three things are looked for, and nothing else is ever asked of Stripe here:
//! - subscriptions whose last observations differ within one second;
//! - charges that a refund or a dispute speaks of and that no event has shown;
//! - thin events whose object could not be read when they came in: these go back into billing's queue.
//!
//! What was read goes through the same pipeline as an event, under the same locks and guards, as one more observation. It is not an
//! event, so it has no row in the archive; the timeline tells of it where it changed something. A round takes no input and can be
//! repeated, by any instance at any time. While nothing can be settled, rounds become rarer.

use std::time::Duration;

use bus::AlertRaiser;
use chrono::{DateTime, Utc};
use db::billing::inbox::{find_events_waiting_for_stripe_in_txn, find_unknown_charges};
use db::billing::subscriptions::{Undecided, find_undecided};
use db::outbox::insert_outbox_in_txn;
use db::{Database, DbError, in_txn};
use domain::billing::decision::Outcome;
use domain::billing::subscription::observed_at;
use domain::time::UnixSeconds;
use stripe_gateway::client::Client;
use stripe_gateway::client::read::ReadError;
use stripe_gateway::views;
use tokio_util::sync::CancellationToken;

use crate::announcement;
use crate::consumer::Decider;
use crate::error::BillingError;
use crate::hydrate::cannot_ask;
use crate::reading::{Content, Reading, of_charge, of_subscription};

/// Objects that a round reads, of each kind.
const A_ROUND: i64 = 25;
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Reads what has to be read.
#[derive(Clone)]
pub(crate) struct Refresher {
    pub(crate) decider: Decider,
    pub(crate) stripe: Client,
    pub(crate) database: Database,
    pub(crate) alerts: AlertRaiser,
}

/// What a round came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Round {
    /// Objects that were read, or events that were sent back.
    settled: usize,
    /// What is still open.
    open: usize,
}

impl Refresher {
    /// Runs rounds until the stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut wait = SHORTEST_WAIT;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = match self.round().await {
                Ok(Round { open: 0, .. }) => SHORTEST_WAIT,
                Ok(Round { settled: 0, .. }) | Err(_) => wait.saturating_mul(2).min(LONGEST_WAIT),
                Ok(_) => SHORTEST_WAIT,
            };
        }
    }

    async fn round(&self) -> Result<Round, BillingError> {
        let mut round = Round::default();
        let conn = self.database.conn().await?;
        let undecided = find_undecided(&conn, A_ROUND).await?;
        let charges = find_unknown_charges(&conn, A_ROUND).await?;
        drop(conn);
        for subscription in &undecided {
            round.open += 1;
            round.settled += usize::from(self.read_subscription(subscription).await?);
        }
        for charge in &charges {
            round.open += 1;
            round.settled += usize::from(self.read_charge(charge).await?);
        }
        let sent_back = self.send_thin_events_back().await?;
        round.open += sent_back;
        Ok(round)
    }

    /// Reads a subscription and lets it speak; not before the second that it is about is safely over.
    async fn read_subscription(&self, undecided: &Undecided) -> Result<bool, BillingError> {
        let id = undecided.id.as_str();
        let Some((view, answered)) = self.taken(self.stripe.read_subscription(id).await, id) else {
            return Ok(false);
        };
        let at = observed_at(answered, None);
        if at <= undecided.at {
            return Ok(false);
        }
        self.decide("read.subscription", id, answered, of_subscription(&view, at))
            .await
    }

    async fn read_charge(&self, id: &str) -> Result<bool, BillingError> {
        let Some((view, answered)) = self.taken(self.stripe.read_charge(id).await, id) else {
            return Ok(false);
        };
        let view: views::Charge = view;
        self.decide("read.charge", id, answered, of_charge(&view)).await
    }

    fn taken<T>(
        &self,
        answer: Result<stripe_gateway::client::Answer<T>, ReadError>,
        id: &str,
    ) -> Option<(T, UnixSeconds)> {
        match answer {
            Ok(answer) => Some((answer.content, answer.receipt.answered_at?)),
            Err(error) if error.is_transient() => {
                cannot_ask(&error, &self.alerts);
                None
            }
            Err(error) => {
                tracing::warn!(id, %error, "what events leave open cannot be read from Stripe either");
                None
            }
        }
    }

    /// Puts what was read through the pipeline.
    async fn decide(
        &self,
        kind: &str,
        id: &str,
        answered: UnixSeconds,
        content: Content,
    ) -> Result<bool, BillingError> {
        let now = self.decider.clock.now();
        let created = DateTime::<Utc>::from_timestamp(answered.0, 0).unwrap_or(now);
        let reading = Reading::of_read_object(kind, id, created, content);
        let report = self.decider.decide(&[reading], now).await?;
        if report.wrote_outbox {
            self.decider.nudge.notify_one();
        }
        let decision = report.decisions.first().copied().flatten();
        tracing::info!(
            id,
            kind,
            outcome = decision.map(|decision| decision.outcome.as_str()),
            reason = decision.map(|decision| decision.reason.as_str()),
            "read from Stripe what events leave open"
        );
        Ok(decision.is_some_and(|decision| settles(decision.outcome)))
    }

    async fn send_thin_events_back(&self) -> Result<usize, BillingError> {
        let sent = self
            .database
            .transact(|txn| {
                in_txn(async move {
                    let waiting = find_events_waiting_for_stripe_in_txn(txn, A_ROUND).await?;
                    let sent = waiting.len();
                    let rows: Vec<_> = waiting.into_iter().map(announcement::decide_again).collect();
                    if !rows.is_empty() {
                        insert_outbox_in_txn(txn, &rows).await?;
                    }
                    Ok::<usize, DbError>(sent)
                })
            })
            .await?;
        if sent > 0 {
            self.decider.nudge.notify_one();
        }
        Ok(sent)
    }
}

/// Whether what was read may speak, so that nothing is left to ask. What is rejected (the price is another one by now) would be
/// rejected again.
const fn settles(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Applied | Outcome::SemanticDuplicate | Outcome::Stale | Outcome::Ignored => true,
        Outcome::Rejected | Outcome::Waiting | Outcome::Parked => false,
    }
}
