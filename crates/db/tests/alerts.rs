//! Alerts: one unresolved row per key, whoever raises it and however often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use chrono::{DateTime, TimeZone as _, Utc};
use db::alerts::{
    AlertFilter, AlertRaised, AlertRow, ResolveOutcome, count_unresolved_by_severity, list_alerts, raise_alert,
    resolve_alert,
};
use db::{Database, DatabaseConfig};
use domain::alert::Severity;
use serde_json::json;
use testkit::TestDb;
use uuid::Uuid;

fn open(test: &TestDb) -> Database {
    Database::open(&DatabaseConfig::new(test.service_url().into(), "holdfast-test")).unwrap()
}

fn at(second: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, second).unwrap()
}

fn alert(key: &str, severity: Severity, second: u32) -> AlertRow {
    AlertRow {
        alert_key: key.to_owned(),
        kind: "test".to_owned(),
        severity,
        subject: "a".to_owned(),
        summary: format!("seen at {second}"),
        details: json!({"second": second}),
        occurrences: 1,
        first_seen_at: at(second),
        last_seen_at: at(second),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_raises_at_once_are_one_alert_with_a_count_of_fifty() {
    let test = TestDb::create().await;
    let database = open(&test);
    let raises: Vec<_> = (0..50)
        .map(|second| {
            let database = database.clone();
            tokio::spawn(async move {
                let conn = database.conn().await.unwrap();
                raise_alert(&conn, &alert("test:a", Severity::Warning, second))
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut new = 0;
    for raise in raises {
        new += usize::from(raise.await.unwrap() == AlertRaised::New);
    }
    assert_eq!(new, 1);
    let conn = database.conn().await.unwrap();
    let stored = list_alerts(&conn, &AlertFilter::default(), 10, 0).await.unwrap();
    assert_eq!(stored.len(), 1);
    let expected = AlertRow {
        occurrences: 50,
        first_seen_at: at(0),
        ..alert("test:a", Severity::Warning, 49)
    };
    assert_eq!(
        stored[0].alert, expected,
        "the count is whole, the time wide, the text the newest"
    );
}

#[tokio::test]
async fn a_repeat_only_escalates_and_an_old_one_does_not_replace_the_text() {
    let test = TestDb::create().await;
    let conn = open(&test).conn().await.unwrap();
    for (severity, second, expected_severity, expected_summary) in [
        (Severity::Warning, 10, Severity::Warning, "seen at 10"),
        (Severity::Info, 20, Severity::Warning, "seen at 20"),
        (Severity::Critical, 5, Severity::Critical, "seen at 20"),
        (Severity::Warning, 30, Severity::Critical, "seen at 30"),
    ] {
        raise_alert(&conn, &alert("test:a", severity, second)).await.unwrap();
        let stored = list_alerts(&conn, &AlertFilter::default(), 10, 0).await.unwrap();
        assert_eq!(stored[0].alert.severity, expected_severity, "{severity} at {second}");
        assert_eq!(stored[0].alert.summary, expected_summary, "{severity} at {second}");
    }
    let stored = list_alerts(&conn, &AlertFilter::default(), 10, 0).await.unwrap();
    assert_eq!(
        (stored[0].alert.first_seen_at, stored[0].alert.last_seen_at),
        (at(5), at(30))
    );
}

#[tokio::test]
async fn resolving_happens_once_and_a_cause_that_comes_back_opens_a_new_alert() {
    let test = TestDb::create().await;
    let conn = open(&test).conn().await.unwrap();
    raise_alert(&conn, &alert("test:a", Severity::Info, 1)).await.unwrap();
    let id = list_alerts(&conn, &AlertFilter::default(), 1, 0).await.unwrap()[0].id;
    let ResolveOutcome::Resolved(resolved) = resolve_alert(&conn, id, "user_1", at(2)).await.unwrap() else {
        panic!("the first to resolve it does");
    };
    let ResolveOutcome::AlreadyResolved(again) = resolve_alert(&conn, id, "user_2", at(3)).await.unwrap() else {
        panic!("the second is told so");
    };
    assert_eq!(resolved, again);
    assert_eq!(
        again.resolved.as_ref().map(|resolution| resolution.by.as_str()),
        Some("user_1")
    );
    let unknown = resolve_alert(&conn, Uuid::now_v7(), "user_1", at(3)).await.unwrap();
    assert_eq!(unknown, ResolveOutcome::NotFound);
    let raised = raise_alert(&conn, &alert("test:a", Severity::Info, 4)).await.unwrap();
    assert_eq!(raised, AlertRaised::New);
    assert_eq!(
        list_alerts(&conn, &AlertFilter::default(), 10, 0).await.unwrap().len(),
        2
    );
}

#[tokio::test]
async fn lists_filter_and_page_and_counts_know_every_severity() {
    let test = TestDb::create().await;
    let conn = open(&test).conn().await.unwrap();
    for (key, severity, second) in [
        ("test:a", Severity::Info, 1),
        ("test:b", Severity::Critical, 2),
        ("test:c", Severity::Critical, 3),
    ] {
        raise_alert(&conn, &alert(key, severity, second)).await.unwrap();
    }
    let newest = list_alerts(&conn, &AlertFilter::default(), 1, 0).await.unwrap()[0].id;
    resolve_alert(&conn, newest, "user_1", at(9)).await.unwrap();
    for (severity, resolved, limit, offset, expected) in [
        (None, None, 10, 0, &["test:c", "test:b", "test:a"][..]),
        (None, None, 1, 1, &["test:b"]),
        (Some(Severity::Critical), None, 10, 0, &["test:c", "test:b"]),
        (Some(Severity::Critical), Some(false), 10, 0, &["test:b"]),
        (None, Some(true), 10, 0, &["test:c"]),
    ] {
        let filter = AlertFilter { severity, resolved };
        let found = list_alerts(&conn, &filter, limit, offset).await.unwrap();
        let keys: Vec<_> = found.iter().map(|stored| stored.alert.alert_key.as_str()).collect();
        assert_eq!(keys, expected, "{filter:?} {limit} {offset}");
    }
    let counts = count_unresolved_by_severity(&conn).await.unwrap();
    assert_eq!(
        counts,
        [(Severity::Info, 1), (Severity::Warning, 0), (Severity::Critical, 1)]
    );
}
