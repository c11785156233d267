//! The parts of an escrow that have rows of their own: recipients with their transfers, and disputes.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use domain::escrow::facts::{Cumulative, Dispute, DisputeStage, Readiness, Recipient, Transfer};
use domain::escrow::failure::ErrorCode;
use domain::escrow::held::Escrow;
use domain::escrow::split::{Part, Split};
use domain::ids::{AccountId, DisputeId, TransferId};
use domain::money::Money;
use domain::time::UnixSeconds;
use serde_json::{Map, Value};

use crate::DbError;
use crate::statement::{corrupt, execute, query};

/// Recipients in the order of the split, each with its part in minor units.
pub(super) type Loaded = Vec<(Recipient, i64)>;

/// The split as it was made.
pub(super) fn split(amount: Money, fee: i64, loaded: &Loaded) -> Result<Split, DbError> {
    let parts = loaded.iter().map(|(recipient, amount)| Part {
        account: recipient.account.clone(),
        amount: *amount,
    });
    Split::restore(amount, fee, parts.collect()).ok_or_else(|| corrupt("load_escrow", "amount"))
}

/// What our own jobs did, as it is stored: minor units by the job's number.
pub(super) fn cumulative(of: &Cumulative) -> Value {
    let pairs = of.ours.iter();
    Value::Object(pairs.map(|(job, amount)| (job.to_string(), (*amount).into())).collect())
}

/// Reads [`cumulative`] back.
pub(super) fn numbers(operation: &'static str, stored: &Value) -> Result<BTreeMap<u32, i64>, DbError> {
    let empty = Map::new();
    let pairs = stored.as_object().unwrap_or(&empty).iter();
    pairs
        .map(|(job, amount)| Some((job.parse().ok()?, amount.as_i64()?)))
        .collect::<Option<_>>()
        .ok_or_else(|| corrupt(operation, "ours"))
}

pub(super) async fn insert_recipients(txn: &Transaction<'_>, escrow: &Escrow) -> Result<(), DbError> {
    let sql = "INSERT INTO escrow_recipients (escrow_id, position, account, amount, status, account_news) \
               SELECT $1, r.position, r.account, r.amount, r.status, a.account IS NOT NULL \
               FROM unnest($2::int[], $3::text[], $4::bigint[], $5::text[]) AS r (position, account, amount, status) \
               LEFT JOIN escrow_accounts AS a ON a.account = r.account";
    let statuses = escrow.recipient_statuses();
    let rows = escrow.terms.split.parts().iter().zip(&statuses).enumerate();
    let (mut positions, mut accounts, mut amounts, mut words) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (position, (part, status)) in rows {
        positions.push(i32::try_from(position).unwrap_or(i32::MAX));
        accounts.push(part.account.as_str());
        amounts.push(part.amount);
        words.push(status.as_str());
    }
    let id = escrow.terms.id.as_str();
    execute(
        txn,
        "insert_recipients",
        sql,
        &[&id, &positions, &accounts, &amounts, &words],
    )
    .await?;
    Ok(())
}

pub(super) async fn load_recipients(txn: &Transaction<'_>, id: &str) -> Result<Loaded, DbError> {
    const OPERATION: &str = "load_recipients";
    let sql = "SELECT account, amount, entitled, readiness, readiness_code, seen_at, written_off FROM escrow_recipients \
               WHERE escrow_id = $1 ORDER BY position";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&id];
    let (rows, mut transfers) = tokio::try_join!(query(txn, OPERATION, sql, &params), load_transfers(txn, id))?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in &rows {
        let account = AccountId::parse(row.get::<_, &str>(0)).map_err(|_| corrupt(OPERATION, "account"))?;
        let code: Option<&str> = row.get(4);
        let readiness = match (row.get::<_, &str>(3), code) {
            ("unknown", None) => Readiness::Unknown,
            ("ready", None) => Readiness::Ready,
            ("not_ready", Some(code)) => Readiness::NotReady(ErrorCode::read(code)),
            _ => return Err(corrupt(OPERATION, "readiness")),
        };
        let recipient = Recipient {
            transfers: transfers.remove(account.as_str()).unwrap_or_default(),
            account,
            entitled: u32::try_from(row.get::<_, i32>(2)).map_err(|_| corrupt(OPERATION, "entitled"))?,
            readiness,
            seen_at: row.get::<_, Option<i64>>(5).map(UnixSeconds),
            written_off: row.get(6),
        };
        loaded.push((recipient, row.get(1)));
    }
    Ok(loaded)
}

type TransfersOf = BTreeMap<String, BTreeMap<TransferId, Transfer>>;

async fn load_transfers(txn: &Transaction<'_>, id: &str) -> Result<TransfersOf, DbError> {
    const OPERATION: &str = "load_transfers";
    let sql = "SELECT account, transfer_id, amount, reversed_told, reversed_ours, failed, reversed_outside FROM escrow_transfers WHERE escrow_id = $1";
    let mut transfers = TransfersOf::new();
    for row in query(txn, OPERATION, sql, &[&id]).await? {
        let transfer = TransferId::parse(row.get::<_, &str>(1)).map_err(|_| corrupt(OPERATION, "transfer_id"))?;
        let known = Transfer {
            amount: row.get(2),
            reversed: Cumulative {
                told: row.get(3),
                outside: row.get(6),
                ours: numbers(OPERATION, &row.get(4))?,
            },
            failed: row.get(5),
        };
        transfers.entry(row.get(0)).or_default().insert(transfer, known);
    }
    Ok(transfers)
}

/// A recipient that was at its end and is to be paid again has heard nothing meanwhile; if it is barred, it hears it now.
pub(super) async fn store_recipients(txn: &Transaction<'_>, escrow: &Escrow) -> Result<(), DbError> {
    let sql = "UPDATE escrow_recipients AS r SET status = u.status, entitled = u.entitled, readiness = u.readiness, \
                   readiness_code = u.code, seen_at = u.seen_at, written_off = u.written_off, \
                   account_news = r.account_news OR (u.readiness = 'not_ready' \
                       AND r.status IN ('paid', 'reversed', 'returned') AND u.status NOT IN ('paid', 'reversed', 'returned')) \
               FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::bigint[], $8::bigint[]) \
                   AS u (account, status, entitled, readiness, code, seen_at, written_off) \
               WHERE r.escrow_id = $1 AND r.account = u.account \
                   AND (r.status, r.entitled, r.readiness, r.readiness_code, r.seen_at, r.written_off) \
                       IS DISTINCT FROM (u.status, u.entitled, u.readiness, u.code, u.seen_at, u.written_off)";
    let recipients = &escrow.recipients;
    let statuses = escrow.recipient_statuses();
    let accounts: Vec<&str> = recipients.iter().map(|of| of.account.as_str()).collect();
    let words: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let entitled: Vec<i32> = recipients
        .iter()
        .map(|of| i32::try_from(of.entitled).unwrap_or(i32::MAX))
        .collect();
    let readiness: Vec<&str> = recipients.iter().map(|of| readiness_columns(of.readiness).0).collect();
    let codes: Vec<Option<&str>> = recipients.iter().map(|of| readiness_columns(of.readiness).1).collect();
    let seen: Vec<Option<i64>> = recipients.iter().map(|of| of.seen_at.map(|at| at.0)).collect();
    let written_off: Vec<i64> = recipients.iter().map(|of| of.written_off).collect();
    let id = escrow.terms.id.as_str();
    execute(
        txn,
        "store_recipients",
        sql,
        &[
            &id,
            &accounts,
            &words,
            &entitled,
            &readiness,
            &codes,
            &seen,
            &written_off,
        ],
    )
    .await?;
    Ok(())
}

/// The two columns of a readiness.
pub(super) const fn readiness_columns(readiness: Readiness) -> (&'static str, Option<&'static str>) {
    match readiness {
        Readiness::Unknown => ("unknown", None),
        Readiness::Ready => ("ready", None),
        Readiness::NotReady(code) => ("not_ready", Some(code.as_str())),
    }
}

pub(super) async fn store_transfers(txn: &Transaction<'_>, before: &Escrow, next: &Escrow) -> Result<(), DbError> {
    let sql = "INSERT INTO escrow_transfers (transfer_id, escrow_id, account, amount, reversed_told, reversed_ours, failed, reversed_outside) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
               ON CONFLICT (transfer_id) DO UPDATE SET amount = EXCLUDED.amount, reversed_told = EXCLUDED.reversed_told, \
                   reversed_ours = EXCLUDED.reversed_ours, failed = EXCLUDED.failed, reversed_outside = EXCLUDED.reversed_outside \
               WHERE escrow_transfers.escrow_id = EXCLUDED.escrow_id AND escrow_transfers.account = EXCLUDED.account";
    for (recipient, was) in next.recipients.iter().zip(&before.recipients) {
        for (id, transfer) in &recipient.transfers {
            if was.transfers.get(id) == Some(transfer) {
                continue;
            }
            let written = execute(
                txn,
                "store_transfers",
                sql,
                &[
                    &id.as_str(),
                    &next.terms.id.as_str(),
                    &recipient.account.as_str(),
                    &transfer.amount,
                    &transfer.reversed.told,
                    &cumulative(&transfer.reversed),
                    &transfer.failed,
                    &transfer.reversed.outside,
                ],
            )
            .await?;
            if written == 0 {
                return Err(corrupt("store_transfers", "transfer_id"));
            }
        }
    }
    Ok(())
}

pub(super) async fn load_disputes(txn: &Transaction<'_>, id: &str) -> Result<BTreeMap<DisputeId, Dispute>, DbError> {
    const OPERATION: &str = "load_disputes";
    let sql = "SELECT dispute_id, stage, amount FROM escrow_disputes WHERE escrow_id = $1";
    let mut disputes = BTreeMap::new();
    for row in query(txn, OPERATION, sql, &[&id]).await? {
        let dispute = DisputeId::parse(row.get::<_, &str>(0)).map_err(|_| corrupt(OPERATION, "dispute_id"))?;
        let stage = DisputeStage::parse(row.get(1)).ok_or_else(|| corrupt(OPERATION, "stage"))?;
        disputes.insert(
            dispute,
            Dispute {
                stage,
                amount: row.get(2),
            },
        );
    }
    Ok(disputes)
}

pub(super) async fn store_disputes(txn: &Transaction<'_>, before: &Escrow, next: &Escrow) -> Result<(), DbError> {
    let sql = "INSERT INTO escrow_disputes (dispute_id, escrow_id, stage, amount) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (dispute_id) DO UPDATE SET stage = EXCLUDED.stage, amount = EXCLUDED.amount \
               WHERE escrow_disputes.escrow_id = EXCLUDED.escrow_id";
    for (id, dispute) in &next.disputes {
        if before.disputes.get(id) == Some(dispute) {
            continue;
        }
        let escrow = next.terms.id.as_str();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&id.as_str(), &escrow, &dispute.stage.as_str(), &dispute.amount];
        if execute(txn, "store_disputes", sql, &values).await? == 0 {
            return Err(corrupt("store_disputes", "dispute_id"));
        }
    }
    Ok(())
}
