//! The tools of an operator, against a database and a broker with something in them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use common::{Running, WAIT, environment, event, holdfast, json, stderr, stdout};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use testkit::{TestBroker, TestDb};

#[tokio::test(flavor = "multi_thread")]
async fn migrate_and_verify_tell_by_their_exit_codes() {
    let db = TestDb::empty().await;
    let env = vec![
        ("MIGRATOR_DATABASE_URL", db.url()),
        ("DATABASE_URL", "nonsense".to_owned()),
    ];
    let red = holdfast(&env, &["migrate", "verify"]);
    assert_eq!(red.status.code(), Some(1));
    assert!(stdout(&red).contains('✗'), "{}", stdout(&red));

    let first = holdfast(&env, &["migrate"]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(
        stdout(&first).contains("applied  0001_roles_and_tenancy\n"),
        "{}",
        stdout(&first)
    );
    let second = json(&holdfast(&env, &["migrate", "--json"]));
    assert_eq!(second["applied"], serde_json::json!([]));

    let green = holdfast(&env, &["migrate", "verify"]);
    assert_eq!(green.status.code(), Some(0), "{}", stdout(&green));
    assert!(!stdout(&green).contains('✗'));
    let drop_policy = "DROP POLICY tenant_read ON client_billing";
    db.superuser().await.batch_execute(drop_policy).await.unwrap();
    let red = holdfast(&env, &["migrate", "verify", "--json"]);
    assert_eq!(red.status.code(), Some(1));
    let list: serde_json::Value = serde_json::from_slice(&red.stdout).unwrap();
    let failed: Vec<_> = list["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["verdict"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].to_string().contains("client_billing"), "{failed:?}");

    let nobody = vec![("DATABASE_URL", "postgres://u@127.0.0.1:1/x".to_owned())];
    let away = holdfast(&nobody, &["migrate"]);
    assert_eq!(away.status.code(), Some(1));
    assert!(
        stderr(&away).contains("try: see that the database runs"),
        "{}",
        stderr(&away)
    );
}

/// On a standby nothing can be written, an alert as little as anything; what was found is told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_does_not_hold_is_told_also_where_nothing_can_be_written() {
    let db = TestDb::create().await;
    let missing = "INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
                   authorized, captured, created_by, created_at, updated_at) \
                   VALUES ('esc_1', 'held', 'eur', 4900, 0, 'automatic', 'refuse', now(), true, 4900, 't', now(), now())";
    db.superuser().await.batch_execute(missing).await.unwrap();
    let standby = format!("{}?options=-c%20default_transaction_read_only%3Don", db.service_url());
    for (url, alerts) in [(standby, 0), (db.service_url(), 1)] {
        let found = holdfast(&[("DATABASE_URL", url)], &["ledger", "check"]);
        assert_eq!(found.status.code(), Some(1), "{}", stderr(&found));
        let rule = "what was captured is posted: esc_1 captured 4900, posted 0";
        assert!(stdout(&found).contains(rule), "{}", stdout(&found));
        let raised = "SELECT count(*) FROM billing_alerts WHERE alert_key LIKE 'ledger_broken:%'";
        let raised: i64 = db.superuser().await.query_one(raised, &[]).await.unwrap().get(0);
        assert_eq!(raised, alerts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_shown_and_replayed() {
    let (db, broker) = (TestDb::create().await, TestBroker::create().await);
    let env = environment(&db.service_url(), &broker.amqp_url());
    assert_eq!(stdout(&holdfast(&env, &["events", "list"])), "No event matches.\n");
    let running = Running::start(&env, &["all"]).await;
    running.ready().await;
    let body = event("evt_tools", "payout.paid");
    assert_eq!(running.post(&body).await.unwrap().status(), 200);
    let listed = || async {
        let list = json(&holdfast(&env, &["events", "list", "--type", "payout.paid", "--json"]));
        list.as_array()?.first().cloned()
    };
    let row = testkit::eventually_some(WAIT, listed).await;
    assert_eq!(
        (&row["event_id"], &row["outcome"], &row["reason"]),
        (&"evt_tools".into(), &"ignored".into(), &"no_handler".into())
    );
    let none = json(&holdfast(&env, &["events", "list", "--outcome", "applied", "--json"]));
    assert_eq!(none, serde_json::json!([]));

    let shown = json(&holdfast(&env, &["events", "show", "evt_tools", "--json"]));
    assert_eq!(
        (&shown["rows"][0]["event_id"], &shown["rows"][0]["payload"]),
        (&"evt_tools".into(), &body.as_str().into())
    );
    let text = stdout(&holdfast(&env, &["events", "show", "evt_tools"]));
    assert!(text.contains("why          no_handler"), "{text}");
    let unknown = holdfast(&env, &["events", "show", "evt_unknown"]);
    assert_eq!(
        (unknown.status.code(), stderr(&unknown).as_str()),
        (Some(1), "error: no event has the id evt_unknown\n")
    );

    let replayed = json(&holdfast(&env, &["events", "replay", "evt_tools", "--json"]));
    assert_eq!(
        (&replayed["event_id"], &replayed["routing_key"]),
        (&"evt_tools".into(), &"platform.payout.paid".into())
    );
    testkit::eventually(WAIT, || async {
        listed().await.is_some_and(|row| row["deliveries"] == 2)
    })
    .await;
    let unknown = holdfast(&env, &["events", "replay", "evt_unknown"]);
    assert_eq!(unknown.status.code(), Some(1));
    let nobody = holdfast(&env, &["client", "show", "nobody"]);
    assert_eq!(
        (nobody.status.code(), stderr(&nobody).as_str()),
        (Some(1), "error: no client has the id nobody\n")
    );

    let raised = json(&holdfast(&env, &["alerts", "test", "--by", "me", "--json"]));
    assert_eq!(raised["alert_key"], "test:me");
    let client = db.superuser().await;
    let stored = "SELECT 1 FROM billing_alerts WHERE alert_key = 'test:me' AND severity = 'info'";
    testkit::eventually(WAIT, || async { client.query(stored, &[]).await.unwrap().len() == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_shown_with_its_last_event_and_its_timeline_by_their_event_ids() {
    let db = TestDb::create().await;
    let env = vec![("DATABASE_URL", db.service_url())];
    let rows = "INSERT INTO organizations (id) VALUES ('org_1');
                INSERT INTO client_billing (client_id, org_id, payment_source, initial_state, state, version,
                                            last_event_id, last_event_type, last_event_created)
                VALUES ('c1', 'org_1', 'STRIPE', 'TRIAL_PENDING', 'ACTIVE', 1, 'evt_last', 'invoice.paid', now());
                INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, org_id,
                                               outcome, reason, from_state, to_state)
                VALUES (gen_random_uuid(), now(), 'evt_last', 'invoice.paid', now(), now(), 'c1', 'org_1', 'applied',
                        'state_changed', 'TRIAL_PENDING', 'ACTIVE')";
    db.superuser().await.batch_execute(rows).await.unwrap();
    let shown = json(&holdfast(&env, &["client", "show", "c1", "--json"]));
    assert_eq!(shown["client"]["last_event"]["event_id"], "evt_last", "{shown}");
    assert_eq!(shown["timeline"][0]["event_id"], "evt_last", "{shown}");
    let text = stdout(&holdfast(&env, &["client", "show", "c1"]));
    assert!(text.contains("last event      invoice.paid evt_last\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_when_there_is_more_and_alerts_are_listed_until_they_are_resolved() {
    let db = TestDb::create().await;
    let env = vec![("DATABASE_URL", db.service_url())];
    let rows = "INSERT INTO billing_alerts (id, alert_key, kind, severity, subject, summary, details, occurrences,
                                            first_seen_at, last_seen_at, resolved, resolved_at, resolved_by)
                SELECT gen_random_uuid(), 'test:' || name, 'test', severity, name, E'what \\x1b[31m', '{}', 3, now(), now(),
                       resolved, CASE WHEN resolved THEN now() END, CASE WHEN resolved THEN 'ann' END
                FROM (VALUES ('open', 'critical', false), ('small', 'info', false), ('over', 'critical', true))
                     AS given (name, severity, resolved)";
    db.superuser().await.batch_execute(rows).await.unwrap();
    let keys = |args: &[&str]| {
        let output = holdfast(&env, &[&["alerts", "list", "--json"], args].concat());
        let list = json(&output);
        let mut keys: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["alert_key"].to_string())
            .collect();
        keys.sort();
        (keys.join(" ").replace('"', ""), stderr(&output))
    };
    let nothing = String::new;
    assert_eq!(keys(&[]), ("test:open test:small".to_owned(), nothing()));
    assert_eq!(keys(&["--severity", "critical"]), ("test:open".to_owned(), nothing()));
    assert_eq!(
        keys(&["--severity", "critical", "--all"]),
        ("test:open test:over".to_owned(), nothing())
    );
    assert_eq!(keys(&["--limit", "2"]).1, "");
    let (one, said) = keys(&["--limit", "1"]);
    assert_eq!(
        (one.matches("test:").count(), said.contains("first 1. See --limit")),
        (1, true)
    );
    let text = stdout(&holdfast(&env, &["alerts", "list", "--all"]));
    assert!(text.contains("ann") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(
        holdfast(&env, &["alerts", "list", "--severity", "loud"]).status.code(),
        Some(2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_resolved_once_by_the_id_that_the_list_shows() {
    let db = TestDb::create().await;
    let env = vec![("DATABASE_URL", db.service_url())];
    let row = "INSERT INTO billing_alerts (id, alert_key, kind, severity, subject, summary, details, occurrences,
                                           first_seen_at, last_seen_at)
               VALUES (gen_random_uuid(), 'test:open', 'test', 'info', 'open', 'what', '{}', 1, now(), now()),
                      (gen_random_uuid(), 'test:next', 'test', 'info', 'next', 'what', '{}', 1, now(), now())";
    db.superuser().await.batch_execute(row).await.unwrap();
    let listed = json(&holdfast(&env, &["alerts", "list", "--json"]));
    let id_of = |key: &str| {
        let mut alerts = listed.as_array().unwrap().iter();
        let alert = alerts.find(|alert| alert["alert_key"] == key).unwrap();
        alert["id"].as_str().unwrap().to_owned()
    };
    let (open, next) = (id_of("test:open"), id_of("test:next"));
    let text = stdout(&holdfast(&env, &["alerts", "list"]));
    assert!(text.starts_with("ID ") && text.contains(&open), "{text}");

    let resolved = json(&holdfast(&env, &["alerts", "resolve", &open, "--by", "ann", "--json"]));
    assert_eq!(
        (&resolved["id"], &resolved["resolved"], &resolved["resolved_by"]),
        (&open.as_str().into(), &true.into(), &"ann".into())
    );
    let plain = holdfast(&env, &["alerts", "resolve", &next]);
    assert_eq!(
        (plain.status.code(), stdout(&plain).as_str()),
        (Some(0), "Resolved test:next.\n")
    );
    assert_eq!(stdout(&holdfast(&env, &["alerts", "list"])), "No alert matches.\n");

    let refused = |id: &str| {
        let output = holdfast(&env, &["alerts", "resolve", id]);
        (output.status.code(), stderr(&output))
    };
    let (code, said) = refused(&open);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with(&format!("error: alert {open} is resolved already, by ann at ")),
        "{said}"
    );
    let unknown = "00000000-0000-7000-8000-000000000000";
    assert_eq!(
        refused(unknown),
        (Some(1), format!("error: no alert has the id {unknown}\n"))
    );
    let (code, said) = refused("test:open");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("invalid value 'test:open' for '<ID>'"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_watched_until_nothing_waits() {
    let (db, broker) = (TestDb::create().await, TestBroker::create().await);
    let env = environment(&db.service_url(), &broker.amqp_url());
    let early = holdfast(&env, &["events", "backlog"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(
        stderr(&early).contains("looking at 'billing.events'"),
        "{}",
        stderr(&early)
    );
    let running = Running::start(&env, &["webhook-ingest"]).await;
    running.ready().await;
    for n in 0..3 {
        let body = event(&format!("evt_backlog_{n}"), "invoice.created");
        assert_eq!(running.post(&body).await.unwrap().status(), 200);
    }
    let waiting = json(&holdfast(&env, &["events", "backlog", "--json"]));
    assert_eq!(
        (
            &waiting["waiting"],
            &waiting["decided_per_second"],
            &waiting["seconds_left"]
        ),
        (&3.into(), &0.0.into(), &serde_json::Value::Null)
    );
    let text = stdout(&holdfast(&env, &["events", "backlog"]));
    assert_eq!(text, "billing.events: 3 wait, 0 decided per second, not shrinking\n");

    let billing = Running::start(&env, &["billing"]).await;
    billing.ready().await;
    let watched = stdout(&holdfast(&env, &["events", "backlog", "--watch"]));
    assert!(watched.ends_with("nothing waits\n"), "{watched}");
    let archive = stdout(&holdfast(&env, &["events", "backlog", "--queue", "archive"]));
    assert!(archive.starts_with("archive.events: 0 wait"), "{archive}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_are_listed_shown_and_sent_back() {
    let (db, broker) = (TestDb::create().await, TestBroker::create().await);
    let env = environment(&db.service_url(), &broker.amqp_url());
    let early = holdfast(&env, &["parked", "list"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(stderr(&early).contains("holdfast run all"), "{}", stderr(&early));
    let early = holdfast(&env, &["queues"]);
    assert!(stderr(&early).contains("holdfast run all"), "{}", stderr(&early));
    let running = Running::start(&env, &["admin"]).await;
    running.ready().await;
    let properties = BasicProperties::default()
        .with_message_id("poison".into())
        .with_type("a\u{1b}[31m".into());
    let options = BasicPublishOptions::default();
    let channel = broker.channel().await;
    let published = channel.basic_publish("".into(), "archive.events".into(), options, b"\xff", properties);
    published.await.unwrap().await.unwrap();
    let archive = || async {
        let list = json(&holdfast(&env, &["parked", "list", "--json"]));
        let queues = list.as_array().unwrap().clone();
        queues
            .into_iter()
            .find(|queue| queue["queue"] == "archive.events" && queue["count"] == 1)
    };
    let queue = testkit::eventually_some(WAIT, archive).await;
    assert_eq!(queue["messages"][0]["message_id"], "poison");
    let counted = stdout(&holdfast(&env, &["queues"]));
    let line = counted.lines().find(|line| line.starts_with("archive.events"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(
        words[2..],
        ["0", "0", "1"],
        "nothing is ready or waits, one is parked: {counted}"
    );
    let text = stdout(&holdfast(&env, &["parked", "list"]));
    assert!(
        text.contains("archive.events   1\n") && !text.contains('\u{1b}'),
        "{text}"
    );

    let shown = json(&holdfast(
        &env,
        &["parked", "show", "archive.events", "poison", "--json"],
    ));
    assert_eq!(
        (&shown[0]["reason"], &shown[0]["body_is_utf8"]),
        (&"the body is not UTF-8 from byte 0 on".into(), &false.into())
    );
    let nothing = holdfast(&env, &["parked", "replay", "archive.events", "other"]);
    assert_eq!(nothing.status.code(), Some(1));
    let replayed = json(&holdfast(
        &env,
        &["parked", "replay", "archive.events", "poison", "--json"],
    ));
    assert_eq!(replayed["replayed"], 1);
    // It is as bad as before, so it is back after its attempt.
    testkit::eventually_some(WAIT, archive).await;
    let unknown = holdfast(&env, &["parked", "show", "nonsense", "poison"]);
    assert!(
        stderr(&unknown).contains("there are billing.events"),
        "{}",
        stderr(&unknown)
    );
    running.terminate();
    assert_eq!(running.ended().await.0.code(), Some(0));
}
