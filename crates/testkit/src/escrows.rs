//! Years of escrows: rows of every kind that an index has to pass over.

use tokio_postgres::{Client, Error};

/// Rows that are written at once.
const PIECE: usize = 100_000;

/// Of a thousand escrows 880 are paid out, 60 refunded, 40 canceled, 15 held with much time left, and 5 wait for their payer. Each has
/// its recipient, and the calls that were made for it; of those that are held 14 have a transfer that is not due, one a refused one.
///
/// # Errors
/// When the database refuses a row. The role has to be the superuser.
pub async fn fill_escrows(sql: &Client, count: usize) -> Result<(), Error> {
    for first in (0..count).step_by(PIECE) {
        let end = (first + PIECE).min(count) - 1;
        let rows = format!(
            "BEGIN;
             SET LOCAL session_replication_role = replica;
             CREATE TEMP TABLE n ON COMMIT DROP AS
                 SELECT 'esc_old_' || n AS id, n, CASE WHEN n % 1000 < 880 THEN 'distributed' WHEN n % 1000 < 940 THEN 'refunded'
                     WHEN n % 1000 < 980 THEN 'canceled' WHEN n % 1000 < 995 THEN 'held' ELSE 'awaiting_payment' END AS status,
                     now() - interval '700 days' * (1 - n / {count}.0) AS at
                 FROM generate_series({first}, {end}) AS n;
             INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at,
                     payment_intent_id, charge_id, authorized, captured, canceled, asked_release, asked_cancel, created_by,
                     created_at, updated_at, version)
                 SELECT id, status, 'eur', 10000, 1000, 'automatic', CASE WHEN n % 2 = 0 THEN 'refuse' ELSE 'capture' END,
                     CASE WHEN status IN ('held', 'awaiting_payment') THEN now() + interval '30 days' ELSE at END,
                     'pi_old_' || n, CASE WHEN status IN ('distributed', 'refunded', 'held') THEN 'ch_old_' || n END,
                     status IN ('distributed', 'refunded', 'held'),
                     CASE WHEN status IN ('distributed', 'refunded', 'held') THEN 10000 END, status = 'canceled',
                     status = 'distributed', status = 'canceled', 'service:bench', at, at, 5
                 FROM n;
             INSERT INTO escrow_recipients (escrow_id, position, account, amount, status, entitled, readiness)
                 SELECT id, 0, 'acct_old_' || n % 5000, 9000,
                     CASE status WHEN 'distributed' THEN 'paid' WHEN 'held' THEN 'waiting' WHEN 'awaiting_payment' THEN 'waiting'
                         ELSE 'returned' END, 1, 'ready' FROM n;
             INSERT INTO escrow_transfers (transfer_id, escrow_id, account, amount)
                 SELECT 'tr_old_' || n, id, 'acct_old_' || n % 5000, 9000 FROM n WHERE status = 'distributed';
             INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount)
                 SELECT 'du_old_' || n, id, CASE WHEN n % 100 = 0 THEN 'lost' ELSE 'won' END, 10000 FROM n
                 WHERE status = 'distributed' AND n % 10 = 0;
             INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, attempt, calls, key_since,
                     last_call, failures, idempotency_key, object_id, created_at, updated_at)
                 SELECT id || '_0', id, 0, 'create_payment', NULL, 10000, 'eur', 'succeeded', 1, 1, at, at, 0, id || '_0_1',
                     'pi_old_' || n, at, at FROM n
                 UNION ALL SELECT id || '_1', id, 1, 'transfer', 'acct_old_' || n % 5000, 9000, 'eur', 'succeeded', 1, 1, at, at, 0,
                     id || '_1_1', 'tr_old_' || n, at, at FROM n WHERE status = 'distributed'
                 UNION ALL SELECT id || '_1', id, 1, 'refund', NULL, 10000, 'eur', 'succeeded', 1, 1, at, at, 0, id || '_1_1',
                     're_old_' || n, at, at FROM n WHERE status = 'refunded';
             INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, cause, failure_code,
                     failure_class, next_at, attempt, calls, key_since, last_call, failures, idempotency_key, job, job_code, job_class,
                     due_at, created_at, updated_at)
                 SELECT id || '_1', id, 1, 'transfer', 'acct_old_' || n % 5000, 9000, 'eur', 'failed_transient', 'refused',
                     'balance_insufficient', 'transient', at + interval '1 hour', 1, 1, at, at, 1, id || '_1_1', 'refused',
                     'balance_insufficient', 'transient', NULL, at, at FROM n WHERE n % 1000 = 994;
             INSERT INTO stripe_operations (id, escrow_id, number, kind, account, amount, currency, status, attempt, calls, key_since,
                     last_call, failures, job, due_at, created_at, updated_at)
                 SELECT id || '_1', id, 1, 'transfer', 'acct_old_' || n % 5000, 9000, 'eur', 'intended', 0, 0, at, at, 0, 'open',
                     now() + interval '30 days', at, at FROM n WHERE n % 1000 BETWEEN 980 AND 993;
             COMMIT;"
        );
        sql.batch_execute(&rows).await?;
    }
    for table in [
        "escrow_transactions",
        "escrow_recipients",
        "escrow_transfers",
        "escrow_disputes",
        "stripe_operations",
    ] {
        sql.batch_execute(&format!("VACUUM (ANALYZE) {table}")).await?;
    }
    sql.batch_execute("CHECKPOINT").await
}
