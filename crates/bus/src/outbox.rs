//! The relay's rounds over the outbox of the database.
//!
//! A round is one transaction: claim, publish, delete what was confirmed, commit. What was published and not deleted, because
//! the process or a connection died in between, is published again with the same message id. A message that the broker can never
//! take as it is (no queue is bound for it) is set aside for a while, after an alert: it holds up nobody, and goes out by itself
//! once somebody has bound the queue. So is one that a queue refuses or does not confirm, ever longer: one full queue of somebody who
//! listens to announcements would stop everything behind it otherwise.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use db::outbox::{
    OutboxRow, claim_outbox_batch_in_txn, count_outbox, delete_outbox_in_txn, postpone_outbox_by_age_in_txn,
    postpone_outbox_in_txn,
};
use db::{Database, DbError, in_txn};
use tokio_util::sync::CancellationToken;

use crate::headers::Headers;
use crate::outgoing::{Outgoing, PublishError};
use crate::relay::{self, RelaySpec, Round, publish_all};

/// Messages that one round publishes at most.
const ROUND: i64 = 256;
/// What waits is counted for the metric, and no more often than this.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How long a message that the broker refuses for good is left alone.
const SET_ASIDE: Duration = Duration::from_secs(300);
/// How long one is that is not taken at present, the first time.
const SET_ASIDE_FIRST: Duration = Duration::from_secs(5);
/// The same of one that is not confirmed, at most, until it is stuck: it may be that the broker confirms nothing at all, and is well again
/// a moment later.
const UNCONFIRMED: Duration = Duration::from_secs(30);
/// Seconds after which one is: a round waits for it each time.
const STUCK_AFTER: i64 = 300;
/// Seconds after which a person is told of a message that is not taken.
const TOLD_AFTER: i64 = 60;

/// Relays the outbox of a database until cancelled. Any number of relays may run: one works at a time.
pub async fn relay_outbox(spec: RelaySpec, database: Database, cancel: CancellationToken) {
    let (rounds, counts) = (spec.clone(), Counts::default());
    let round = move || {
        let (database, spec, counts) = (database.clone(), rounds.clone(), counts.clone());
        async move { run_round(&database, &spec, &counts).await }
    };
    relay::run(spec, round, cancel).await;
}

/// When the outbox was counted last.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Option<Instant>>>);

impl Counts {
    fn are_due(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() >= COUNT_EVERY)
    }

    fn counted(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

async fn run_round(database: &Database, spec: &RelaySpec, counts: &Counts) -> Result<Round, DbError> {
    let round = publish_round(database, spec).await?;
    if !counts.are_due() {
        return Ok(round);
    }
    let pending = count_outbox(&database.conn().await?).await?;
    counts.counted();
    Ok(Round {
        pending: Some(u64::try_from(pending).unwrap_or(0)),
        ..round
    })
}

async fn publish_round(database: &Database, spec: &RelaySpec) -> Result<Round, DbError> {
    database
        .transact(|txn| {
            in_txn(async move {
                let claim = claim_outbox_batch_in_txn(txn, ROUND).await?;
                let (rows, more) = claim.map_or_else(Default::default, |claim| (claim.rows, claim.more));
                let mut round = Round {
                    published: 0,
                    set_aside: 0,
                    more,
                    pending: None,
                };
                if rows.is_empty() {
                    return Ok(round);
                }
                let older_than = |age| rows.iter().filter(move |row| row.age >= age).map(|row| row.id);
                let old: BTreeSet<i64> = older_than(TOLD_AFTER).collect();
                let stuck: BTreeSet<i64> = older_than(STUCK_AFTER).collect();
                let outcome = publish_all(spec, rows.into_iter().map(outgoing).collect()).await;
                delete_outbox_in_txn(txn, &outcome.ids).await?;
                round.published = count(outcome.ids.len());
                let aside = Aside::of(&outcome.failed, &stuck);
                round.set_aside = aside.count();
                postpone_outbox_in_txn(txn, &aside.for_good, SET_ASIDE).await?;
                postpone_outbox_by_age_in_txn(txn, &aside.refused, SET_ASIDE_FIRST, SET_ASIDE).await?;
                postpone_outbox_by_age_in_txn(txn, &aside.unconfirmed, SET_ASIDE_FIRST, UNCONFIRMED).await?;
                let waits = |(id, error): &&(i64, PublishError)| {
                    error.is_of_this_message() && error.is_transient() && old.contains(id)
                };
                if let Some((_, error)) = outcome.failed.iter().find(waits) {
                    spec.raise("a queue does not take", error);
                }
                Ok(round)
            })
        })
        .await
}

/// Messages that are set aside, by why.
#[derive(Default)]
struct Aside {
    for_good: Vec<i64>,
    refused: Vec<i64>,
    unconfirmed: Vec<i64>,
}

impl Aside {
    fn of(failed: &[(i64, PublishError)], stuck: &BTreeSet<i64>) -> Self {
        let mut aside = Self::default();
        for (id, error) in failed.iter().filter(|(_, error)| error.is_of_this_message()) {
            let place = match error {
                PublishError::TimedOut if !stuck.contains(id) => &mut aside.unconfirmed,
                error if error.is_transient() => &mut aside.refused,
                _ => &mut aside.for_good,
            };
            place.push(*id);
        }
        aside
    }

    fn count(&self) -> u64 {
        count(self.for_good.len() + self.refused.len() + self.unconfirmed.len())
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn outgoing(row: OutboxRow) -> (i64, Outgoing) {
    let message = row.message;
    let outgoing = Outgoing {
        exchange: message.exchange.into(),
        routing_key: message.routing_key,
        message_id: message.message_id,
        kind: message.kind,
        timestamp: u64::try_from(row.created_unix).unwrap_or(0),
        headers: Headers::from_json(&message.headers),
        body: Bytes::from(message.payload),
    };
    (row.id, outgoing)
}
