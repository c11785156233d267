//! The database's own word on money: what it refuses, whoever asks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use testkit::TestDb;
use tokio_postgres::Client;

const ESCROW: &str = "INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
    created_by, created_at, updated_at) VALUES ('esc_1', 'awaiting_payment', 'eur', 1000, 100, 'manual', 'refuse', now(), 't', now(), now());
    INSERT INTO escrow_recipients (escrow_id, position, account, amount, status) VALUES ('esc_1', 0, 'acct_1', 900, 'waiting');
    INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, attempt, calls, key_since, last_call, \
        failures, job, due_at, created_at, updated_at) \
    VALUES ('op_1', 'esc_1', 1, 'transfer', 'acct_1', 900, 'eur', 'intended', 0, 0, now(), now(), 0, 'open', now(), now(), now());";
const POSTING: &str =
    "INSERT INTO ledger_transactions (id, escrow_id, kind, currency, operation_id, version, position, posted_at) \
    VALUES ('00000000-0000-0000-0000-000000000001', 'esc_1', 'transfer', 'eur', 'op_1', 1, 0, now());
    INSERT INTO ledger_entries (transaction_id, line, escrow_id, account, recipient, amount, currency) VALUES \
    ('00000000-0000-0000-0000-000000000001', 0, 'esc_1', 'recipient', 'acct_1', -900, 'eur'), \
    ('00000000-0000-0000-0000-000000000001', 1, 'esc_1', 'clearing', NULL, 900, 'eur');";

async fn service() -> (TestDb, Client) {
    let test = TestDb::create().await;
    let client = test.service().await;
    for step in [ESCROW, POSTING] {
        in_txn(&client, step).await.unwrap();
    }
    (test, client)
}

async fn in_txn(client: &Client, sql: &str) -> Result<(), tokio_postgres::Error> {
    let done = client.batch_execute(&format!("BEGIN; {sql} COMMIT;")).await;
    if done.is_err() {
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    done
}

/// The service role is refused, with this constraint or this SQLSTATE.
async fn refused(client: &Client, sql: &str, by: &str) {
    let error = in_txn(client, sql).await.expect_err(sql);
    let error = error.as_db_error().unwrap();
    let found = [error.constraint().unwrap_or_default(), error.code().code()];
    assert!(found.contains(&by), "{sql}: {found:?} {error}");
}

#[tokio::test]
async fn what_does_not_balance_is_refused_also_when_it_is_added_later() {
    let (_test, client) = service().await;
    let posting = |account: &str, amount: i64| {
        format!(
            "INSERT INTO ledger_transactions (id, escrow_id, kind, currency, version, position, posted_at) \
                 VALUES ('00000000-0000-0000-0000-000000000002', 'esc_1', 'capture', 'eur', 2, 0, now());
             INSERT INTO ledger_entries (transaction_id, line, escrow_id, account, amount, currency) VALUES \
                 ('00000000-0000-0000-0000-000000000002', 0, 'esc_1', 'clearing', -1000, 'eur'), \
                 ('00000000-0000-0000-0000-000000000002', 1, 'esc_1', '{account}', {amount}, 'eur');"
        )
    };
    refused(&client, &posting("escrow", 999), "ledger_balanced").await;
    let late = "INSERT INTO ledger_entries (transaction_id, line, escrow_id, account, amount, currency) \
                VALUES ('00000000-0000-0000-0000-000000000001', 2, 'esc_1', 'losses', 1, 'eur');";
    refused(&client, late, "ledger_balanced").await;
    let empty = "INSERT INTO ledger_transactions (id, escrow_id, kind, currency, version, position, posted_at) \
                 VALUES ('00000000-0000-0000-0000-000000000003', 'esc_1', 'capture', 'eur', 3, 0, now());";
    refused(&client, empty, "ledger_balanced").await;
    in_txn(&client, &posting("escrow", 1000)).await.unwrap();
}

#[tokio::test]
async fn a_second_posting_of_an_operation_is_refused() {
    let (_test, client) = service().await;
    let again = POSTING
        .replace("000000000001'", "000000000009'")
        .replace("'op_1', 1, 0", "'op_1', 5, 0");
    refused(&client, &again, "ledger_transactions_once").await;
}

#[tokio::test]
async fn nobody_changes_what_was_posted_or_done() {
    let (_test, client) = service().await;
    for table in ["ledger_transactions", "ledger_entries", "admin_actions"] {
        refused(&client, &format!("DELETE FROM {table};"), "42501").await;
        refused(&client, &format!("TRUNCATE {table};"), "42501").await;
    }
    refused(&client, "UPDATE ledger_entries SET amount = 1;", "42501").await;
    refused(&client, "UPDATE ledger_transactions SET kind = 'refund';", "42501").await;
    refused(&client, "UPDATE admin_actions SET actor = 'nobody';", "42501").await;
    refused(&client, "DELETE FROM stripe_operations;", "42501").await;
}

#[tokio::test]
async fn parts_that_do_not_add_up_and_a_second_job_on_one_task_are_refused() {
    let (_test, client) = service().await;
    refused(
        &client,
        "UPDATE escrow_recipients SET amount = 901;",
        "escrow_recipients_split",
    )
    .await;
    let second = "INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, attempt, calls, key_since, \
                  last_call, failures, job, due_at, created_at, updated_at) SELECT 'op_2', escrow_id, 2, kind, account, amount, currency, \
                  status, attempt, calls, key_since, last_call, failures, job, due_at, created_at, updated_at FROM stripe_operations;";
    refused(&client, second, "stripe_operations_one_job").await;
    let paid = "UPDATE stripe_operations SET status = 'succeeded', due_at = NULL;";
    refused(&client, paid, "23514").await;
    let both = "UPDATE escrow_transactions SET canceled = true, status = 'canceled', captured = 1;";
    refused(&client, both, "23514").await;
}
