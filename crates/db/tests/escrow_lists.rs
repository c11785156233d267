//! What the timers find: nobody is kept out by others for whom nothing can be done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods)] // the database's own clock is the one that counts here

use chrono::Utc;
use db::escrow::breaker::list_escrows_to_secure;
use db::{Database, DatabaseConfig};
use testkit::TestDb;

#[tokio::test]
async fn authorisations_that_end_come_before_those_of_which_nobody_knows() {
    let test = TestDb::create().await;
    let held = "BEGIN; \
        INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, authorized, \
            capture_before, created_by, created_at, updated_at) \
        SELECT 'esc_' || n, 'held', 'eur', 900, 0, 'manual', 'capture', now() + interval '300 days', true, \
            CASE n WHEN 8 THEN now() + interval '2 hours' WHEN 9 THEN now() + interval '1 hour' WHEN 10 THEN now() + interval '3 days' END, \
            't', now(), now() FROM generate_series(1, 10) AS n; \
        INSERT INTO escrow_recipients (escrow_id, position, account, amount, status) \
            SELECT 'esc_' || n, 0, 'acct_1', 900, 'waiting' FROM generate_series(1, 10) AS n; \
        COMMIT;";
    test.superuser().await.batch_execute(held).await.unwrap();
    let database = Database::open(&DatabaseConfig::new(test.service_url().into(), "lists")).unwrap();
    let conn = database.conn().await.unwrap();
    let before = Utc::now() + chrono::TimeDelta::hours(12);
    let listed = list_escrows_to_secure(&conn, before, 3).await.unwrap();
    assert_eq!(listed[..2], ["esc_9", "esc_8"]);
    assert_eq!(listed.len(), 5, "and three of the others: {listed:?}");
    assert!(!listed.contains(&"esc_10".to_owned()));
}
