//! Money goes back: a refund in part, and a payment that its owner's bank disputes.

use anyhow::Context;
use serde_json::json;

use crate::demo::cast::Player;
use crate::demo::stage::{Stage, VISA};
use crate::demo::stripe::text;

pub(super) async fn play(stage: &Stage) -> anyhow::Result<()> {
    let refunded = paying(stage).await?;
    let charge = charge(stage, &refunded).await?;
    let fields = [("charge", charge.as_str()), ("amount", "500")];
    let refund = text(&stage.stripe.post("/v1/refunds", &fields).await?, "/id")?;
    let disputed = paying(stage).await?;
    let charge = self::charge(stage, &disputed).await?;
    let opened = json!({"act": "create_dispute", "charge": charge, "reason": "fraudulent", "status": "needs_response"});
    let dispute = text(&stage.stripe.sim("act", &opened).await?, "/id")?;
    let closed = json!({"act": "close_dispute", "dispute": dispute, "status": "lost"});
    stage.stripe.sim("act", &closed).await?;
    stage.narrator.told(&format!(
        "{} gets 5 € back; {}'s bank takes a payment back, for good: neither is cut off by it",
        refunded.called(),
        disputed.called()
    ));
    stage.mark(|marks| {
        marks.money_back.push((refunded.id.clone(), refund, "succeeded"));
        marks.money_back.push((disputed.id.clone(), dispute, "lost"));
    });
    Ok(())
}

/// Somebody new who pays.
async fn paying(stage: &Stage) -> anyhow::Result<Player> {
    let mut player = stage.newcomer(Some(VISA)).await?;
    stage.subscribe(&mut player, &stage.prices.team, &[]).await?;
    stage.cast.keep(player.clone());
    Ok(player)
}

/// The charge that a player has paid with.
async fn charge(stage: &Stage, player: &Player) -> anyhow::Result<String> {
    let customer = player.customers.last().context("a customer")?;
    let charges = stage.stripe.list("/v1/charges", &[("customer", customer)]).await?;
    text(charges.first().context("a charge")?, "/id")
}
