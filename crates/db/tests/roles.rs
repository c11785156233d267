//! What the two roles may do, tried on every table and partition of a live database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use testkit::TestDb;
use tokio_postgres::Client;

/// Two organisations with a row of each in every shared table.
const ROWS: &str = "
    DO $$
    DECLARE org text; n integer := 0;
    BEGIN
        FOREACH org IN ARRAY ARRAY['org_1', 'org_2'] LOOP
            n := n + 1;
            INSERT INTO organizations (id) VALUES (org);
            INSERT INTO org_members (org_id, user_id, role) VALUES (org, 'user_' || n, 'member');
            INSERT INTO client_billing (client_id, org_id, payment_source, initial_state, state)
                VALUES ('client_' || n, org, 'STRIPE', 'TRIAL_PENDING', 'TRIAL_PENDING');
            INSERT INTO billing_customers (stripe_customer_id, client_id, org_id, bound_by)
                VALUES ('cus_' || n, 'client_' || n, org, 'registration');
            INSERT INTO billing_subscriptions (stripe_subscription_id, client_id, org_id, stripe_customer_id)
                VALUES ('sub_' || n, 'client_' || n, org, 'cus_' || n);
            INSERT INTO billing_payments (object_id, kind, client_id, org_id, amount)
                VALUES ('in_' || n, 'invoice', 'client_' || n, org, 100);
            INSERT INTO billing_checkout_sessions (checkout_session_id, client_id, org_id)
                VALUES ('cs_' || n, 'client_' || n, org);
            INSERT INTO billing_charges (stripe_charge_id, client_id, org_id, stripe_customer_id, amount, amount_refunded, currency)
                VALUES ('ch_' || n, 'client_' || n, org, 'cus_' || n, 100, 0, 'eur');
            INSERT INTO billing_refunds (stripe_refund_id, stripe_charge_id, client_id, org_id, amount, currency, status)
                VALUES ('re_' || n, 'ch_' || n, 'client_' || n, org, 100, 'eur', 'succeeded');
            INSERT INTO billing_disputes (stripe_dispute_id, stripe_charge_id, client_id, org_id, amount, currency, status,
                                          only_opened, said_at)
                VALUES ('du_' || n, 'ch_' || n, 'client_' || n, org, 100, 'eur', 'lost', false, 1);
            INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, status, outcome,
                                        client_id, org_id)
                VALUES ('evt_' || n, 'billing', now(), 'x', 'platform', now(), 'decided', 'ignored', 'client_' || n, org),
                       ('evt_far_' || n, 'billing', '1971-01-01', 'x', 'platform', now(), 'decided', 'ignored', 'client_' || n,
                        org);
            INSERT INTO billing_decisions (id, decided_at, event_id, event_type, created, received_at, client_id, org_id, outcome)
                VALUES (gen_random_uuid(), now(), 'evt_' || n, 'x', now(), now(), 'client_' || n, org, 'ignored');
        END LOOP;
        INSERT INTO billing_events (stripe_event_id, consumer, created, type, endpoint, received_at, status, outcome)
            VALUES ('evt_of_nobody', 'archive', now(), 'x', 'platform', now(), 'decided', 'ignored');
        INSERT INTO outbox (exchange, routing_key, message_id, kind, payload) VALUES ('x', 'x', 'x', 'x', '{}');
        INSERT INTO billing_alerts (id, alert_key, kind, severity, subject, summary, first_seen_at, last_seen_at)
            VALUES (gen_random_uuid(), 'test:a', 'test', 'info', 'a', 'a', now(), now());
    END $$";

/// A row in every table of escrow, of which a tenant sees none.
const ESCROW_ROWS: &str = "
    BEGIN;
    INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, created_by,
                                     created_at, updated_at)
        VALUES ('esc_1', 'awaiting_payment', 'eur', 100, 10, 'manual', 'refuse', now(), 'service:x', now(), now());
    INSERT INTO escrow_recipients (escrow_id, position, account, amount, status) VALUES ('esc_1', 0, 'acct_1', 90, 'waiting');
    INSERT INTO escrow_transfers (transfer_id, escrow_id, account, amount) VALUES ('tr_1', 'esc_1', 'acct_1', 90);
    INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount) VALUES ('du_1', 'esc_1', 'open', 100);
    INSERT INTO escrow_accounts (account, readiness, seen_at) VALUES ('acct_1', 'ready', 1);
    INSERT INTO stripe_operations (id, escrow_id, number, kind, amount, currency, status, attempt, calls, key_since, last_call, failures,
                                   created_at, updated_at)
        VALUES ('esc_1_0', 'esc_1', 0, 'create_payment', 100, 'eur', 'intended', 0, 0, now(), now(), 0, now(), now());
    INSERT INTO ledger_transactions (id, escrow_id, kind, currency, version, position, posted_at)
        VALUES ('00000000-0000-0000-0000-000000000001', 'esc_1', 'capture', 'eur', 1, 0, now());
    INSERT INTO ledger_entries (transaction_id, line, escrow_id, account, amount, currency)
        VALUES ('00000000-0000-0000-0000-000000000001', 0, 'esc_1', 'clearing', 100, 'eur'),
               ('00000000-0000-0000-0000-000000000001', 1, 'esc_1', 'escrow', -100, 'eur');
    INSERT INTO admin_actions (id, at, actor, action) VALUES (gen_random_uuid(), now(), 'worker', 'x');
    INSERT INTO idempotency_keys (scope, key, request_hash, created_at, expires_at) VALUES ('x', 'x', 'x', now(), now());
    INSERT INTO refund_breaker_days (day) VALUES (current_date);
    INSERT INTO job_slots (job, slot, started_at) VALUES ('x', 1, now());
    COMMIT";

const SHARED: [&str; 12] = [
    "billing_charges",
    "billing_checkout_sessions",
    "billing_customers",
    "billing_decisions",
    "billing_disputes",
    "billing_events",
    "billing_payments",
    "billing_refunds",
    "billing_subscriptions",
    "client_billing",
    "org_members",
    "organizations",
];

struct Table {
    name: String,
    is_partition: bool,
}

async fn tables(admin: &Client) -> Vec<Table> {
    let sql = "SELECT relname::text, relispartition FROM pg_class
               WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname";
    let rows = admin.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| Table {
            name: row.get(0),
            is_partition: row.get(1),
        })
        .collect()
}

async fn furnished() -> TestDb {
    let test = TestDb::create().await;
    let admin = test.superuser().await;
    admin.batch_execute(ROWS).await.unwrap();
    admin.batch_execute(ESCROW_ROWS).await.unwrap();
    test
}

async fn assert_refused(client: &Client, statement: &str) {
    let error = client.batch_execute(statement).await.expect_err(statement);
    let code = error.code().map(tokio_postgres::error::SqlState::code);
    assert_eq!(code, Some("42501"), "{statement}: {error:?}");
}

async fn visible(client: &Client, table: &str) -> i64 {
    client
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await
        .expect(table)
        .get(0)
}

async fn see_as(client: &Client, orgs: &str) {
    client
        .execute("SELECT set_config('holdfast.org_ids', $1, false)", &[&orgs])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_tenant_sees_the_rows_of_its_organisations_and_nothing_else() {
    let test = furnished().await;
    let tenant = test.tenant().await;
    for (orgs, share) in [
        ("org_1", 1),
        ("org_2", 1),
        ("org_1,org_2", 2),
        ("org_3", 0),
        ("", 0),
        ("%", 0),
        ("org_1 ", 0),
    ] {
        see_as(&tenant, orgs).await;
        for table in SHARED {
            let per_org = if table == "billing_events" { 2 } else { 1 };
            assert_eq!(visible(&tenant, table).await, share * per_org, "{table} as {orgs:?}");
        }
    }
    see_as(&tenant, "org_1").await;
    for table in tables(&test.superuser().await).await {
        if table.is_partition || !SHARED.contains(&table.name.as_str()) {
            assert_refused(&tenant, &format!("SELECT FROM {}", table.name)).await;
        }
    }
}

#[tokio::test]
async fn without_a_setting_and_after_a_local_one_ended_a_tenant_sees_nothing() {
    let test = furnished().await;
    let tenant = test.tenant().await;
    assert_eq!(visible(&tenant, "client_billing").await, 0, "never set");
    tenant
        .batch_execute("BEGIN; SET LOCAL holdfast.org_ids = 'org_1'")
        .await
        .unwrap();
    assert_eq!(visible(&tenant, "client_billing").await, 1);
    tenant.batch_execute("COMMIT").await.unwrap();
    let left: Option<String> = tenant
        .query_one("SELECT current_setting('holdfast.org_ids', true)", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(
        left.as_deref(),
        Some(""),
        "this is what makes an empty setting mean nothing"
    );
    assert_eq!(visible(&tenant, "client_billing").await, 0);
    assert_eq!(visible(&tenant, "organizations").await, 0);
}

#[tokio::test]
async fn a_tenants_url_can_name_its_organisation() {
    let test = furnished().await;
    let url = format!("{}?options=-c%20holdfast.org_ids%3Dorg_2", test.tenant_url());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let ids: Vec<String> = client
        .query("SELECT client_id FROM client_billing", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(ids, ["client_2"]);
}

#[tokio::test]
async fn a_tenant_writes_to_no_table_and_no_partition() {
    let test = furnished().await;
    let tenant = test.tenant().await;
    see_as(&tenant, "org_1").await;
    let admin = test.superuser().await;
    let tables = tables(&admin).await;
    assert!(tables.len() > 25, "partitions included");
    let plain_column = "SELECT quote_ident(attname) FROM pg_attribute
                        WHERE attrelid = $1::text::regclass AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1";
    for Table { name, .. } in tables {
        let column: String = admin.query_one(plain_column, &[&name]).await.unwrap().get(0);
        for statement in [
            format!("INSERT INTO {name} DEFAULT VALUES"),
            format!("INSERT INTO {name} ({column}) SELECT {column} FROM {name}"),
            format!("UPDATE {name} SET {column} = {column}"),
            format!("DELETE FROM {name}"),
            format!("TRUNCATE {name}"),
            format!("COPY {name} FROM STDIN"),
            format!("SELECT {column} FROM {name} FOR UPDATE"),
        ] {
            assert_refused(&tenant, &statement).await;
        }
        assert_refused(&tenant, &format!("BEGIN; LOCK TABLE {name} IN ROW EXCLUSIVE MODE")).await;
        tenant.batch_execute("ROLLBACK").await.unwrap();
    }
    assert_refused(&tenant, "SELECT holdfast_ensure_partitions(0, 1)").await;
    assert_refused(&tenant, "CREATE TABLE mine (id int)").await;
    assert_refused(&tenant, "SET ROLE holdfast_service").await;
}

#[tokio::test]
async fn what_is_append_only_is_so_for_the_service_role_too() {
    let test = furnished().await;
    let service = test.service().await;
    for (table, update) in [
        ("billing_decisions", "org_id = 'x'"),
        ("billing_customers", "org_id = 'x'"),
        ("schema_migrations", "name = ''"),
        ("ledger_transactions", "kind = 'refund'"),
        ("ledger_entries", "amount = 1"),
        ("admin_actions", "actor = 'somebody'"),
    ] {
        assert_refused(&service, &format!("UPDATE {table} SET {update}")).await;
        assert_refused(&service, &format!("DELETE FROM {table}")).await;
        assert_refused(&service, &format!("TRUNCATE {table}")).await;
    }
    for table in [
        "billing_events",
        "client_billing",
        "billing_alerts",
        "organizations",
        "escrow_transactions",
        "escrow_recipients",
        "escrow_transfers",
        "escrow_disputes",
        "stripe_operations",
    ] {
        assert_refused(&service, &format!("DELETE FROM {table}")).await;
    }
    assert_refused(&service, "UPDATE outbox SET payload = '{}'").await;
    for table in tables(&test.superuser().await).await {
        if table.is_partition {
            assert_refused(&service, &format!("DELETE FROM {}", table.name)).await;
        } else {
            assert!(
                visible(&service, &table.name).await > 0,
                "{} shows the service every row",
                table.name
            );
        }
    }
}
