//! What escrow tells about its events in its metrics. The recorder is the process's, so that this test has a process of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::json;
use support::{SOON, World, in_world, unique};

async fn metrics(world: &World) -> String {
    let url = format!("http://{}/metrics", world.address);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// The value of a series; 0 where there is none.
async fn value(world: &World, series: &str) -> f64 {
    let text = metrics(world).await;
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn every_decision_is_counted_by_its_guard_and_how_late_it_came() {
    in_world(|world| async move {
        let account = world.account().await;
        let mut terms = world.terms(&account);
        terms["capture"] = json!("automatic");
        let body = world.escrow(&terms).await;
        let paid = world.confirm(&body["payment_intent_id"], "pm_card_bypassPending").await;
        let event = |id: &str| {
            json!({
                "id": id, "object": "event", "type": "payment_intent.succeeded", "created": world.clock.unix_seconds() - 10,
                "livemode": false, "api_version": "2026-09-30.endive", "data": {"object": paid},
            })
        };
        let (first, second) = (unique("evt_paid"), unique("evt_paid"));
        let mut foreign = event(&unique("evt_paid"));
        let object = &mut foreign["data"]["object"];
        (object["id"], object["latest_charge"], object["metadata"]) =
            (json!("pi_foreign"), json!("ch_foreign"), json!({}));
        for (event, outcome, guard) in [
            (event(&first), "applied", "none"),
            (event(&first), "duplicate", "idempotency"),
            (event(&second), "semantic_duplicate", "intent"),
            (foreign, "ignored", "none"),
        ] {
            let series = format!("holdfast_decisions_total{{outcome=\"{outcome}\",guard=\"{guard}\"}}");
            world.deliver(&event, "platform").await;
            testkit::eventually(SOON, || async { value(&world, &series).await == 1.0 }).await;
        }
        assert_eq!(value(&world, "holdfast_event_lag_seconds_count").await, 4.0);
        let late = value(&world, "holdfast_event_lag_seconds_sum").await;
        assert!((40.0..60.0).contains(&late), "{late}");
    });
}
