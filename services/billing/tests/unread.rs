//! Objects of thin events that cannot be read: each waits by itself, nobody waits for it, and a person is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::sync::Mutex;

use domain::billing::authority::Binding;
use serde_json::{Value, json};
use support::events::{Event, thin};
use support::{SOON, Shop, World, in_own_world, in_world_with_stripe};
use testkit::{eventually, eventually_some};

const WAITS: &str = "status = 'waiting' AND reason = 'object_not_read'";

fn of_charge(charge: &str) -> Event {
    thin("charge.succeeded", "charge", &format!("/v1/charges/{charge}"))
}

fn of_subscription(shop: &Shop) -> Event {
    let url = format!("/v1/subscriptions/{}", shop.subscription);
    thin("customer.subscription.updated", "subscription", &url)
}

/// Every read below a path is refused so, for good.
async fn refuse(shop: &Shop, path: &str, status: u16) {
    let fault = json!({"path": path, "method": "GET", "kind": "error", "status": status, "chance": 1.0});
    shop.fault(&fault).await;
}

/// Waits for an alert with this key that `fits`.
async fn alert(world: &World, key: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let seen = Mutex::new(Vec::new());
    eventually_some(SOON, || async {
        let new = world.drain("alerts.raise").await;
        let mut seen = seen.lock().unwrap();
        seen.extend(new.into_iter().map(|(_, alert)| alert));
        seen.iter().find(|alert| alert["key"] == key && fits(alert)).cloned()
    })
    .await
}

#[test]
fn a_kind_of_object_that_may_not_be_read_holds_up_no_other_kind_and_a_person_is_told() {
    in_world_with_stripe(async |world, shop| {
        world.register("reader", Some(&shop.customer)).await;
        refuse(&shop, "/v1/charges", 403).await;
        // First what cannot be read, so that whoever looks at the first only never comes to the others.
        let refused: Vec<Event> = (0..5).map(|n| of_charge(&format!("ch_{n}"))).collect();
        for event in &refused {
            assert_eq!(world.decide(event).await.reason, "object_not_read");
        }
        // These come while nothing can be read, and wait as well; then they can be.
        shop.fault(&json!({"path": "/v1/subscriptions", "method": "GET", "kind": 500, "times": 2}))
            .await;
        let readable: Vec<Event> = (0..5).map(|_| of_subscription(&shop)).collect();
        world.send_all(&readable).await;
        for event in &readable {
            world.decided(&event.id).await;
        }
        assert_eq!(world.count("billing_events", WAITS).await, 5);
        alert(&world, "stripe_api_failure:billing/http_403", |_| true).await;
    });
}

#[test]
fn an_object_that_cannot_be_read_comes_back_later_each_time_and_others_of_its_kind_go_on() {
    in_world_with_stripe(async |world, shop| {
        world.register("reader", Some(&shop.customer)).await;
        let charge = shop.get("/v1/charges").await["data"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        refuse(&shop, "/v1/charges/ch_broken", 403).await;
        let broken = of_charge("ch_broken");
        assert_eq!(world.decide(&broken).await.reason, "object_not_read");
        let fine = of_charge(&charge);
        world.send(&fine).await;
        assert_eq!(world.decided(&fine.id).await.outcome, "applied");

        // From the first wait to the fourth at least three, six, twelve and twenty-four seconds, however slow this machine is.
        let waits = "SELECT extract(epoch FROM read_again_at - recorded_at)::float8 FROM billing_events \
                     WHERE stripe_event_id = $1 AND waiting_for IS NOT NULL AND read_failures >= 3";
        let together: f64 = eventually_some(SOON, || async {
            Some(world.sql.query_opt(waits, &[&broken.id]).await.unwrap()?.get(0))
        })
        .await;
        assert!(together >= 45.0, "{together}");
    });
}

#[test]
fn events_that_wait_long_for_their_object_are_told() {
    in_world_with_stripe(async |world, shop| {
        refuse(&shop, "/v1/charges", 403).await;
        let event = of_charge("ch_1");
        assert_eq!(world.decide(&event).await.reason, "object_not_read");
        world
            .sql
            .execute(
                "UPDATE billing_events SET recorded_at = recorded_at - interval '2 hours'",
                &[],
            )
            .await
            .unwrap();
        // It looks when it starts.
        world.start_another();
        let told = alert(&world, "stripe_api_failure:billing/long_wait", |_| true).await;
        assert_eq!(told["details"]["longest"], event.id.as_str());
    });
}

#[test]
fn without_a_key_thin_events_wait_and_one_alert_says_how_many_and_what_is_missing() {
    in_own_world(Binding::FirstUse, async |world| {
        let events: Vec<Event> = (0..3).map(|n| of_charge(&format!("ch_{n}"))).collect();
        world.send_all(&events).await;
        eventually(SOON, || async { world.count("billing_events", WAITS).await == 3 }).await;
        let all = |alert: &Value| alert["details"]["waiting"].as_str() == Some("3");
        let told = alert(&world, "stripe_api_failure:billing/no_key", all).await;
        assert!(
            told["summary"].as_str().unwrap().contains("STRIPE_SECRET_KEY"),
            "{told}"
        );
        assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
    });
}
