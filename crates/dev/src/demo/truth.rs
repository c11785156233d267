//! The state that each client should be in, by the words of requirement BIL-1 and Stripe's own subscriptions as they are now.
//!
//! Written without a look at `domain`, which derives the same from events: two ways to one answer. It has to stay apart.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::cast::{Player, Source};
use super::stripe::{Stripe, text};

const AT_ONCE: usize = 8;

/// By client id.
pub(super) async fn states(stripe: &Stripe, players: &[Player]) -> anyhow::Result<BTreeMap<String, String>> {
    let asked = stream::iter(players).map(|player| async move {
        let state = state(stripe, player).await?;
        anyhow::Ok((player.id.clone(), state.to_owned()))
    });
    asked.buffer_unordered(AT_ONCE).try_collect().await
}

async fn state(stripe: &Stripe, player: &Player) -> anyhow::Result<&'static str> {
    let mut heard: Option<((u8, i64), &'static str)> = None;
    if player.source == Source::Stripe {
        for customer in &player.customers {
            let all = [("customer", customer.as_str()), ("status", "all")];
            for subscription in stripe.list("/v1/subscriptions", &all).await? {
                if !is_as_agreed(player, &subscription) {
                    continue;
                }
                let (voice, state) = says(&subscription)?;
                let start = subscription
                    .get("start_date")
                    .and_then(Value::as_i64)
                    .context("start_date")?;
                if heard.is_none_or(|(loudest, _)| (voice, start) > loudest) {
                    heard = Some(((voice, start), state));
                }
            }
        }
    }
    // Where no subscription speaks, the contract does.
    Ok(heard.map_or("TRIAL_PENDING", |(_, state)| state))
}

/// A contracted price is the only one that activates (BIL-13).
fn is_as_agreed(player: &Player, subscription: &Value) -> bool {
    let price = subscription.pointer("/items/data/0/price/id").and_then(Value::as_str);
    player
        .contracted_price
        .as_deref()
        .is_none_or(|agreed| price == Some(agreed))
}

/// How loudly a subscription speaks, and what it says.
fn says(subscription: &Value) -> anyhow::Result<(u8, &'static str)> {
    let status = text(subscription, "/status")?;
    let is_over = matches!(status.as_str(), "canceled" | "incomplete_expired");
    let is_paused = subscription
        .get("pause_collection")
        .is_some_and(|pause| !pause.is_null());
    Ok(match status.as_str() {
        _ if is_paused && !is_over && status != "incomplete" => (3, "PAUSED"),
        "active" => (7, "ACTIVE"),
        "trialing" => (6, "TRIAL_ACTIVE"),
        "past_due" => (5, "PAST_DUE"),
        "unpaid" => (4, "PAST_DUE"),
        "paused" => (3, "PAUSED"),
        "incomplete" => (2, "TRIAL_PENDING"),
        "canceled" | "incomplete_expired" => (1, "CANCELED"),
        other => bail!("Stripe has no status {other}"),
    })
}
