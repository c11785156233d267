//! Stripe's list of events, page by page: what to compare the archive with.

use domain::time::UnixSeconds;
use stripe_core::event::ListEvent;
use stripe_types::{RangeBoundsTs, RangeQueryTs};

use super::{ReadError, Reading};
use crate::client::outcome::{Answer, Body};
use crate::client::{Call, Client};
use crate::envelope::{self, Envelope};
use crate::views::{List, ViewError};

/// The most that Stripe gives on one page.
const PAGE: i64 = 100;

/// Which events. Stripe keeps them for 30 days and lists the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// The first second of the window, inclusive.
    pub from: Option<UnixSeconds>,
    /// The last second of the window, inclusive.
    pub to: Option<UnixSeconds>,
    /// Only these types, at most 20; all when empty. `invoice.*` is understood.
    pub types: Vec<String>,
    /// Only those that some endpoint has not taken.
    pub undelivered_only: bool,
    /// Goes on after this event's id; [`EventPage::next`] has it.
    pub after: Option<String>,
}

/// One page of events, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events of this page.
    pub events: Vec<ListedEvent>,
    /// What to set [`EventsQuery::after`] to; none after the last page.
    pub next: Option<String>,
}

/// One event out of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEvent {
    /// Its outermost fields.
    pub envelope: Envelope<'static>,
    /// The event as it stands in the list; [`crate::views::EventView::parse`] takes it. Indented otherwise than a webhook's body.
    pub body: Body,
}

impl Client {
    /// One page of events. Walk on with [`EventPage::next`] until it is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list_events(&self, query: &EventsQuery) -> Reading<EventPage> {
        let call = Call::get(&request(query));
        let Answer { body, receipt, .. } = self.read(call, |body| List::parse(body).map(|_| ())).await?;
        match page(&body) {
            Ok(content) => Ok(Answer { content, body, receipt }),
            Err(problem) => Err(ReadError::Unreadable { problem, body }),
        }
    }
}

fn request(query: &EventsQuery) -> ListEvent {
    let mut request = ListEvent::new().limit(PAGE);
    if query.from.is_some() || query.to.is_some() {
        request = request.created(RangeQueryTs::Bounds(RangeBoundsTs {
            gte: query.from.map(|from| from.0),
            lte: query.to.map(|to| to.0),
            ..RangeBoundsTs::default()
        }));
    }
    if !query.types.is_empty() {
        request = request.types(query.types.clone());
    }
    if query.undelivered_only {
        request = request.delivery_success(false);
    }
    match &query.after {
        Some(after) => request.starting_after(after),
        None => request,
    }
}

fn page(body: &Body) -> Result<EventPage, ViewError> {
    let list = List::parse(body.as_bytes())?;
    let events = list.items.iter().map(|item| {
        let text = item.get().as_bytes();
        Ok(ListedEvent {
            envelope: envelope::peek(text)?.into_owned(),
            body: body.part(text),
        })
    });
    let events = events.collect::<Result<Vec<_>, ViewError>>()?;
    let last = events.last().map(|event| event.envelope.id.clone().into_owned());
    Ok(EventPage {
        next: last.filter(|_| list.has_more),
        events,
    })
}
