//! The routes for admins: who may, what they answer, and what they refuse.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Rig, WAIT, snapshot, token};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::auth::Role;
use service_kit::openapi::check_answer;
use testkit::TestDb;

const ANY_ID: &str = "01a1fc0a-55ab-7161-8933-ff19862ffa5d";

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_of_an_organisation_are_let_through() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    rig.member("org_2", "alice", "member").await;
    rig.member("org_1", "mallory", "member").await;
    let tokens = [
        (None, 401),
        (Some("nonsense".to_owned()), 401),
        (Some(token("mallory", Role::User)), 403),
        (Some(token("stranger", Role::User)), 403),
        (Some(token("alice", Role::Service)), 403),
        (Some(token("alice", Role::User)), 0),
    ];
    let resolve = format!("/api/admin/billing-alerts/{ANY_ID}/resolve");
    let routes = [
        (Method::GET, "/api/admin/billing-alerts", 200),
        (Method::GET, "/api/admin/events", 200),
        (Method::POST, resolve.as_str(), 404),
        (Method::POST, "/api/admin/billing-alerts/nonsense/resolve", 404),
        (Method::POST, "/api/admin/events/evt_unknown/replay", 404),
        (Method::POST, "/api/admin/events/%00/replay", 404),
    ];
    for (method, path, for_admin) in routes {
        for (token, expect) in &tokens {
            let answer = rig.call(method.clone(), path, token.as_deref()).await;
            let expect = if *expect == 0 { for_admin } else { *expect };
            assert_eq!(answer.status(), expect, "{method} {path} {token:?}");
            if expect >= 400 {
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let problem: Value = answer.json().await.unwrap();
                assert!(
                    problem["code"].is_string() && problem["request_id"].is_string(),
                    "{problem}"
                );
            }
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_taken_away_is_gone_at_once() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let alice = token("alice", Role::User);
    assert_eq!(
        rig.call(Method::GET, "/api/admin/events", Some(&alice)).await.status(),
        200
    );
    let demote = "UPDATE org_members SET role = 'member' WHERE user_id = 'alice'";
    rig.db.superuser().await.execute(demote, &[]).await.unwrap();
    assert_eq!(
        rig.call(Method::GET, "/api/admin/events", Some(&alice)).await.status(),
        403
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_make_no_sense_are_400() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let alice = token("alice", Role::User);
    for path in [
        "/api/admin/billing-alerts?severity=terrible",
        "/api/admin/billing-alerts?resolved=perhaps",
        "/api/admin/billing-alerts?limit=0",
        "/api/admin/billing-alerts?limit=501",
        "/api/admin/billing-alerts?limit=many",
        "/api/admin/billing-alerts?offset=-1",
        "/api/admin/events?limit=0",
        "/api/admin/events?before=nonsense",
        "/api/admin/events?type=%00",
    ] {
        let answer = rig.call(Method::GET, path, Some(&alice)).await;
        assert_eq!(answer.status(), 400, "{path}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_page_by_page_and_replayed() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let alice = token("alice", Role::User);
    for n in 0..5 {
        let (id, kind) = (
            format!("evt_{n}"),
            if n == 0 { "payout.paid" } else { "product.created" },
        );
        rig.event("platform", kind, &id, snapshot(&id, kind, false)).await;
    }
    rig.archived(5).await;

    let mut path = "/api/admin/events?type=product.created&limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = rig.call(Method::GET, &path, Some(&alice)).await;
        assert_eq!(answer.status(), 200);
        let next = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        let page: Vec<Value> = answer.json().await.unwrap();
        assert!(
            page.iter()
                .all(|event| event["outcome"] == "ignored" && event.get("payload").is_none())
        );
        seen.extend(page.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()));
        let Some(next) = next else { break };
        path = next.split(['<', '>']).nth(1).unwrap().to_owned();
    }
    seen.sort();
    assert_eq!(seen, ["evt_1", "evt_2", "evt_3", "evt_4"]);

    let answer = rig
        .call(Method::POST, "/api/admin/events/evt_0/replay", Some(&alice))
        .await;
    assert_eq!(answer.status(), 202);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["routing_key"],
        "platform.payout.paid"
    );
    testkit::eventually(WAIT, || async { rig.archived(5).await[0].3 == 2 }).await;
    assert_eq!(rig.archived(5).await[0].2, snapshot("evt_0", "payout.paid", false));

    let blank = "UPDATE billing_events SET payload = NULL WHERE stripe_event_id = 'evt_1'";
    rig.db.superuser().await.execute(blank, &[]).await.unwrap();
    let answer = rig
        .call(Method::POST, "/api/admin/events/evt_1/replay", Some(&alice))
        .await;
    assert_eq!(answer.status(), 409);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_or_database_that_is_away_is_503_and_named() {
    let rig = Rig::over(TestDb::create().await, Some("amqp://guest:guest@127.0.0.1:1/%2f")).await;
    rig.member("org_1", "alice", "admin").await;
    let alice = token("alice", Role::User);
    let event = "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, status, outcome, \
                 payload) VALUES ('evt_1', 'archive', now(), 'x', 'platform', now(), 'decided', 'ignored', '{}')";
    rig.db.superuser().await.execute(event, &[]).await.unwrap();
    let answer = rig
        .call(Method::POST, "/api/admin/events/evt_1/replay", Some(&alice))
        .await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "broker_unavailable");
    let answer = rig.call(Method::GET, "/readyz", None).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["missing"],
        serde_json::json!(["admin: broker", "admin: alerts.raise", "admin: archive.events"])
    );

    let close = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", rig.db.name());
    let name = rig.db.name().to_owned();
    let other = TestDb::empty().await;
    let elsewhere = other.superuser().await;
    elsewhere.batch_execute(&close).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    elsewhere.query(end, &[&name]).await.unwrap();
    testkit::eventually(WAIT, || async {
        let answer = rig.call(Method::GET, "/readyz", None).await;
        answer.json::<Value>().await.unwrap()["missing"]
            .as_array()
            .unwrap()
            .len()
            == 4
    })
    .await;
    let answer = rig.call(Method::GET, "/api/admin/events", Some(&alice)).await;
    assert!(answer.status().is_server_error(), "{}", answer.status());
    assert_eq!(rig.call(Method::GET, "/healthz", None).await.status(), 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_where_its_type_goes_today_as_it_was_received() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let body = snapshot("evt_1", "invoice.paid", false);
    let client = rig.db.superuser().await;
    let event = "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, api_version, livemode, \
                 received_at, status, outcome, payload) VALUES ('evt_1', 'archive', to_timestamp(1763726400), 'invoice.paid', \
                 'platform', '2026-09-30.endive', false, '2026-11-21T12:00:00.123Z', 'decided', 'ignored', $1)";
    client.execute(event, &[&body]).await.unwrap();
    let alice = token("alice", Role::User);
    let ready = || async { rig.call(Method::GET, "/readyz", None).await.status() == 200 };
    testkit::eventually(WAIT, ready).await;
    let path = "/api/admin/events/evt_1/replay";
    assert_eq!(rig.call(Method::POST, path, Some(&alice)).await.status(), 202);
    let message = rig.broker.take("billing.events").await.unwrap().delivery;
    assert_eq!(message.data, body.as_bytes());
    let properties = &message.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "evt_1");
    assert_eq!(properties.timestamp(), &Some(1_763_726_400));
    let headers = properties.headers().as_ref().unwrap().inner();
    let text = |name: &str| headers.get(name).unwrap().as_long_string().unwrap().to_string();
    assert_eq!(text("x-endpoint"), "platform");
    assert_eq!(text("x-received-at"), "2026-11-21T12:00:00.123Z");
    assert_eq!(text("x-api-version"), "2026-09-30.endive");
    assert_eq!(text("traceparent").len(), 55);
    let flag = |name: &str| headers.get(name).unwrap().as_bool();
    assert_eq!(
        (flag("x-livemode"), flag("x-holdfast-replay")),
        (Some(false), Some(true))
    );
    rig.stop().await;
}

/// Whose event it is says its body, and not the endpoint that it came to.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_what_came_to_the_wrong_endpoint_reaches_its_owner() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let client = rig.db.superuser().await;
    let insert = "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, api_version, livemode, \
                  received_at, status, outcome, payload) VALUES ($1, 'archive', to_timestamp(1763726400), $2, \
                  $3, '2026-09-30.endive', false, '2026-11-21T12:00:00.123Z', 'decided', 'ignored', $4)";
    let own = snapshot("evt_own", "invoice.paid", false);
    let mut of_account: Value = serde_json::from_str(&snapshot("evt_theirs", "invoice.paid", false)).unwrap();
    of_account["account"] = json!("acct_1");
    client
        .execute(insert, &[&"evt_own", &"invoice.paid", &"connect", &own])
        .await
        .unwrap();
    client
        .execute(
            insert,
            &[&"evt_theirs", &"invoice.paid", &"platform", &of_account.to_string()],
        )
        .await
        .unwrap();
    let alice = token("alice", Role::User);
    let ready = || async { rig.call(Method::GET, "/readyz", None).await.status() == 200 };
    testkit::eventually(WAIT, ready).await;
    for (id, key) in [
        ("evt_own", "platform.invoice.paid"),
        ("evt_theirs", "connect.invoice.paid"),
    ] {
        let answer = rig
            .call(Method::POST, &format!("/api/admin/events/{id}/replay"), Some(&alice))
            .await;
        assert_eq!(answer.status(), 202);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["routing_key"], key, "{body}");
    }
    let message = rig.broker.take("billing.events").await.unwrap().delivery;
    assert_eq!(message.data, own.as_bytes());
    let headers = message.properties.headers().as_ref().unwrap().inner();
    let endpoint = headers.get("x-endpoint").unwrap().as_long_string().unwrap().to_string();
    assert_eq!(endpoint, "platform");
    assert!(
        rig.broker.take("billing.events").await.is_none(),
        "the other is none of billing's"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_document_says() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let alice = token("alice", Role::User);
    rig.event(
        "platform",
        "payout.paid",
        "evt_1",
        snapshot("evt_1", "payout.paid", false),
    )
    .await;
    rig.archived(1).await;
    let insert = "INSERT INTO billing_alerts (id, alert_key, kind, severity, subject, summary, first_seen_at, last_seen_at)
                  VALUES (gen_random_uuid(), 'k:s', 'k', 'warning', 's', 'Something.', now(), now()) RETURNING id::text";
    let id: String = rig.rows(insert, &[]).await[0].get(0);
    let document: Value = rig.call(Method::GET, "/openapi.json", None).await.json().await.unwrap();
    let resolve = format!("/api/admin/billing-alerts/{id}/resolve");
    let asked = [
        (Method::GET, "/api/admin/billing-alerts", 200),
        (Method::GET, "/api/admin/billing-alerts?limit=0", 400),
        (Method::GET, "/api/admin/events", 200),
        (Method::POST, &resolve, 200),
        (Method::POST, &resolve, 409),
        (Method::POST, "/api/admin/events/evt_1/replay", 202),
        (Method::POST, "/api/admin/events/evt_unknown/replay", 404),
    ];
    for (verb, path, expect) in asked {
        let answer = rig.call(verb.clone(), path, Some(&alice)).await;
        assert_eq!(answer.status(), expect, "{verb} {path}");
        let body: Value = answer.json().await.unwrap();
        assert!(body.as_array().is_none_or(|list| !list.is_empty()), "{path}");
        check_answer(&document, verb.as_str(), path, expect, &body).unwrap();
    }
    rig.stop().await;
}
