//! The first slice, end to end: a client is registered, its subscription lives, its states are announced (BIL-1, BIL-7 to BIL-10).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use bus::headers;
use domain::billing::authority::Binding;
use serde_json::{Value, json};
use stripe_gateway::fixtures::{self, Version};
use support::events::{Payer, T0, merge};
use support::{ANNOUNCED, Event, SOON, in_own_world, in_shared_world, unique};

/// A fixture of Stripe's own shape, spoken for another client.
fn fixture(kind: &str, version: Version, payer: &Payer, at: i64, object: Value) -> Event {
    let body = fixtures::find(kind, version)
        .unwrap()
        .body
        .replace(fixtures::CUSTOMER_ID, &payer.customer)
        .replace(fixtures::SUBSCRIPTION_ID, &payer.subscription)
        .replace(fixtures::CLIENT_ID, &payer.client);
    let event: Value = serde_json::from_str(&body).unwrap();
    let event = merge(
        event,
        json!({"id": unique("evt"), "created": at, "data": {"object": object}}),
    );
    Event::of_json(event)
}

fn life(version: Version, payer: &Payer) -> Vec<(Event, &'static str)> {
    let of = |kind: &str, at: i64, object: Value| fixture(kind, version, payer, T0 + at, object);
    vec![
        (
            of("customer.subscription.created", 0, json!({"status": "incomplete"})),
            "applied/facts_recorded TRIAL_PENDING→TRIAL_PENDING",
        ),
        (
            of("customer.subscription.updated", 10, json!({"status": "trialing"})),
            "applied/state_changed TRIAL_PENDING→TRIAL_ACTIVE",
        ),
        (
            of("customer.subscription.updated", 20, json!({"status": "active"})),
            "applied/state_changed TRIAL_ACTIVE→ACTIVE",
        ),
        (
            of(
                "invoice.paid",
                21,
                json!({"id": "in_first_".to_owned() + &payer.client}),
            ),
            "applied/facts_recorded ACTIVE→ACTIVE",
        ),
        (
            of(
                "invoice.payment_succeeded",
                22,
                json!({"id": "in_first_".to_owned() + &payer.client}),
            ),
            "semantic_duplicate/intent/act_known",
        ),
        (
            of(
                "invoice.payment_failed",
                900,
                json!({"id": "in_next_".to_owned() + &payer.client}),
            ),
            "applied/facts_recorded ACTIVE→ACTIVE",
        ),
        (
            of("customer.subscription.updated", 901, json!({"status": "past_due"})),
            "applied/state_changed ACTIVE→PAST_DUE",
        ),
        (
            of("customer.subscription.updated", 15, json!({"status": "active"})),
            "stale/order/newer_snapshot_known",
        ),
        (
            of("customer.subscription.updated", 1000, json!({"status": "active"})),
            "applied/state_changed PAST_DUE→ACTIVE",
        ),
        (
            of(
                "customer.subscription.updated",
                1100,
                json!({"status": "active", "pause_collection": {"behavior": "void"}}),
            ),
            "applied/state_changed ACTIVE→PAUSED",
        ),
        (
            of("customer.subscription.paused", 1200, json!({"status": "paused"})),
            "applied/facts_recorded PAUSED→PAUSED",
        ),
        (
            of("customer.subscription.resumed", 1300, json!({"status": "active"})),
            "applied/state_changed PAUSED→ACTIVE",
        ),
        (
            of("customer.subscription.updated", 1400, json!({"status": "unpaid"})),
            "applied/state_changed ACTIVE→PAST_DUE",
        ),
        (
            of("customer.subscription.deleted", 1500, json!({})),
            "applied/state_changed PAST_DUE→CANCELED",
        ),
        (
            of("customer.subscription.updated", 1600, json!({"status": "active"})),
            "rejected/transition/subscription_has_ended",
        ),
    ]
}

#[test]
fn a_life_in_each_api_version_is_decided_told_and_announced() {
    in_own_world(Binding::FirstUse, async |world| {
        for version in Version::ALL {
            let payer = Payer::new("life");
            let (status, body) = world
                .put(
                    &payer.client,
                    &json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer}),
                )
                .await;
            assert_eq!(
                (status, body["state"].as_str(), body["version"].as_i64()),
                (201, Some("TRIAL_PENDING"), Some(0))
            );
            let life = life(version, &payer);
            for (event, told) in &life {
                let row = world.decide(event).await;
                assert_eq!(row.payload, event.body, "byte for byte");
                assert_eq!(row.status, "decided");
                let last = world.timeline(&payer.client).await.pop().unwrap();
                assert_eq!(
                    (last.event.as_str(), last.short().as_str()),
                    (event.id.as_str(), *told),
                    "{version:?} {}",
                    event.kind
                );
            }
            assert_eq!(
                world.timeline(&payer.client).await.len(),
                life.len(),
                "one decision per event"
            );

            let client = world.client(&payer.client).await;
            assert_eq!(client["state"], "CANCELED");
            assert_eq!(client["version"], 8);
            assert_eq!(client["stripe_subscription_id"], payer.subscription.as_str());
            assert_eq!(
                client["current_period_end"], "2026-11-01T12:00:00Z",
                "wherever the version has it"
            );
            assert_eq!(client["last_event"]["type"], "customer.subscription.deleted");

            testkit::eventually(SOON, || async { world.broker.ready(ANNOUNCED).await == Some(8) }).await;
            let announced = world.drain(ANNOUNCED).await;
            let steps: Vec<(i64, String)> = announced
                .iter()
                .map(|(kind, body)| {
                    assert_eq!(kind, "client.state_changed");
                    assert_eq!(
                        (body["client_id"].as_str(), body["org_id"].as_str()),
                        (Some(payer.client.as_str()), Some("org_1"))
                    );
                    (
                        body["version"].as_i64().unwrap(),
                        format!("{}→{}", body["from"].as_str().unwrap(), body["to"].as_str().unwrap()),
                    )
                })
                .collect();
            let wanted = [
                "TRIAL_PENDING→TRIAL_ACTIVE",
                "TRIAL_ACTIVE→ACTIVE",
                "ACTIVE→PAST_DUE",
                "PAST_DUE→ACTIVE",
                "ACTIVE→PAUSED",
                "PAUSED→ACTIVE",
                "ACTIVE→PAST_DUE",
                "PAST_DUE→CANCELED",
            ];
            assert_eq!(steps, (1..).zip(wanted.map(ToOwned::to_owned)).collect::<Vec<_>>());
            testkit::eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
        }
    });
}

#[test]
fn announcements_of_a_burst_come_in_the_order_of_versions() {
    in_shared_world(async |world| {
        let payer = Payer::new("burst");
        world.register(&payer.client, Some(&payer.customer)).await;
        for step in 0..40 {
            let status = if step % 2 == 0 { "active" } else { "past_due" };
            world.send(&payer.subscription("updated", T0 + step, status)).await;
        }
        testkit::eventually(SOON, || async {
            world.client(&payer.client).await["state"] == "PAST_DUE"
                && world
                    .count("billing_events", &format!("client_id = '{}'", payer.client))
                    .await
                    == 40
        })
        .await;
        let version = world.client(&payer.client).await["version"].as_i64().unwrap();
        testkit::eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
        let versions: Vec<i64> = world
            .drain(ANNOUNCED)
            .await
            .iter()
            .filter(|(_, body)| body["client_id"] == payer.client.as_str())
            .map(|(_, body)| body["version"].as_i64().unwrap())
            .collect();
        assert_eq!(versions, (1..=version).collect::<Vec<_>>());
    });
}

#[test]
fn what_follows_from_an_event_is_in_the_trace_of_its_delivery() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("traced");
        world.register(&payer.client, Some(&payer.customer)).await;
        let place = |trace: char| format!("00-{}-00f067aa0ba902b7-01", trace.to_string().repeat(32));
        let starts = payer.subscription("created", T0, "active");
        let fails = payer.subscription("updated", T0 + 1, "past_due");
        let victim = unique("victim");
        let unpaying = json!({"org_id": "org_1", "payment_source": "NONE"});
        assert_eq!(world.put(&victim, &unpaying).await.0, 201);
        let spoofs = Payer::new("spoofer").checkout(T0, "cs_spoof", Some(&victim));
        let said = [(&starts, 'a'), (&fails, 'b'), (&spoofs, 'c')];
        for (event, trace) in said {
            let mut message = event.message();
            message.headers.set_str(headers::TRACEPARENT, place(trace));
            world.publish(message).await;
            // One after the other: of two that are decided at once either may be the first.
            world.decided(&event.id).await;
        }
        testkit::eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
        let changes = world.drain_traces(ANNOUNCED).await;
        let alerts = world.drain_traces("alerts.raise").await;
        let caused = changes
            .iter()
            .map(|(place, body)| (&body["cause"]["event_id"], place.as_deref()))
            .chain(
                alerts
                    .iter()
                    .map(|(place, body)| (&body["details"]["event_id"], place.as_deref())),
            );
        let mut found = 0;
        for (cause, told) in caused {
            let (_, trace) = said.iter().find(|(event, _)| *cause == *event.id).unwrap();
            assert_eq!(told, Some(place(*trace).as_str()), "{cause}");
            found += 1;
        }
        assert_eq!((found, changes.len()), (3, 2), "{changes:?} {alerts:?}");
    });
}

#[test]
fn a_client_that_was_canceled_comes_back_by_another_subscription() {
    in_shared_world(async |world| {
        let payer = Payer::new("again");
        world.register(&payer.client, Some(&payer.customer)).await;
        world.decide(&payer.subscription("created", T0, "active")).await;
        world.decide(&payer.subscription("deleted", T0 + 10, "canceled")).await;
        assert_eq!(world.state(&payer.client).await, "CANCELED");
        let next = payer.with_subscription("next");
        world.decide(&next.subscription("created", T0 + 20, "active")).await;
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["version"].as_i64()),
            (Some("ACTIVE"), Some(3))
        );
        assert_eq!(client["stripe_subscription_id"], next.subscription.as_str());
    });
}

/// Stripe tries an invoice again for weeks. Where payments are all that is heard, the newest invoice says how the client stands, as it does for
/// the subscription's own status.
#[test]
fn an_older_invoice_that_is_tried_again_changes_nothing_for_who_is_known_by_payments() {
    const MONTH: i64 = 30 * 86_400;
    in_shared_world(async |world| {
        let payer = Payer::new("retried");
        world.register(&payer.client, Some(&payer.customer)).await;
        let bill = |number: i64, kind: &str, at: i64| {
            let made = T0 + number * MONTH;
            payer
                .invoice(kind, made + at, &format!("in_{}_{number}", payer.client))
                .with_object(json!({"created": made}))
        };
        let states = [
            (bill(0, "paid", 60), "ACTIVE"),
            (bill(1, "payment_failed", 60), "PAST_DUE"),
            (bill(2, "paid", 60), "ACTIVE"),
            // The last attempt at the one before.
            (bill(1, "payment_failed", MONTH + 3 * 86_400), "ACTIVE"),
            (bill(3, "payment_failed", 60), "PAST_DUE"),
            (bill(1, "paid", 3 * MONTH), "PAST_DUE"),
            (bill(3, "payment_failed", 86_400), "PAST_DUE"),
            (bill(3, "paid", 2 * 86_400), "ACTIVE"),
        ];
        for (event, state) in states {
            world.decide(&event).await;
            assert_eq!(world.state(&payer.client).await, state, "{event:?}");
        }
        let timeline = world.timeline(&payer.client).await;
        let again = timeline
            .iter()
            .filter(|decided| decided.short().starts_with("semantic_duplicate/intent"))
            .count();
        assert_eq!(again, 2, "that the last one that failed fails again says nothing new");
    });
}
