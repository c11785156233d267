//! Alerts from the broker into their table: one unresolved row per key, whatever arrives.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use bus::{AlertMessage, Headers, topology};
use bytes::Bytes;
use common::{Rig, WAIT, token};
use domain::alert::{Alert, AlertKind};
use reqwest::Method;
use serde_json::Value;
use service_kit::auth::Role;
use service_kit::clock::Clock;
use testkit::TestDb;

const UNRESOLVED: &str =
    "SELECT id::text, occurrences, severity FROM billing_alerts WHERE alert_key = $1 AND NOT resolved";

async fn raise(rig: &Rig, alert: Alert) {
    let message = AlertMessage::of(alert, Clock::System.now());
    let body = Bytes::from(serde_json::to_vec(&message).unwrap());
    rig.publish(topology::ALERTS, Headers::new(), "info.test", "alert", body)
        .await;
}

async fn wait_for_count(rig: &Rig, key: &str, count: i64) -> String {
    testkit::eventually_some(WAIT, || async {
        let rows = rig.rows(UNRESOLVED, &[&key]).await;
        assert!(rows.len() <= 1, "one unresolved row per key");
        let row = rows.first()?;
        (row.get::<_, i64>(1) == count).then(|| row.get(0))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_repeats_a_hundred_times_is_one_row_with_its_count() {
    let rig = Rig::start().await;
    let raises = (0..100).map(|n| {
        let alert = Alert::new(AlertKind::SpoofedMetadata, "client_1", format!("the {n}th"));
        raise(&rig, alert.with("n", n))
    });
    for raise in raises {
        raise.await;
    }
    raise(&rig, Alert::new(AlertKind::Test, "other", "another cause")).await;
    wait_for_count(&rig, "spoofed_metadata:client_1", 100).await;
    wait_for_count(&rig, "test:other", 1).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cause_that_comes_back_after_it_was_resolved_is_a_new_row() {
    let rig = Rig::start().await;
    rig.member("org_1", "alice", "admin").await;
    let alice = token("alice", Role::User);
    let alert = || Alert::new(AlertKind::MessageParked, "billing.events", "parked");
    raise(&rig, alert()).await;
    let first = wait_for_count(&rig, "message_parked:billing.events", 1).await;

    let path = format!("/api/admin/billing-alerts/{first}/resolve");
    let resolved = rig.call(Method::POST, &path, Some(&alice)).await;
    assert_eq!(resolved.status(), 200);
    let resolved: Value = resolved.json().await.unwrap();
    assert_eq!(
        (&resolved["resolved"], &resolved["resolved_by"]),
        (&Value::Bool(true), &Value::from("alice"))
    );
    let again = rig.call(Method::POST, &path, Some(&alice)).await;
    assert_eq!(again.status(), 409);
    assert_eq!(again.json::<Value>().await.unwrap()["code"], "already_resolved");

    raise(&rig, alert()).await;
    let second = wait_for_count(&rig, "message_parked:billing.events", 1).await;
    assert_ne!(first, second);
    let listed = |query: &'static str| {
        let (rig, alice) = (&rig, &alice);
        async move {
            let answer = rig
                .call(Method::GET, &format!("/api/admin/billing-alerts{query}"), Some(alice))
                .await;
            let list: Vec<Value> = answer.json().await.unwrap();
            list.iter()
                .map(|alert| alert["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(listed("?resolved=false").await, [second.as_str()]);
    assert_eq!(listed("?resolved=true").await, [first.as_str()]);
    assert_eq!(listed("?severity=critical").await, Vec::<String>::new());
    assert_eq!(listed("").await.len(), 2);
    assert_eq!(
        listed("?severity=&resolved=&limit=").await.len(),
        2,
        "as a form sends what is not chosen"
    );
    assert_eq!(listed("?severity=&resolved=false").await, [second.as_str()]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_whose_cause_is_gone_is_resolved_by_itself_and_others_are_left_to_a_person() {
    let db = TestDb::create().await;
    let rows = "INSERT INTO billing_alerts (id, alert_key, kind, severity, subject, summary, first_seen_at, last_seen_at)
                SELECT gen_random_uuid(), kind || ':acct_paid', kind, 'info', 'acct_paid', 'what', seen, seen
                FROM unnest(ARRAY['recipient_not_ready', 'payout_failed']) AS kind, (SELECT now() - interval '1 hour') AS t (seen)";
    db.superuser().await.batch_execute(rows).await.unwrap();
    let rig = Rig::over(db, None).await;
    testkit::eventually(WAIT, || async {
        let resolved = "SELECT alert_key FROM billing_alerts WHERE resolved_by = 'holdfast'";
        let keys: Vec<String> = rig.rows(resolved, &[]).await.iter().map(|row| row.get(0)).collect();
        keys == ["recipient_not_ready:acct_paid"]
    })
    .await;
    assert_eq!(rig.rows(UNRESOLVED, &[&"payout_failed:acct_paid"]).await.len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_alert_parks_alone() {
    let rig = Rig::start().await;
    for (n, body) in [&b"\xff\xfe"[..], b"{}", b"null"].into_iter().enumerate() {
        rig.publish(
            topology::ALERTS,
            Headers::new(),
            "info.test",
            &format!("bad_{n}"),
            Bytes::from_static(body),
        )
        .await;
        raise(&rig, Alert::new(AlertKind::Test, "good", "good")).await;
    }
    wait_for_count(&rig, "test:good", 3).await;
    testkit::eventually(WAIT, || async {
        rig.broker.ready("alerts.raise.parked").await == Some(3)
    })
    .await;
    // Parking raises an alert of its own, which takes the same way.
    testkit::eventually(WAIT, || async {
        rig.rows(UNRESOLVED, &[&"message_parked:alerts.raise"]).await.len() == 1
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_admins_own_alerts_go_into_the_database() {
    let db = testkit::TestDb::create().await;
    let rig = Rig::over(db, Some("amqp://guest:guest@127.0.0.1:1/%2f")).await;
    rig.admin
        .alerts()
        .raise(Alert::new(AlertKind::Test, "direct", "no broker"));
    wait_for_count(&rig, "test:direct", 1).await;
    rig.stop().await;
}
