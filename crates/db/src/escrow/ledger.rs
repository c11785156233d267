//! The ledger: what is posted, and whether the whole book holds.

use chrono::{DateTime, Utc};
use deadpool_postgres::{GenericClient, Transaction};
use domain::escrow::ledger::{Account, Posting};
use domain::money::Currency;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::DbError;
use crate::error::During as _;
use crate::statement::{execute, query};

/// What postings belong to.
#[derive(Debug, Clone, Copy)]
pub struct PostingOf<'a> {
    /// The escrow.
    pub escrow: &'a str,
    /// Its currency.
    pub currency: Currency,
    /// The change that they follow from: the version that the escrow had before it.
    pub version: i64,
    /// The operation whose outcome it was.
    pub operation: Option<&'a str>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Writes postings in the transaction of the change that they follow from. The database refuses one that does not balance, a second
/// one of an operation, and a second one of a change.
///
/// # Errors
/// When the database does not answer or refuses a row.
pub async fn insert_postings_in_txn(
    txn: &Transaction<'_>,
    of: PostingOf<'_>,
    postings: &[Posting],
) -> Result<(), DbError> {
    const OPERATION: &str = "insert_postings";
    let head = "INSERT INTO ledger_transactions (id, escrow_id, kind, currency, operation_id, version, position, posted_at) \
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let lines = "INSERT INTO ledger_entries (transaction_id, line, escrow_id, account, recipient, amount, currency) \
                 SELECT $1, line, $2, account, recipient, amount, $3 \
                 FROM unnest($4::int[], $5::text[], $6::text[], $7::bigint[]) AS l (line, account, recipient, amount)";
    let currency = of.currency.as_str();
    for (position, posting) in (0_i32..).zip(postings) {
        let id = Uuid::now_v7();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &id,
            &of.escrow,
            &posting.kind.as_str(),
            &currency,
            &of.operation,
            &of.version,
            &position,
            &of.at,
        ];
        execute(txn, OPERATION, head, &values).await?;
        let (mut numbers, mut accounts, mut recipients, mut amounts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (line, (account, amount)) in (0_i32..).zip(posting.lines()) {
            let (word, recipient) = columns(account);
            numbers.push(line);
            accounts.push(word);
            recipients.push(recipient);
            amounts.push(amount);
        }
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&id, &of.escrow, &currency, &numbers, &accounts, &recipients, &amounts];
        execute(txn, OPERATION, lines, &values).await?;
    }
    Ok(())
}

/// An account as columns.
fn columns(account: &Account) -> (&'static str, Option<&str>) {
    match account {
        Account::Clearing => ("clearing", None),
        Account::Escrow => ("escrow", None),
        Account::Recipient(id) => ("recipient", Some(id.as_str())),
        Account::PlatformFee => ("platform_fee", None),
        Account::Disputes => ("disputes", None),
        Account::Losses => ("losses", None),
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// What it belongs to.
    pub transaction: Uuid,
    /// What that is for.
    pub kind: String,
    /// Whose money.
    pub account: String,
    /// Of a recipient's account: whose.
    pub recipient: Option<String>,
    /// Minor units, negative where it leaves.
    pub amount: i64,
    /// The operation whose outcome it was.
    pub operation: Option<String>,
    /// When.
    pub posted_at: DateTime<Utc>,
}

/// The ledger of an escrow, in the order in which it was posted.
///
/// # Errors
/// When the database does not answer.
pub async fn list_entries_in_txn(txn: &Transaction<'_>, escrow: &str) -> Result<Vec<EntryRow>, DbError> {
    let sql = "SELECT t.id, t.kind, e.account, e.recipient, e.amount, t.operation_id, t.posted_at \
               FROM ledger_transactions AS t JOIN ledger_entries AS e ON e.transaction_id = t.id \
               WHERE t.escrow_id = $1 ORDER BY t.version, t.position, e.line";
    let rows = query(txn, "list_entries", sql, &[&escrow]).await?;
    let read = |row: &Row| EntryRow {
        transaction: row.get(0),
        kind: row.get(1),
        account: row.get(2),
        recipient: row.get(3),
        amount: row.get(4),
        operation: row.get(5),
        posted_at: row.get(6),
    };
    Ok(rows.iter().map(read).collect())
}

/// What is wrong with the book, by the name of the rule. An empty list is a book that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerProblem {
    /// The rule that does not hold.
    pub rule: &'static str,
    /// Where.
    pub subject: String,
    /// What was found.
    pub detail: String,
}

/// Each rule of the whole book, as a query for what breaks it: subject and detail.
const RULES: [(&str, &str); 11] = [
    (
        "every transaction balances",
        "SELECT transaction_id::text, 'comes to ' || sum(amount) FROM ledger_entries GROUP BY transaction_id HAVING sum(amount) <> 0",
    ),
    (
        "every transaction has lines",
        "SELECT t.id::text, 'has none' FROM ledger_transactions AS t \
         WHERE NOT EXISTS (SELECT 1 FROM ledger_entries AS e WHERE e.transaction_id = t.id)",
    ),
    (
        "what was captured is posted",
        "SELECT e.id, 'captured ' || coalesce(e.captured, 0) || ', posted ' || coalesce(l.posted, 0) FROM escrow_transactions AS e \
         LEFT JOIN (SELECT n.escrow_id, -sum(n.amount) FROM ledger_entries AS n \
             JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind = 'capture' \
             WHERE n.account = 'clearing' GROUP BY n.escrow_id) AS l (escrow_id, posted) ON l.escrow_id = e.id \
         WHERE coalesce(e.captured, 0) <> coalesce(l.posted, 0)",
    ),
    (
        "what recipients have is posted",
        "SELECT coalesce(p.escrow_id, s.escrow_id) || '/' || coalesce(p.account, s.account), \
                'transfers of ' || coalesce(s.paid, 0) || ', posted ' || coalesce(p.paid, 0) \
         FROM (SELECT n.escrow_id, n.recipient AS account, -sum(n.amount) AS paid FROM ledger_entries AS n \
               JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind = 'transfer' \
               WHERE n.account = 'recipient' GROUP BY 1, 2) AS p \
         FULL JOIN (SELECT escrow_id, account, sum(amount) AS paid FROM escrow_transfers GROUP BY 1, 2) AS s \
             ON s.escrow_id = p.escrow_id AND s.account = p.account \
         WHERE coalesce(p.paid, 0) <> coalesce(s.paid, 0)",
    ),
    (
        "what was taken back is posted",
        "SELECT coalesce(p.escrow_id, s.escrow_id) || '/' || coalesce(p.account, s.account), \
                'taken back ' || coalesce(s.back, 0) || ', posted ' || coalesce(p.back, 0) \
         FROM (SELECT n.escrow_id, n.recipient AS account, sum(n.amount) AS back FROM ledger_entries AS n \
               JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind = 'reversal' \
               WHERE n.account = 'recipient' GROUP BY 1, 2) AS p \
         FULL JOIN (SELECT f.escrow_id, f.account, sum(least(f.amount, greatest(f.reversed_told, f.reversed_outside + \
                       coalesce((SELECT sum(value::bigint) FROM jsonb_each_text(f.reversed_ours)), 0)))) AS back \
                    FROM escrow_transfers AS f GROUP BY 1, 2) AS s \
             ON s.escrow_id = p.escrow_id AND s.account = p.account \
         WHERE coalesce(p.back, 0) <> coalesce(s.back, 0)",
    ),
    (
        "what was refunded is posted",
        "SELECT e.id, 'refunded ' || e.refunded || ', posted ' || coalesce(l.posted, 0) \
         FROM (SELECT id, greatest(refunded_told, refunded_outside + \
                   coalesce((SELECT sum(value::bigint) FROM jsonb_each_text(refunded_ours)), 0)) AS refunded FROM escrow_transactions) AS e \
         LEFT JOIN (SELECT n.escrow_id, sum(n.amount) FROM ledger_entries AS n \
             JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind = 'refund' \
             WHERE n.account = 'clearing' GROUP BY n.escrow_id) AS l (escrow_id, posted) ON l.escrow_id = e.id \
         WHERE e.refunded <> coalesce(l.posted, 0)",
    ),
    (
        "what banks hold of disputes is posted",
        "SELECT e.id, 'taken ' || coalesce(d.taken, 0) || ', posted ' || coalesce(l.posted, 0) FROM escrow_transactions AS e \
         LEFT JOIN (SELECT escrow_id, sum(amount) FROM escrow_disputes WHERE stage IN ('open', 'lost') GROUP BY 1) \
             AS d (escrow_id, taken) ON d.escrow_id = e.id \
         LEFT JOIN (SELECT n.escrow_id, sum(n.amount) FROM ledger_entries AS n \
             JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind IN ('dispute_withdrawal', 'dispute_reinstatement') \
             WHERE n.account = 'clearing' GROUP BY n.escrow_id) AS l (escrow_id, posted) ON l.escrow_id = e.id \
         WHERE coalesce(d.taken, 0) <> coalesce(l.posted, 0)",
    ),
    (
        "what was lost in disputes is borne",
        "SELECT e.id, 'lost ' || coalesce(d.lost, 0) || ', posted ' || coalesce(l.posted, 0) FROM escrow_transactions AS e \
         LEFT JOIN (SELECT escrow_id, sum(amount) FROM escrow_disputes WHERE stage = 'lost' GROUP BY 1) \
             AS d (escrow_id, lost) ON d.escrow_id = e.id \
         LEFT JOIN (SELECT n.escrow_id, sum(n.amount) FROM ledger_entries AS n \
             JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind IN ('dispute_loss', 'dispute_recovery') \
             WHERE n.account = 'disputes' GROUP BY n.escrow_id) AS l (escrow_id, posted) ON l.escrow_id = e.id \
         WHERE coalesce(d.lost, 0) <> coalesce(l.posted, 0)",
    ),
    (
        "what was written off is posted",
        "SELECT r.escrow_id || '/' || r.account, 'written off ' || r.written_off || ', posted ' || coalesce(p.off, 0) \
         FROM escrow_recipients AS r \
         LEFT JOIN (SELECT n.escrow_id, n.recipient, sum(n.amount) FROM ledger_entries AS n \
             JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind = 'write_off' \
             WHERE n.account = 'recipient' GROUP BY 1, 2) AS p (escrow_id, recipient, off) \
             ON p.escrow_id = r.escrow_id AND p.recipient = r.account \
         WHERE r.written_off <> coalesce(p.off, 0)",
    ),
    (
        "no escrow gives out more than came in",
        // What the platform bears, what banks hold, and what recipients have to give back of no more than their part.
        "WITH accounts AS (SELECT escrow_id, account, recipient, sum(amount) AS balance FROM ledger_entries GROUP BY 1, 2, 3), \
             paid AS (SELECT n.escrow_id, n.recipient, -sum(n.amount) AS net FROM ledger_entries AS n \
                      JOIN ledger_transactions AS t ON t.id = n.transaction_id AND t.kind IN ('transfer', 'reversal') \
                      WHERE n.account = 'recipient' GROUP BY 1, 2), \
             sides AS (SELECT a.escrow_id, sum(a.balance) FILTER (WHERE a.account = 'clearing') AS out, \
                      coalesce(sum(-a.balance) FILTER (WHERE a.balance < 0 AND (a.account IN ('losses', 'disputes') \
                          OR a.account = 'recipient' AND coalesce(p.net, 0) <= r.amount)), 0) AS borne \
                      FROM accounts AS a LEFT JOIN paid AS p USING (escrow_id, recipient) \
                      LEFT JOIN escrow_recipients AS r ON r.escrow_id = a.escrow_id AND r.account = a.recipient GROUP BY 1) \
         SELECT s.escrow_id, 'clearing is at ' || s.out || ', of which ' || s.borne || ' is accounted for' FROM sides AS s \
         JOIN escrow_transactions AS t ON t.id = s.escrow_id AND t.captured IS NOT NULL WHERE s.out > s.borne",
    ),
    (
        "an escrow that is at its end holds nothing",
        "SELECT n.escrow_id, e.status || ' with ' || sum(n.amount) FROM ledger_entries AS n \
         JOIN escrow_transactions AS e ON e.id = n.escrow_id AND e.status IN ('distributed', 'refunded') \
         WHERE n.account = 'escrow' GROUP BY n.escrow_id, e.status HAVING sum(n.amount) <> 0",
    ),
];

/// Checks every rule over the whole book. Reads everything: for a tool or a daily job.
///
/// # Errors
/// When the database does not answer.
pub async fn check_ledger(conn: &impl GenericClient) -> Result<Vec<LedgerProblem>, DbError> {
    let mut problems = Vec::new();
    for (rule, sql) in RULES {
        let rows = conn.query(sql, &[]).await.during("check_ledger")?;
        problems.extend(rows.iter().map(|row| LedgerProblem {
            rule,
            subject: row.get(0),
            detail: row.get(1),
        }));
    }
    Ok(problems)
}

/// The names of the rules that [`check_ledger`] checks.
#[must_use]
pub fn ledger_rules() -> [&'static str; 11] {
    RULES.map(|(rule, _)| rule)
}

/// A balance of the whole book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Whose money.
    pub account: String,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Minor units.
    pub amount: i64,
}

/// Every account's balance, by currency.
///
/// # Errors
/// When the database does not answer.
pub async fn sum_balances(conn: &impl GenericClient) -> Result<Vec<Balance>, DbError> {
    let sql = "SELECT account, currency, sum(amount)::bigint FROM ledger_entries GROUP BY 1, 2 ORDER BY 2, 1";
    let rows = conn.query(sql, &[]).await.during("sum_balances")?;
    let read = |row: &Row| Balance {
        account: row.get(0),
        currency: row.get(1),
        amount: row.get(2),
    };
    Ok(rows.iter().map(read).collect())
}
