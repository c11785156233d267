//! Breaks something on purpose, so that people (and a test) see that the promises are checks and not decoration.

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;

use super::stage::{Stage, VISA};
use super::stripe::text;

/// What is broken.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Sabotage {
    /// A row of the archive is deleted.
    Archive,
    /// A body in the archive gets one more space.
    Body,
    /// Stripe loses the deliveries of a cancellation.
    Delivery,
    /// A client's state is changed by hand.
    State,
    /// Somebody pays a seller once more at Stripe, past Holdfast.
    Money,
}

impl Sabotage {
    pub(super) async fn act(self, stage: &Stage) -> anyhow::Result<()> {
        let run = |statement: &'static str| async move {
            let done = stage.database.batch_execute(statement).await;
            done.with_context(|| format!("sabotage: {statement}"))
        };
        match self {
            Self::Archive => {
                run("DELETE FROM billing_events WHERE (stripe_event_id, created) IN
                     (SELECT stripe_event_id, created FROM billing_events ORDER BY recorded_at DESC LIMIT 1)")
                .await
            }
            Self::Body => {
                run(
                    "UPDATE billing_events SET payload = payload || ' ' WHERE (stripe_event_id, created) IN
                     (SELECT stripe_event_id, created FROM billing_events ORDER BY recorded_at DESC LIMIT 1)",
                )
                .await
            }
            Self::State => {
                run("UPDATE client_billing SET state = 'CANCELED' WHERE client_id IN
                     (SELECT client_id FROM client_billing WHERE state = 'ACTIVE' ORDER BY updated_at DESC LIMIT 1)")
                .await
            }
            Self::Money => {
                let id = stage.marks().deals.first().context("no escrow")?.id.clone();
                let escrow = stage.door.escrow(&id).await?;
                let account = text(&escrow, "/recipients/0/account")?;
                let fields = [
                    ("amount", "100"),
                    ("currency", "eur"),
                    ("destination", account.as_str()),
                    ("transfer_group", id.as_str()),
                ];
                stage.stripe.post("/v1/transfers", &fields).await?;
                stage.settle().await.map(drop)
            }
            Self::Delivery => {
                let mut player = stage.newcomer(Some(VISA)).await?;
                stage.subscribe(&mut player, &stage.prices.team, &[]).await?;
                stage.cast.keep(player.clone());
                stage.settle().await?;
                stage.stripe.sim("faults", &json!({"drop": 1.0})).await?;
                stage.cancel(&player.subscription).await?;
                stage.stripe.behave().await?;
                stage.settle().await.map(drop)
            }
        }
    }
}
