//! Migrating a real server: fresh, again, at once from many places, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use db::migrate::{MIGRATIONS, MigrateError};
use testkit::TestDb;

#[test]
fn every_file_is_part_of_the_binary_and_in_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".sql"))
        .collect();
    files.sort();
    let embedded: Vec<_> = MIGRATIONS
        .iter()
        .map(|migration| format!("{}.sql", migration.name))
        .collect();
    assert_eq!(files, embedded);
    for migration in MIGRATIONS {
        assert!(
            migration.name.starts_with(&format!("{:04}_", migration.version)),
            "{}",
            migration.name
        );
    }
}

#[tokio::test]
async fn a_second_run_finds_nothing_to_do() {
    let test = TestDb::empty().await;
    let url = test.url().into();
    let first = db::migrate(&url).await.unwrap();
    assert_eq!(first.applied.len(), MIGRATIONS.len());
    let second = db::migrate(&url).await.unwrap();
    assert_eq!((second.applied.len(), second.already_applied), (0, MIGRATIONS.len()));
    assert_eq!((second.partitions_made, second.newer), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_migrate_at_once_apply_each_file_once() {
    let test = TestDb::empty().await;
    let runs: Vec<_> = (0..6)
        .map(|_| {
            let url = test.url().into();
            tokio::spawn(async move { db::migrate(&url).await.unwrap().applied.len() })
        })
        .collect();
    let mut applied = Vec::new();
    for run in runs {
        applied.push(run.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 0, 0, MIGRATIONS.len()]);
}

#[tokio::test]
async fn a_file_that_changed_after_it_was_applied_is_refused_by_name() {
    let test = TestDb::create().await;
    let change = "UPDATE schema_migrations SET checksum = 'other' WHERE version = 2";
    test.superuser().await.batch_execute(change).await.unwrap();
    let error = db::migrate(&test.url().into()).await.unwrap_err();
    assert!(
        matches!(&error, MigrateError::Changed { name, .. } if name == MIGRATIONS[1].name),
        "{error}"
    );
    assert!(error.to_string().contains(MIGRATIONS[1].name));
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let test = TestDb::create().await;
    let newer = "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, '9999_of_tomorrow', 'x')";
    test.superuser().await.batch_execute(newer).await.unwrap();
    let report = db::migrate(&test.url().into()).await.unwrap();
    assert_eq!((report.applied.len(), report.newer), (0, vec![9999]));
}

#[tokio::test]
async fn a_file_that_fails_leaves_nothing_of_itself() {
    let test = TestDb::empty().await;
    let admin = test.superuser().await;
    admin
        .batch_execute("CREATE TABLE billing_alerts (id int)")
        .await
        .unwrap();
    let error = db::migrate(&test.url().into()).await.unwrap_err();
    assert!(
        matches!(
            error,
            MigrateError::File {
                name: "0004_outbox_and_alerts",
                ..
            }
        ),
        "{error}"
    );
    let row = admin
        .query_one(
            "SELECT to_regclass('outbox') IS NULL, (SELECT max(version) FROM schema_migrations)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i32>(1)), (true, 3));
    admin.batch_execute("DROP TABLE billing_alerts").await.unwrap();
    let rest: Vec<_> = MIGRATIONS.iter().filter(|file| file.version > 3).collect();
    let applied = db::migrate(&test.url().into()).await.unwrap().applied;
    assert_eq!(applied, rest.iter().map(|file| file.name).collect::<Vec<_>>());
}

/// As a version before 0014 has left them.
#[tokio::test]
async fn recipients_of_what_was_canceled_long_ago_wait_for_nothing() {
    let test = TestDb::create().await;
    let admin = test.superuser().await;
    let old = "BEGIN;
        INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, canceled,
                                         captured, created_by, created_at, updated_at)
            SELECT id, status, 'eur', 900, 0, 'manual', 'refuse', now(), status = 'canceled', CASE status WHEN 'held' THEN 900 END,
                   't', now(), now()
            FROM (VALUES ('esc_canceled', 'canceled'), ('esc_held', 'held')) AS given (id, status);
        INSERT INTO escrow_recipients (escrow_id, position, account, amount, status, account_news)
            VALUES ('esc_canceled', 0, 'acct_1', 900, 'waiting', true), ('esc_held', 0, 'acct_1', 900, 'waiting', true);
        DELETE FROM schema_migrations WHERE version = 16;
        COMMIT;";
    admin.batch_execute(old).await.unwrap();
    let report = db::migrate(&test.url().into()).await.unwrap();
    assert_eq!(report.applied, ["0016_canceled_recipients"]);
    let rows = admin
        .query(
            "SELECT escrow_id, status, account_news FROM escrow_recipients ORDER BY escrow_id",
            &[],
        )
        .await
        .unwrap();
    let rows: Vec<(String, String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(
        rows,
        [
            ("esc_canceled".to_owned(), "returned".to_owned(), false),
            ("esc_held".to_owned(), "waiting".to_owned(), true),
        ]
    );
}

/// As a version before 0017 has left them: by the time of the attempt.
#[tokio::test]
async fn who_fell_behind_before_payments_were_dated_by_their_invoices_stands_as_before() {
    let test = TestDb::create().await;
    let admin = test.superuser().await;
    let old = "BEGIN;
        INSERT INTO organizations (id) VALUES ('org_1');
        INSERT INTO client_billing (client_id, org_id, payment_source, initial_state, state)
            VALUES ('c', 'org_1', 'STRIPE', 'TRIAL_PENDING', 'TRIAL_PENDING');
        INSERT INTO billing_subscriptions (stripe_subscription_id, client_id, org_id, stripe_customer_id, first_paid_at, last_paid_at,
                                           last_failed_at)
            VALUES ('sub_behind', 'c', 'org_1', 'cus_1', 86400000, 87264000, 88128000),
                   ('sub_never', 'c', 'org_1', 'cus_1', NULL, NULL, 88128000),
                   ('sub_paid', 'c', 'org_1', 'cus_1', 86400000, 87264000, NULL),
                   ('sub_recovered', 'c', 'org_1', 'cus_1', 86400000, 88128000, 87264000);
        INSERT INTO billing_subscriptions (stripe_subscription_id, client_id, org_id, stripe_customer_id, first_paid_at, last_paid_at,
                                           last_failed_at, billed_otherwise)
            SELECT id, 'c', 'org_1', 'cus_1', paid, paid, failed, jsonb_build_array(
                jsonb_build_object('prices', '[]'::jsonb, 'currency', NULL, 'first_paid_at', NULL, 'last_paid_at', otherwise_paid,
                                   'last_failed_at', otherwise_failed))
            FROM (VALUES ('sub_two_behind', 1000, 3000, 2000, NULL), ('sub_two_below', 1000, 1500, 2000, NULL),
                         ('sub_two_failed', 1000, NULL, 2000, 3000), ('sub_two_never', NULL, NULL, NULL, 3000))
                AS given (id, paid, failed, otherwise_paid, otherwise_failed);
        INSERT INTO billing_subscriptions (stripe_subscription_id, client_id, org_id, stripe_customer_id, first_paid_at, last_paid_at,
                                           last_failed_at, snapshot_rank, snapshot_at, observations)
            VALUES ('sub_seen', 'c', 'org_1', 'cus_1', 1000, 1000, 3000, 1, 5, '[]');
        DELETE FROM schema_migrations WHERE version = 17;
        COMMIT;";
    admin.batch_execute(old).await.unwrap();
    let report = db::migrate(&test.url().into()).await.unwrap();
    assert_eq!(report.applied, ["0017_by_the_invoice"]);
    let sql = "SELECT stripe_subscription_id, last_paid_at, last_failed_at, (billed_otherwise -> 0 ->> 'last_failed_at')::bigint \
               FROM billing_subscriptions ORDER BY 1";
    let rows = admin.query(sql, &[]).await.unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.get::<_, String>(0),
                [1, 2, 3].map(|column| row.get::<_, Option<i64>>(column)),
            )
        })
        .collect();
    let expected = [
        // Whatever is billed next was made later than that, and whatever was billed before it earlier.
        ("sub_behind", [Some(87_264_000), Some(87_264_001), None]),
        ("sub_never", [None, None, None]),
        ("sub_paid", [Some(87_264_000), None, None]),
        ("sub_recovered", [Some(88_128_000), None, None]),
        ("sub_seen", [Some(1_000), Some(3_000), None]),
        ("sub_two_behind", [Some(1_000), Some(2_001), None]),
        ("sub_two_below", [Some(1_000), Some(1_001), None]),
        ("sub_two_failed", [Some(1_000), None, Some(2_001)]),
        ("sub_two_never", [None, None, None]),
    ];
    assert_eq!(rows, expected.map(|(id, times)| (id.to_owned(), times)));
}

#[tokio::test]
async fn a_role_that_row_level_security_would_blind_is_refused() {
    let test = TestDb::create().await;
    let error = db::migrate(&test.service_url().into()).await.unwrap_err();
    assert!(
        matches!(&error, MigrateError::Role { role } if role == "holdfast_service"),
        "{error}"
    );
}
