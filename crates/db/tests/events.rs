//! The archive: every event once, byte for byte, with a count of its deliveries; and finding it again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use chrono::{DateTime, TimeZone as _, Utc};
use db::events::{EventCursor, EventFilter, EventRow, NewEvent, archive_events, find_event, list_events};
use db::partitions::{default_partition_count, ensure_partitions};
use db::{Conn, Database, DatabaseConfig};
use testkit::TestDb;

const BODY: &str = "{\n  \"id\": \"evt\",\n  \"name\": \"caf\\u00e9 \u{1f600}\", \"n\": 1.0, \"n\": 1e2\n}\n";

fn open(test: &TestDb) -> Database {
    Database::open(&DatabaseConfig::new(test.service_url().into(), "holdfast-test")).unwrap()
}

async fn connect(test: &TestDb) -> Conn {
    open(test).conn().await.unwrap()
}

fn at(year: i32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, 3, 1, 12, 0, 0).unwrap()
}

async fn this_month(test: &TestDb) -> DateTime<Utc> {
    let sql = "SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'";
    test.superuser().await.query_one(sql, &[]).await.unwrap().get(0)
}

fn event(event_id: &str, created: DateTime<Utc>) -> NewEvent<'_> {
    NewEvent {
        event_id,
        created,
        kind: "product.created",
        endpoint: "connect",
        account: Some("acct_1"),
        api_version: Some("2025-03-31.basil"),
        livemode: Some(false),
        received_at: created,
        payload: BODY,
        reason: "no_handler",
    }
}

#[tokio::test]
async fn an_event_is_stored_once_byte_for_byte_however_often_it_comes() {
    let test = TestDb::create().await;
    let conn = connect(&test).await;
    let created = this_month(&test).await;
    let batch = [
        event("evt_2", created),
        event("evt_1", created),
        event("evt_2", created),
    ];
    assert_eq!(archive_events(&conn, &batch).await.unwrap(), 2);
    let second = [event("evt_2", created), event("evt_3", created)];
    assert_eq!(archive_events(&conn, &second).await.unwrap(), 1);
    assert_eq!(archive_events(&conn, &[]).await.unwrap(), 0);
    for (id, deliveries) in [("evt_1", 1), ("evt_2", 3), ("evt_3", 1)] {
        let found = find_event(&conn, id).await.unwrap().unwrap();
        assert_eq!(found.rows.len(), 1);
        let (row, payload) = &found.rows[0];
        assert_eq!(payload.as_deref(), Some(BODY));
        let expected = EventRow {
            event_id: id.to_owned(),
            consumer: "archive".to_owned(),
            created,
            kind: "product.created".to_owned(),
            endpoint: "connect".to_owned(),
            account: Some("acct_1".to_owned()),
            api_version: Some("2025-03-31.basil".to_owned()),
            livemode: Some(false),
            received_at: created,
            recorded_at: row.recorded_at,
            status: "decided".to_owned(),
            outcome: "ignored".to_owned(),
            guard: None,
            reason: Some("no_handler".to_owned()),
            client_id: None,
            org_id: None,
            deliveries,
        };
        assert_eq!(*row, expected);
    }
    assert_eq!(find_event(&conn, "evt_unknown").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_share_events_in_any_order_do_not_deadlock() {
    let test = TestDb::create().await;
    let database = open(&test);
    let created = this_month(&test).await;
    let ids: Vec<String> = (0..64).map(|number| format!("evt_{number}")).collect();
    let tasks: Vec<_> = (0..8)
        .map(|turn| {
            let (database, mut ids) = (database.clone(), ids.clone());
            tokio::spawn(async move {
                ids.rotate_left(turn * 7);
                if turn % 2 == 0 {
                    ids.reverse();
                }
                let batch: Vec<_> = ids.iter().map(|id| event(id, created)).collect();
                let conn = database.conn().await.unwrap();
                archive_events(&conn, &batch).await.unwrap()
            })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += task.await.unwrap();
    }
    assert_eq!(new, 64);
    let conn = database.conn().await.unwrap();
    let rows = list_events(&conn, &EventFilter::default(), None, 100).await.unwrap();
    assert!(rows.len() == 64 && rows.iter().all(|row| row.deliveries == 8));
}

#[tokio::test]
async fn events_of_far_times_are_kept_in_the_default_partition_and_counted() {
    let test = TestDb::create().await;
    let conn = connect(&test).await;
    let now = this_month(&test).await;
    let batch = [
        event("evt_old", at(1971)),
        event("evt_now", now),
        event("evt_far", at(9999)),
    ];
    assert_eq!(archive_events(&conn, &batch).await.unwrap(), 3);
    let counts = default_partition_count(&conn).await.unwrap();
    assert_eq!(
        counts,
        [("billing_events", 2), ("billing_decisions", 0), ("admin_actions", 0)]
    );
    assert!(find_event(&conn, "evt_far").await.unwrap().is_some());
    assert_eq!(
        ensure_partitions(&conn).await.unwrap(),
        0,
        "the months were made by migrating"
    );
}

#[tokio::test]
async fn a_month_that_is_missing_is_made_by_the_service_and_one_whose_rows_lie_elsewhere_is_passed_over() {
    let test = TestDb::create().await;
    let conn = connect(&test).await;
    let now = this_month(&test).await;
    let this = now.format("%Y_%m");
    let drop = format!("DROP TABLE billing_events_{this}, billing_decisions_{this}");
    test.superuser().await.batch_execute(&drop).await.unwrap();
    archive_events(&conn, &[event("evt_1", now)]).await.unwrap();
    assert_eq!(
        ensure_partitions(&conn).await.unwrap(),
        1,
        "only the table without rows of that month"
    );
    let list = db::verify(&test.url().into()).await.unwrap();
    let red: Vec<_> = list.failed().map(|check| check.name.as_str()).collect();
    assert_eq!(red, ["months of billing_events"], "{list}");
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged_without_gaps() {
    let test = TestDb::create().await;
    let conn = connect(&test).await;
    let created = this_month(&test).await;
    for batch in 0..3 {
        let ids: Vec<String> = (0..5).map(|number| format!("evt_{batch}_{number}")).collect();
        let mut events: Vec<_> = ids.iter().map(|id| event(id, created)).collect();
        events[0].kind = "price.created";
        archive_events(&conn, &events).await.unwrap();
    }
    let all = list_events(&conn, &EventFilter::default(), None, 100).await.unwrap();
    assert_eq!(all.len(), 15);
    assert!(all.windows(2).all(|pair| pair[0].recorded_at >= pair[1].recorded_at));
    let mut paged: Vec<EventRow> = Vec::new();
    loop {
        let before = paged.last().map(EventCursor::from);
        let page = list_events(&conn, &EventFilter::default(), before.as_ref(), 4)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let filter = |change: fn(&mut EventFilter)| {
        let mut filter = EventFilter::default();
        change(&mut filter);
        filter
    };
    for (filter, expected) in [
        (filter(|f| f.kind = Some("price.created".to_owned())), 3),
        (filter(|f| f.outcome = Some("ignored".to_owned())), 15),
        (filter(|f| f.status = Some("parked".to_owned())), 0),
        (filter(|f| f.client_id = Some("client_1".to_owned())), 0),
        (
            EventFilter {
                since: Some(all[4].recorded_at),
                ..EventFilter::default()
            },
            5,
        ),
    ] {
        let found = list_events(&conn, &filter, None, 100).await.unwrap();
        assert_eq!(found.len(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn an_event_is_found_with_what_was_decided_about_it() {
    let test = TestDb::create().await;
    let conn = connect(&test).await;
    let created = this_month(&test).await;
    archive_events(&conn, &[event("evt_1", created)]).await.unwrap();
    conn.execute(
        "INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, outcome, guard,
                                        reason, from_state, to_state, details)
         VALUES (gen_random_uuid(), now(), 'evt_1', 'x', now(), now(), 'client_1', 'applied', NULL, 'paid', 'TRIAL_PENDING',
                 'ACTIVE', '{\"seen\": 1}')",
        &[],
    )
    .await
    .unwrap();
    let found = find_event(&conn, "evt_1").await.unwrap().unwrap();
    assert_eq!(found.decisions.len(), 1);
    let decision = &found.decisions[0];
    assert_eq!(
        decision.transition,
        Some(("TRIAL_PENDING".to_owned(), "ACTIVE".to_owned()))
    );
    assert_eq!(
        (decision.client_id.as_deref(), decision.details["seen"].as_i64()),
        (Some("client_1"), Some(1))
    );
}

#[tokio::test]
async fn events_of_a_client_are_found_by_its_decisions_and_no_others() {
    let test = TestDb::create().await;
    let superuser = test.superuser().await;
    for (event, client) in [("evt_a", "c_1"), ("evt_b", "c_2"), ("evt_c", "c_1")] {
        superuser
            .batch_execute(&format!(
                "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, status, outcome,
                     client_id) VALUES ('{event}', 'billing', now(), 'invoice.paid', 'platform', now(), 'decided', 'applied',
                     '{client}');
                 INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, outcome)
                     VALUES (gen_random_uuid(), now(), '{event}', 'invoice.paid', now(), now(), '{client}', 'applied')"
            ))
            .await
            .unwrap();
    }
    // Decided for one client while it waited, and for another in the end: it is the other's.
    let moved = "UPDATE billing_events SET client_id = 'c_2' WHERE stripe_event_id = 'evt_c';
        INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, outcome)
            VALUES (gen_random_uuid(), now(), 'evt_c', 'invoice.paid', now(), now(), 'c_2', 'applied')";
    superuser.batch_execute(moved).await.unwrap();
    let conn = connect(&test).await;
    for (client, expected) in [("c_1", vec!["evt_a"]), ("c_2", vec!["evt_c", "evt_b"]), ("c_3", vec![])] {
        let filter = EventFilter {
            client_id: Some(client.to_owned()),
            ..EventFilter::default()
        };
        let found = list_events(&conn, &filter, None, 10).await.unwrap();
        let ids: Vec<&str> = found.iter().map(|row| row.event_id.as_str()).collect();
        assert_eq!(ids, expected, "{client}");
    }
}

/// The plan of the list that was asked for last on a connection, with the values that it was asked with.
async fn plan_of_list(test: &TestDb, filter: EventFilter, values: &str) -> String {
    let (conn, onlooker) = (connect(test).await, test.superuser().await);
    list_events(&conn, &filter, None, 20).await.unwrap();
    let prepared = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'SELECT stripe_event_id%'";
    let statement: String = conn.query_one(prepared, &[]).await.unwrap().get(0);
    onlooker
        .batch_execute(&format!("PREPARE asked AS {statement}"))
        .await
        .unwrap();
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE asked ({values})");
    let rows = onlooker.query(&explain, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

#[tokio::test]
async fn lists_by_a_rare_outcome_or_a_type_do_not_read_everything_that_was_recorded() {
    let test = TestDb::create().await;
    // One in ten thousand is parked, and one in a thousand of a rare type.
    let fill = "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, recorded_at, status, \
                                            outcome, reason) \
                SELECT 'evt_' || n, 'billing', now(), CASE WHEN n % 1000 = 0 THEN 'invoice.rare' ELSE 'invoice.paid' END, 'platform', \
                    now(), now() - n * interval '1 second', CASE WHEN n % 10000 = 0 THEN 'parked' ELSE 'decided' END, \
                    CASE WHEN n % 10000 = 0 THEN 'parked' ELSE 'applied' END, 'state_changed' \
                FROM generate_series(1, 50000) AS n; ANALYZE billing_events";
    test.superuser().await.batch_execute(fill).await.unwrap();
    let parked = || Some("parked".to_owned());
    for (filter, values, index) in [
        (
            EventFilter {
                outcome: parked(),
                ..EventFilter::default()
            },
            "20, 'parked'",
            "outcome_recorded_at_idx",
        ),
        (
            EventFilter {
                status: parked(),
                ..EventFilter::default()
            },
            "20, 'parked', 'parked'",
            "outcome_recorded_at_idx",
        ),
        (
            EventFilter {
                kind: Some("invoice.rare".to_owned()),
                ..EventFilter::default()
            },
            "20, 'invoice.rare'",
            "type_recorded_at_idx",
        ),
    ] {
        let plan = plan_of_list(&test, filter, values).await;
        assert!(plan.contains(index), "{plan}");
    }
}
