//! What was recorded about a client beside its subscriptions: for people who ask why, never for a decision.

use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;

use crate::DbError;
use crate::error::During as _;

/// An invoice or a checkout session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvidence {
    /// The invoice or the session.
    pub object_id: String,
    /// The subscription that it was for.
    pub subscription: Option<String>,
    /// Minor units.
    pub amount: i64,
    /// Their currency in lower case.
    pub currency: Option<String>,
    /// When it was paid first, in unix seconds.
    pub paid_at: Option<i64>,
    /// When it failed last, in unix seconds.
    pub failed_at: Option<i64>,
}

/// A refund or a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeEvidence {
    /// The refund or the dispute.
    pub object_id: String,
    /// The charge.
    pub charge: String,
    /// How far it is, in Stripe's word.
    pub status: String,
    /// Minor units.
    pub amount: i64,
    /// Their currency in lower case.
    pub currency: String,
}

/// An event that is kept until our side knows whose it is, and that named this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingEvidence {
    /// Stripe's id.
    pub event_id: String,
    /// Its type.
    pub kind: String,
    /// When Stripe made it.
    pub created: DateTime<Utc>,
    /// What it waits for, such as `customer:cus_1`.
    pub waiting_for: Vec<String>,
}

/// Everything of a client, the newest first, at most `limit` of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Invoices and checkouts.
    pub payments: Vec<PaymentEvidence>,
    /// Refunds.
    pub refunds: Vec<ChargeEvidence>,
    /// Disputes.
    pub disputes: Vec<ChargeEvidence>,
    /// Events that wait.
    pub waiting: Vec<WaitingEvidence>,
}

/// Gathers it.
///
/// # Errors
/// When the database does not answer.
pub async fn gather_evidence(conn: &impl GenericClient, client: &str, limit: i64) -> Result<Evidence, DbError> {
    let payments = "SELECT object_id, stripe_subscription_id, amount, currency, paid_at, failed_at FROM billing_payments \
                    WHERE client_id = $1 ORDER BY updated_at DESC, object_id LIMIT $2";
    let refunds = "SELECT stripe_refund_id, stripe_charge_id, status, amount, currency FROM billing_refunds \
                   WHERE client_id = $1 ORDER BY updated_at DESC, 1 LIMIT $2";
    let disputes = "SELECT stripe_dispute_id, stripe_charge_id, status, amount, currency FROM billing_disputes \
                    WHERE client_id = $1 ORDER BY updated_at DESC, 1 LIMIT $2";
    let waiting = "SELECT DISTINCT e.created, e.stripe_event_id, e.type, coalesce(e.waiting_for, '{}') \
                   FROM billing_decisions AS d \
                   JOIN billing_events AS e ON e.stripe_event_id = d.event_id AND e.created = d.created \
                   WHERE d.client_id = $1 AND d.outcome = 'waiting' AND e.consumer = 'billing' AND e.status = 'waiting' \
                   ORDER BY 1 DESC, 2 LIMIT $2";
    let rows = async |sql: &str| conn.query(sql, &[&client, &limit]).await.during("gather_evidence");
    let payment = |row: &tokio_postgres::Row| PaymentEvidence {
        object_id: row.get(0),
        subscription: row.get(1),
        amount: row.get(2),
        currency: row.get(3),
        paid_at: row.get(4),
        failed_at: row.get(5),
    };
    let of_charge = |row: &tokio_postgres::Row| ChargeEvidence {
        object_id: row.get(0),
        charge: row.get(1),
        status: row.get(2),
        amount: row.get(3),
        currency: row.get(4),
    };
    let event = |row: &tokio_postgres::Row| WaitingEvidence {
        created: row.get(0),
        event_id: row.get(1),
        kind: row.get(2),
        waiting_for: row.get(3),
    };
    Ok(Evidence {
        payments: rows(payments).await?.iter().map(payment).collect(),
        refunds: rows(refunds).await?.iter().map(of_charge).collect(),
        disputes: rows(disputes).await?.iter().map(of_charge).collect(),
        waiting: rows(waiting).await?.iter().map(event).collect(),
    })
}
