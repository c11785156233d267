//! What time brings: trials end, subscriptions renew, cards fail and are replaced, a grace period runs out.

use crate::demo::cast::Player;
use crate::demo::stage::{FAILS, Stage, VISA};
use crate::demo::stripe::text;

pub(super) async fn play(stage: &Stage) -> anyhow::Result<()> {
    stage.wait_quiet().await?;
    stage.close_second_endpoint().await?;
    stage.narrator.told("the endpoint of the old API version is closed");
    stage.narrator.doing("four people's cards expire");
    let expire = |_| async move {
        let mut player = stage.newcomer(Some(VISA)).await?;
        stage.subscribe(&mut player, &stage.prices.team, &[]).await?;
        stage.card(&player, FAILS).await?;
        Ok(player)
    };
    let failing = stage.each((0..4).collect(), expire).await?;

    stage.narrator.doing("two weeks go by, trials end");
    stage.stripe.days(15).await?;
    stage.wait_quiet().await?;
    stage
        .narrator
        .told("after 15 days: trials have ended, the first ones pay");

    stage.narrator.doing("the first renewals");
    stage.stripe.days(17).await?;
    for player in &failing {
        stage.until(player, &["PAST_DUE"]).await?;
    }
    let names: Vec<String> = failing.iter().map(Player::called).collect();
    stage.narrator.told(&format!(
        "after 32 days: everybody renews; {} cannot pay",
        names.join(", ")
    ));

    let recovering: Vec<Player> = failing.iter().take(3).cloned().collect();
    let recover = |player: Player| async move {
        stage.card(&player, VISA).await?;
        let open = [("subscription", player.subscription.as_str()), ("status", "open")];
        for invoice in stage.stripe.list("/v1/invoices", &open).await? {
            let path = format!("/v1/invoices/{}/pay", text(&invoice, "/id")?);
            stage.stripe.try_post(&path, &[]).await?;
        }
        stage.until(&player, &["ACTIVE"]).await?;
        Ok(player)
    };
    let recovered = stage.each(recovering, recover).await?;
    stage.mark(|marks| {
        let first = recovered.first().cloned();
        marks
            .stories
            .extend(first.map(|player| (player, "could not pay, then could")));
    });
    stage
        .narrator
        .told(&format!("{} enter another card and are active again", recovered.len()));

    stage.narrator.doing("the grace period runs out");
    stage.stripe.days(10).await?;
    if let Some(lost) = failing.last() {
        stage.until(lost, &["CANCELED"]).await?;
        stage
            .narrator
            .told(&format!("after 42 days: {} has not, and is canceled", lost.called()));
    }
    stage.narrator.doing("the second renewals");
    stage.stripe.days(22).await?;
    stage.wait_quiet().await?;
    stage.narrator.told("after 64 days: the second renewals");
    Ok(())
}
