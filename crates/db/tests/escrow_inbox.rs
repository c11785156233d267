//! Escrow's mark of idempotency: what it holds off, and what it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use chrono::{DateTime, Utc};
use db::escrow::inbox::{EscrowEvent, EventOutcome, mark_event_in_txn};
use db::{Database, DatabaseConfig, in_txn};
use testkit::TestDb;

/// Whether an event may have an effect that comes with this outcome.
async fn may_count(database: &Database, id: &str, outcome: &str, reason: &str) -> bool {
    let at = DateTime::<Utc>::from_timestamp(1_790_000_000, 0).unwrap();
    let event = EscrowEvent {
        event_id: id,
        created: at,
        kind: "transfer.created",
        endpoint: "platform",
        account: None,
        api_version: None,
        livemode: Some(true),
        received_at: at,
        payload: "{}",
        is_delivered: true,
        read_again: None,
    };
    let outcome = EventOutcome {
        outcome,
        guard: None,
        reason,
    };
    let marked = database.transact(|txn| in_txn(mark_event_in_txn(txn, &event, outcome)));
    marked.await.unwrap()
}

#[tokio::test]
async fn what_was_ignored_for_its_mode_counts_when_it_comes_again_under_the_right_one() {
    let test = TestDb::create().await;
    let database = Database::open(&DatabaseConfig::new(test.service_url().into(), "holdfast-test")).unwrap();
    assert!(may_count(&database, "evt_mode", "ignored", "livemode_mismatch").await);
    assert!(may_count(&database, "evt_mode", "ignored", "livemode_mismatch").await);
    assert!(may_count(&database, "evt_mode", "applied", "applied").await);
    assert!(!may_count(&database, "evt_mode", "applied", "applied").await);
    assert!(may_count(&database, "evt_other", "ignored", "no_rule").await);
    assert!(!may_count(&database, "evt_other", "applied", "applied").await);
    let sql = "SELECT outcome, deliveries FROM billing_events WHERE stripe_event_id = 'evt_mode'";
    let row = test.superuser().await.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1)), ("applied", 4));
}
