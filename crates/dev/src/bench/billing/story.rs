//! What clients of a subscription business go through, as the events that Stripe sends about it.
//!
//! A story is five events of one client. Of ten clients eight renew (invoice made, period moved, invoice finalised, paid, paid
//! again under the older name), one falls behind and recovers, and one buys: at first only, later it renews like the others. So
//! of a hundred events about a third say nothing to the state, a third are snapshots and a third payments, and six to eight
//! change a state. Stories go side by side, [`LANES`] at a time, as renewals of many clients do: two events of one client are
//! seldom in one batch. Clients come in no order, ids of events and invoices in that of time, as Stripe's do.
//!
//! The bodies are the gateway's fixtures of the newest API version, indented as Stripe posts them and cut or filled to the size
//! of its average body. Making one is a copy with a few numbers written over.

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

/// Events of a story.
pub(super) const STEPS: usize = 5;
/// Stories that are told side by side.
const LANES: usize = 1_000;
/// What every body is cut or filled to, in bytes; a few more or less.
const BODY_BYTES: usize = 4_900;
/// Steps through the clients: prime, so that every client gets a turn in each cycle.
const STRIDE: usize = 48_271;
/// Between two cycles of one client, in seconds: more than the window in which two payments are one act.
const CYCLE_SECONDS: i64 = 200;
const PERIOD_SECONDS: i64 = 2_592_000;

macro_rules! fixture {
    ($kind:literal) => {
        (
            $kind,
            include_str!(concat!(
                "../../../../stripe-gateway/fixtures/2026-09-30.endive/",
                $kind,
                ".json"
            )),
        )
    };
}

const FIXTURES: [(&str, &str); 8] = [
    fixture!("invoice.created"),
    fixture!("customer.subscription.updated"),
    fixture!("invoice.finalized"),
    fixture!("invoice.paid"),
    fixture!("invoice.payment_succeeded"),
    fixture!("invoice.payment_failed"),
    fixture!("customer.subscription.created"),
    fixture!("checkout.session.completed"),
];

/// Numbers that are written over, each as wide as what is written.
#[derive(Debug, Clone, Copy)]
enum Field {
    Event,
    Story,
    Client,
    Created,
    PeriodEnd,
    PeriodStart,
}

const PLACES: [(Field, &str); 6] = [
    (Field::Event, "EEEEEEEEEE"),
    (Field::Story, "SSSSSSSSSS"),
    (Field::Client, "CCCCCCCC"),
    (Field::Created, "9111111111"),
    (Field::PeriodEnd, "9222222222"),
    (Field::PeriodStart, "9333333333"),
];

#[derive(Debug)]
struct Template {
    kind: &'static str,
    body: Vec<u8>,
    fields: Vec<(usize, Field)>,
}

/// All events of a run.
#[derive(Debug)]
pub(super) struct Stories {
    templates: Vec<Template>,
    past_due: Template,
    clients: usize,
    begin: DateTime<Utc>,
}

/// An event of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Its type.
    pub(super) kind: &'static str,
    /// Stripe's `created`.
    pub(super) created: DateTime<Utc>,
}

/// How it goes with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Renews,
    FallsBehind,
    Buys,
}

impl Fate {
    /// That of a client, by its number.
    pub(super) const fn of(client: usize) -> Self {
        match client % 10 {
            9 => Self::Buys,
            8 => Self::FallsBehind,
            _ => Self::Renews,
        }
    }
}

impl Stories {
    /// The stories of so many clients, the first of which begins at `begin`.
    pub(super) fn new(clients: usize, begin: DateTime<Utc>) -> anyhow::Result<Self> {
        let templates = FIXTURES.into_iter().map(|(kind, text)| Template::of(kind, text, None));
        let [_, (kind, text), ..] = FIXTURES;
        Ok(Self {
            templates: templates.collect::<anyhow::Result<_>>()?,
            past_due: Template::of(kind, text, Some("past_due"))?,
            clients,
            begin,
        })
    }

    /// The id of event number `n`.
    pub(super) fn id(n: usize) -> String {
        format!("evt_1{n:010}QhBenchHoldf")
    }

    /// The client of event number `n`.
    pub(super) fn client(&self, n: usize) -> String {
        format!("{}{:08}{}", CLIENT.0, self.place(n).client, CLIENT.1)
    }

    /// What event number `n` is.
    pub(super) fn told(&self, n: usize) -> Told {
        let place = self.place(n);
        Told {
            kind: self.template(place).kind,
            created: self.created(place),
        }
    }

    /// Writes the body of event number `n`.
    pub(super) fn write(&self, n: usize, body: &mut Vec<u8>) -> Told {
        let place = self.place(n);
        let template = self.template(place);
        let created = self.created(place);
        let period = self.begin.timestamp() + i64::try_from(place.cycle).unwrap_or_default() * PERIOD_SECONDS;
        body.clear();
        body.extend_from_slice(&template.body);
        for (at, field) in &template.fields {
            match field {
                Field::Event => digits::<10>(body, *at, n),
                Field::Story => digits::<10>(body, *at, place.story),
                Field::Client => digits::<8>(body, *at, place.client),
                Field::Created => digits::<10>(body, *at, seconds(created.timestamp())),
                Field::PeriodStart => digits::<10>(body, *at, seconds(period)),
                Field::PeriodEnd => digits::<10>(body, *at, seconds(period + PERIOD_SECONDS)),
            }
        }
        Told {
            kind: template.kind,
            created,
        }
    }

    fn place(&self, n: usize) -> Place {
        let (block, within) = (n / (LANES * STEPS), n % (LANES * STEPS));
        let (step, lane) = (within / LANES, within % LANES);
        let story = block * LANES + lane;
        let (cycle, turn) = (story / self.clients, story % self.clients);
        Place {
            story,
            step,
            cycle,
            client: turn * STRIDE % self.clients,
        }
    }

    fn created(&self, place: Place) -> DateTime<Utc> {
        let cycles = i64::try_from(place.cycle).unwrap_or_default() * CYCLE_SECONDS;
        let steps = i64::try_from(place.step).unwrap_or_default() * 2;
        self.begin + chrono::Duration::seconds(cycles + steps)
    }

    fn template(&self, place: Place) -> &Template {
        const RENEWAL: [usize; STEPS] = [0, 1, 2, 3, 4];
        const PURCHASE: [usize; STEPS] = [6, 7, 3, 4, 1];
        let pick = |index: Option<&usize>| {
            index
                .and_then(|index| self.templates.get(*index))
                .unwrap_or(&self.past_due)
        };
        match (Fate::of(place.client), place.cycle, place.step) {
            (Fate::FallsBehind, _, 0) => pick(Some(&5)),
            (Fate::FallsBehind, _, 1) => &self.past_due,
            (Fate::FallsBehind, _, 2) => pick(Some(&3)),
            (Fate::FallsBehind, _, 3) => pick(Some(&4)),
            (Fate::FallsBehind, _, _) => pick(Some(&1)),
            (Fate::Buys, 0, step) => pick(PURCHASE.get(step)),
            (Fate::Buys | Fate::Renews, _, step) => pick(RENEWAL.get(step)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    story: usize,
    step: usize,
    cycle: usize,
    client: usize,
}

/// The customer of a client, by its number.
pub(super) const CUSTOMER: (&str, &str) = ("cus_", "BenHld");
/// Its subscription.
pub(super) const SUBSCRIPTION: (&str, &str) = ("sub_1", "QhBenchHoldfast");
/// The client itself.
pub(super) const CLIENT: (&str, &str) = ("client_", "");
/// What all pay for.
pub(super) const PRICE: &str = "price_1QFixture0000000000000001";

impl Template {
    fn of(kind: &'static str, text: &str, status: Option<&str>) -> anyhow::Result<Self> {
        let between = |(before, after): (&str, &str)| format!("{before}CCCCCCCC{after}");
        let text = text
            .replace("sub_1QFixture0000000000000001", &between(SUBSCRIPTION))
            .replace("cus_QFixture0000001", &between(CUSTOMER))
            .replace("client_fixture", &between(CLIENT))
            .replace("in_1QFixture0000000000000001", "in_1SSSSSSSSSSQhBenchHoldf")
            .replace("cs_test_a1Fixture", "cs_test_a1SSSSSSSSSSFixture")
            .replace("1793534400", "9222222222");
        let mut event: Value = serde_json::from_str(&text).context("a fixture")?;
        put(&mut event, "/id", json!("evt_1EEEEEEEEEEQhBenchHoldf"))?;
        put(&mut event, "/created", json!(9_111_111_111_i64))?;
        if let Some(previous) = event.pointer_mut("/data/previous_attributes") {
            *previous = json!({"items": {"data": [{
                "id": "si_QFixture0000001", "current_period_end": 9_333_333_333_i64,
                "price": {"id": PRICE, "object": "price", "currency": "eur"}
            }]}});
        }
        if let Some(status) = status {
            put(&mut event, "/data/object/status", json!(status))?;
        }
        let body = to_size(event)?;
        let fields = PLACES
            .into_iter()
            .flat_map(|(field, mark)| body.match_indices(mark).map(move |(at, _)| (at, field)));
        let fields = fields.collect();
        Ok(Self {
            kind,
            body: body.into_bytes(),
            fields,
        })
    }
}

/// Leaves out what is null, then what is long and says nothing here, or adds metadata, until the body has its size.
fn to_size(mut event: Value) -> anyhow::Result<String> {
    let render = |event: &Value| serde_json::to_string_pretty(event).context("a body");
    let object = event.pointer_mut("/data/object").and_then(Value::as_object_mut);
    let mut object: Map<String, Value> = std::mem::take(object.context("a fixture without an object")?);
    let nulls = object.iter().filter(|(_, value)| value.is_null());
    let mut spare: Vec<String> = nulls.map(|(name, _)| name.clone()).collect();
    spare.extend(["payment_method_options", "hosted_invoice_url", "invoice_pdf"].map(str::to_owned));
    if let Some(item) = object.get_mut("items").and_then(|items| items.pointer_mut("/data/0")) {
        item.as_object_mut().map(|item| item.remove("plan"));
    }
    loop {
        put(&mut event, "/data/object", Value::Object(object.clone()))?;
        let body = render(&event)?;
        if body.len() <= BODY_BYTES {
            break;
        }
        let name = spare.pop().context("a fixture is too long")?;
        object.remove(&name);
    }
    let mut lines = 0;
    loop {
        let body = render(&event)?;
        if body.len() + 80 > BODY_BYTES {
            ensure!(body.len() <= BODY_BYTES, "a body is too long");
            return Ok(body);
        }
        lines += 1;
        let metadata = event
            .pointer_mut("/data/object/metadata")
            .and_then(Value::as_object_mut);
        let metadata = metadata.context("a fixture without metadata")?;
        metadata.insert(format!("order_line_{lines}"), json!("PRODUCT-4711 two, gift wrapped"));
    }
}

fn put(event: &mut Value, pointer: &str, value: Value) -> anyhow::Result<()> {
    *event.pointer_mut(pointer).context("a fixture lacks a member")? = value;
    Ok(())
}

fn digits<const N: usize>(body: &mut [u8], at: usize, mut number: usize) {
    if let Some(place) = body.get_mut(at..at + N) {
        for digit in place.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    }
}

fn seconds(time: i64) -> usize {
    usize::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stripe_gateway::envelope::peek;
    use stripe_gateway::views::EventView;

    #[test]
    fn events_are_distinct_readable_and_of_the_right_size() {
        let begin = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let stories = Stories::new(1_000, begin).unwrap();
        let mut body = Vec::new();
        let mut seen = std::collections::BTreeMap::new();
        for n in 0..2 * LANES * STEPS {
            let told = stories.write(n, &mut body);
            assert_eq!(told, stories.told(n));
            assert!((4_700..=4_900).contains(&body.len()), "{}: {}", told.kind, body.len());
            let envelope = peek(&body).unwrap();
            assert_eq!(
                (envelope.id.to_string(), envelope.kind.as_ref()),
                (Stories::id(n), told.kind)
            );
            assert_eq!(envelope.created, told.created.timestamp());
            let event = EventView::parse(&body).unwrap();
            let client = stories.place(n).client;
            let customer = format!("{}{client:08}{}", CUSTOMER.0, CUSTOMER.1);
            let found = if told.kind.starts_with("invoice") {
                event.invoice().unwrap().customer.unwrap()
            } else if told.kind.starts_with("checkout") {
                event.checkout_session().unwrap().customer.unwrap()
            } else {
                let view = event.subscription().unwrap();
                event.previous_subscription(&view).unwrap();
                view.customer
            };
            assert_eq!(found, customer);
            *seen.entry(told.kind).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), FIXTURES.len(), "{seen:?}");
    }
}
