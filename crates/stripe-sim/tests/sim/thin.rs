//! Thin events, and the time and name that every answer carries.

use crate::harness::{Receiver, START, Sim, config, id};
use serde_json::{Value, json};
use stripe_gateway::signature::{Secrets, verify};
use stripe_sim::{EndpointConfig, SimConfig};

#[tokio::test]
async fn a_thin_destination_gets_a_notice_for_each_event_and_reads_the_object_itself() {
    let (snapshots, notices) = (Receiver::start(&[]), Receiver::start(&[]));
    let sim = Sim::with(SimConfig {
        endpoints: vec![EndpointConfig::new(&snapshots.url), EndpointConfig::thin(&notices.url)],
        ..config(7)
    })
    .await;
    sim.running().await;
    sim.quiet().await;
    let (full, thin) = (snapshots.got(), notices.got());
    let with_address: Vec<Value> = full
        .iter()
        .map(crate::harness::Got::json)
        .filter(|one| one["type"] != "plan.created")
        .collect();
    let kinds: Vec<String> = with_address
        .iter()
        .map(|one| format!("v1.{}", one["type"].as_str().unwrap()))
        .collect();
    let told: Vec<Value> = thin.iter().map(|one| one.json()["type"].clone()).collect();
    assert_eq!(told, kinds);
    let secrets = Secrets::new(["whsec_platform"]).unwrap();
    for (one, snapshot) in thin.iter().zip(&with_address) {
        let now = chrono::Utc::now().timestamp();
        verify(Some(one.signature.as_bytes()), &one.body, &secrets, now, 300).unwrap();
        let notice = one.json();
        assert_eq!(
            (&notice["object"], &notice["related_object"]["id"]),
            (&json!("v2.core.event"), &snapshot["data"]["object"]["id"])
        );
        assert!(notice["created"].as_str().unwrap().starts_with("2026-01-31T12:00:00."));
        assert!(notice.get("data").is_none() && notice["id"] != snapshot["id"]);
        assert_eq!(notice["reason"]["request"]["id"], snapshot["request"]["id"]);
        let url = notice["related_object"]["url"].as_str().unwrap();
        assert_eq!(sim.get(url).await.ok()["id"], notice["related_object"]["id"], "{url}");
        let read = sim.get(&format!("/v2/core/events/{}", id(&notice))).await.ok();
        assert_eq!(read, notice);
        assert_eq!(sim.get(&format!("/v1/events/{}", id(&notice))).await.status, 404);
    }
    assert!(
        sim.events().await.iter().all(|one| one["object"] == "event"),
        "the v1 list knows snapshots only"
    );
}

#[tokio::test]
async fn a_destination_made_by_v2_takes_the_types_and_sources_it_asked_for() {
    let receiver = Receiver::start(&[]);
    let sim = Sim::start().await;
    let body = json!({
        "name": "thin", "type": "webhook_endpoint", "event_payload": "thin", "events_from": ["@self"],
        "enabled_events": ["v1.invoice.paid"], "webhook_endpoint": { "url": receiver.url },
        "include": ["webhook_endpoint.signing_secret"]
    });
    let made = sim
        .send(sim.request("POST", "/v2/core/event_destinations").json(&body))
        .await
        .ok();
    let secret = made["webhook_endpoint"]["signing_secret"].as_str().unwrap();
    sim.running().await;
    sim.quiet().await;
    let got = receiver.got();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].json()["type"], "v1.invoice.paid");
    let now = chrono::Utc::now().timestamp();
    let secrets = Secrets::new([secret]).unwrap();
    verify(Some(got[0].signature.as_bytes()), &got[0].body, &secrets, now, 300).unwrap();
    let path = format!("/v2/core/event_destinations/{}", id(&made));
    sim.post(&format!("{path}/disable"), &[]).await.ok();
    sim.running().await;
    sim.quiet().await;
    assert_eq!(receiver.got().len(), 1);
    sim.delete(&path).await.ok();
    assert_eq!(sim.get(&path).await.status, 404);
    for (name, value) in [
        ("event_payload", json!("fat")),
        ("enabled_events", json!(["v1.transfer.paid"])),
    ] {
        let mut bad = body.clone();
        bad[name] = value;
        let refused = sim
            .send(sim.request("POST", "/v2/core/event_destinations").json(&bad))
            .await;
        assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!(name)));
    }
}

#[tokio::test]
async fn a_fault_thins_events_of_ordinary_endpoints() {
    let receiver = Receiver::start(&[]);
    let sim = Sim::to(&receiver, 7).await;
    sim.control("faults", json!({ "thin": 0.5, "twin": 0.3 })).await.ok();
    sim.running().await;
    sim.quiet().await;
    let got: Vec<Value> = receiver.got().iter().map(crate::harness::Got::json).collect();
    let thin = got.iter().filter(|one| one["object"] == "v2.core.event").count();
    assert!(0 < thin && thin < got.len(), "{thin} of {}", got.len());
    assert_eq!(got.len(), sim.events().await.len());
}

#[tokio::test]
async fn every_answer_tells_the_simulators_own_time_and_has_a_name() {
    let sim = Sim::start().await;
    sim.control("faults", json!({ "path": "/v1/products", "kind": "html502" }))
        .await
        .ok();
    let answers = [
        sim.get("/v1/customers").await,
        sim.get("/v1/nowhere").await,
        sim.get("/v1/products").await,
        sim.get("/_sim/ledger").await,
    ];
    for answer in &answers {
        assert_eq!(answer.header("date"), Some("Sat, 31 Jan 2026 12:00:00 GMT"));
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
    }
    assert_eq!(START, 1_769_860_800);
    sim.advance(86_400).await;
    assert_eq!(
        sim.get("/v1/customers").await.header("date"),
        Some("Sun, 01 Feb 2026 12:00:00 GMT")
    );
}
