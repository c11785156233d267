//! What processes are stopped in. A scenario's preparation is not in the grid, its act is.

mod accounts;
mod payouts;
mod requests;
mod times;
mod webhooks;

use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::end::Subject;
use crate::stage::Stage;

pub struct Scenario {
    pub name: &'static str,
    /// Whether the timer runs.
    pub has_timer: bool,
    pub prepare: for<'a> fn(&'a mut Stage) -> LocalBoxFuture<'a, Subject>,
    pub act: for<'a> fn(&'a mut Stage, Subject) -> LocalBoxFuture<'a, Subject>,
}

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(requests::scenarios());
    all.extend(payouts::scenarios());
    all.extend(accounts::scenarios());
    all.extend(times::scenarios());
    all.extend(webhooks::scenarios());
    all
}

/// EUR 100.00 for recipients of equal parts, who get so little that Stripe would pay it twice out of the charge.
fn terms(stage: &Stage, accounts: &[&String], capture: &str) -> Value {
    let part = 10_000 / accounts.len();
    let recipients: Vec<Value> = accounts
        .iter()
        .map(|account| json!({"account": account, "share_bps": part}))
        .collect();
    let days = if capture == "manual" { 6 } else { 300 };
    json!({
        "amount": 10_000, "currency": "eur", "capture": capture, "expires_at": stage.world.in_days(days),
        "recipients": recipients, "platform_fee": {"bps": 6_000},
    })
}

/// An escrow that is paid, for two recipients.
async fn held(stage: &mut Stage, capture: &str) -> Subject {
    let (first, second) = (stage.world.account().await, stage.world.account().await);
    let terms = terms(stage, &[&first, &second], capture);
    Subject::of(stage.held(&terms).await, &[&first, &second])
}

/// An escrow that is paid, for one recipient.
async fn held_for_one(stage: &mut Stage, capture: &str) -> Subject {
    let account = stage.world.account().await;
    let terms = terms(stage, &[&account], capture);
    Subject::of(stage.held(&terms).await, &[&account])
}

/// An escrow that is paid out, to two recipients.
async fn distributed(stage: &mut Stage) -> Subject {
    let subject = held(stage, "automatic").await;
    pay_out(stage, subject).await
}

/// An escrow that is paid out, to one recipient.
async fn distributed_to_one(stage: &mut Stage) -> Subject {
    let subject = held_for_one(stage, "automatic").await;
    pay_out(stage, subject).await
}

async fn pay_out(stage: &mut Stage, subject: Subject) -> Subject {
    stage.command(&subject.escrows[0], "release", &json!({})).await;
    stage.until(&subject.escrows[0], "distributed").await;
    stage.hear(&["transfer.created"]).await;
    subject
}

/// The next call of this kind goes wrong, as a part of the story.
async fn fault(stage: &Stage, method: &str, path: &str, kind: &str) {
    faults(stage, method, path, kind, 1).await;
}

/// Every call of this kind goes wrong until faults are cleared: how soon the next one is made is drawn, and may be at once.
async fn outage(stage: &Stage, method: &str, path: &str, kind: &str) {
    faults(stage, method, path, kind, 1_000).await;
}

async fn faults(stage: &Stage, method: &str, path: &str, kind: &str, times: u32) {
    let fault = json!({"method": method, "path": path, "kind": kind, "times": times});
    stage.world.fault(fault).await;
}
