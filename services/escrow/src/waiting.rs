//! Events that wait for Stripe: their objects could not be read when they came.
//!
//! They are tried again one at a time, as fast as Stripe answers, and nothing else waits for them. Where Stripe does not answer several
//! times in a row, the round ends, and the next one goes on behind it, so that no event holds up those after it. Any number of processes
//! may do so: an event's row says whether somebody else has decided it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use db::escrow::inbox::{WaitingEvent, list_waiting_events};
use tokio_util::sync::CancellationToken;

use crate::consumer::Decider;
use crate::error::EscrowError;
use crate::reading::{Content, read_again};

/// Events that are read from the inbox at once.
const PAGE: i64 = 20;
/// As many in a row mean that Stripe is away.
const AWAY: u32 = 3;

/// Where a round goes on: when the last event that was tried came in, and which it was.
type Place = (DateTime<Utc>, String);

/// Decides waiting events again until stopped.
pub(crate) async fn work(decider: Decider, every: Duration, stop: CancellationToken) {
    let mut place = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = round(&decider, &mut place, &stop).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "events that wait for Stripe were not looked at");
        }
    }
}

async fn round(decider: &Decider, place: &mut Option<Place>, stop: &CancellationToken) -> Result<(), EscrowError> {
    let mut away = 0;
    loop {
        let conn = decider.runner.store.reader().await?;
        let page = list_waiting_events(&conn, place.as_ref(), PAGE).await?;
        drop(conn);
        if page.is_empty() {
            *place = None;
            return Ok(());
        }
        for event in page {
            if stop.is_cancelled() || away >= AWAY {
                return Ok(());
            }
            away = if try_again(decider, &event).await? { 0 } else { away + 1 };
            *place = Some((event.received_at, event.event_id));
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
        return Ok(false);
    }
    decider.decide(&reading).await?;
    Ok(true)
}
