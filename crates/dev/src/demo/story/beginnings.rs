//! How subscriptions start: at once, with a trial, by checkout, by metadata, with a declined card, under a contracted price.

use serde_json::json;

use crate::demo::cast::{Player, Source};
use crate::demo::stage::{DECLINED, Stage, VISA};
use crate::demo::witness::SECOND;

pub(super) async fn play(stage: &Stage) -> anyhow::Result<()> {
    stage.narrator.doing("people subscribe");
    pay_at_once(stage).await?;
    try_first(stage).await?;
    check_out(stage).await?;
    fail_at_first(stage).await?;
    under_contract(stage).await?;
    not_by_stripe(stage).await?;
    old_version(stage).await
}

async fn pay_at_once(stage: &Stage) -> anyhow::Result<()> {
    let plans = [&stage.prices.starter, &stage.prices.team];
    let subscribe = |number: usize| async move {
        let mut player = stage.newcomer(Some(VISA)).await?;
        let price = plans
            .get(number % plans.len())
            .copied()
            .unwrap_or(&stage.prices.starter);
        stage.subscribe(&mut player, price, &[]).await?;
        Ok(player)
    };
    let people = stage.each((0..12).collect(), subscribe).await?;
    stage
        .narrator
        .told(&format!("{} clients subscribe and pay at once", people.len()));
    Ok(())
}

async fn try_first(stage: &Stage) -> anyhow::Result<()> {
    let subscribe = |number: usize| async move {
        // The last two have no card: one of them is paused when the trial ends, the other one is canceled.
        let card = (number < 4).then_some(VISA);
        let ends = if number == 4 { "pause" } else { "cancel" };
        let mut player = stage.newcomer(card).await?;
        let trial = [
            ("trial_period_days", "14"),
            ("trial_settings[end_behavior][missing_payment_method]", ends),
        ];
        stage.subscribe(&mut player, &stage.prices.team, &trial).await?;
        Ok(player)
    };
    let people = stage.each((0..6).collect(), subscribe).await?;
    let story = people.first().cloned();
    stage.mark(|marks| marks.stories.extend(story.map(|player| (player, "trial, then paying"))));
    stage
        .narrator
        .told("6 begin a trial of 14 days, two of them without a card");
    Ok(())
}

async fn check_out(stage: &Stage) -> anyhow::Result<()> {
    let buy = |number: usize| async move {
        let mut player = stage.cast.next();
        let (id, mail) = (player.id.clone(), format!("{}@example.com", player.name));
        // Two are known by their session, which our side registers; two by the metadata that our side put on it.
        let registered = number < 2;
        let named = [
            ("metadata[client_id]", id.as_str()),
            ("subscription_data[metadata][client_id]", id.as_str()),
        ];
        let mut more = vec![("customer_email", mail.as_str())];
        more.extend(named.into_iter().filter(|_| !registered));
        let session = stage.checkout(&stage.prices.starter, &more).await?;
        player.session = registered.then(|| session.clone());
        stage.door.register(&player).await?;
        let (customer, subscription) = stage.fill_in(&session).await?;
        player.customers.push(customer);
        player.subscription = subscription;
        Ok(player)
    };
    let people = stage.each((0..4).collect(), buy).await?;
    stage.narrator.told(&format!(
        "{} buy at Checkout, two of them known by nothing but metadata, and are bound at first use",
        people.len()
    ));
    Ok(())
}

async fn fail_at_first(stage: &Stage) -> anyhow::Result<()> {
    let fail = |_| async move {
        let mut player = stage.newcomer(None).await?;
        let card = [("default_payment_method", DECLINED)];
        stage.subscribe(&mut player, &stage.prices.starter, &card).await?;
        Ok(player)
    };
    let people = stage.each(vec![0, 1], fail).await?;
    let names: Vec<String> = people.iter().map(Player::called).collect();
    stage
        .narrator
        .told(&format!("{}: the very first payment is declined", names.join(" and ")));
    Ok(())
}

async fn under_contract(stage: &Stage) -> anyhow::Result<()> {
    let agreed = |number: usize| async move {
        let mut player = stage.cast.next();
        player.customers.push(stage.customer(&player, Some(VISA)).await?);
        player.contracted_price = Some(stage.prices.business.clone());
        stage.door.register(&player).await?;
        let price = if number == 0 {
            &stage.prices.business
        } else {
            &stage.prices.starter
        };
        stage.subscribe(&mut player, price, &[]).await?;
        Ok(player)
    };
    stage.each(vec![0, 1], agreed).await?;
    stage
        .narrator
        .told("2 have agreed on Business; one of them subscribes to Starter instead, which activates nothing");
    Ok(())
}

/// A client that pays by bank transfer, one that pays nothing, and one of another organisation.
async fn not_by_stripe(stage: &Stage) -> anyhow::Result<()> {
    let mut by_hand = stage.cast.next();
    by_hand.source = Source::Manual;
    let mut free = stage.cast.next();
    free.source = Source::Nothing;
    let mut neighbour = stage.cast.next();
    neighbour.org = stage.cast.other_org();
    neighbour.customers.push(stage.customer(&neighbour, Some(VISA)).await?);
    for player in [&by_hand, &free, &neighbour] {
        stage.door.register(player).await?;
    }
    stage.subscribe(&mut neighbour, &stage.prices.team, &[]).await?;
    for player in [by_hand, free, neighbour] {
        stage.cast.keep(player);
    }
    stage
        .narrator
        .told("1 pays by bank transfer, 1 pays nothing, 1 belongs to another organisation");
    Ok(())
}

/// An upgrade of the API version under way: three clients whose events come in a version of 2023 only, then both versions.
async fn old_version(stage: &Stage) -> anyhow::Result<()> {
    let url = stage.witness.url(&format!("/webhooks/stripe?{SECOND}"));
    let fields = [
        ("url", url.as_str()),
        ("enabled_events[]", "*"),
        ("api_version", "2023-10-16"),
    ];
    let platform = stage.platform_endpoint().await?;
    let current = format!("/v1/webhook_endpoints/{platform}");
    stage.stripe.post("/v1/webhook_endpoints", &fields).await?;
    stage.stripe.post(&current, &[("disabled", "true")]).await?;
    let subscribe = |_| async move {
        let mut player = stage.newcomer(Some(VISA)).await?;
        stage.subscribe(&mut player, &stage.prices.starter, &[]).await?;
        Ok(player)
    };
    let people = stage.each((0..3).collect(), subscribe).await?;
    for player in &people {
        stage.until(player, &["ACTIVE"]).await?;
    }
    stage.stripe.post(&current, &[("disabled", "false")]).await?;
    stage
        .narrator
        .told("3 subscribe while only an endpoint of API version 2023-10-16 listens; then both versions come");
    stage
        .stripe
        .sim("clock", &json!({"advance_seconds": 60}))
        .await
        .map(drop)
}
