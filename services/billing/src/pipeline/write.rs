//! Writes a decided batch, set by set.

use std::collections::BTreeMap;

use db::billing::charges::{upsert_charges_in_txn, upsert_disputes_in_txn, upsert_refunds_in_txn};
use db::billing::clients::{ClientRow, update_clients_in_txn};
use db::billing::decisions::{NewDecision, insert_decisions_in_txn};
use db::billing::inbox::{DecidedEvent, EventKey, count_repeats_in_txn, insert_events_in_txn, update_events_in_txn};
use db::billing::owners::{bind_customers_in_txn, charge_name, client_name, customer_name};
use db::billing::registers::{update_subscriptions_in_txn, upsert_subscriptions_in_txn};
use db::billing::subscriptions::{SubscriptionRow, upsert_payments_in_txn};
use db::billing::waiting::{
    leave_charge_alone_in_txn, release_waiting_events_in_txn, reopen_source_rejections_in_txn,
    take_released_events_in_txn,
};
use db::outbox::insert_outbox_in_txn;
use db::{DbError, TransactError as _, Transaction};
use domain::billing::decision::Guard;
use uuid::Uuid;

use super::Rules;
use super::judge::{Judge, Judged};
use crate::announcement;
use crate::error::BillingError;
use crate::reading::Source;
use crate::releases::AT_ONCE;

/// Writes everything; answers whether there is something for the relay.
///
/// What does not wait for an answer goes out together, so that the server works while the next set is made ready. The order in
/// which it goes is always the same. After a refusal the server refuses what follows in the transaction as well, so that all answers are
/// looked at for the one that is the cause.
pub(super) async fn write(
    txn: &Transaction<'_>,
    mut judge: Judge<'_>,
    repeats: &BTreeMap<EventKey, i32>,
    rules: Rules,
) -> Result<bool, BillingError> {
    let done: [Result<(), BillingError>; 6] = tokio::join!(
        biased;
        write_clients(txn, &judge),
        write_registers(txn, &judge),
        write_payments(txn, &judge),
        write_charges(txn, &judge),
        write_events(txn, &judge, repeats),
        write_decisions(txn, &judge, rules),
    )
    .into();
    cause(done)?;
    let clients: Vec<&str> = judge.bindings.iter().map(|binding| binding.client.as_str()).collect();
    let mut reopened = Vec::new();
    if !clients.is_empty() && reopen_source_rejections_in_txn(txn, &clients).await? > 0 {
        reopened.extend(clients.into_iter().map(client_name));
    }
    let bound = judge.bindings.iter().map(|binding| customer_name(&binding.customer));
    let became_known: Vec<String> = bound
        .chain(reopened)
        .chain(judge.charges.new.iter().map(|id| charge_name(id)))
        .collect();
    if !became_known.is_empty() {
        release_waiting_events_in_txn(txn, &became_known).await?;
        let first = take_released_events_in_txn(txn, AT_ONCE).await?;
        judge.outbox.extend(first.into_iter().map(announcement::decide_again));
    }
    for (charge, names) in &judge.left_alone {
        leave_charge_alone_in_txn(txn, charge, names).await?;
    }
    if judge.outbox.is_empty() {
        return Ok(false);
    }
    insert_outbox_in_txn(txn, &judge.outbox).await?;
    Ok(true)
}

/// The refusal that the others follow from.
fn cause(done: [Result<(), BillingError>; 6]) -> Result<(), BillingError> {
    let mut errors: Vec<BillingError> = done.into_iter().filter_map(Result::err).collect();
    let is_cause = |error: &BillingError| !error.db_error().is_some_and(DbError::is_consequence);
    let first = errors.iter().position(is_cause).unwrap_or_default();
    if first < errors.len() {
        return Err(errors.swap_remove(first));
    }
    Ok(())
}

async fn write_clients(txn: &Transaction<'_>, judge: &Judge<'_>) -> Result<(), BillingError> {
    if !judge.bindings.is_empty() {
        let bound = bind_customers_in_txn(txn, &judge.bindings).await?;
        all_or_raced(bound, judge.bindings.len(), "a customer")?;
    }
    let changed: Vec<&ClientRow> = judge
        .known
        .clients
        .values()
        .filter(|held| held.changed)
        .map(|held| &held.row)
        .collect();
    if !changed.is_empty() {
        update_clients_in_txn(txn, &changed).await?;
    }
    Ok(())
}

async fn write_registers(txn: &Transaction<'_>, judge: &Judge<'_>) -> Result<(), BillingError> {
    let (mut known, mut new) = (Vec::new(), Vec::new());
    for held in judge.known.clients.values() {
        for (id, customer) in &held.touched {
            let Some(subscription) = held.client.subscriptions.get(id) else {
                continue;
            };
            if held.is_stored(id, subscription) {
                continue;
            }
            let register = SubscriptionRow {
                id: id.clone(),
                client: held.row.client_id.to_string(),
                org: held.row.org_id.clone(),
                customer: customer.clone(),
                subscription: subscription.clone(),
            };
            if held.is_known(id) {
                known.push(register);
            } else {
                new.push(register);
            }
        }
    }
    if !known.is_empty() {
        let written = update_subscriptions_in_txn(txn, &known).await?;
        all_or_raced(written, known.len(), "a subscription")?;
    }
    if !new.is_empty() {
        let written = upsert_subscriptions_in_txn(txn, &new).await?;
        all_or_raced(written, new.len(), "a subscription")?;
    }
    Ok(())
}

async fn write_payments(txn: &Transaction<'_>, judge: &Judge<'_>) -> Result<(), BillingError> {
    if !judge.payments.is_empty() {
        upsert_payments_in_txn(txn, &judge.payments).await?;
    }
    Ok(())
}

async fn write_charges(txn: &Transaction<'_>, judge: &Judge<'_>) -> Result<(), BillingError> {
    let charges = judge.charges.charges();
    if !charges.is_empty() {
        upsert_charges_in_txn(txn, &charges).await?;
    }
    let refunds = judge.charges.refunds();
    if !refunds.is_empty() {
        upsert_refunds_in_txn(txn, &refunds).await?;
    }
    let disputes = judge.charges.disputes();
    if !disputes.is_empty() {
        upsert_disputes_in_txn(txn, &disputes).await?;
    }
    Ok(())
}

async fn write_events(
    txn: &Transaction<'_>,
    judge: &Judge<'_>,
    repeats: &BTreeMap<EventKey, i32>,
) -> Result<(), BillingError> {
    let events = judge
        .judged
        .iter()
        .filter(|judged| judged.reading.source == Source::Event);
    let (stored, new): (Vec<&Judged<'_>>, Vec<&Judged<'_>>) = events.partition(|judged| judged.earlier.is_some());
    if !new.is_empty() {
        let events: Vec<DecidedEvent<'_>> = new.iter().map(|judged| decided_event(judged)).collect();
        all_or_raced(insert_events_in_txn(txn, &events).await?, events.len(), "an event")?;
    }
    if !stored.is_empty() {
        let events: Vec<DecidedEvent<'_>> = stored.iter().map(|judged| decided_event(judged)).collect();
        all_or_raced(update_events_in_txn(txn, &events).await?, events.len(), "an event")?;
    }
    if !repeats.is_empty() {
        count_repeats_in_txn(txn, repeats).await?;
    }
    Ok(())
}

async fn write_decisions(txn: &Transaction<'_>, judge: &Judge<'_>, rules: Rules) -> Result<(), BillingError> {
    let untold = judge.judged.iter().filter(|judged| !judged.is_on_record());
    let decisions: Vec<NewDecision<'_>> = untold.map(|judged| new_decision(judged, rules)).collect();
    if !decisions.is_empty() {
        insert_decisions_in_txn(txn, &decisions).await?;
    }
    Ok(())
}

fn all_or_raced(written: u64, wanted: usize, what: &'static str) -> Result<(), BillingError> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == written) {
        Ok(())
    } else {
        Err(BillingError::Raced(what))
    }
}

fn decided_event<'j>(judged: &'j Judged<'_>) -> DecidedEvent<'j> {
    let reading = judged.reading;
    DecidedEvent {
        event_id: &reading.event_id,
        created: reading.created,
        kind: &reading.kind,
        endpoint: reading.endpoint,
        account: reading.account.as_deref(),
        api_version: reading.api_version.as_deref(),
        livemode: reading.livemode,
        received_at: reading.received_at,
        payload: reading.payload,
        outcome: judged.decision.outcome.as_str(),
        guard: judged.decision.guard.map(Guard::as_str),
        reason: judged.decision.reason.as_str(),
        client: judged.client.as_deref(),
        org: judged.org.as_deref().filter(|_| judged.is_the_clients_own()),
        waiting_for: judged.waiting_for.as_deref(),
        read_again: judged.read_again,
        deliveries: judged.deliveries,
    }
}

fn new_decision<'j>(judged: &'j Judged<'_>, rules: Rules) -> NewDecision<'j> {
    let reading = judged.reading;
    NewDecision {
        id: Uuid::now_v7(),
        decided_at: rules.now,
        event_id: &reading.event_id,
        event_type: &reading.kind,
        created: reading.created,
        received_at: reading.received_at,
        client: judged.client.as_deref(),
        org: judged.org.as_deref(),
        outcome: judged.decision.outcome.as_str(),
        guard: judged.decision.guard.map(Guard::as_str),
        reason: judged.decision.reason.as_str(),
        transition: judged
            .decision
            .transition
            .map(|change| (change.from.as_str(), change.to.as_str())),
        details: &judged.details,
    }
}
