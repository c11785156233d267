//! Signed, repeated, disordered deliveries.

use std::time::{Duration, Instant};

use crate::harness::{Got, Receiver, START, Sim, config};
use serde_json::json;
use stripe_gateway::signature::{Secrets, verify};
use stripe_sim::{EndpointConfig, SimConfig};

fn ids(got: &[Got]) -> Vec<String> {
    got.iter().map(Got::id).collect()
}

#[tokio::test]
async fn every_delivery_is_signed_indented_and_in_order() {
    let receiver = Receiver::start(&[]);
    let sim = Sim::to(&receiver, 7).await;
    sim.running().await;
    sim.quiet().await;
    let got = receiver.got();
    let expected: Vec<_> = sim
        .events()
        .await
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids(&got), expected);
    let secrets = Secrets::new(["whsec_platform"]).unwrap();
    for one in &got {
        verify(
            Some(one.signature.as_bytes()),
            &one.body,
            &secrets,
            chrono::Utc::now().timestamp(),
            300,
        )
        .unwrap();
        assert!(one.body.starts_with(b"{\n  \"id\": \"evt_"), "two spaces of indent");
        let event = one.json();
        assert_eq!(
            (&event["created"], &event["pending_webhooks"], &event["livemode"]),
            (&json!(START), &json!(1), &json!(false))
        );
        assert!(event["request"]["id"].as_str().unwrap().starts_with("req_"));
    }
    let wrong = Secrets::new(["whsec_other"]).unwrap();
    assert!(
        verify(
            Some(got[0].signature.as_bytes()),
            &got[0].body,
            &wrong,
            chrono::Utc::now().timestamp(),
            300
        )
        .is_err()
    );
}

#[tokio::test]
async fn a_delivery_is_repeated_until_it_is_taken() {
    let receiver = Receiver::start(&[500, 302, 400]);
    let sim = Sim::to(&receiver, 7).await;
    let customer = sim.customer(None).await;
    sim.quiet().await;
    assert_eq!(receiver.got().len(), 4);
    assert_eq!(
        ids(&receiver.got())
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        1
    );
    let log = sim.get("/_sim/deliveries").await.ok();
    let statuses: Vec<_> = log["deliveries"][0]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["status"].as_u64().unwrap())
        .collect();
    assert_eq!(
        (statuses, &log["deliveries"][0]["state"]),
        (vec![500, 302, 400, 200], &json!("delivered"))
    );
    assert_eq!(receiver.got()[3].json()["data"]["object"]["id"], customer);
}

#[tokio::test]
async fn an_endpoint_that_is_away_gets_everything_when_it_is_back() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    let sim = Sim::with(SimConfig {
        endpoints: vec![EndpointConfig::new(&url)],
        ..config(7)
    })
    .await;
    sim.customer(None).await;
    assert_eq!(
        sim.get("/v1/events?delivery_success=false").await.ok()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let receiver = Receiver::start(&[]);
    let endpoints = sim.get("/v1/webhook_endpoints").await.ok();
    let path = format!("/v1/webhook_endpoints/{}", endpoints["data"][0]["id"].as_str().unwrap());
    let answer = sim.post(&path, &[("url", &receiver.url)]).await.ok();
    assert_eq!(answer["status"], "enabled");
    sim.quiet().await;
    assert_eq!(receiver.got().len(), 1);
    assert_eq!(
        sim.get("/v1/events?delivery_success=false").await.ok()["data"],
        json!([])
    );
}

/// What an endpoint gets in a run with every disorder there is.
async fn disorderly(seed: u64) -> Vec<String> {
    let receiver = Receiver::start(&[]);
    let sim = Sim::to(&receiver, seed).await;
    let faults = json!({ "reorder": 0.4, "window": 4, "duplicate": 0.2, "drop": 0.1, "twin": 0.1, "hold_ms": 40 });
    sim.control("faults", faults).await.ok();
    sim.control("pause_deliveries", json!({})).await.ok();
    for _ in 0..3 {
        sim.running().await;
    }
    sim.advance(70 * 86_400).await;
    assert!(receiver.got().is_empty());
    sim.control("resume_deliveries", json!({})).await.ok();
    sim.quiet().await;
    ids(&receiver.got())
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids_in_the_same_disorder() {
    let (first, second, other) = tokio::join!(disorderly(11), disorderly(11), disorderly(12));
    assert_eq!(first, second);
    assert_ne!(first, other);
    let receiver = Receiver::start(&[]);
    let sim = Sim::to(&receiver, 11).await;
    for _ in 0..3 {
        sim.running().await;
    }
    sim.advance(70 * 86_400).await;
    let order: Vec<_> = sim
        .events()
        .await
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert!(distinct.len() < first.len(), "some came twice");
    assert!(
        order.iter().filter(|id| !distinct.contains(id)).count() > 0,
        "some were dropped"
    );
    let places: Vec<_> = first
        .iter()
        .filter_map(|id| order.iter().position(|one| one == id))
        .collect();
    assert!(places.windows(2).any(|pair| pair[0] > pair[1]), "some overtook others");
}

#[tokio::test]
async fn what_was_dropped_can_be_found_and_delivered_by_hand() {
    let receiver = Receiver::start(&[]);
    let sim = Sim::to(&receiver, 7).await;
    sim.control("faults", json!({ "drop": 1.0 })).await.ok();
    sim.customer(None).await;
    sim.quiet().await;
    assert!(receiver.got().is_empty());
    let lost = sim.get("/v1/events?delivery_success=false").await.ok();
    let event = &lost["data"][0]["id"];
    assert_eq!(
        sim.control("deliver", json!({ "event_id": event })).await.ok()["deliveries"],
        1
    );
    sim.quiet().await;
    assert_eq!(ids(&receiver.got()), [event.as_str().unwrap()]);
    assert_eq!(sim.control("deliver", json!({ "event_id": "evt_x" })).await.status, 400);
}

#[tokio::test]
async fn connected_accounts_thin_and_unknown_events_go_where_they_belong() {
    let (platform, connect) = (Receiver::start(&[]), Receiver::start(&[]));
    let endpoints = |one: &Receiver| vec![EndpointConfig::new(&one.url)];
    let own = SimConfig {
        connect_webhook_secret: Some("whsec_connect".to_owned()),
        ..config(7)
    };
    let sim = Sim::with(SimConfig {
        endpoints: endpoints(&platform),
        connect_endpoints: endpoints(&connect),
        ..own
    })
    .await;
    sim.control(
        "emit",
        json!({ "type": "account.updated", "account": "acct_1", "object": { "id": "acct_1", "object": "account" } }),
    )
    .await
    .ok();
    sim.control(
        "emit",
        json!({ "type": "v1.invoice.paid", "thin": true, "object": { "id": "in_1", "type": "invoice" } }),
    )
    .await
    .ok();
    let twins = json!({ "type": "future.thing.happened", "object": { "id": "x_1" }, "twin": true, "livemode": true, "created": 5 });
    sim.control("emit", twins).await.ok();
    sim.quiet().await;
    let (got, connected) = (platform.got(), connect.got());
    assert_eq!((got.len(), connected.len()), (3, 1));
    assert_eq!(
        (&connected[0].json()["account"], &connected[0].json()["context"]),
        (&json!("acct_1"), &json!("acct_1"))
    );
    let secrets = Secrets::new(["whsec_connect"]).unwrap();
    verify(
        Some(connected[0].signature.as_bytes()),
        &connected[0].body,
        &secrets,
        chrono::Utc::now().timestamp(),
        300,
    )
    .unwrap();
    let thin = got[0].json();
    assert_eq!(
        (&thin["object"], &thin["related_object"]["id"]),
        (&json!("v2.core.event"), &json!("in_1"))
    );
    assert!(thin["created"].is_string() && thin.get("data").is_none());
    let (one, two) = (got[1].json(), got[2].json());
    assert_ne!(one["id"], two["id"]);
    assert_eq!(
        (&one["data"], &one["type"], &one["created"]),
        (&two["data"], &two["type"], &json!(5))
    );
    assert_eq!(one["livemode"], true);
}

#[tokio::test]
async fn an_endpoint_made_by_the_api_gets_what_it_asked_for() {
    let receiver = Receiver::start(&[]);
    let sim = Sim::start().await;
    let form = [
        ("url", receiver.url.as_str()),
        ("enabled_events[]", "product.created"),
        ("api_version", "2023-10-16"),
    ];
    let made = sim.post("/v1/webhook_endpoints", &form).await.ok();
    sim.running().await;
    sim.quiet().await;
    let got = receiver.got();
    assert_eq!(got.len(), 1);
    assert_eq!(
        (&got[0].json()["type"], &got[0].json()["api_version"]),
        (&json!("product.created"), &json!("2023-10-16"))
    );
    let secrets = Secrets::new([made["secret"].as_str().unwrap()]).unwrap();
    verify(
        Some(got[0].signature.as_bytes()),
        &got[0].body,
        &secrets,
        chrono::Utc::now().timestamp(),
        300,
    )
    .unwrap();
    sim.delete(&format!("/v1/webhook_endpoints/{}", made["id"].as_str().unwrap()))
        .await
        .ok();
    sim.running().await;
    sim.quiet().await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test]
async fn a_delayed_delivery_comes_late_and_lets_others_pass() {
    let receiver = Receiver::start(&[]);
    let sim = Sim::to(&receiver, 7).await;
    let started = Instant::now();
    sim.control("faults", json!({ "delay_ms": 2_000 })).await.ok();
    let late = sim.customer(None).await;
    sim.control("faults", json!({ "delay_ms": 0 })).await.ok();
    let soon = sim.customer(None).await;
    sim.quiet().await;
    assert!(started.elapsed() >= Duration::from_millis(2_000));
    let got: Vec<_> = receiver
        .got()
        .iter()
        .map(|one| one.json()["data"]["object"]["id"].clone())
        .collect();
    assert_eq!(got, [soon, late]);
}
