//! Thin events carry no object: theirs are read from Stripe before the batch is decided (ING-9).
//!
//! The calls come before the transaction, never within it. An object that cannot be read at present leaves its event waiting for
//! Stripe; [`crate::refresh`] sends it back later, so that neither an outage nor a missing key parks or loses anything. A batch
//! waits for its objects only so long, and after a failure nobody asks for a while: events that carry their object are not held
//! up by those that do not.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bus::AlertRaiser;
use domain::alert::{Alert, AlertKind};
use domain::time::UnixSeconds;
use futures_util::{StreamExt as _, stream};
use stripe_gateway::client::Client;
use stripe_gateway::client::read::ReadError;
use tokio::time::Instant;

use crate::reading::{Content, Pointer, Reading, of_object};

/// Reads at once.
const AT_ONCE: usize = 16;
/// Objects that one batch reads; the events of the others wait alone.
const A_BATCH: usize = 64;
/// A batch waits this long for its objects, all together.
const PATIENCE: Duration = Duration::from_secs(4);
/// After a failure nobody asks for this long.
const PAUSE: Duration = Duration::from_secs(10);

/// Reads the objects of thin events, as long as Stripe can be asked.
pub(crate) struct Hydrator {
    stripe: Option<Client>,
    alerts: AlertRaiser,
    paused_until: Mutex<Option<Instant>>,
}

impl Hydrator {
    /// Without a client every thin event waits.
    pub(crate) fn new(stripe: Option<Client>, alerts: AlertRaiser) -> Self {
        Self {
            stripe,
            alerts,
            paused_until: Mutex::default(),
        }
    }

    /// Reads what the batch's thin events point to, and puts in each what it comes to.
    pub(crate) async fn hydrate(&self, readings: &mut [Reading<'_>]) {
        let Some(stripe) = self.stripe.as_ref().filter(|_| !self.is_paused()) else {
            return;
        };
        let pointers: Vec<(usize, Pointer)> = readings
            .iter()
            .enumerate()
            .filter_map(|(place, reading)| match &reading.content {
                Content::Pointer(pointer) => Some((place, pointer.clone())),
                Content::Ignored(..) | Content::Unreadable(_) | Content::Statement(_) => None,
            })
            .take(A_BATCH)
            .collect();
        if pointers.is_empty() {
            return;
        }
        let wanted = pointers.len();
        let read = stream::iter(pointers)
            .map(async |(place, pointer)| (place, self.follow(stripe, &pointer).await))
            .buffer_unordered(AT_ONCE)
            .take_until(tokio::time::sleep(PATIENCE));
        let found: Vec<(usize, Option<Content>)> = read.collect().await;
        if found.len() < wanted {
            self.pause(&ReadError::Unavailable("slow"));
        }
        for (place, content) in found {
            if let (Some(reading), Some(content)) = (readings.get_mut(place), content) {
                reading.content = content;
            }
        }
    }

    /// Stripe answers again.
    pub(crate) fn ask_again(&self) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_paused(&self) -> bool {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn pause(&self, error: &ReadError) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
        cannot_ask(error, &self.alerts);
    }

    /// What a pointer comes to; none while Stripe cannot be asked. An object that is not there parks its event: everything that billing
    /// follows stays readable at Stripe, so it is our key that is of another account or mode.
    async fn follow(&self, stripe: &Client, pointer: &Pointer) -> Option<Content> {
        match stripe.read_related(&pointer.url).await {
            Ok(answer) => {
                let answered = answer.receipt.answered_at.unwrap_or(UnixSeconds(0));
                Some(of_object(&answer.content, pointer, answered))
            }
            Err(error) if error.is_transient() => {
                self.pause(&error);
                None
            }
            Err(error) => Some(Content::Unreadable(format!("related_object: {error}"))),
        }
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
