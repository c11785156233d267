//! From a message to what the rules need: which event it is, and what it says in the domain's words.
//!
//! This is the edge between Stripe's objects and `domain::billing`. What a type means is decided by its name in one place,
//! [`rule::Rule`]; what cannot be read as its type promises is set aside with a reason, never guessed.

mod charge;
mod field;
mod object;
mod payment;
mod rule;
mod subscription;

use bus::{Incoming, headers};
use chrono::{DateTime, Utc};
use db::billing::inbox::EventKey;
use domain::billing::charge::ChargeFact;
use domain::billing::decision::Reason;
use domain::billing::fact::Fact;
use domain::billing::subscription::Rank;
use domain::ids::{CheckoutSessionId, ClientId, CustomerId, SubscriptionId};
use domain::time::UnixSeconds;
use stripe_gateway::client::read::Related;
use stripe_gateway::envelope::{Envelope, Form};
use stripe_gateway::views::{EventView, PreviousSubscription, Subscription, ViewError, related_url};

use field::{LAST_SECOND, Unreadable};
pub(crate) use object::{of_charge, of_object, of_subscription};
use payment::Paid;
pub(crate) use rule::Rule;

/// An event from further ahead than this, in seconds, is no event that happened: as the newest it would outrank all that do. Wide
/// enough for Stripe's test clocks.
const FAR_AHEAD: i64 = 5 * 366 * 86_400;

/// An event as the consumer works with it, or an object that was read from Stripe.
#[derive(Debug)]
pub(crate) struct Reading<'m> {
    pub(crate) source: Source,
    pub(crate) event_id: String,
    pub(crate) kind: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) endpoint: &'static str,
    pub(crate) account: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) livemode: Option<bool>,
    pub(crate) received_at: DateTime<Utc>,
    /// Whether Stripe delivered it just now; we send it once more ourselves where it waited or was parked.
    pub(crate) is_delivery: bool,
    /// The place of Stripe's delivery in its trace, as the message says.
    pub(crate) traceparent: Option<&'m str>,
    /// The body, byte for byte.
    pub(crate) payload: &'m str,
    pub(crate) content: Content,
}

/// Where a reading comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// An event, which has its place in the archive.
    Event,
    /// An object that was read from Stripe, which has none.
    Object,
}

/// What a thin event points to, or one that does not show all of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// What is read of it.
    pub(crate) rule: Rule,
    /// Where it is, at Stripe.
    pub(crate) url: String,
    /// The event's `created`.
    pub(crate) at: UnixSeconds,
    /// Whether Stripe was asked for it.
    pub(crate) asked: Asked,
}

/// Whether Stripe was asked for an object that is still to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// There was no time, no key, or no use in asking just then.
    NotYet,
    /// It gave no answer that counts.
    InVain,
}

impl Pointer {
    /// The kind of the object: its URL without the id, such as `/v1/charges`.
    pub(crate) fn kind(&self) -> &str {
        self.url.rsplit_once('/').map_or("", |(kind, _)| kind)
    }
}

/// What an event says.
#[derive(Debug)]
pub(crate) enum Content {
    /// Something about an object that is still to be read.
    Pointer(Pointer),
    /// Nothing to the state, by a named rule; and whose it is, where its object names a customer.
    Ignored(Reason, Option<CustomerId>),
    /// It cannot be read; why.
    Unreadable(String),
    /// It could not be decided however often that was tried.
    GaveUp(GaveUp),
    /// A fact, and who it says it is about.
    Statement(Box<Statement>),
}

/// Why an event could not be decided, and who it says it is about.
#[derive(Debug)]
pub(crate) struct GaveUp {
    pub(crate) why: String,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) named: Option<ClientId>,
}

/// A fact, and who it says it is about.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) says: Says,
    /// None only for what is about a charge, and for a checkout that buys something once.
    pub(crate) customer: Option<CustomerId>,
    pub(crate) session: Option<CheckoutSessionId>,
    pub(crate) named: Option<ClientId>,
    pub(crate) is_checkout: bool,
    /// The payment whose charge was refunded or is disputed, where that is said.
    pub(crate) payment_intent: Option<String>,
    /// Where the whole of it is, if an event shows only some of a subscription's items: the agreed price may be among the others.
    pub(crate) whole: Option<Pointer>,
}

/// What a statement is about.
#[derive(Debug)]
pub(crate) enum Says {
    /// A subscription: the state is derived from such facts.
    OfSubscription(Fact),
    /// Who bought a subscription, and nothing that the state is derived from.
    WhoBought(Bought),
    /// That something was bought once, or a card was set up, which is none of billing's business; but who claims in it to be somebody else is
    /// accused.
    BoughtOnce,
    /// A charge: recorded.
    OfCharge(ChargeFact),
}

/// A checkout that is complete and brought no money. Whose it is does not hang on that: it binds a customer, and accuses a forger, as a
/// paid one does.
#[derive(Debug)]
pub(crate) struct Bought {
    pub(crate) subscription: SubscriptionId,
    /// Why it activates nobody.
    pub(crate) why_nothing: Reason,
}

/// Reads a message, or says why it is not an event at all.
///
/// # Errors
/// When the body is not UTF-8 or has no event's envelope; such a message has no place in the archive and parks.
pub(crate) fn read(message: &Incoming, livemode: bool, now: DateTime<Utc>) -> Result<Reading<'_>, String> {
    let payload = std::str::from_utf8(&message.body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let event = EventView::parse(&message.body);
    let envelope = match &event {
        Ok(event) => event.envelope.clone(),
        // What is wrong with the object is for the archive to tell, as long as there is an event around it.
        Err(_) => stripe_gateway::envelope::peek(&message.body).map_err(|error| error.to_string())?,
    };
    let endpoint = endpoint(message);
    let received_at = message
        .headers
        .get_str(headers::RECEIVED_AT)
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map_or(now, |time| time.with_timezone(&Utc));
    let is_far_ahead = envelope.created > now.timestamp().saturating_add(FAR_AHEAD);
    let content = match by_envelope(&envelope, endpoint, livemode) {
        _ if is_far_ahead => Content::Unreadable("created lies more than five years ahead".to_owned()),
        Some(reason) => Content::Ignored(reason, None),
        None => content(&message.body, &envelope, event),
    };
    Ok(Reading {
        source: Source::Event,
        event_id: envelope.id.to_string(),
        kind: envelope.kind.to_string(),
        created: DateTime::from_timestamp(envelope.created.clamp(0, LAST_SECOND), 0).unwrap_or(now),
        endpoint,
        account: envelope.account.as_deref().map(ToOwned::to_owned),
        api_version: envelope.api_version.as_deref().map(ToOwned::to_owned),
        livemode: envelope.livemode,
        received_at,
        is_delivery: message.headers.get_bool(headers::AGAIN) != Some(true),
        traceparent: message.headers.get_str(headers::TRACEPARENT),
        payload,
        content,
    })
}

impl Reading<'_> {
    /// What the inbox knows the event by.
    pub(crate) fn key(&self) -> EventKey {
        (self.event_id.clone(), self.created)
    }

    /// What has to be read before it can be decided at all: the object of a thin event.
    pub(crate) const fn thin(&self) -> Option<&Pointer> {
        match &self.content {
            Content::Pointer(pointer) => Some(pointer),
            Content::Statement(_) | Content::Ignored(..) | Content::Unreadable(_) | Content::GaveUp(_) => None,
        }
    }

    /// Where the whole of its object is, if it shows only some of it and that was not asked for yet.
    pub(crate) fn whole(&self) -> Option<&Pointer> {
        match &self.content {
            Content::Statement(statement) => statement.whole.as_ref().filter(|whole| whole.asked == Asked::NotYet),
            Content::Pointer(_) | Content::Ignored(..) | Content::Unreadable(_) | Content::GaveUp(_) => None,
        }
    }

    /// Notes that what has to be read could not be.
    pub(crate) fn was_asked_in_vain(&mut self) {
        let pointer = match &mut self.content {
            Content::Pointer(pointer) => Some(pointer),
            Content::Statement(statement) => statement.whole.as_mut(),
            Content::Ignored(..) | Content::Unreadable(_) | Content::GaveUp(_) => None,
        };
        if let Some(pointer) = pointer {
            pointer.asked = Asked::InVain;
        }
    }

    /// Whether this message of the event has nothing to say for how it came here ([`Reason::OF_A_DELIVERY`]).
    pub(crate) const fn came_amiss(&self) -> bool {
        matches!(
            self.content,
            Content::Ignored(Reason::ConnectedAccount | Reason::LivemodeMismatch, _)
        )
    }

    /// The same event looked at once more, by ourselves.
    pub(crate) fn again(self) -> Self {
        Self {
            is_delivery: false,
            ..self
        }
    }

    /// The same event as one that could not be decided.
    pub(crate) fn given_up(self, why: String) -> Self {
        let (customer, named) = match self.content {
            Content::Statement(statement) => (statement.customer, statement.named),
            Content::Ignored(_, customer) => (customer, None),
            Content::GaveUp(gave_up) => (gave_up.customer, gave_up.named),
            Content::Pointer(_) | Content::Unreadable(_) => (None, None),
        };
        Self {
            content: Content::GaveUp(GaveUp { why, customer, named }),
            is_delivery: false,
            ..self
        }
    }
}

fn describe(error: &Unreadable) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(500));
    text
}

/// The endpoint by the header, or by the routing key for what somebody published by hand.
fn endpoint(message: &Incoming) -> &'static str {
    let named = message
        .headers
        .get_str(headers::ENDPOINT)
        .unwrap_or(&message.routing_key);
    if named.starts_with("connect") {
        "connect"
    } else {
        "platform"
    }
}

/// The rules that need nothing but the envelope.
fn by_envelope(envelope: &Envelope<'_>, endpoint: &str, livemode: bool) -> Option<Reason> {
    if envelope.livemode != Some(livemode) {
        return Some(Reason::LivemodeMismatch);
    }
    (endpoint == "connect" || envelope.connected_account().is_some()).then_some(Reason::ConnectedAccount)
}

fn content(body: &[u8], envelope: &Envelope<'_>, event: Result<EventView<'_>, ViewError>) -> Content {
    let rule = Rule::of(&envelope.kind);
    if envelope.form == Form::Thin {
        return thin(body, rule, UnixSeconds(envelope.created));
    }
    let said = event.map_err(Unreadable::from).and_then(|event| {
        let said = statement(&event, rule, UnixSeconds(envelope.created))?;
        Ok(said.map_err(|reason| (reason, customer(&event))))
    });
    match said {
        Ok(Ok(statement)) => Content::Statement(Box::new(statement)),
        Ok(Err((reason, customer))) => Content::Ignored(reason, customer),
        Err(error) => Content::Unreadable(describe(&error)),
    }
}

/// A thin event says what its object says, once that has been read.
fn thin(body: &[u8], rule: Rule, at: UnixSeconds) -> Content {
    if let Rule::Nothing(reason) = rule {
        return Content::Ignored(reason, None);
    }
    match related_url(body) {
        Ok(Some(url)) => match Related::parse(&url) {
            Ok(_) => Content::Pointer(Pointer {
                rule,
                url,
                at,
                asked: Asked::NotYet,
            }),
            Err(error) => Content::Unreadable(format!("related_object: {error}")),
        },
        Ok(None) => Content::Unreadable(describe(&Unreadable::Missing("related_object.url"))),
        Err(error) => Content::Unreadable(describe(&error.into())),
    }
}

/// The customer of an event that says nothing, so that it stands in the timeline of its client all the same.
fn customer(event: &EventView<'_>) -> Option<CustomerId> {
    CustomerId::parse(event.customer_id()?).ok()
}

/// What an event says, by its rule: a statement, or why it says nothing.
fn statement(event: &EventView<'_>, rule: Rule, at: UnixSeconds) -> Result<Result<Statement, Reason>, Unreadable> {
    let nothing_before = PreviousSubscription::default();
    match rule {
        Rule::SubscriptionCreated => {
            let view = event.subscription()?;
            let said = subscription::snapshot(&view, &nothing_before, at, Rank::Created)?;
            Ok(Ok(with_the_whole(said, &view, at)))
        }
        Rule::SubscriptionChanged => {
            let view = event.subscription()?;
            let before = event.previous_subscription(&view)?;
            let said = subscription::snapshot(&view, &before, at, Rank::Updated)?;
            Ok(Ok(with_the_whole(said, &view, at)))
        }
        Rule::SubscriptionDeleted => subscription::deleted(&event.subscription()?, at),
        Rule::InvoicePaid => payment::invoice(&event.invoice()?, at, Paid::Yes),
        Rule::InvoiceFailed => payment::invoice(&event.invoice()?, at, Paid::No),
        Rule::Checkout => payment::checkout(&event.checkout_session()?, at),
        Rule::Charge => charge::charge(&event.charge()?).map(Ok),
        Rule::Refund => charge::refund(&event.refund()?),
        Rule::Dispute(said_by) => charge::dispute(&event.dispute()?, said_by, at).map(Ok),
        Rule::Nothing(reason) => Ok(Err(reason)),
    }
}

/// Stripe shows ten items within a subscription, and says that there are more.
fn with_the_whole(said: Statement, view: &Subscription, at: UnixSeconds) -> Statement {
    let whole = view.has_more_items.then(|| Pointer {
        rule: Rule::SubscriptionChanged,
        url: format!("/v1/subscriptions/{}", view.id),
        at,
        asked: Asked::NotYet,
    });
    Statement { whole, ..said }
}

/// A client id in metadata that is no id names nobody.
fn named(text: Option<&str>) -> Option<ClientId> {
    text.and_then(|text| ClientId::parse(text).ok())
}
