//! Thin events carry no object: theirs are read from Stripe before the batch is decided (ING-9).
//!
//! The calls come before the transaction, never within it. An object that cannot be read at present leaves its event waiting for
//! Stripe; [`crate::refresh`] sends it back later, so that neither an outage nor a missing key parks or loses anything.

use std::time::Duration;

use bus::AlertRaiser;
use domain::alert::{Alert, AlertKind};
use domain::billing::decision::Reason;
use domain::time::UnixSeconds;
use futures_util::{StreamExt as _, stream};
use stripe_gateway::client::Client;
use stripe_gateway::client::read::ReadError;

use crate::reading::{Content, Pointer, Reading, of_object};

/// Reads at once.
const AT_ONCE: usize = 8;
/// A batch waits this long for its objects, all together; events whose object has not come by then wait alone. Well below what the
/// consumer loop gives a handler.
const PATIENCE: Duration = Duration::from_secs(8);

/// Reads what the batch's thin events point to, and puts in each what it comes to.
pub(crate) async fn hydrate(readings: &mut [Reading<'_>], stripe: Option<&Client>, alerts: &AlertRaiser) {
    let Some(stripe) = stripe else { return };
    let pointers: Vec<(usize, Pointer)> = readings
        .iter()
        .enumerate()
        .filter_map(|(place, reading)| match &reading.content {
            Content::Pointer(pointer) => Some((place, pointer.clone())),
            Content::Ignored(..) | Content::Unreadable(_) | Content::Statement(_) => None,
        })
        .collect();
    let wanted = pointers.len();
    let read = stream::iter(pointers)
        .map(async |(place, pointer)| (place, follow(stripe, &pointer, alerts).await))
        .buffer_unordered(AT_ONCE)
        .take_until(tokio::time::sleep(PATIENCE));
    let found: Vec<(usize, Option<Content>)> = read.collect().await;
    if found.len() < wanted {
        cannot_ask(&ReadError::Unavailable("slow"), alerts);
    }
    for (place, content) in found {
        if let (Some(reading), Some(content)) = (readings.get_mut(place), content) {
            reading.content = content;
        }
    }
}

/// What a pointer comes to; none while Stripe cannot be asked.
async fn follow(stripe: &Client, pointer: &Pointer, alerts: &AlertRaiser) -> Option<Content> {
    match stripe.read_related(&pointer.url).await {
        Ok(answer) => {
            let answered = answer.receipt.answered_at.unwrap_or(UnixSeconds(0));
            Some(of_object(&answer.content, pointer, answered))
        }
        Err(error) if error.is_transient() => {
            cannot_ask(&error, alerts);
            None
        }
        Err(ReadError::Missing) => Some(Content::Ignored(Reason::ObjectIsGone, None)),
        Err(error) => Some(Content::Unreadable(format!("related_object: {error}"))),
    }
}

/// Tells a person that Stripe cannot be asked, once for each reason.
pub(crate) fn cannot_ask(error: &ReadError, alerts: &AlertRaiser) {
    let reason = match error {
        ReadError::Unavailable(reason) => (*reason).to_owned(),
        ReadError::Refused(refusal) => format!("http_{}", refusal.receipt.status),
        ReadError::Missing | ReadError::InvalidId | ReadError::InvalidRelated(_) | ReadError::Unreadable { .. } => {
            return;
        }
    };
    tracing::warn!(reason, "Stripe cannot be asked; what hangs on it waits");
    let subject = format!("{}/{reason}", crate::NAME);
    let summary = "Objects cannot be read from Stripe; the events that need them wait.";
    alerts.raise(Alert::new(AlertKind::StripeApiFailure, subject, summary));
}
