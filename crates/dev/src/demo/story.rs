//! The story, chapter by chapter. Everything that happens to Stripe happens by its HTTP API, as an outsider would do it.

mod attacks;
mod beginnings;
mod changes;
mod escrows;
mod money_back;
mod time;

use serde_json::json;

use super::stage::{Prices, Stage};
use super::stripe::text;

/// What a chapter is called, in an error and above its lines.
pub(super) type Title = &'static str;

/// Plays everything. On an error the title of the chapter comes with it.
pub(super) async fn play(stage: &mut Stage) -> Result<(), (Title, anyhow::Error)> {
    macro_rules! chapter {
        ($title:literal, $play:expr) => {
            stage.narrator.chapter($title);
            $play.await.map_err(|error| ($title, error))?;
        };
    }
    chapter!("The shop opens", open(stage));
    chapter!("Subscriptions start", beginnings::play(stage));
    chapter!("The network misbehaves", disorder(stage));
    chapter!("People change their minds", changes::play(stage));
    chapter!("Money goes back", money_back::play(stage));
    chapter!("Held for others", escrows::play(stage));
    chapter!("Strangers and forgers", attacks::play(stage));
    chapter!("Two months go by", time::play(stage));
    chapter!("The dust settles", settle(stage));
    Ok(())
}

async fn open(stage: &mut Stage) -> anyhow::Result<()> {
    let product = text(
        &stage
            .stripe
            .post("/v1/products", &[("name", "Notebook in the cloud")])
            .await?,
        "/id",
    )?;
    let mut prices = Vec::new();
    for cents in ["1900", "4900", "9900"] {
        let fields = [
            ("product", product.as_str()),
            ("unit_amount", cents),
            ("currency", "eur"),
            ("recurring[interval]", "month"),
        ];
        prices.push(text(&stage.stripe.post("/v1/prices", &fields).await?, "/id")?);
    }
    if let Ok([starter, team, business]) = <[String; 3]>::try_from(prices) {
        stage.prices = Prices {
            starter,
            team,
            business,
        };
    }
    stage
        .stripe
        .sim(
            "settings",
            &json!({"retry_after_days": [3, 5], "after_retries": "cancel"}),
        )
        .await?;
    stage
        .narrator
        .told("three plans: Starter 19 €, Team 49 €, Business 99 € a month");
    Ok(())
}

/// From here on to the end.
async fn disorder(stage: &Stage) -> anyhow::Result<()> {
    let faults = json!({
        "reorder": 0.3, "window": 6, "hold_ms": 150, "duplicate": 0.15, "delay": 0.1, "delay_ms": 250, "twin": 0.05,
    });
    stage.stripe.sim("faults", &faults).await?;
    stage
        .narrator
        .told("from now on 30 % of deliveries are out of order, 15 % come twice, 10 % late, 5 % under a second id");
    Ok(())
}

async fn settle(stage: &Stage) -> anyhow::Result<()> {
    stage.stripe.behave().await?;
    stage
        .narrator
        .doing("waiting until every delivery is decided and every queue is empty");
    if stage.settle().await? {
        stage.narrator.told("no delivery is left, every queue is empty");
    } else {
        stage
            .narrator
            .missed("something is left that does not move; the promises below say what");
    }
    Ok(())
}
