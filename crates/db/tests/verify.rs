//! The check list on a live database: green as migrated, and red for each thing that somebody could loosen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use db::verify::{Check, CheckList, Verdict};
use testkit::TestDb;

fn warnings(list: &CheckList) -> impl Iterator<Item = &Check> {
    list.checks.iter().filter(|check| check.verdict == Verdict::Warning)
}

async fn verify(test: &TestDb) -> CheckList {
    db::verify(&test.url().into()).await.unwrap()
}

/// After `change` exactly the check `name` is red, and its detail has `says` in it.
async fn check_red(change: &str, name: &str, says: &str) {
    let test = TestDb::create().await;
    test.superuser().await.batch_execute(change).await.unwrap();
    let list = verify(&test).await;
    let failed: Vec<_> = list.failed().collect();
    assert_eq!(failed.len(), 1, "after {change}:\n{list}");
    assert_eq!(failed[0].name, name, "after {change}");
    assert!(failed[0].detail.contains(says), "after {change}: {}", failed[0].detail);
    assert!(!list.is_green());
}

#[tokio::test]
async fn a_migrated_database_is_green_for_the_migrator_and_for_the_service() {
    let test = TestDb::create().await;
    let list = verify(&test).await;
    assert!(list.is_green(), "{list}");
    assert!(list.checks.iter().all(|check| check.verdict == Verdict::Ok), "{list}");
    let as_service = db::verify(&test.service_url().into()).await.unwrap();
    assert_eq!(as_service, list);
}

#[tokio::test]
async fn an_empty_database_is_red_and_not_an_error() {
    let test = TestDb::empty().await;
    let list = verify(&test).await;
    let red: Vec<_> = list.failed().map(|check| check.name.as_str()).collect();
    assert!(
        red.contains(&"migrations") && red.contains(&"table billing_events"),
        "{list}"
    );
}

#[tokio::test]
async fn policies_that_are_dropped_changed_or_added_are_named() {
    check_red(
        "DROP POLICY tenant_read ON client_billing",
        "policies of client_billing",
        "tenant_read on client_billing is missing",
    )
    .await;
    check_red(
        "ALTER POLICY tenant_read ON billing_events USING (true)",
        "policies of billing_events",
        "tenant_read on billing_events is \"permissive for select to holdfast_tenant using (true)\"",
    )
    .await;
    check_red(
        "CREATE POLICY backdoor ON outbox TO holdfast_tenant USING (true)",
        "policies of outbox",
        "backdoor on outbox is unexpected",
    )
    .await;
    check_red(
        "DROP POLICY service_all ON billing_decisions_default",
        "policies of billing_decisions",
        "service_all on billing_decisions_default is missing",
    )
    .await;
}

#[tokio::test]
async fn row_level_security_that_is_not_forced_or_not_enabled_is_named() {
    check_red(
        "ALTER TABLE billing_alerts NO FORCE ROW LEVEL SECURITY",
        "row-level security of billing_alerts",
        "is not forced on billing_alerts",
    )
    .await;
    check_red(
        "ALTER TABLE billing_events_default DISABLE ROW LEVEL SECURITY",
        "row-level security of billing_events",
        "is not enabled on billing_events_default",
    )
    .await;
    check_red(
        "CREATE TABLE billing_events_1999_01 PARTITION OF billing_events FOR VALUES FROM ('1999-01-01') TO ('1999-02-01');
         ALTER TABLE billing_events_1999_01 ENABLE ROW LEVEL SECURITY;
         CREATE POLICY service_all ON billing_events_1999_01 TO holdfast_service USING (true) WITH CHECK (true)",
        "row-level security of billing_events",
        "is not forced on billing_events_1999_01",
    )
    .await;
    check_red(
        "CREATE TABLE notes (id int)",
        "everything else in the schema",
        "row-level security is not enabled on notes",
    )
    .await;
}

#[tokio::test]
async fn grants_beyond_or_below_the_expected_are_named() {
    for (change, name, says) in [
        (
            "GRANT UPDATE ON billing_decisions TO holdfast_service",
            "grants on billing_decisions",
            "holdfast_service has UPDATE on billing_decisions",
        ),
        (
            "GRANT INSERT ON client_billing TO holdfast_tenant",
            "grants on client_billing",
            "holdfast_tenant has INSERT on client_billing",
        ),
        (
            "GRANT SELECT ON outbox TO PUBLIC",
            "grants on outbox",
            "PUBLIC has SELECT on outbox",
        ),
        (
            "GRANT SELECT ON billing_events_default TO holdfast_tenant",
            "grants on billing_events",
            "holdfast_tenant has SELECT on billing_events_default",
        ),
        (
            "GRANT UPDATE (payload) ON outbox TO holdfast_service",
            "grants on outbox",
            "holdfast_service has UPDATE (payload) on outbox",
        ),
        (
            "REVOKE INSERT ON billing_events FROM holdfast_service",
            "grants on billing_events",
            "holdfast_service lacks INSERT on billing_events",
        ),
        (
            "GRANT USAGE ON SEQUENCE outbox_id_seq TO holdfast_tenant",
            "everything else in the schema",
            "holdfast_tenant has USAGE on outbox_id_seq",
        ),
        (
            "CREATE VIEW open AS SELECT * FROM outbox; GRANT SELECT ON open TO holdfast_tenant",
            "everything else in the schema",
            "holdfast_tenant has SELECT on open",
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO holdfast_tenant",
            "everything else in the schema",
            "holdfast_tenant has SELECT on default privileges",
        ),
        (
            "GRANT EXECUTE ON FUNCTION holdfast_ensure_partitions(integer, integer) TO PUBLIC",
            "functions with their owner's rights",
            "PUBLIC has EXECUTE",
        ),
        (
            "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM outbox'",
            "functions with their owner's rights",
            "peek runs with its owner's rights",
        ),
        (
            "CREATE SEQUENCE counter; ALTER SEQUENCE counter OWNER TO holdfast_service",
            "role holdfast_service",
            "owns counter",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO holdfast_tenant",
            "role holdfast_tenant",
            "has CREATE ON SCHEMA",
        ),
    ] {
        check_red(change, name, says).await;
    }
}

#[tokio::test]
async fn months_that_are_missing_and_migrations_that_are_not_applied_are_named() {
    check_red(
        "DO $$ BEGIN EXECUTE format('DROP TABLE billing_events_%s',
             to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM')); END $$",
        "months of billing_events",
        "is missing",
    )
    .await;
    check_red(
        "DROP TABLE billing_decisions_default",
        "months of billing_decisions",
        "the DEFAULT partition is missing",
    )
    .await;
    check_red(
        "DELETE FROM schema_migrations WHERE version = 3",
        "migrations",
        "0003_billing is not applied",
    )
    .await;
    check_red(
        "CREATE OR REPLACE FUNCTION holdfast_session_orgs() RETURNS text[] LANGUAGE sql STABLE
         AS $$ SELECT string_to_array(current_setting('holdfast.org_ids', true), ',') $$",
        "session setting holdfast.org_ids",
        "no setting",
    )
    .await;
}

#[tokio::test]
async fn rows_in_a_default_partition_and_roles_of_the_operator_are_warnings() {
    let test = TestDb::create().await;
    let change =
        "INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, status, outcome)
                  VALUES ('evt_1', 'archive', '1970-01-01', 'x', 'platform', now(), 'decided', 'ignored');
                  GRANT SELECT ON outbox TO pg_monitor";
    test.superuser().await.batch_execute(change).await.unwrap();
    let list = verify(&test).await;
    assert!(list.is_green(), "{list}");
    let names: Vec<_> = warnings(&list).map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["default partition of billing_events", "grants to other roles"]);
}

#[tokio::test]
async fn what_keeps_sums_and_what_is_once_is_named_where_it_is_gone() {
    let sums = "triggers that keep sums";
    check_red(
        "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_balanced",
        sums,
        "ledger_balanced on ledger_entries is disabled",
    )
    .await;
    check_red(
        "DROP TRIGGER escrow_recipients_split ON escrow_recipients",
        sums,
        "escrow_recipients_split on escrow_recipients is missing",
    )
    .await;
    let once = "indexes that keep what is once";
    check_red(
        "DROP INDEX stripe_operations_one_job",
        once,
        "stripe_operations_one_job on stripe_operations is missing",
    )
    .await;
    check_red(
        "DROP INDEX ledger_transactions_once; \
         CREATE INDEX ledger_transactions_once ON ledger_transactions (operation_id, kind)",
        once,
        "ledger_transactions_once on ledger_transactions is not unique",
    )
    .await;
    check_red(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'billing_alerts_one_unresolved'::regclass",
        once,
        "billing_alerts_one_unresolved on billing_alerts is invalid",
    )
    .await;
}

#[tokio::test]
async fn what_was_begun_and_not_finished_is_a_warning() {
    let test = TestDb::create().await;
    let begun = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'escrow_transactions_held'::regclass; \
                 ALTER TABLE escrow_disputes ADD CONSTRAINT later CHECK (amount < 1000) NOT VALID";
    test.superuser().await.batch_execute(begun).await.unwrap();
    let list = verify(&test).await;
    assert!(list.is_green(), "{list}");
    let found: Vec<_> = warnings(&list).map(|check| check.detail.as_str()).collect();
    assert_eq!(
        found,
        ["index escrow_transactions_held is invalid; constraint escrow_disputes.later is not validated"]
    );
}

#[tokio::test]
async fn commits_that_are_answered_before_they_are_on_disk_are_named() {
    let name = "what a commit is worth";
    check_red(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
        name,
        "synchronous_commit is off",
    )
    .await;
    // The role's own setting wins. It is that of this database alone: other tests use the role as well.
    let of_role = |value: &str| {
        format!(
            "DO $$ BEGIN EXECUTE format('ALTER ROLE holdfast_service IN DATABASE %I SET synchronous_commit = {value}', current_database()); END $$"
        )
    };
    check_red(&of_role("false"), name, "synchronous_commit is off").await;
    let test = TestDb::create().await;
    let both = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$; {}",
        of_role("on")
    );
    test.superuser().await.batch_execute(&both).await.unwrap();
    assert!(verify(&test).await.is_green());
}
