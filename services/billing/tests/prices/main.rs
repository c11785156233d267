//! What an agreed price does (BIL-13): another one takes nobody up, and a contract that changes cuts nobody off who pays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod invoices;
#[path = "../support/mod.rs"]
mod support;

use domain::billing::authority::Binding;
use serde_json::{Value, json};
use support::events::{Payer, T0};
use support::{ANNOUNCED, Event, SOON, World, in_own_world, in_shared_world};
use testkit::eventually;

fn at_price(event: &Event, price: &str) -> Event {
    event.with_object(json!({"items": {"data": [{"id": "si_1", "price": {"id": price, "currency": "eur"}}]}}))
}

fn agreed(payer: &Payer, price: Value) -> Value {
    json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer, "contracted_price_id": price})
}

async fn alerts(world: &World) -> Vec<Value> {
    eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
    let drained = world.drain("alerts.raise").await;
    drained.into_iter().map(|(_, body)| body).collect()
}

#[test]
fn another_price_or_currency_than_agreed_is_refused_and_told() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("priced");
        let body = json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer,
            "contracted_price_id": "price_1", "contracted_currency": "EUR"});
        assert_eq!(world.put(&payer.client, &body).await.0, 201);
        let price = |id: &str, currency: &str| json!({"currency": currency, "items": {"data": [{"id": "si_1", "price": {"id": id, "currency": currency}}]}});
        let active = |at| payer.subscription("updated", at, "active");
        world.decide(&active(T0).with_object(price("price_2", "eur"))).await;
        world.decide(&active(T0 + 1).with_object(price("price_1", "usd"))).await;
        assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");
        for (decision, shown) in world.timeline(&payer.client).await.iter().zip(["price_2", "price_1"]) {
            assert_eq!(decision.short(), "rejected/authority/price_not_contracted");
            assert_eq!(decision.details["expected"]["price"], "price_1");
            assert_eq!(decision.details["found"]["prices"], json!([shown]));
        }
        let explanation = world.get(&format!("/api/clients/{}/explanation", payer.client)).await.1;
        let why = explanation["why"].as_str().unwrap();
        assert!(why.contains("is at price_1 in usd; agreed is price_1 in eur."), "{why}");
        world.decide(&active(T0 - 1).with_object(price("price_1", "eur"))).await;
        assert_eq!(
            world.state(&payer.client).await,
            "ACTIVE",
            "what was refused left nothing behind"
        );
        let alerts = alerts(&world).await;
        assert_eq!(alerts.len(), 2);
        assert_eq!(alerts[0]["key"], format!("plan_application:{}", payer.client));
        let told = |alert: &Value| {
            (
                alert["details"]["agreed_price"].clone(),
                alert["details"]["billed_price"].clone(),
            )
        };
        assert_eq!(told(&alerts[0]), (json!("price_1"), json!("price_2")));
    });
}

/// A price can be had in several currencies; what its object shows is the default one.
#[test]
fn the_currency_is_the_one_that_the_subscription_is_charged_in() {
    in_own_world(Binding::FirstUse, async |world| {
        for (charged, default, state) in [("eur", "usd", "ACTIVE"), ("usd", "eur", "TRIAL_PENDING")] {
            let payer = Payer::new(charged);
            let body = json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer,
                "contracted_price_id": "price_1", "contracted_currency": "eur"});
            assert_eq!(world.put(&payer.client, &body).await.0, 201);
            let event = payer.subscription("updated", T0, "active").with_object(json!({
                "currency": charged, "items": {"data": [{"id": "si_1", "price": {"id": "price_1", "currency": default}}]},
            }));
            world.decide(&event).await;
            assert_eq!(world.state(&payer.client).await, state, "charged in {charged}");
        }
    });
}

/// Plans of the years before prices are called what their owner called them.
#[test]
fn a_plan_with_a_name_of_its_owners_is_like_any_other() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("named");
        let plan = "Gold plan (\u{20ac})";
        assert_eq!(world.put(&payer.client, &agreed(&payer, json!(plan))).await.0, 201);
        let (status, body) = world.put(&payer.client, &agreed(&payer, json!("Gold\nplan"))).await;
        assert_eq!((status, &body["field"]), (400, &json!("contracted_price_id")), "{body}");
        world
            .decide(&at_price(&payer.subscription("updated", T0, "active"), plan))
            .await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        let shown = world.get(&format!("/api/clients/{}", payer.client)).await.1;
        assert_eq!(shown["contracted_price_id"], plan, "{shown:#}");
        let ended = payer.subscription("deleted", T0 + 10, "canceled");
        world
            .decide(&at_price(&ended, plan).with_object(json!({"canceled_at": T0 + 10, "ended_at": T0 + 10})))
            .await;
        assert_eq!(world.state(&payer.client).await, "CANCELED");
    });
}

#[test]
fn the_agreed_price_may_be_any_item_of_the_subscription() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("several");
        let body = json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer,
            "contracted_price_id": "price_1"});
        assert_eq!(world.put(&payer.client, &body).await.0, 201);
        let items = |prices: &[&str]| {
            let item = |price: &&str| json!({"id": format!("si_{price}"), "price": {"id": price, "currency": "eur"}});
            json!({"items": {"data": prices.iter().map(item).collect::<Vec<_>>()}})
        };
        let with = |at, prices: &[&str]| payer.subscription("updated", at, "active").with_object(items(prices));
        let without_it = world.decide(&with(T0, &["price_seat", "price_support"])).await;
        assert_eq!(without_it.reason, "price_not_contracted");
        let second = world.decide(&with(T0 + 1, &["price_seat", "price_1"])).await;
        assert_eq!(second.outcome, "applied");
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
    });
}

#[test]
fn a_price_that_is_agreed_no_more_is_taken_out_by_null_and_what_it_refused_is_decided_again() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("released");
        let contract = |price: Value| {
            json!({"org_id": "org_1", "payment_source": "STRIPE", "stripe_customer_id": payer.customer,
                "contracted_price_id": price})
        };
        assert_eq!(world.put(&payer.client, &contract(json!("price_2"))).await.0, 201);
        let event = payer.subscription("updated", T0, "active");
        assert_eq!(world.decide(&event).await.reason, "price_not_contracted");
        world.register(&payer.client, None).await;
        assert_eq!(
            world.client(&payer.client).await["contracted_price_id"],
            "price_2",
            "absent: as before"
        );
        let (status, body) = world.put(&payer.client, &contract(Value::Null)).await;
        assert_eq!((status, &body["contracted_price_id"]), (200, &Value::Null));
        testkit::eventually(SOON, || async { world.state(&payer.client).await == "ACTIVE" }).await;
    });
}

#[test]
fn another_price_than_agreed_takes_a_client_down_that_does_not_pay_and_never_up() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("lowered");
        assert_eq!(world.put(&payer.client, &agreed(&payer, json!("price_1"))).await.0, 201);
        world.decide(&payer.subscription("updated", T0, "active")).await;
        let steps = [
            ("active", "rejected/authority/price_not_contracted", "ACTIVE"),
            ("past_due", "applied/state_changed ACTIVE→PAST_DUE", "PAST_DUE"),
            ("unpaid", "rejected/authority/price_not_contracted", "PAST_DUE"),
            ("active", "applied/state_changed PAST_DUE→ACTIVE", "ACTIVE"),
            ("paused", "applied/state_changed ACTIVE→PAUSED", "PAUSED"),
        ];
        for (at, (status, told, state)) in (T0 + 1..).zip(steps) {
            let event = at_price(&payer.subscription("updated", at, status), "price_2");
            world.decide(&event).await;
            assert_eq!(
                world.timeline(&payer.client).await.pop().unwrap().short(),
                told,
                "{status}"
            );
            assert_eq!(world.state(&payer.client).await, state, "{status}");
        }
        assert_eq!(alerts(&world).await.len(), steps.len(), "each is told");
        // One that was never seen at the agreed price takes nobody up, whatever else it was.
        let other = Payer::new("never");
        assert_eq!(world.put(&other.client, &agreed(&other, json!("price_1"))).await.0, 201);
        for (at, status) in (T0..).zip(["trialing", "past_due", "active"]) {
            world
                .decide(&at_price(&other.subscription("updated", at, status), "price_2"))
                .await;
            assert_eq!(world.state(&other.client).await, "TRIAL_PENDING", "{status}");
        }
    });
}

#[test]
fn a_price_that_is_agreed_later_cuts_nobody_off_who_is_known_to_pay() {
    in_shared_world(async |world| {
        let payer = Payer::new("pays");
        world.register(&payer.client, Some(&payer.customer)).await;
        world.decide(&payer.first_invoice("paid", T0, "in_pays_1")).await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        assert_eq!(world.put(&payer.client, &agreed(&payer, json!("price_1"))).await.0, 200);
        let next = world.decide(&payer.invoice("paid", T0 + 2_592_000, "in_pays_2")).await;
        assert_eq!(
            (next.outcome.as_str(), next.reason.as_str()),
            ("applied", "facts_recorded")
        );
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["version"].as_i64()),
            (Some("ACTIVE"), Some(1))
        );
        // A change of plan that our side writes down before Stripe does it.
        let seen = payer.subscription("updated", T0 + 2_592_001, "active");
        world.decide(&seen).await;
        assert_eq!(world.put(&payer.client, &agreed(&payer, json!("price_2"))).await.0, 200);
        assert_eq!(world.client(&payer.client).await["version"], 1);
        world
            .decide(&at_price(
                &payer.subscription("updated", T0 + 2_592_002, "active"),
                "price_2",
            ))
            .await;
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["version"].as_i64()),
            (Some("ACTIVE"), Some(1))
        );
    });
}

#[test]
fn a_change_of_the_contract_changes_the_state_at_once_and_is_named_as_the_cause() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("cause");
        assert_eq!(world.put(&payer.client, &agreed(&payer, json!("price_2"))).await.0, 201);
        let event = payer.subscription("updated", T0, "active");
        assert_eq!(world.decide(&event).await.reason, "price_not_contracted");
        let (status, body) = world.put(&payer.client, &agreed(&payer, Value::Null)).await;
        assert_eq!(
            (status, body["state"].as_str(), body["version"].as_i64()),
            (200, Some("ACTIVE"), Some(1))
        );
        assert_eq!(body["stripe_subscription_id"], payer.subscription.as_str());
        eventually(SOON, || async { world.broker.ready(ANNOUNCED).await == Some(1) }).await;
        let (_, change) = world.drain(ANNOUNCED).await.remove(0);
        assert_eq!(
            (&change["from"], &change["to"], &change["version"]),
            (&json!("TRIAL_PENDING"), &json!("ACTIVE"), &json!(1))
        );
        assert_eq!(change["cause"]["type"], "registration");
        let cause = change["cause"]["event_id"].as_str().unwrap();
        assert!(cause.starts_with("registration:"), "{cause}");
        let timeline = world.timeline(&payer.client).await;
        let told = timeline.iter().find(|told| told.event == cause).unwrap();
        assert_eq!(told.short(), "applied/state_changed TRIAL_PENDING→ACTIVE");
        // The event is decided again, and finds what it says known.
        eventually(SOON, || async { world.row(&event.id).await.outcome != "rejected" }).await;
        assert_eq!(world.decided(&event.id).await.reason, "snapshot_known");
        // The same again is no change.
        assert_eq!(
            world.put(&payer.client, &agreed(&payer, Value::Null)).await.1["version"],
            1
        );
    });
}

/// The property of the domain (`a_contract_that_comes_after_the_facts_finds_what_one_before_them_would`), through the service.
#[test]
fn a_contract_after_the_facts_comes_to_what_one_before_them_does() {
    in_shared_world(async |world| {
        let cases: [fn(&Payer) -> Vec<Event>; 5] = [
            |payer| vec![payer.checkout(T0, &format!("cs_{}", payer.client), None)],
            |payer| {
                let invoice = format!("in_{}", payer.client);
                vec![
                    payer.first_invoice("paid", T0, &invoice),
                    payer.invoice("payment_failed", T0 + 100, &format!("{invoice}_2")),
                ]
            },
            |payer| vec![payer.subscription("updated", T0, "active")],
            |payer| {
                vec![
                    payer.subscription("updated", T0, "active"),
                    at_price(&payer.subscription("deleted", T0 + 1, "canceled"), "price_2"),
                ]
            },
            |payer| vec![at_price(&payer.subscription("updated", T0, "active"), "price_2")],
        ];
        for (number, case) in cases.iter().enumerate() {
            // With the price taken out every fact counts. With one added, what was paid before counts on where the price came later, and is
            // not as agreed where it came first: that difference is meant.
            for (before, after) in [(json!("price_1"), Value::Null), (Value::Null, json!("price_1"))] {
                if [0, 1, 4].contains(&number) && before.is_null() {
                    continue;
                }
                let mut ends = Vec::new();
                for contract_first in [true, false] {
                    let payer = Payer::new("either");
                    let first = if contract_first { &after } else { &before };
                    assert_eq!(world.put(&payer.client, &agreed(&payer, first.clone())).await.0, 201);
                    for event in case(&payer) {
                        world.decide(&event).await;
                    }
                    if !contract_first {
                        assert_eq!(world.put(&payer.client, &agreed(&payer, after.clone())).await.0, 200);
                    }
                    let client = world.client(&payer.client).await;
                    let end = |name: &str| client[name].clone();
                    ends.push((
                        end("state"),
                        end("current_period_end"),
                        end("stripe_subscription_id").is_null(),
                    ));
                }
                assert_eq!(ends[0], ends[1], "case {number}, {before} then {after}");
            }
        }
    });
}
