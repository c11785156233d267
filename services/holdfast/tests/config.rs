//! A configuration that is refused: every problem at once, exit 78, no secret shown, no port opened.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::net::TcpListener;

use common::{environment, holdfast, json, stderr, stdout};

#[test]
fn every_problem_is_told_at_once_before_a_port_opens_and_no_secret_is_shown() {
    // Whoever opened the port before it judged the rest would fail on this one, with another exit code.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let env = vec![
        ("DATABASE_URL", "mysql://u:hunter2@db/x".to_owned()),
        ("AMQP_URL", "http://u:hunter2@broker".to_owned()),
        ("STRIPE_LIVEMODE", "perhaps".to_owned()),
        ("STRIPE_WEBHOOK_SECRET", "sk_test_hunter2hunter2".to_owned()),
        ("STRIPE_SECRET_KEY", "pk_test_hunter2hunter2".to_owned()),
        ("AUTH_JWT_SECRET", "hunter2".to_owned()),
        ("LOG_FORMAT", "loud".to_owned()),
        ("HOLDFAST_LISTEN", taken.local_addr().unwrap().to_string()),
    ];
    let output = holdfast(&env, &["run", "all"]);
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output);
    for (name, _) in env.iter().take(7) {
        assert_eq!(text.matches(&format!("- {name} ")).count(), 1, "{name} in {text}");
    }
    assert!(text.starts_with("the configuration has 8 problems:"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_service_needs_only_its_own_configuration() {
    let without = |name: &str| -> common::Env {
        let all = environment("postgres://u@localhost/x", "amqp://localhost");
        all.into_iter().filter(|(known, _)| *known != name).collect()
    };
    for (missing, services, expect) in [
        ("DATABASE_URL", &["webhook-ingest"][..], 0),
        ("DATABASE_URL", &["admin"], 78),
        ("DATABASE_URL", &["billing"], 78),
        ("DATABASE_URL", &["webhook-ingest", "admin"], 78),
        ("STRIPE_WEBHOOK_SECRET", &["admin", "billing"], 0),
        ("STRIPE_WEBHOOK_SECRET", &["all"], 78),
        ("STRIPE_WEBHOOK_SECRET", &[], 78),
        ("STRIPE_SECRET_KEY", &["escrow"], 78),
        ("STRIPE_SECRET_KEY", &["billing", "retry", "admin"], 0),
        ("AUTH_JWT_SECRET", &["webhook-ingest"], 0),
        ("RECONCILE_SECRET", &["escrow"], 78),
        ("RECONCILE_SECRET", &["retry"], 78),
        ("RECONCILE_SECRET", &["webhook-ingest", "billing", "admin"], 0),
        ("nothing", &[], 0),
    ] {
        let args: Vec<&str> = ["config", "check"]
            .into_iter()
            .chain(services.iter().copied())
            .collect();
        let output = holdfast(&without(missing), &args);
        assert_eq!(
            output.status.code(),
            Some(expect),
            "{missing} {services:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_mode_that_is_to_call_nothing_and_does_not_exist_yet_is_refused() {
    for (value, expect) in [("false", 0), ("true", 78), ("perhaps", 78)] {
        let mut env = environment("postgres://u@localhost/x", "amqp://localhost");
        env.push(("HOLDFAST_SHADOW", value.to_owned()));
        let output = holdfast(&env, &["config", "check", "webhook-ingest"]);
        assert_eq!(output.status.code(), Some(expect), "{value}: {}", stderr(&output));
    }
}

#[test]
fn a_tool_asks_for_the_servers_that_it_uses_and_for_no_other() {
    let (database, broker) = (&["DATABASE_URL"][..], &["AMQP_URL"][..]);
    for (args, expect) in [
        (&["events", "list"][..], database),
        (&["events", "show", "evt_1"], database),
        (&["events", "replay", "evt_1"], &["DATABASE_URL", "AMQP_URL"]),
        (&["client", "show", "c1"], database),
        (&["ledger", "check"], database),
        (&["job", "escrow-timeouts"], database),
        (&["job", "retry-transfers"], &["DATABASE_URL", "AMQP_URL"]),
        (&["alerts", "list"], database),
        (&["alerts", "test"], broker),
        (&["queues"], broker),
        (&["parked", "list"], broker),
        (&["parked", "show", "billing.events", "evt_1"], broker),
        (&["parked", "replay", "billing.events", "evt_1"], broker),
    ] {
        let output = holdfast(&[], args);
        assert_eq!(output.status.code(), Some(78), "{args:?}");
        let text = stderr(&output);
        let asked: Vec<_> = ["DATABASE_URL", "AMQP_URL"]
            .into_iter()
            .filter(|name| text.contains(&format!("- {name} ")))
            .collect();
        assert_eq!(asked, expect, "{args:?}: {text}");
    }
}

#[test]
fn a_check_prints_json_when_asked() {
    let env = environment("postgres://u@localhost/x", "amqp://localhost");
    let good = json(&holdfast(&env, &["config", "check", "--json"]));
    assert_eq!(good["ok"], true);
    let bad = holdfast(&env[1..], &["config", "check", "admin", "--json"]);
    assert_eq!(bad.status.code(), Some(78));
    let bad: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(bad["problems"][0]["variable"], "DATABASE_URL");
}

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    for args in [
        &["run"][..],
        &["run", "nothing"],
        &["parked", "replay", "billing.events"],
        &["events"],
    ] {
        assert_eq!(holdfast(&[], args).status.code(), Some(2), "{args:?}");
    }
}
