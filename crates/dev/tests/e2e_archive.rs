//! Every event that Stripe can send, in every API version, is answered 200, kept byte for byte exactly once, and decided by a
//! named rule; so is what Stripe has not invented yet (ING-8, BIL-8, BIL-10).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]

mod e2e;

use std::collections::{BTreeMap, BTreeSet};

use e2e::books;
use e2e::events::{of_connect, of_platform, register};
use e2e::house::{House, PATIENCE, client, unix_now, until};
use e2e::load::{Delivery, Ledger};
use serde_json::{Value, json};
use stripe_gateway::fixtures::{self, CLIENT_ID, CREATED, CUSTOMER_ID, Version};
use stripe_gateway::signature::sign;

/// The mark in every id of the fixtures. Replaced, it gives each API version a client with objects of its own, so that none
/// decides for another.
const MARK: &str = "Fixture";

fn renamed(text: &str, mark: &str) -> String {
    text.replace(MARK, mark).replace(CLIENT_ID, &client_of(mark))
}

fn client_of(mark: &str) -> String {
    format!("client_{mark}")
}

fn mark_of(version: Option<Version>) -> &'static str {
    match version {
        Some(Version::Y2023) => "Old",
        Some(Version::Basil) => "Basil",
        Some(Version::Endive) | None => "Endive",
    }
}

fn fixtures_as_they_come() -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for fixture in fixtures::all() {
        let mark = mark_of(fixture.version);
        let (id, body) = (renamed(&fixture.id, mark), renamed(&fixture.body, mark));
        let on_an_account = fixture.body.contains("\"account\": ");
        if on_an_account {
            deliveries.push(of_connect(&id, body));
        } else if fixture.version.is_some() {
            deliveries.push(of_platform(&id, body));
        } else {
            // Thin events come to both endpoints.
            let other = format!("{id}_connect");
            deliveries.push(of_connect(&other, body.replacen(&id, &other, 1)));
            deliveries.push(of_platform(&id, body));
        }
    }
    deliveries
}

/// What no version of Stripe has sent so far.
fn inventions() -> Vec<Delivery> {
    let event = |id: &str, kind: &str, more: Value| {
        let mut event = json!({
            "id": id, "object": "event", "api_version": "2031-03-25.zeppelin", "created": CREATED + 9, "livemode": false,
            "type": kind, "data": {"object": {"id": "qb_1", "object": "quantum_balance", "spin": [1, -1, {"up": null}]}},
            "entanglement": {"with": ["evt_1", {"deeper": {"still": true}}], "strength": 1e-400},
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{event:#}")
    };
    let grown = fixtures::find("customer.subscription.updated", Version::Endive).unwrap();
    let mut grown: Value = serde_json::from_str(&renamed(&grown.body, "New")).unwrap();
    grown["id"] = json!("evt_new_fields");
    grown["api_version"] = json!("2031-03-25.zeppelin");
    grown["created"] = json!(CREATED + 60);
    grown["data"]["object"]["settled_by"] = json!({"rail": "teleport", "hops": [1, 2, {"at": null}]});
    grown["data"]["object"]["items"]["data"][0]["gravity"] = json!("9.81");
    let spaced = "{ \"type\":\"odd.spacing\",\r\n\t\"id\" : \"evt_new_spacing\", \"x\":1, \"x\":2, \"livemode\":false,\
                  \"created\":1790856009,\"object\":\"event\",\"emoji\":\"\\ud83d\\ude80 \u{1f680}\" }\n\n";
    vec![
        of_platform(
            "evt_new_type",
            event("evt_new_type", "quantum_balance.collapsed", json!({})),
        ),
        of_platform(
            "evt_new_word",
            event("evt_new_word", "teleport", json!({"api_version": null})),
        ),
        of_platform("evt_new_below", event("evt_new_below", "invoice.teleported", json!({}))),
        of_platform(
            "evt_new_long",
            event("evt_new_long", "customer.subscription.a.b.c.d.e", json!({})),
        ),
        of_connect(
            "evt_new_connect",
            event(
                "evt_new_connect",
                "quantum_balance.observed",
                json!({"account": "acct_9"}),
            ),
        ),
        of_platform("evt_new_fields", format!("{grown:#}")),
        of_platform("evt_new_spacing", spaced.to_owned()),
        of_platform("evt_live", event("evt_live", "invoice.paid", json!({"livemode": true}))),
    ]
}

/// Posts an event until it was taken twice, as Stripe may, and keeps it as accepted.
async fn post(http: &reqwest::Client, house: &House, ledger: &mut Ledger, delivery: Delivery) {
    let mut taken = 0;
    while taken < 2 {
        let answer = http
            .post(format!("{}{}", house.ingest.base(), delivery.path))
            .header("stripe-signature", sign(delivery.secret, &delivery.body, unix_now()))
            .body(delivery.body.clone())
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        // Not in time is no refusal: Stripe sends again.
        if status == 503 {
            continue;
        }
        assert_eq!(status, 200, "{}: {text}", delivery.id);
        taken += 1;
        let expected = json!({"received": true, "event_id": delivery.id});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
    ledger.accepted.insert(delivery.id.clone(), delivery);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_every_version_is_archived_and_decided_by_a_named_rule() {
    let mut house = House::start().await;
    for mark in ["Old", "Basil", "Endive", "New"] {
        register(&house, &client_of(mark), &renamed(CUSTOMER_ID, mark)).await;
    }
    let mut ledger = Ledger::default();
    let http = client();
    for delivery in fixtures_as_they_come().into_iter().chain(inventions()) {
        post(&http, &house, &mut ledger, delivery).await;
    }
    let database = house.database().await;
    books::drained(&house, &database, &ledger, PATIENCE).await;
    // A repeat that is being counted is in no queue any more.
    let repeats = "SELECT count(DISTINCT stripe_event_id) FROM billing_events WHERE deliveries >= 2";
    until("each repeat is counted", PATIENCE, || async {
        let row = database.query_one(repeats, &[]).await.unwrap();
        usize::try_from(row.get::<_, i64>(0)).unwrap() >= ledger.accepted.len()
    })
    .await;
    let deliveries = books::assert_archive(&database, &ledger).await;
    let seen_twice = deliveries.values().filter(|count| **count >= 2).count();
    assert_eq!(
        seen_twice,
        ledger.accepted.len(),
        "each repeat is counted: {deliveries:?}"
    );

    let rows = database
        .query(
            "SELECT stripe_event_id, type, coalesce(api_version, 'none') AS version, endpoint, consumer, outcome,
                    coalesce(guard, '-') AS guard, reason
             FROM billing_events ORDER BY consumer, type, version, endpoint",
            &[],
        )
        .await
        .unwrap();
    let mut rules: BTreeMap<String, String> = BTreeMap::new();
    let mut applied: BTreeSet<String> = BTreeSet::new();
    let mut by_type: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    println!(
        "{:<48} {:<20} {:<9} {:<8} outcome, guard, rule",
        "type", "version", "endpoint", "by"
    );
    for row in rows {
        let text = |name: &str| row.get::<_, String>(name);
        let reason: Option<String> = row.get("reason");
        let reason = reason.unwrap_or_else(|| panic!("{} has no rule", text("stripe_event_id")));
        let verdict = format!("{}, {}, {reason}", text("outcome"), text("guard"));
        let (kind, version) = (text("type"), text("version"));
        println!(
            "{kind:<48} {version:<20} {:<9} {:<8} {verdict}",
            text("endpoint"),
            text("consumer")
        );
        assert!(
            ["applied", "semantic_duplicate", "stale", "ignored", "rejected"].contains(&text("outcome").as_str())
                || reason == "object_not_read",
            "{kind}: {verdict}"
        );
        if Version::ALL.iter().any(|known| known.as_str() == version) {
            let of_type = by_type.entry(format!("{kind} by {}", text("consumer"))).or_default();
            of_type.insert(verdict.clone());
        }
        if text("outcome") == "applied" {
            applied.insert(version);
        }
        rules.insert(text("stripe_event_id"), verdict);
    }
    println!("{} events, all of them decided", rules.len());
    for (kind, verdicts) in by_type {
        assert_eq!(verdicts.len(), 1, "{kind} depends on its API version: {verdicts:?}");
    }
    for version in Version::ALL {
        assert!(
            applied.contains(version.as_str()),
            "nothing of {} was applied: {applied:?}",
            version.as_str()
        );
    }
    for (id, verdict) in [
        ("evt_new_type", "ignored, -, no_handler"),
        ("evt_new_word", "ignored, -, no_handler"),
        ("evt_new_below", "ignored, -, no_effect_on_state"),
        ("evt_new_long", "ignored, -, no_handler"),
        ("evt_new_connect", "ignored, -, connected_account"),
        ("evt_new_fields", "applied, -, state_changed"),
        ("evt_new_spacing", "ignored, -, no_handler"),
        ("evt_live", "ignored, -, livemode_mismatch"),
        ("evt_test_65Endive_v1invoicepaid", "waiting, authority, object_not_read"),
        (
            "evt_test_65Endive_v1invoicepaid_connect",
            "ignored, -, connected_account",
        ),
    ] {
        assert_eq!(rules.get(id).map(String::as_str), Some(verdict), "{id}");
    }
    let expected = [
        "livemode_mismatch:platform",
        "api_version_drift:2031-03-25.zeppelin",
        "api_version_drift:2023-10-16",
        "api_version_drift:2025-04-30.basil",
    ];
    // Disputes and the like of the fixtures are told as well, and looked at by billing's own tests.
    until("drift and the other mode are told", PATIENCE, || async {
        let told = books::alerts(&database).await;
        expected.iter().all(|key| told.contains_key(*key))
    })
    .await;
    house.close().await;
}
