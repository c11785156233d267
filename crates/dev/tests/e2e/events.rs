//! Events that say something whose truth the test knows: clients whose subscriptions change state second by second, among
//! events that only the archive wants.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use stripe_gateway::fixtures::{CLIENT_ID, CREATED, CUSTOMER_ID, Fixture, SUBSCRIPTION_ID, Version, find};
use tokio_postgres::Client;

use super::house::{
    CONNECT_PATH, CONNECT_SECRET, House, PLATFORM_PATH, PLATFORM_SECRET, client, service_token, unix_now,
};
use super::load::{Delivery, Fact, Ledger, Source};

pub const CLIENTS: usize = 12;

/// Stripe's word for a subscription and ours for its client.
const STATES: [(&str, &str); 4] = [
    ("active", "ACTIVE"),
    ("past_due", "PAST_DUE"),
    ("paused", "PAUSED"),
    ("unpaid", "PAST_DUE"),
];

/// Registers the clients and gives the source of their events: half of all are facts about one of them, a quarter goes to the
/// archive, a quarter comes from connected accounts.
pub async fn source(house: &House) -> Source {
    for n in 0..CLIENTS {
        register(house, &format!("client_e2e_{n}"), &format!("cus_e2e{n}")).await;
    }
    let first = unix_now() - 86_400;
    let updated = fixture("customer.subscription.updated");
    let archived = fixture("payment_intent.created");
    let connected = fixture("capability.updated");
    Arc::new(move |n| {
        let id = format!("evt_e2e_{n:08}");
        match n % 4 {
            0 => of_connect(&id, connected.with_id(&id)),
            1 => of_platform(&id, archived.with_id(&id)),
            half => fact(&updated, &id, n / 4 * 2 + half - 2, first),
        }
    })
}

/// Registers a client that pays by Stripe.
pub async fn register(house: &House, client_id: &str, customer: &str) {
    let answer = client()
        .put(format!("{}/api/clients/{client_id}", house.billing.base()))
        .bearer_auth(service_token())
        .json(&json!({"org_id": "org_e2e", "payment_source": "STRIPE", "stripe_customer_id": customer}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
}

fn fact(updated: &Fixture, id: &str, n: usize, first: i64) -> Delivery {
    let (client, step) = (n % CLIENTS, n / CLIENTS);
    // Each client walks through the states at a stride of its own, one step a second of Stripe's time.
    let (status, state) = STATES[(step * (1 + client % 3) + client) % STATES.len()];
    let created = first + i64::try_from(step).unwrap();
    let name = format!("client_e2e_{client}");
    let body = updated
        .with_id(id)
        .replace(CLIENT_ID, &name)
        .replace(CUSTOMER_ID, &format!("cus_e2e{client}"))
        .replace(SUBSCRIPTION_ID, &format!("sub_e2e{client}"))
        .replacen(&(CREATED + 5).to_string(), &created.to_string(), 1)
        .replacen("\"status\": \"active\"", &format!("\"status\": \"{status}\""), 1);
    Delivery {
        fact: Some(Fact {
            client: name,
            created,
            state,
        }),
        ..of_platform(id, body)
    }
}

pub fn fixture(kind: &str) -> Fixture {
    find(kind, Version::Endive).unwrap_or_else(|| panic!("no fixture of {kind}"))
}

pub fn of_platform(id: &str, body: String) -> Delivery {
    Delivery {
        id: id.to_owned(),
        path: PLATFORM_PATH,
        secret: PLATFORM_SECRET,
        body: Bytes::from(body),
        fact: None,
    }
}

pub fn of_connect(id: &str, body: String) -> Delivery {
    Delivery {
        path: CONNECT_PATH,
        secret: CONNECT_SECRET,
        ..of_platform(id, body)
    }
}

/// Asserts that every client is in the state of the newest fact that was accepted about it.
pub async fn assert_states(database: &Client, ledger: &Ledger) {
    let mut truth: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for fact in ledger.accepted.values().filter_map(|delivery| delivery.fact.as_ref()) {
        let newest = truth.entry(fact.client.clone()).or_default();
        if fact.created > newest.0 {
            *newest = (fact.created, fact.state.to_owned());
        }
    }
    assert_eq!(truth.len(), CLIENTS, "every client was spoken of");
    let rows = database
        .query("SELECT client_id, state FROM client_billing", &[])
        .await
        .unwrap();
    let found: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: BTreeMap<String, String> = truth.into_iter().map(|(client, (_, state))| (client, state)).collect();
    assert_eq!(found, expected);
    let different: std::collections::BTreeSet<&String> = expected.values().collect();
    assert!(
        different.len() > 1,
        "a truth that has one state proves little: {expected:?}"
    );
}
