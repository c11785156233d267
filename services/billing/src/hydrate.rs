//! Thin events carry no object: theirs are read from Stripe before the batch is decided (ING-9). A subscription of which an event shows only
//! some items is read after it, where the agreed price was not among them.
//!
//! The calls come between transactions, never within one. An object that cannot be read at present leaves its event waiting, with a time
//! of its own at which [`crate::refresh`] sends it back, so that neither an outage nor a missing key parks or loses anything, and no object
//! stands before another. A batch waits for its objects only so long, and a kind of objects of which nothing could be read is not asked for
//! for a while ([`crate::pauses`]): events that carry their object are not held up by those that do not.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::AlertRaiser;
use db::billing::inbox::EventKey;
use domain::alert::{Alert, AlertKind};
use domain::time::UnixSeconds;
use futures_util::{StreamExt as _, stream};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use stripe_gateway::client::Client;
use stripe_gateway::client::read::ReadError;
use tokio::sync::Notify;

use crate::pauses::{Pauses, Standing};
use crate::reading::{Content, Pointer, Reading, of_object};

/// Reads at once.
const AT_ONCE: usize = 16;
/// Objects that one batch reads; the events of the others wait alone.
const A_BATCH: usize = 64;
/// Objects that are read in one second: a quarter of what Stripe gives in live mode, and its limit for one kind of object. A subscription of
/// more than ten items takes two calls, of two kinds.
const A_SECOND: NonZeroU32 = NonZeroU32::new(25).expect("25 is not 0");
/// A batch waits this long for its objects, all together.
const PATIENCE: Duration = Duration::from_secs(4);

/// Reads the objects of events that do not show them, as long as Stripe can be asked.
pub(crate) struct Hydrator {
    stripe: Option<Client>,
    alerts: AlertRaiser,
    pub(crate) pauses: Pauses,
    /// Stripe gives so many answers a second for all that we ask; escrow's calls need some of them.
    turns: DefaultDirectRateLimiter,
    /// Told when events wait because there is no key to ask with.
    pub(crate) no_key: Arc<Notify>,
}

impl Hydrator {
    /// Without a client every thin event waits.
    pub(crate) fn new(stripe: Option<Client>, alerts: AlertRaiser) -> Self {
        Self {
            stripe,
            alerts,
            pauses: Pauses::default(),
            turns: RateLimiter::direct(Quota::per_second(A_SECOND)),
            no_key: Arc::default(),
        }
    }

    /// Reads what the batch's thin events point to, and puts in each what it comes to. Those that are `decided` are left as they are, and
    /// so is every message of an event but its first.
    pub(crate) async fn hydrate(&self, readings: &mut [Reading<'_>], decided: BTreeSet<EventKey>) {
        let mut seen = decided;
        let pointers = readings.iter().enumerate().filter_map(|(place, reading)| {
            let pointer = reading.thin()?;
            seen.insert(reading.key()).then(|| (place, pointer.clone()))
        });
        let pointers = pointers.collect();
        self.read(readings, pointers).await;
    }

    /// Reads the whole of what these events show only a part of, and puts in each what it comes to. One that cannot be read stays as it is.
    pub(crate) async fn complete(&self, readings: &mut [Reading<'_>]) {
        let wholes = readings.iter().enumerate();
        let wholes = wholes.filter_map(|(place, reading)| Some((place, reading.whole()?.clone())));
        let wholes = wholes.collect();
        self.read(readings, wholes).await;
    }

    async fn read(&self, readings: &mut [Reading<'_>], pointers: Vec<(usize, Pointer)>) {
        if pointers.is_empty() {
            return;
        }
        let Some(stripe) = &self.stripe else {
            self.no_key.notify_one();
            return;
        };
        let mut asked: BTreeMap<usize, Pointer> = pointers
            .into_iter()
            .filter(|(_, pointer)| self.pauses.standing(pointer.kind()) != Standing::Paused)
            .take(A_BATCH)
            .collect();
        let begun: Mutex<BTreeSet<usize>> = Mutex::default();
        let answers: Vec<(usize, Option<Content>)> = stream::iter(asked.clone())
            .map(async |(place, pointer)| {
                self.turns.until_ready().await;
                begun.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
                (place, self.follow(stripe, &pointer).await)
            })
            .buffer_unordered(AT_ONCE)
            .take_until(tokio::time::sleep(PATIENCE))
            .collect()
            .await;
        // Those whose turn did not come are asked for another time.
        let begun = begun.into_inner().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|place, _| begun.contains(place));
        if answers.len() < asked.len() {
            cannot_ask(&ReadError::Unavailable("slow"), &self.alerts);
        }
        // What is left of `asked` after this loop was asked for in vain.
        let mut readable: BTreeMap<String, bool> = asked
            .values()
            .map(|pointer| (pointer.kind().to_owned(), false))
            .collect();
        for (place, content) in answers {
            let (Some(content), Some(reading)) = (content, readings.get_mut(place)) else {
                continue;
            };
            if let Some(pointer) = asked.remove(&place) {
                readable.insert(pointer.kind().to_owned(), true);
            }
            reading.content = content;
        }
        for (kind, readable) in readable {
            if readable {
                self.pauses.end(&kind);
            } else {
                self.pauses.begin(&kind);
            }
        }
        for place in asked.into_keys() {
            if let Some(reading) = readings.get_mut(place) {
                reading.was_asked_in_vain();
            }
        }
    }

    /// What a pointer comes to; none while it cannot be read. An object that is not there parks its event: everything that billing
    /// follows stays readable at Stripe, so it is our key that is of another account or mode.
    async fn follow(&self, stripe: &Client, pointer: &Pointer) -> Option<Content> {
        match stripe.read_related(&pointer.url).await {
            Ok(answer) => {
                let answered = answer.receipt.answered_at.unwrap_or(UnixSeconds(0));
                Some(of_object(&answer.content, pointer, answered))
            }
            Err(error) if error.is_transient() => {
                cannot_ask(&error, &self.alerts);
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
