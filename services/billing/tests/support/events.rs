//! Events as ingest publishes them.

use bus::{Headers, Outgoing, headers, topology};
use bytes::Bytes;
use serde_json::{Value, json};
use service_kit::clock::Clock;

use super::unique;

/// A moment in the past of any test run, inside the year's partitions or not: billing must not care.
pub const T0: i64 = 1_790_000_000;

#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub created: i64,
    pub body: String,
    pub endpoint: &'static str,
}

impl Event {
    pub fn new(kind: &str, created: i64, object: Value) -> Self {
        Self::of_json(json!({
            "id": unique("evt"), "object": "event", "api_version": "2026-09-30.endive", "created": created,
            "data": {"object": object}, "livemode": false, "pending_webhooks": 1, "type": kind
        }))
    }

    pub fn of_json(event: Value) -> Self {
        Self {
            id: event["id"].as_str().unwrap().to_owned(),
            kind: event["type"].as_str().unwrap().to_owned(),
            created: event["created"].as_i64().unwrap(),
            body: format!("{event:#}"),
            endpoint: "platform",
        }
    }

    /// The event with members of the envelope changed.
    pub fn with(&self, changes: Value) -> Self {
        Self {
            endpoint: self.endpoint,
            ..Self::of_json(merge(serde_json::from_str(&self.body).unwrap(), changes))
        }
    }

    /// The event with members of its object changed.
    pub fn with_object(&self, changes: Value) -> Self {
        self.with(json!({"data": {"object": changes}}))
    }

    /// What ingest makes of it.
    pub fn message(&self) -> Outgoing {
        let headers = Headers::new()
            .with_str(headers::ENDPOINT, self.endpoint)
            .with_str(headers::RECEIVED_AT, "2026-11-01T00:00:00.123Z");
        Outgoing {
            exchange: topology::STRIPE_EVENTS.into(),
            routing_key: format!("{}.{}", self.endpoint, self.kind),
            message_id: self.id.clone(),
            kind: self.kind.clone(),
            timestamp: self.created.unsigned_abs(),
            headers,
            body: Bytes::from(self.body.clone()),
        }
    }

    /// The same message straight into billing's queue, past the bindings.
    pub fn direct(&self) -> Outgoing {
        Outgoing {
            exchange: "".into(),
            routing_key: topology::BILLING_EVENTS.to_owned(),
            ..self.message()
        }
    }
}

/// Lays members over members, objects within objects too.
pub fn merge(mut base: Value, changes: Value) -> Value {
    match (&mut base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (name, change) in changes {
                let old = base.remove(&name).unwrap_or(Value::Null);
                base.insert(name, merge(old, change));
            }
        }
        (base, changes) => *base = changes,
    }
    base
}

/// A client's Stripe side: ids that belong together.
#[derive(Debug, Clone)]
pub struct Payer {
    pub client: String,
    pub customer: String,
    pub subscription: String,
}

impl Payer {
    pub fn new(prefix: &str) -> Self {
        let client = unique(prefix);
        Self {
            customer: format!("cus_{client}"),
            subscription: format!("sub_{client}"),
            client,
        }
    }

    pub fn with_subscription(&self, name: &str) -> Self {
        Self {
            subscription: format!("sub_{}_{name}", self.client),
            ..self.clone()
        }
    }

    pub fn with_customer(&self, name: &str) -> Self {
        Self {
            customer: format!("cus_{}_{name}", self.client),
            ..self.clone()
        }
    }

    /// A subscription as it is in a status; it started when the event was made unless told otherwise. No metadata.
    pub fn subscription(&self, kind: &str, created: i64, status: &str) -> Event {
        let canceled = (status == "canceled").then_some(created);
        Event::new(
            &format!("customer.subscription.{kind}"),
            created,
            json!({
                "id": self.subscription, "object": "subscription", "customer": self.customer, "status": status,
                "created": T0, "start_date": T0, "currency": "eur", "cancel_at_period_end": false,
                "canceled_at": canceled, "ended_at": canceled, "pause_collection": null, "trial_end": null,
                "items": {"object": "list", "data": [{
                    "id": "si_1", "object": "subscription_item", "current_period_end": T0 + 2_592_000,
                    "price": {"id": "price_1", "object": "price", "currency": "eur"}
                }]},
                "metadata": {}
            }),
        )
    }

    pub fn invoice(&self, kind: &str, created: i64, invoice: &str) -> Event {
        let paid = kind != "payment_failed";
        Event::new(
            &format!("invoice.{kind}"),
            created,
            json!({
                "id": invoice, "object": "invoice", "customer": self.customer, "currency": "eur", "amount_due": 4900,
                "amount_paid": if paid { 4900 } else { 0 }, "billing_reason": "subscription_cycle", "created": created,
                "status": if paid { "paid" } else { "open" },
                "parent": {"type": "subscription_details", "subscription_details": {
                    "subscription": self.subscription, "metadata": {}
                }},
                "metadata": {}
            }),
        )
    }

    pub fn first_invoice(&self, kind: &str, created: i64, invoice: &str) -> Event {
        self.invoice(kind, created, invoice)
            .with_object(json!({"billing_reason": "subscription_create"}))
    }

    pub fn checkout(&self, created: i64, session: &str, named: Option<&str>) -> Event {
        Event::new(
            "checkout.session.completed",
            created,
            json!({
                "id": session, "object": "checkout.session", "mode": "subscription", "status": "complete",
                "payment_status": "paid", "customer": self.customer, "subscription": self.subscription,
                "invoice": null, "amount_total": 4900, "currency": "eur", "created": created,
                "metadata": match named { Some(client) => json!({"client_id": client}), None => json!({}) }
            }),
        )
    }
}

impl Payer {
    /// The charge that every test of this payer speaks of.
    pub fn charge_id(&self) -> String {
        format!("ch_{}", self.client)
    }

    /// A charge of 49.00 with so much of it paid back, cumulatively.
    pub fn charge(&self, kind: &str, created: i64, refunded: i64) -> Event {
        Event::new(
            &format!("charge.{kind}"),
            created,
            json!({
                "id": self.charge_id(), "object": "charge", "customer": self.customer, "amount": 4900,
                "amount_captured": 4900, "amount_refunded": refunded, "refunded": refunded == 4900, "currency": "eur",
                "status": "succeeded", "created": T0, "payment_intent": format!("pi_{}", self.client), "metadata": {}
            }),
        )
    }

    /// A refund; it names the charge and nobody else.
    pub fn refund(&self, kind: &str, created: i64, refund: &str, status: &str) -> Event {
        Event::new(
            &format!("refund.{kind}"),
            created,
            json!({
                "id": refund, "object": "refund", "charge": self.charge_id(), "amount": 1000, "currency": "eur",
                "status": status, "created": T0, "metadata": {}
            }),
        )
    }

    /// A dispute; it names the charge and nobody else.
    pub fn dispute(&self, kind: &str, created: i64, dispute: &str, status: &str) -> Event {
        Event::new(
            &format!("charge.dispute.{kind}"),
            created,
            json!({
                "id": dispute, "object": "dispute", "charge": self.charge_id(), "amount": 4900, "currency": "eur",
                "status": status, "reason": "fraudulent", "created": T0, "metadata": {},
                "evidence_details": {"due_by": T0 + 604_800}
            }),
        )
    }
}

/// A thin event as Stripe sends it: the type of the snapshot with `v1.` before it, a time as text, and no object.
pub fn thin(kind: &str, object: &str, url: &str) -> Event {
    let created = Clock::System.now();
    let event = json!({
        "id": unique("evt_thin"), "object": "v2.core.event", "type": format!("v1.{kind}"), "livemode": false,
        "created": created.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), "context": null, "reason": null,
        "related_object": {"id": url.rsplit('/').next(), "type": object, "url": url}
    });
    Event {
        id: event["id"].as_str().unwrap().to_owned(),
        kind: event["type"].as_str().unwrap().to_owned(),
        created: created.timestamp(),
        body: event.to_string(),
        endpoint: "platform",
    }
}

/// The event naming a client in its object's metadata.
pub fn naming(event: &Event, client: &str) -> Event {
    event.with_object(json!({"metadata": {"client_id": client}}))
}

/// Every order of a few things.
pub fn permutations<T: Clone>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for index in 0..things.len() {
        let mut rest = things.to_vec();
        let first = rest.remove(index);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}
