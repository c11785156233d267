//! The client against the simulator: real objects, and money that moves once however often it is asked for.

use std::time::Duration;

use serde_json::{Value, json};
use stripe_gateway::client::read::{EventsQuery, ReadError, RelatedObject};
use stripe_gateway::client::requests::core::refund::CreateRefund;
use stripe_gateway::client::{ApiBase, Backoff, Call, Client, ClientConfig, IdempotencyKey, Outcome};
use stripe_gateway::views::words::SubscriptionStatus;
use stripe_gateway::views::{EventView, ObjectView};
use stripe_sim::{SimConfig, SimHandle};

use crate::harness::SECRET_KEY;

struct Shop {
    sim: SimHandle,
    http: reqwest::Client,
    client: Client,
    /// As the simulator answered when it was made.
    subscription: Value,
}

impl Shop {
    /// A simulator with one subscription that has been paid.
    async fn open() -> Self {
        let sim = stripe_sim::start(SimConfig::default()).await.unwrap();
        let base = ApiBase::parse(&sim.base_url).unwrap();
        let client = Client::new(ClientConfig {
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(2),
            },
            ..ClientConfig::new(base, SECRET_KEY.to_owned().into(), Duration::from_secs(20), 3)
        })
        .unwrap();
        let mut shop = Self {
            sim,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            client,
            subscription: Value::Null,
        };
        let card = [("invoice_settings[default_payment_method]", "pm_card_visa")];
        let customer = shop.post("/v1/customers", &card).await;
        let price = [
            ("currency", "eur"),
            ("unit_amount", "1500"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "Plan"),
        ];
        let price = shop.post("/v1/prices", &price).await;
        let form = [
            ("customer", customer["id"].as_str().unwrap()),
            ("items[0][price]", price["id"].as_str().unwrap()),
            ("metadata[client_id]", "client_1"),
        ];
        shop.subscription = shop.post("/v1/subscriptions", &form).await;
        shop
    }

    async fn request(&self, method: reqwest::Method, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.sim.base_url);
        let request = self.http.request(method, url).bearer_auth(SECRET_KEY);
        let request = if form.is_empty() { request } else { request.form(form) };
        let text = request.send().await.unwrap().text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value.get("error").is_none(), "{path}: {text}");
        value
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.request(reqwest::Method::POST, path, form).await
    }

    async fn get(&self, path: &str) -> Value {
        self.request(reqwest::Method::GET, path, &[]).await
    }

    async fn fault(&self, fault: Value) {
        let url = format!("{}/_sim/faults", self.sim.base_url);
        let response = self.http.post(url).json(&fault).send().await.unwrap();
        assert!(response.status().is_success());
    }

    /// The charge that paid the subscription.
    async fn charge(&self) -> Value {
        self.get("/v1/charges").await["data"][0].clone()
    }
}

#[tokio::test]
async fn objects_are_read_as_the_simulator_has_them() {
    let shop = Shop::open().await;
    let id = shop.subscription["id"].as_str().unwrap();
    let answer = shop.client.read_subscription(id).await.unwrap();
    assert_eq!(answer.content.id, id);
    assert_eq!(answer.content.status, SubscriptionStatus::Active);
    assert_eq!(answer.content.metadata.client_id(), Some("client_1"));
    assert!(answer.receipt.request_id.is_some() && answer.receipt.answered_at.is_some());

    let invoice = shop.subscription["latest_invoice"].as_str().unwrap();
    let answer = shop.client.read_invoice(invoice).await.unwrap();
    assert_eq!(
        (answer.content.amount_paid, answer.content.subscription.as_deref()),
        (1_500, Some(id))
    );

    let charge = shop.charge().await;
    let answer = shop.client.read_charge(charge["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(
        (answer.content.amount, answer.content.currency.as_str()),
        (1_500, "eur")
    );

    let url = format!("/v1/invoices/{invoice}");
    let related = shop.client.read_related(&url).await.unwrap().content;
    assert!(matches!(related, RelatedObject::Invoice(found) if found.id == invoice));
    let error = shop.client.read_subscription("sub_none").await.unwrap_err();
    assert_eq!(error, ReadError::Missing);
}

#[tokio::test]
async fn the_list_of_events_walks_over_every_event_once() {
    let shop = Shop::open().await;
    for n in 0..120 {
        let name = format!("name {n}");
        shop.post("/v1/customers", &[("name", name.as_str())]).await;
    }
    let mut query = EventsQuery::default();
    let (mut ids, mut pages) = (Vec::new(), 0);
    loop {
        let page = shop.client.list_events(&query).await.unwrap().content;
        for event in &page.events {
            let view = EventView::parse(event.body.as_bytes()).unwrap();
            assert_eq!(view.envelope, event.envelope);
            assert!(view.object.is_some());
            ids.push(event.envelope.id.clone().into_owned());
        }
        pages += 1;
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an event came twice");
    assert!(pages == 2 && all > 120, "{all} events on {pages} pages");

    let query = EventsQuery {
        types: vec!["invoice.paid".to_owned()],
        ..EventsQuery::default()
    };
    let page = shop.client.list_events(&query).await.unwrap().content;
    let kinds: Vec<_> = page.events.iter().map(|event| event.envelope.kind.as_ref()).collect();
    assert_eq!(kinds, ["invoice.paid"]);
    let event = shop.client.read_event(&page.events[0].envelope.id).await.unwrap();
    assert_eq!(event.content, page.events[0].envelope);
}

#[tokio::test]
async fn money_moves_once_when_the_answer_is_lost_and_the_call_repeats_itself() {
    let shop = Shop::open().await;
    let charge = shop.charge().await;
    let charge = charge["id"].as_str().unwrap();
    let fault = json!({ "path": "/v1/refunds", "method": "POST", "kind": "lost_response", "times": 2 });
    shop.fault(fault).await;
    let key = IdempotencyKey::parse("refund:1:1").unwrap();
    let call = Call::post(&CreateRefund::new().charge(charge).amount(500), key);
    let outcome = shop
        .client
        .send(call)
        .await
        .read(|body| ObjectView::parse(body)?.refund());
    let Outcome::Answered(answer) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(answer.receipt.replayed);
    assert_eq!(answer.content.amount, 500);
    let book = shop.get("/_sim/ledger").await;
    let refunds = book["refunds"].as_array().unwrap();
    assert_eq!(refunds.len(), 1, "{book}");
    assert_eq!(refunds[0]["id"], answer.content.id);
}

#[tokio::test]
async fn every_fault_of_the_simulator_has_its_outcome() {
    let shop = Shop::open().await;
    let charge = shop.charge().await;
    let charge = charge["id"].as_str().unwrap();
    for (n, (fault, expect)) in [
        (json!({ "kind": "409" }), "key_in_use"),
        (json!({ "kind": "429", "reason": "global-rate" }), "rate_limited"),
        (json!({ "kind": "429", "reason": "lock_timeout" }), "locked"),
        (json!({ "kind": "500" }), "server_error"),
        (json!({ "kind": "html502", "after_effect": true }), "server_error"),
        (json!({ "kind": "refuse" }), "connection_lost"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut fault = fault;
        fault["path"] = json!("/v1/refunds");
        fault["times"] = json!(4);
        shop.fault(fault.clone()).await;
        let key = IdempotencyKey::parse(format!("refund:{n}")).unwrap();
        let call = Call::post(&CreateRefund::new().charge(charge).amount(100), key);
        assert_eq!(shop.client.send(call.clone()).await.detail(), expect, "{fault}");
        // The fault is used up: the same key tells what became of it. A 500 is kept, as Stripe keeps it.
        let expect = if fault["kind"] == "500" {
            "server_error"
        } else {
            "answered"
        };
        assert_eq!(shop.client.send(call).await.detail(), expect, "{fault}");
    }
    let book = shop.get("/_sim/ledger").await;
    assert_eq!(book["refunds"].as_array().unwrap().len(), 5, "{book}");
}

#[tokio::test]
async fn a_key_under_other_parameters_is_no_refusal() {
    let shop = Shop::open().await;
    let charge = shop.charge().await;
    let charge = charge["id"].as_str().unwrap();
    let refund = |amount| {
        let key = IdempotencyKey::parse("refund:twice").unwrap();
        Call::post(&CreateRefund::new().charge(charge).amount(amount), key)
    };
    assert_eq!(shop.client.send(refund(100)).await.detail(), "answered");
    assert_eq!(shop.client.send(refund(200)).await.detail(), "key_reused");
    let too_much = Call::post(
        &CreateRefund::new().charge(charge).amount(999_999),
        IdempotencyKey::parse("refund:more").unwrap(),
    );
    let outcome = shop.client.send(too_much).await;
    assert!(
        matches!(&outcome, Outcome::Refused(refusal) if refusal.receipt.status == 400),
        "{outcome:?}"
    );
}
