//! What a person is told, written into the outbox and the audit trail in the transaction of its cause.

use std::time::Duration;

use bus::propagation::headers_of_this_work;
use bus::{ALERT_TYPE, AlertMessage, topology};
use chrono::{DateTime, TimeDelta, Utc};
use db::Transaction;
use db::escrow::actions::{NewAction, find_told_in_txn, insert_action_in_txn};
use db::outbox::{NewOutboxRow, insert_outbox_in_txn};
use domain::alert::{Alert, AlertKind};
use domain::escrow::held::Task;
use domain::escrow::notice::Notice;
use serde_json::json;
use service_kit::backoff::doubled;
use uuid::Uuid;

use crate::change::Learned;
use crate::error::EscrowError;

/// What lasts is told again after this time, then after twice as long each time.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// What lasts is told at least as often as this.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);
/// What was told before is another matter, and is told anew from the beginning.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(1);

/// The alert of a notice about an escrow.
pub(crate) fn alert(escrow: &str, notice: &Notice, learned: &Learned) -> Alert {
    let word = notice.as_str();
    let attention = |summary: String| Alert::new(AlertKind::EscrowAttention, format!("{escrow}/{word}"), summary);
    match notice {
        Notice::Dispute(news, dispute) => {
            let alert = news.alert(escrow, dispute);
            match learned.evidence_due_by {
                Some(due) => alert.with("evidence_due_by", due),
                None => alert,
            }
        }
        Notice::ReversedOutside(transfer) => attention(format!(
            "Transfer {transfer} of escrow {escrow} was reversed, and not by Holdfast."
        )),
        Notice::RefundedOutside => attention(format!(
            "The payment of escrow {escrow} was refunded, and not by Holdfast."
        )),
        Notice::Overpaid(account) => attention(format!("{account} has more than its part of escrow {escrow}.")),
        Notice::LossBooked(account) => attention(format!(
            "What could not be taken back from {account} for escrow {escrow} was booked as a loss."
        )),
        Notice::RecipientNotReady(account) => Alert::new(
            AlertKind::RecipientNotReady,
            account.as_str(),
            format!("{account} cannot receive; its shares wait."),
        )
        .with("escrow", escrow),
        Notice::PayoutTrouble(account) => Alert::new(
            AlertKind::PayoutFailed,
            account.as_str(),
            format!("A payout or transfer of {account} failed."),
        )
        .with("escrow", escrow),
        Notice::AuthorizationEndsEarly(ends) => attention(format!(
            "The authorisation of escrow {escrow} ends before the escrow does, at {} UTC, and its creator did not ask for a capture in \
             time: release it before, or it is lost.",
            DateTime::from_timestamp(ends.0, 0).unwrap_or_default().format("%F %T")
        )),
        Notice::GaveUp(task) => gave_up(escrow, task),
    }
}

fn gave_up(escrow: &str, task: &Task) -> Alert {
    let subject = match task {
        Task::Capture | Task::Cancel | Task::Refund => format!("{escrow}/{}", task.kind()),
        Task::Transfer(account) => format!("{escrow}/transfer/{account}"),
        Task::Reverse(account, transfer) => format!("{escrow}/reverse/{account}/{transfer}"),
    };
    let summary = format!("The {} of escrow {escrow} waits for a person.", task.kind());
    Alert::new(AlertKind::EscrowGaveUp, subject, summary)
}

/// Stripe has more, or something else, than one object for an operation.
pub(crate) fn happened_twice(escrow: &str, operation: &str) -> Alert {
    let summary = format!(
        "Stripe has more than one object for operation {operation} of escrow {escrow}: undo the one too many, then retry the operation."
    );
    Alert::new(AlertKind::EscrowHappenedTwice, operation, summary).with("escrow", escrow)
}

/// A refund that was made and taken for done is back on the platform.
pub(crate) fn refund_came_back(escrow: &str, refund: &str) -> Alert {
    let summary = format!(
        "Refund {refund} of escrow {escrow} failed after Stripe had accepted it: the money is back on the platform, and the payer has to \
         get it another way."
    );
    Alert::new(
        AlertKind::EscrowAttention,
        format!("{escrow}/refund_failed/{refund}"),
        summary,
    )
}

/// Writes alerts down, to be raised by the relay, and into the audit trail.
pub(crate) async fn tell_in_txn(
    txn: &Transaction<'_>,
    escrow: Option<&str>,
    alerts: Vec<Alert>,
    now: DateTime<Utc>,
) -> Result<(), EscrowError> {
    let mut rows = Vec::with_capacity(alerts.len());
    for alert in alerts {
        let key = alert.key();
        let action = NewAction {
            at: now,
            actor: "worker",
            action: "alert",
            escrow,
            operation: None,
            reason: Some(&key),
            before: None,
            after: Some(&json!({"severity": alert.severity().as_str(), "summary": alert.summary})),
        };
        insert_action_in_txn(txn, &action).await?;
        rows.push(row(alert, now));
    }
    insert_outbox_in_txn(txn, &rows).await?;
    Ok(())
}

/// Tells what each attempt finds anew, ever more rarely: attempts go on at their own pace, but neither the audit trail nor the alert's
/// count is to be one of attempts.
pub(crate) async fn tell_more_rarely_in_txn(
    txn: &Transaction<'_>,
    escrow: &str,
    alert: Alert,
    now: DateTime<Utc>,
) -> Result<(), EscrowError> {
    let told = find_told_in_txn(txn, escrow, &alert.key(), now - FORGOTTEN_AFTER).await?;
    let is_known = told.is_some_and(|told| {
        let again = i32::try_from(told.times - 1).unwrap_or(i32::MAX);
        now < told.last + doubled(TOLD_AGAIN_AFTER, TOLD_EVERY, again)
    });
    if is_known {
        return Ok(());
    }
    tell_in_txn(txn, Some(escrow), vec![alert], now).await
}

fn row(alert: Alert, now: DateTime<Utc>) -> NewOutboxRow {
    let message = AlertMessage::of(alert, now);
    NewOutboxRow {
        exchange: topology::ALERTS.to_owned(),
        routing_key: format!("{}.{}", message.severity, message.kind),
        message_id: Uuid::now_v7().to_string(),
        kind: ALERT_TYPE.to_owned(),
        headers: headers_of_this_work(),
        payload: json!(message).to_string(),
    }
}
