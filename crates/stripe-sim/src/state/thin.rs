//! Thin events (`v2.core.event`): the notice that something happened to an object, without the object. Destinations with thin payloads get
//! one for each snapshot event, with an id of its own and `v1.` before the type; some types exist only as thin.

use serde_json::{Value, json};

use super::World;
use super::event::{Event, Reach, Thin};
use super::object::Object;
use crate::ids::draw;
use crate::version::ApiVersion;

/// What a thin event is about.
#[derive(Clone, Debug)]
pub(crate) struct Related {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) url: String,
}

impl Related {
    /// The object of an event and where it is read; `None` for what has no address of its own.
    fn of(object: &Object) -> Option<Self> {
        let shown = crate::render::object(object, &ApiVersion::newest());
        let (id, kind) = (shown.get("id")?.as_str()?, shown.get("object")?.as_str()?);
        let folder = match kind {
            "checkout.session" => "checkout/sessions".to_owned(),
            "test_helpers.test_clock" => "test_helpers/test_clocks".to_owned(),
            "capability" => format!("accounts/{}/capabilities", shown.get("account")?.as_str()?),
            "invoiceitem" | "customer" | "subscription" | "invoice" | "invoice_payment" | "payment_intent"
            | "charge" | "refund" | "dispute" | "product" | "price" | "payment_method" | "transfer" | "payout"
            | "account" => format!("{kind}s"),
            _ => return None,
        };
        Some(Self {
            id: id.to_owned(),
            kind: kind.to_owned(),
            url: format!("/v1/{folder}/{id}"),
        })
    }

    fn json(&self) -> Value {
        json!({ "id": self.id, "type": self.kind, "url": self.url })
    }
}

/// `created` of v2 is a text with milliseconds.
pub(crate) fn iso(seconds: i64, millis: u64) -> String {
    let millis = u32::try_from(millis % 1_000).unwrap_or(0);
    chrono::DateTime::from_timestamp(seconds, millis * 1_000_000)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl World {
    /// The thin counterpart of a snapshot event, if it has one.
    pub(super) fn thin_of(&mut self, event: &Event, reach: Reach) -> Option<Event> {
        if event.thin.is_some() {
            return None;
        }
        let related = Related::of(&event.object)?;
        Some(self.make_thin(event, format!("v1.{}", event.kind), &related, reach))
    }

    /// Stages an event that exists only as thin, such as those of Accounts v2.
    pub(crate) fn emit_thin(&mut self, kind: &str, account: Option<&str>, related: &Related, object: Object) {
        let mut base = self.new_event(kind, object, None);
        base.account = account.map(ToOwned::to_owned);
        let event = self.make_thin(&base, kind.to_owned(), related, Reach::ThinDestinations);
        self.stage_event(event);
    }

    fn make_thin(&mut self, event: &Event, kind: String, related: &Related, reach: Reach) -> Event {
        let id = self.ids.next("evt_test");
        let reason = event.cause.request.as_ref().map(|request| {
            json!({
                "type": "request",
                "request": { "id": request, "idempotency_key": event.cause.idempotency_key }
            })
        });
        let body = json!({
            "id": id,
            "object": "v2.core.event",
            "context": event.account,
            "created": iso(event.created, draw(self.seed, "milliseconds", self.events.total())),
            "livemode": event.livemode,
            "reason": reason,
            "related_object": related.json(),
            "type": kind
        });
        Event {
            id,
            kind,
            thin: Some(Thin { body, reach }),
            previous: None,
            ..event.clone()
        }
    }
}
