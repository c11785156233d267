//! Alerts that end by themselves: as long as their cause is there they stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use db::alerts::{AlertFilter, AlertRow, list_alerts, raise_alert};
use db::escrow::passing::{BY_ITSELF, resolve_what_is_over};
use db::{Database, DatabaseConfig};
use domain::alert::{AlertKind, Severity};
use serde_json::json;
use testkit::TestDb;

/// Two escrows of one account, of which the second is over.
const ESCROWS: &str = "BEGIN; \
    INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
        captured, asked_release, charge_id, created_by, created_at, updated_at) VALUES \
        ('esc_1', 'pending_user_setup', 'eur', 900, 0, 'manual', 'refuse', now(), 900, true, NULL, 't', now(), now()), \
        ('esc_2', 'refunded', 'eur', 900, 0, 'manual', 'refuse', now(), 900, false, 'ch_2', 't', now(), now()); \
    INSERT INTO escrow_recipients (escrow_id, position, account, amount, status, readiness, readiness_code) VALUES \
        ('esc_1', 0, 'acct_1', 900, 'waiting', 'not_ready', 'insufficient_capabilities_for_transfer'), \
        ('esc_2', 0, 'acct_1', 900, 'waiting', 'not_ready', 'insufficient_capabilities_for_transfer'); \
    INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, attempt, calls, key_since, last_call, \
        failures, job, due_at, created_at, updated_at) \
        VALUES ('op_1', 'esc_1', 1, 'transfer', 'acct_1', 900, 'eur', 'intended', 0, 0, now(), now(), 0, 'open', now(), now(), now()); \
    COMMIT;";

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap()
}

struct World {
    test: TestDb,
    database: Database,
}

impl World {
    async fn begin() -> Self {
        let test = TestDb::create().await;
        test.superuser().await.batch_execute(ESCROWS).await.unwrap();
        let database = Database::open(&DatabaseConfig::new(test.service_url().into(), "passing")).unwrap();
        Self { test, database }
    }

    async fn raise(&self, kind: AlertKind, subject: &str, seconds_ago: i64) {
        let at = now() - TimeDelta::seconds(seconds_ago);
        let alert = AlertRow {
            alert_key: format!("{kind}:{subject}"),
            kind: kind.as_str().to_owned(),
            severity: Severity::Info,
            subject: subject.to_owned(),
            summary: "what".to_owned(),
            details: json!({"escrow": "esc_1"}),
            occurrences: 1,
            first_seen_at: at,
            last_seen_at: at,
        };
        raise_alert(&self.database.conn().await.unwrap(), &alert).await.unwrap();
    }

    async fn resolve(&self) -> Vec<String> {
        let conn = self.database.conn().await.unwrap();
        resolve_what_is_over(&conn, now()).await.unwrap()
    }

    async fn change(&self, sql: &str) {
        self.test.superuser().await.batch_execute(sql).await.unwrap();
    }
}

#[tokio::test]
async fn a_recipient_that_was_not_ready_is_an_alert_until_no_share_waits_for_it() {
    const KEY: &str = "recipient_not_ready:acct_1";
    let ends = [
        (
            "it can receive",
            "UPDATE escrow_recipients SET readiness = 'ready', readiness_code = NULL WHERE escrow_id = 'esc_1'",
        ),
        (
            "it was paid",
            "UPDATE escrow_recipients SET status = 'paid' WHERE escrow_id = 'esc_1'",
        ),
        (
            "its escrow ended without it",
            "UPDATE escrow_transactions SET status = 'refunded' WHERE id = 'esc_1'",
        ),
    ];
    for (how, end) in ends {
        let world = World::begin().await;
        world.raise(AlertKind::RecipientNotReady, "acct_1", 90).await;
        assert_eq!(world.resolve().await, [""; 0], "its share waits");
        world.change(end).await;
        assert_eq!(world.resolve().await, [KEY], "{how}");
        let conn = world.database.conn().await.unwrap();
        let alerts = list_alerts(&conn, &AlertFilter::default(), 10, 0).await.unwrap();
        assert_eq!(alerts[0].resolved.as_ref().unwrap().by, BY_ITSELF);
        assert_eq!(
            alerts[0].alert.details,
            json!({"escrow": "esc_1", "resolution": "No share waits for this account any more."})
        );
        assert_eq!(world.resolve().await, [""; 0], "once");
    }
}

#[tokio::test]
async fn a_charge_that_could_not_be_read_is_an_alert_until_no_transfer_waits_for_one() {
    let world = World::begin().await;
    world.raise(AlertKind::StripeApiFailure, "escrow/charge", 90).await;
    world.raise(AlertKind::StripeApiFailure, "escrow/http_401", 90).await;
    assert_eq!(world.resolve().await, [""; 0]);
    world
        .change("UPDATE escrow_transactions SET charge_id = 'ch_1' WHERE id = 'esc_1'")
        .await;
    assert_eq!(world.resolve().await, ["stripe_api_failure:escrow/charge"]);
}

/// What raised it may be committed after what the sweep sees.
#[tokio::test]
async fn an_alert_that_was_just_seen_or_is_being_raised_is_left_alone() {
    let world = World::begin().await;
    world
        .change("UPDATE escrow_recipients SET status = 'paid' WHERE escrow_id = 'esc_1'")
        .await;
    world.raise(AlertKind::RecipientNotReady, "acct_1", 30).await;
    assert_eq!(world.resolve().await, [""; 0], "just seen");
    world.change("UPDATE billing_alerts SET first_seen_at = first_seen_at - interval '1 minute', last_seen_at = last_seen_at - interval '1 minute'").await;
    let mut raiser = world.database.conn().await.unwrap();
    let raising = raiser.transaction().await.unwrap();
    raising
        .execute("UPDATE billing_alerts SET occurrences = 2", &[])
        .await
        .unwrap();
    assert_eq!(world.resolve().await, [""; 0], "being raised");
    raising.rollback().await.unwrap();
    assert_eq!(world.resolve().await, ["recipient_not_ready:acct_1"]);
}
