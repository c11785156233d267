//! Upgrades, cancellations, returns, pauses; and a burst in which everything happens within one second.

use anyhow::Context;
use serde_json::json;

use crate::demo::cast::Player;
use crate::demo::stage::{Stage, VISA};

pub(super) async fn play(stage: &Stage) -> anyhow::Result<()> {
    stage.narrator.doing("people change their minds");
    let upgraded = people(stage, 3).await?;
    let upgraded = stage.each(upgraded, |player| upgrade(stage, player)).await?;
    let names: Vec<String> = upgraded.iter().map(Player::called).collect();
    stage.mark(|marks| {
        marks.stories.extend(
            upgraded
                .first()
                .cloned()
                .map(|player| (player, "upgraded by a new subscription")),
        );
        marks.upgraded.extend(upgraded);
    });
    stage.narrator.told(&format!(
        "{} upgrade: a new subscription starts, the old one is deleted",
        names.join(", ")
    ));

    let leaving = people(stage, 4).await?;
    let leave = |player: Player| async move {
        stage.until(&player, &["ACTIVE"]).await?;
        stage.cancel(&player.subscription).await?;
        Ok(player)
    };
    let gone = stage.each(leaving, leave).await?;
    let back: Vec<Player> = gone.into_iter().take(2).collect();
    let come_back = |mut player: Player| async move {
        stage.until(&player, &["CANCELED"]).await?;
        stage.subscribe(&mut player, &stage.prices.team, &[]).await?;
        Ok(player)
    };
    stage.each(back, come_back).await?;
    stage
        .narrator
        .told("4 cancel, 2 of them come back with another subscription");

    let at_the_end = people(stage, 1).await?;
    let at_end = |player: Player| async move {
        stage.change(&player, &[("cancel_at_period_end", "true")]).await?;
        Ok(player)
    };
    stage.each(at_the_end, at_end).await?;
    let pausing = people(stage, 3).await?;
    let pause = |player: Player| async move {
        stage.until(&player, &["ACTIVE"]).await?;
        stage.change(&player, &[("pause_collection[behavior]", "void")]).await?;
        Ok(player)
    };
    let paused = stage.each(pausing, pause).await?;
    let resume = |player: Player| async move {
        stage.until(&player, &["PAUSED"]).await?;
        stage.stripe.sim("clock", &json!({"advance_seconds": 5})).await?;
        stage.change(&player, &[("pause_collection", "")]).await?;
        Ok(player)
    };
    stage.each(paused.into_iter().take(1).collect(), resume).await?;
    stage
        .narrator
        .told("1 will leave at the end of the month; 3 pause, 1 of them resumes");
    burst(stage).await
}

/// So many more who pay.
async fn people(stage: &Stage, number: usize) -> anyhow::Result<Vec<Player>> {
    let subscribe = |_| async move {
        let mut player = stage.newcomer(Some(VISA)).await?;
        stage.subscribe(&mut player, &stage.prices.starter, &[]).await?;
        Ok(player)
    };
    stage.each((0..number).collect(), subscribe).await
}

async fn upgrade(stage: &Stage, mut player: Player) -> anyhow::Result<Player> {
    stage.until(&player, &["ACTIVE"]).await?;
    let old = player.subscription.clone();
    stage.subscribe(&mut player, &stage.prices.business, &[]).await?;
    stage.cancel(&old).await?;
    Ok(player)
}

/// The clock stands still, and everything is held back until it has happened; then it comes in any order.
async fn burst(stage: &Stage) -> anyhow::Result<()> {
    let newcomers = stage.each((0..5).collect(), |_| stage.newcomer(Some(VISA))).await?;
    stage.stripe.sim("clock", &json!({"freeze": true})).await?;
    stage.stripe.sim("pause_deliveries", &json!({})).await?;
    stage
        .stripe
        .sim(
            "faults",
            &json!({"reorder": 1.0, "window": 20, "duplicate": 0.5, "delay": 0.0}),
        )
        .await?;
    let rush = |mut player: Player| async move {
        stage.subscribe(&mut player, &stage.prices.starter, &[]).await?;
        let item = stage
            .stripe
            .get(&format!("/v1/subscriptions/{}", player.subscription))
            .await?;
        let item = item.pointer("/items/data/0/id").and_then(serde_json::Value::as_str);
        let item = item.context("a subscription without an item")?.to_owned();
        let dearer = [
            ("items[0][id]", item.as_str()),
            ("items[0][price]", stage.prices.team.as_str()),
        ];
        stage.change(&player, &dearer).await?;
        Ok(player)
    };
    let people = stage.each(newcomers, rush).await?;
    let left = stage.stripe.look("quiet").await?;
    let left = left.get("left").and_then(serde_json::Value::as_u64).unwrap_or_default();
    stage.stripe.sim("resume_deliveries", &json!({})).await?;
    for player in &people {
        stage.until(player, &["ACTIVE"]).await?;
    }
    stage.wait_quiet().await?;
    stage.stripe.sim("clock", &json!({"freeze": false})).await?;
    let usual = json!({"reorder": 0.3, "window": 6, "duplicate": 0.15, "delay": 0.1});
    stage.stripe.sim("faults", &usual).await?;
    stage.narrator.told(&format!(
        "5 subscribe and change plans in one and the same second: {left} deliveries, shuffled"
    ));
    Ok(())
}
