//! Events that wait for Stripe: their objects could not be read when they came.
//!
//! They are tried again one at a time, as fast as Stripe answers, and nothing else waits for them. One that cannot be read is left alone,
//! twice as long each time, so that an object that nobody may read is not asked for without end. Where Stripe does not answer several
//! times in a row, the round ends, and the next one goes on behind it, so that no event holds up those after it. Any number of processes
//! may do so: an event's row says whether somebody else has decided it. A person is told of what waits for long.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use db::escrow::inbox::{LongWaits, WaitingEvent, list_waiting_events, measure_long_waits, put_event_off_in_txn};
use db::in_txn;
use domain::alert::{Alert, AlertKind};
use tokio_util::sync::CancellationToken;

use crate::consumer::Decider;
use crate::error::EscrowError;
use crate::notices::tell_in_txn;
use crate::reading::{Content, Reading, read_again};

/// Events that are read from the inbox at once.
const PAGE: i64 = 20;
/// As many in a row mean that Stripe is away.
const AWAY: u32 = 3;
/// An event that waits for longer than this is not waiting out a short outage.
const LONG: TimeDelta = TimeDelta::hours(1);

/// Where a round goes on: when the last event that was tried came in, and which it was.
type Place = (DateTime<Utc>, String);

/// What a person was told last, and when.
struct Told {
    count: i64,
    at: DateTime<Utc>,
}

/// Decides waiting events again until stopped.
pub(crate) async fn work(decider: Decider, every: Duration, stop: CancellationToken) {
    let (mut place, mut told) = (None, None);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = round(&decider, &mut place, &stop).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "events that wait for Stripe were not looked at");
        }
        if let Err(error) = tell_of_long_waits(&decider, &mut told).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "events that wait for long were not counted");
        }
    }
}

async fn round(decider: &Decider, place: &mut Option<Place>, stop: &CancellationToken) -> Result<(), EscrowError> {
    let mut away = 0;
    loop {
        let conn = decider.runner.store.reader().await?;
        let page = list_waiting_events(&conn, place.as_ref(), decider.runner.clock.now(), PAGE).await?;
        drop(conn);
        if page.is_empty() {
            *place = None;
            return Ok(());
        }
        for event in page {
            if stop.is_cancelled() || away >= AWAY {
                return Ok(());
            }
            *place = Some((event.received_at, event.event_id.clone()));
            match try_again(decider, &event).await {
                Ok(is_answered) => away = if is_answered { 0 } else { away + 1 },
                Err(error) if error.is_everybodys() => return Err(error),
                // Whatever is wrong with this one: those behind it have their turn.
                Err(error) => {
                    let event_id = &event.event_id;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        event_id,
                        "a waiting event cannot be decided"
                    );
                    if let Ok(mut reading) = read_again(&event, decider.livemode) {
                        reading.rest(decider.runner.clock.now());
                        put_off(decider, &reading).await?;
                    }
                }
            }
        }
        decider.runner.pool.notify_one();
        decider.runner.relay.notify_one();
    }
}

/// Whether Stripe answered.
async fn try_again(decider: &Decider, event: &WaitingEvent) -> Result<bool, EscrowError> {
    let Ok(mut reading) = read_again(event, decider.livemode) else {
        // It was readable when it came in.
        tracing::error!(event_id = event.event_id, "a waiting event is not readable");
        return Ok(true);
    };
    decider.hydrate(&mut reading).await?;
    if matches!(reading.content, Content::Waiting) {
        put_off(decider, &reading).await?;
        return Ok(false);
    }
    decider.decide(&reading).await?;
    Ok(true)
}

async fn put_off(decider: &Decider, reading: &Reading<'_>) -> Result<(), EscrowError> {
    let event = reading.row();
    let put_off = decider.runner.store.commit_as(
        |()| None,
        |txn| in_txn(async move { Ok::<_, EscrowError>(put_event_off_in_txn(txn, &event).await?) }),
    );
    put_off.await
}

/// Tells a person of events that wait for long: when their number changes, and every hour as long as there are some.
async fn tell_of_long_waits(decider: &Decider, told: &mut Option<Told>) -> Result<(), EscrowError> {
    let runner = &decider.runner;
    let now = runner.clock.now();
    let waits = measure_long_waits(&runner.store.reader().await?, now - LONG).await?;
    let Some(waits) = waits else {
        *told = None;
        return Ok(());
    };
    let is_known = told
        .as_ref()
        .is_some_and(|told| told.count == waits.count && now - told.at < LONG);
    if is_known {
        return Ok(());
    }
    let alert = long_wait(&waits);
    runner
        .store
        .commit_as(
            |()| None,
            |txn| {
                let alert = alert.clone();
                in_txn(async move { tell_in_txn(txn, None, vec![alert], now).await })
            },
        )
        .await?;
    runner.relay.notify_one();
    *told = Some(Told {
        count: waits.count,
        at: now,
    });
    Ok(())
}

fn long_wait(waits: &LongWaits) -> Alert {
    let LongWaits {
        count,
        longest: (event, since),
    } = waits;
    tracing::warn!(count, event, "events have waited for more than an hour to be decided");
    let summary = format!("{count} events have waited for more than an hour for what is to be read from Stripe.");
    Alert::new(
        AlertKind::StripeApiFailure,
        format!("{}/long_wait", crate::NAME),
        summary,
    )
    .with("waiting", count)
    .with("longest", event)
    .with("since", since.to_rfc3339())
}
