//! Those who should not be believed: spoofed metadata, forged signatures, other people's accounts; and those who are early.

use anyhow::Context;
use serde_json::{Value, json};
use stripe_gateway::signature::sign;

use crate::demo::cast::{Player, Source};
use crate::demo::promises::LIVEMODE;
use crate::demo::stage::{Stage, VISA};
use crate::demo::stripe::text;

/// Older than the tolerance of 300 s.
const STALE_SECONDS: i64 = 3_600;

pub(super) async fn play(stage: &Stage) -> anyhow::Result<()> {
    stage.narrator.doing("somebody tries to subscribe for others");
    spoof(stage).await?;
    forge(stage).await?;
    outside(stage).await?;
    stranger(stage).await?;
    early(stage).await
}

/// Checkouts whose metadata names somebody else.
async fn spoof(stage: &Stage) -> anyhow::Result<()> {
    let players = stage.cast.players();
    let free = players.iter().find(|player| player.source == Source::Nothing);
    let free = free.context("nobody pays nothing")?.clone();
    let naming = [
        ("metadata[client_id]", free.id.as_str()),
        ("subscription_data[metadata][client_id]", free.id.as_str()),
        ("customer_email", "mallory@example.com"),
    ];
    let session = stage.checkout(&stage.prices.business, &naming).await?;
    let (_, subscription) = stage.fill_in(&session).await?;
    // What names nobody, such as the customer's charges, waits for the customer to be registered, which never happens.
    let subscription = stage.stripe.get(&format!("/v1/subscriptions/{subscription}")).await?;
    let customer = text(&subscription, "/customer")?;
    stage.mark(|marks| marks.strangers.push(customer));

    // Mallory is a client too; she pays for her own subscription and writes somebody else's name on it.
    let mut mallory = stage.newcomer(Some(VISA)).await?;
    let victim = stage.newcomer(None).await?;
    let customer = mallory.customers.last().context("a customer")?.clone();
    let naming = [
        ("metadata[client_id]", victim.id.as_str()),
        ("customer", customer.as_str()),
    ];
    let session = stage.checkout(&stage.prices.business, &naming).await?;
    let (_, subscription) = stage.fill_in(&session).await?;
    mallory.subscription = subscription;
    stage.narrator.told(&format!(
        "2 spoofed checkouts: one names {}, who pays nothing, one {}, with {}'s customer",
        free.called(),
        victim.called(),
        mallory.called()
    ));
    let victims = [free.id, victim.id.clone()];
    stage.mark(|marks| marks.victims.extend(victims));
    stage.cast.keep(mallory);
    stage.cast.keep(victim);
    Ok(())
}

/// Deliveries that Stripe never signed, straight to the front door.
async fn forge(stage: &Stage) -> anyhow::Result<()> {
    let (target, canceled) = target(stage).await?;
    let now = chrono::Utc::now().timestamp();
    let run = stage.cast.other_org();
    let mut number = 0_usize;
    let mut post = async |secret: &str, at: i64, signed: bool| -> anyhow::Result<()> {
        number += 1;
        let id = format!("evt_forged_{run}_{number}");
        let body = cancellation(&id, &canceled, now);
        let signature = sign(secret, body.as_bytes(), at);
        let (status, code) = stage.door.forge(body, signed.then_some(&signature)).await?;
        if status == 200 {
            anyhow::bail!("a forged delivery was answered 200");
        }
        stage.mark(|marks| {
            marks.forged_ids.push(id);
            *marks
                .alerts
                .entry(format!("webhook_signature:platform/{code}"))
                .or_default() += 1;
            *marks.forged.entry(code).or_default() += 1;
        });
        Ok(())
    };
    for _ in 0..12 {
        post("whsec_guessed_by_a_forger", now, true).await?;
    }
    for _ in 0..4 {
        post(&stage.state.webhook_secret, now - STALE_SECONDS, true).await?;
    }
    for _ in 0..2 {
        post(&stage.state.webhook_secret, now, false).await?;
    }
    stage.narrator.told(&format!(
        "18 forged cancellations of {}'s subscription: 12 with a wrong secret, 4 an hour old, 2 unsigned",
        target.called()
    ));
    Ok(())
}

/// A client whose subscription is worth canceling, and how Stripe would show it canceled.
async fn target(stage: &Stage) -> anyhow::Result<(Player, Value)> {
    let players = stage.cast.players();
    let target = players.into_iter().find(|player| !player.subscription.is_empty());
    let target = target.context("nobody subscribed")?;
    let mut canceled = stage
        .stripe
        .get(&format!("/v1/subscriptions/{}", target.subscription))
        .await?;
    if let Some(fields) = canceled.as_object_mut() {
        fields.insert("status".to_owned(), json!("canceled"));
        fields.insert("canceled_at".to_owned(), json!(chrono::Utc::now().timestamp()));
    }
    Ok((target, canceled))
}

fn cancellation(id: &str, canceled: &Value, now: i64) -> String {
    json!({
        "id": id, "object": "event", "type": "customer.subscription.deleted", "created": now, "livemode": false,
        "api_version": "2026-09-30.endive", "data": {"object": canceled},
    })
    .to_string()
}

/// Genuine events that are none of billing's business, and types that nobody knows.
async fn outside(stage: &Stage) -> anyhow::Result<()> {
    let (_, canceled) = target(stage).await?;
    let deleted = "customer.subscription.deleted";
    let emitted = [
        json!({"type": deleted, "account": "acct_somebody", "object": canceled}),
        json!({"type": "account.updated", "account": "acct_somebody", "object": {"id": "acct_somebody", "object": "account"}}),
        json!({"type": deleted, "livemode": true, "object": canceled}),
        json!({"type": "v1.payout.paid", "thin": true,
               "object": {"id": "po_elsewhere", "type": "payout", "url": "/v1/payouts/po_elsewhere"}}),
        json!({"type": "hologram.projected", "object": {"id": "hol_1", "object": "hologram", "depth": 3}, "twin": true}),
    ];
    let mut ids = Vec::new();
    for event in emitted {
        ids.push(text(&stage.stripe.sim("emit", &event).await?, "/event_id")?);
    }
    stage.mark(|marks| {
        marks.outside.extend(ids);
        marks.alerts.insert(LIVEMODE.to_owned(), 1);
    });
    stage
        .narrator
        .told("genuine, but none of billing's business: a connected account's events, one of live mode,");
    stage
        .narrator
        .print("    a thin one, and a type that does not exist yet");
    Ok(())
}

/// A customer that our side never heard of.
async fn stranger(stage: &Stage) -> anyhow::Result<()> {
    let mut nobody = stage.cast.next();
    let customer = stage.customer(&nobody, Some(VISA)).await?;
    nobody.customers.push(customer.clone());
    stage.subscribe(&mut nobody, &stage.prices.starter, &[]).await?;
    stage.mark(|marks| marks.strangers.push(customer));
    stage
        .narrator
        .told("a customer that nobody registered subscribes: the events wait");
    Ok(())
}

/// A client whose events come before our side has heard of it.
async fn early(stage: &Stage) -> anyhow::Result<()> {
    let mut player = stage.cast.next();
    player.customers.push(stage.customer(&player, Some(VISA)).await?);
    let id = player.id.clone();
    stage
        .subscribe(&mut player, &stage.prices.team, &[("metadata[client_id]", id.as_str())])
        .await?;
    stage.wait_quiet().await?;
    let customer = player.customers.last().context("a customer")?;
    let waiting = super::super::evidence::waiting(&stage.database, customer).await?;
    stage.door.register(&player).await?;
    stage.until(&player, &["ACTIVE"]).await?;
    stage.narrator.told(&format!(
        "{} subscribes before our side knows the name: {waiting} events wait, and apply once it is registered",
        player.called()
    ));
    stage.cast.keep(player);
    Ok(())
}
