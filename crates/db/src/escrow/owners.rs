//! Whose an object of Stripe's is.

use std::collections::BTreeMap;

use deadpool_postgres::{GenericClient, Transaction};

use crate::DbError;
use crate::error::During as _;
use crate::statement::query;

/// What an event's object says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// `pi_…`.
    pub payment_intent: Option<String>,
    /// `ch_…`.
    pub charge: Option<String>,
    /// `tr_…`.
    pub transfer: Option<String>,
    /// `transfer_group`, which is the escrow's id on what we make.
    pub group: Option<String>,
    /// The metadata `escrow_id`.
    pub escrow: Option<String>,
    /// The metadata `operation_id`.
    pub operation: Option<String>,
}

/// The escrow that an object belongs to. An id of Stripe's that we wrote down speaks first. What the object says of itself counts only
/// where our own operation made it and its answer has not come in, or for a transfer by its group: both are set by whoever has the
/// platform's key and by nobody else.
///
/// # Errors
/// When the database does not answer.
pub async fn find_owner_in_txn(txn: &Transaction<'_>, names: &Names) -> Result<Option<String>, DbError> {
    let sql = "SELECT id, 1 AS rank FROM escrow_transactions WHERE payment_intent_id = $1 \
               UNION ALL SELECT id, 2 FROM escrow_transactions WHERE charge_id = $2 \
               UNION ALL SELECT escrow_id, 3 FROM escrow_transfers WHERE transfer_id = $3 \
               UNION ALL SELECT o.escrow_id, 4 FROM stripe_operations AS o JOIN escrow_transactions AS e ON e.id = o.escrow_id \
                   WHERE o.id = $4 AND o.escrow_id = $5 \
                       AND (o.kind <> 'create_payment' OR e.payment_intent_id IS NULL OR e.payment_intent_id = $1) \
               UNION ALL SELECT id, 5 FROM escrow_transactions WHERE id = $6 AND $3::text IS NOT NULL \
               ORDER BY rank LIMIT 1";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
        &names.payment_intent,
        &names.charge,
        &names.transfer,
        &names.operation,
        &names.escrow,
        &names.group,
    ];
    let rows = query(txn, "find_owner", sql, &values).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The escrows of these payments and charges, of those that have one.
///
/// # Errors
/// When the database does not answer.
pub async fn find_escrows_of_payments_in_txn(
    txn: &Transaction<'_>,
    payment_intents: &[&str],
    charges: &[&str],
) -> Result<BTreeMap<String, String>, DbError> {
    let sql = "SELECT payment_intent_id, id FROM escrow_transactions WHERE payment_intent_id = ANY ($1) \
               UNION SELECT charge_id, id FROM escrow_transactions WHERE charge_id = ANY ($2)";
    let rows = query(txn, "find_escrows_of_payments", sql, &[&payment_intents, &charges]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Whether any escrow, at its end or not, pays this account, or one that is being created asked about it.
///
/// # Errors
/// When the database does not answer.
pub async fn is_recipient_anywhere(conn: &impl GenericClient, account: &str) -> Result<bool, DbError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM escrow_recipients WHERE account = $1) \
                   OR EXISTS (SELECT 1 FROM escrow_accounts WHERE account = $1)";
    let row = conn.query_one(sql, &[&account]).await.during("is_recipient_anywhere")?;
    Ok(row.get(0))
}
