//! The model's events as Stripe posts them: the fixtures' bodies of the version, spoken for this client.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use stripe_gateway::fixtures::{self, Version};

use crate::model::charging::{DisputeLife, RefundLife};
use crate::model::moves::CENTS;
use crate::model::{self, AT_THE_TILL, Checkout, Invoice, Life, Paid, Sub, Told, Word};
use crate::support::events::merge;
use crate::support::{Event, unique};

pub const VERSIONS: [Version; 3] = Version::ALL;

/// Parsed once: rendering one fixture renders all of its version.
static BODIES: LazyLock<BTreeMap<(&'static str, Version), String>> = LazyLock::new(|| {
    let of = |version| {
        fixtures::of_version(version)
            .into_iter()
            .map(move |one| ((one.kind, version), one.body))
    };
    VERSIONS.into_iter().flat_map(of).collect()
});

/// Tells a history in the words of Stripe, with ids and times of its own.
pub struct Teller {
    client: String,
    /// What is added to the model's times.
    offset: i64,
}

impl Teller {
    pub fn new(client: &str, offset: i64) -> Self {
        let client = client.to_owned();
        Self { client, offset }
    }

    pub fn time(&self, at: i64) -> i64 {
        at + self.offset
    }

    pub fn customer(&self, customer: usize) -> String {
        format!("cus_{}_{customer}", self.client)
    }

    pub fn subscription(&self, sub: usize) -> String {
        format!("sub_{}_{sub}", self.client)
    }

    pub fn charge(&self, charge: usize) -> String {
        format!("ch_{}_{charge}", self.client)
    }

    pub fn refund(&self, charge: usize, refund: usize) -> String {
        format!("re_{}_{charge}_{refund}", self.client)
    }

    pub fn dispute(&self, charge: usize, dispute: usize) -> String {
        format!("du_{}_{charge}_{dispute}", self.client)
    }

    fn invoice(&self, invoice: usize) -> String {
        format!("in_{}_{invoice}", self.client)
    }

    pub fn refund_status(life: RefundLife) -> &'static str {
        match life {
            RefundLife::Pending => "pending",
            RefundLife::Succeeded => "succeeded",
            RefundLife::Failed => "failed",
        }
    }

    pub fn dispute_status(life: DisputeLife) -> &'static str {
        match life {
            DisputeLife::Inquiry => "warning_needs_response",
            DisputeLife::Open => "needs_response",
            DisputeLife::Answered => "under_review",
            DisputeLife::Lost => "lost",
            DisputeLife::Won => "won",
        }
    }

    pub fn tell(&self, event: &model::Event, version: Version) -> Event {
        let (kind, shape) = kinds(&event.word);
        let mut body = self.body(shape, version);
        let object = body["data"]["object"].take();
        let before = body["data"]["previous_attributes"].take();
        let object = self.object(event, object, version);
        let data = match &event.word {
            Word::Updated(was) => {
                json!({"object": object, "previous_attributes": self.previous(was, &event.now, &object, version)})
            }
            Word::Told(Told::Touched) => {
                json!({"object": object, "previous_attributes": {"latest_invoice": "in_another"}})
            }
            _ if before.is_null() => json!({"object": object}),
            _ => json!({"object": object, "previous_attributes": before}),
        };
        body["data"] = data;
        body["id"] = json!(unique("evt"));
        body["type"] = json!(kind);
        body["created"] = json!(self.time(event.at));
        Event::of_json(body)
    }

    fn body(&self, kind: &'static str, version: Version) -> Value {
        let body = BODIES[&(kind, version)]
            .replace(fixtures::CLIENT_ID, &self.client)
            .replace(fixtures::CUSTOMER_ID, &self.customer(0))
            .replace(fixtures::SUBSCRIPTION_ID, &self.subscription(0));
        serde_json::from_str(&body).unwrap()
    }

    fn object(&self, event: &model::Event, object: Value, version: Version) -> Value {
        let of_customer = json!({"customer": self.customer(event.now.customer)});
        match &event.word {
            Word::Created | Word::Updated(_) | Word::Told(_) | Word::Deleted => {
                self.show(event.sub, &event.now, object, version)
            }
            Word::Checkout { invoice, how } => {
                let paid = matches!(how, Checkout::Paid | Checkout::PaidLater);
                let session = json!({
                    "id": format!("cs_{}_{}", self.client, invoice.number), "subscription": self.subscription(event.sub),
                    "invoice": self.invoice(invoice.number), "payment_status": if paid { "paid" } else { "unpaid" },
                    "amount_total": CENTS, "created": self.time(invoice.made - AT_THE_TILL)
                });
                merge(merge(object, of_customer), session)
            }
            Word::Paid { invoice, cents, .. } => {
                let object = self.name(invoice.price, event.sub, object, version);
                let of = self.of_subscription(event.sub, invoice, version);
                let paid = json!({"amount_paid": cents, "amount_due": cents, "total": cents});
                merge(merge(merge(object, of_customer), of), paid)
            }
            Word::Failed { invoice } => {
                let object = self.name(invoice.price, event.sub, object, version);
                let of = self.of_subscription(event.sub, invoice, version);
                let due = json!({"amount_paid": 0, "amount_due": CENTS});
                merge(merge(merge(object, of_customer), of), due)
            }
            Word::OneOff { invoice } => {
                let of = self.of_invoice(None, *invoice, false, version);
                merge(merge(object, of_customer), of)
            }
            Word::Charged { charge, refunded } => {
                let charge = json!({
                    "id": self.charge(*charge), "amount": CENTS, "amount_captured": CENTS, "amount_refunded": refunded,
                    "refunded": *refunded == CENTS
                });
                merge(merge(object, of_customer), charge)
            }
            Word::Refund { charge, refund, life } => {
                let (id, status) = (self.refund(*charge, *refund), Self::refund_status(*life));
                merge(
                    object,
                    json!({"id": id, "charge": self.charge(*charge), "amount": 500, "status": status}),
                )
            }
            Word::Dispute {
                charge, dispute, life, ..
            } => {
                let (id, status) = (self.dispute(*charge, *dispute), Self::dispute_status(*life));
                merge(
                    object,
                    json!({"id": id, "charge": self.charge(*charge), "amount": CENTS, "status": status}),
                )
            }
        }
    }

    /// An invoice with a line that names a price, or none.
    fn name(&self, price: Option<u8>, sub: usize, mut object: Value, version: Version) -> Value {
        let id = price.map(|price| format!("price_{price}"));
        let line = &mut object["lines"]["data"][0];
        if version == Version::Y2023 {
            line["subscription"] = json!(self.subscription(sub));
            line["price"] = json!(id.map(|id| json!({"id": id, "object": "price"})));
            line["plan"] = Value::Null;
        } else {
            line["parent"]["subscription_item_details"]["subscription"] = json!(self.subscription(sub));
            line["pricing"]["price_details"] = json!(id.map(|id| json!({"price": id})));
        }
        object
    }

    fn of_subscription(&self, sub: usize, invoice: &Invoice, version: Version) -> Value {
        let of = self.of_invoice(Some(sub), invoice.number, invoice.first, version);
        merge(of, json!({"created": self.time(invoice.made)}))
    }

    fn of_invoice(&self, sub: Option<usize>, invoice: usize, first: bool, version: Version) -> Value {
        let reason = match (sub, first) {
            (None, _) => "manual",
            (Some(_), true) => "subscription_create",
            (Some(_), false) => "subscription_cycle",
        };
        let id = sub.map(|sub| self.subscription(sub));
        let place = match (version, id) {
            (Version::Y2023, id) => json!({"subscription": id}),
            (Version::Basil | Version::Endive, Some(id)) => {
                json!({"parent": {"subscription_details": {"subscription": id}}})
            }
            (Version::Basil | Version::Endive, None) => json!({"parent": null}),
        };
        merge(json!({"id": self.invoice(invoice), "billing_reason": reason}), place)
    }

    /// The subscription as an event of a version shows it, or an answer.
    pub fn show(&self, id: usize, sub: &Sub, mut object: Value, version: Version) -> Value {
        let over = sub.life.is_over().then(|| self.time(sub.period_end));
        let mut item = object["items"]["data"][0].take();
        item["price"]["id"] = json!(format!("price_{}", sub.price));
        item["plan"]["id"] = item["price"]["id"].clone();
        let period_end = json!(self.time(sub.period_end));
        if version == Version::Y2023 {
            object["current_period_end"] = period_end;
        } else {
            item["current_period_end"] = period_end;
        }
        object["items"]["data"] = json!([item]);
        let rest = json!({
            "id": self.subscription(id), "customer": self.customer(sub.customer), "status": status(sub.life),
            "pause_collection": collection(sub), "cancel_at_period_end": sub.ends, "canceled_at": over, "ended_at": over,
            "start_date": self.time(sub.start), "created": self.time(sub.start),
            "trial_end": sub.trial_end.map(|end| self.time(end))
        });
        merge(object, rest)
    }

    /// A subscription as an answer shows it.
    pub fn answer(&self, id: usize, sub: &Sub) -> Value {
        let version = Version::Endive;
        let object = self.body("customer.subscription.created", version)["data"]["object"].take();
        self.show(id, sub, object, version)
    }

    /// A charge as an answer shows it.
    pub fn charge_answer(&self, id: usize, customer: usize, refunded: i64) -> Value {
        let object = self.body("charge.succeeded", Version::Endive)["data"]["object"].take();
        merge(
            object,
            json!({
                "id": self.charge(id), "customer": self.customer(customer), "amount": CENTS, "amount_captured": CENTS,
                "amount_refunded": refunded
            }),
        )
    }

    /// `previous_attributes`: what was different, and items whole where a price or a period within them was.
    fn previous(&self, was: &Sub, now: &Sub, shown: &Value, version: Version) -> Value {
        let mut before = Map::new();
        let mut told = |name: &str, differs: bool, value: Value| {
            if differs {
                before.insert(name.to_owned(), value);
            }
        };
        let period = was.period_end != now.period_end;
        let in_items = version != Version::Y2023;
        told("status", was.life != now.life, json!(status(was.life)));
        told("pause_collection", was.frozen != now.frozen, collection(was));
        told("cancel_at_period_end", was.ends != now.ends, json!(was.ends));
        told(
            "trial_end",
            was.trial_end != now.trial_end,
            json!(was.trial_end.map(|end| self.time(end))),
        );
        told(
            "current_period_end",
            period && !in_items,
            json!(self.time(was.period_end)),
        );
        if was.price != now.price || (period && in_items) {
            let earlier = self.show(0, was, shown.clone(), version);
            told("items", true, json!({"data": earlier["items"]["data"]}));
        }
        Value::Object(before)
    }
}

/// The type of an event, and the fixture that has its shape.
fn kinds(word: &Word) -> (&'static str, &'static str) {
    let same = |kind| (kind, kind);
    match word {
        Word::Created => same("customer.subscription.created"),
        Word::Updated(_) | Word::Told(Told::Touched) => same("customer.subscription.updated"),
        Word::Told(Told::Paused) => same("customer.subscription.paused"),
        Word::Told(Told::Resumed) => same("customer.subscription.resumed"),
        Word::Told(Told::UpdateExpired) => (
            "customer.subscription.pending_update_expired",
            "customer.subscription.resumed",
        ),
        Word::Deleted => same("customer.subscription.deleted"),
        Word::Checkout { how, .. } => match how {
            Checkout::Paid | Checkout::Unpaid => same("checkout.session.completed"),
            Checkout::PaidLater => same("checkout.session.async_payment_succeeded"),
            Checkout::NeverPaid => same("checkout.session.async_payment_failed"),
        },
        Word::Paid { how, .. } => match how {
            Paid::Charged | Paid::OutOfBand => same("invoice.paid"),
            Paid::Succeeded => same("invoice.payment_succeeded"),
        },
        Word::Failed { .. } => same("invoice.payment_failed"),
        Word::OneOff { .. } => same("invoice.paid"),
        Word::Charged { refunded: 0, .. } => same("charge.succeeded"),
        Word::Charged { .. } => same("charge.refunded"),
        Word::Refund { life, .. } => match life {
            RefundLife::Pending => same("refund.created"),
            RefundLife::Succeeded => same("refund.updated"),
            RefundLife::Failed => same("refund.failed"),
        },
        Word::Dispute { opened: true, .. } => same("charge.dispute.created"),
        Word::Dispute { life, .. } => match life {
            DisputeLife::Lost | DisputeLife::Won => same("charge.dispute.closed"),
            DisputeLife::Inquiry | DisputeLife::Open | DisputeLife::Answered => same("charge.dispute.updated"),
        },
    }
}

fn status(life: Life) -> &'static str {
    match life {
        Life::Incomplete => "incomplete",
        Life::Expired => "incomplete_expired",
        Life::Trial => "trialing",
        Life::Active => "active",
        Life::PastDue => "past_due",
        Life::Unpaid => "unpaid",
        Life::Paused => "paused",
        Life::Canceled => "canceled",
    }
}

fn collection(sub: &Sub) -> Value {
    if sub.frozen {
        json!({"behavior": "void", "resumes_at": null})
    } else {
        Value::Null
    }
}
