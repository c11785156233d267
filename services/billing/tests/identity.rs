//! The current subscription (BIL-5), business acts (BIL-4), and the rules that ignore by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use serde_json::json;
use support::events::{Event, Payer, T0, permutations};
use support::{Decided, World, in_shared_world};

async fn told(world: &World, client: &str) -> Vec<String> {
    world.timeline(client).await.iter().map(Decided::short).collect()
}

#[test]
fn an_upgrade_never_cuts_a_paying_client_off_in_any_order() {
    in_shared_world(async |world| {
        for order in permutations(&[0, 1, 2, 3]) {
            let payer = Payer::new("upgrade");
            let next = payer.with_subscription("next");
            world.register(&payer.client, Some(&payer.customer)).await;
            let later = |event: Event| event.with_object(json!({"start_date": T0 + 100, "created": T0 + 100}));
            let events = [
                payer.subscription("created", T0, "active"),
                later(next.subscription("created", T0 + 100, "active")),
                payer.subscription("deleted", T0 + 101, "canceled"),
                later(next.subscription("updated", T0 + 102, "active")),
            ];
            let mut upgraded = false;
            for step in &order {
                world.decide(&events[*step]).await;
                upgraded |= matches!(step, 1 | 3);
                if upgraded {
                    assert_eq!(world.state(&payer.client).await, "ACTIVE", "{order:?}");
                }
            }
            let client = world.client(&payer.client).await;
            assert_eq!(
                (client["state"].as_str(), client["stripe_subscription_id"].as_str()),
                (Some("ACTIVE"), Some(next.subscription.as_str())),
                "{order:?}"
            );
        }
    });
}

#[test]
fn a_deletion_counts_only_for_the_current_subscription_and_when_it_was_really_canceled() {
    in_shared_world(async |world| {
        let payer = Payer::new("deleted");
        let old = payer.with_subscription("old");
        world.register(&payer.client, Some(&payer.customer)).await;
        world.decide(&payer.subscription("created", T0, "active")).await;
        world.decide(&old.subscription("deleted", T0 + 1, "canceled")).await;
        assert_eq!(
            told(&world, &payer.client).await.pop().unwrap(),
            "ignored/identity/not_the_current_subscription"
        );
        let unreal = payer.subscription("deleted", T0 + 2, "active");
        let row = world.decide(&unreal).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("ignored", "deletion_without_cancellation")
        );
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        world
            .decide(
                &unreal
                    .with(json!({"id": "evt_deleted_really"}))
                    .with_object(json!({"canceled_at": T0 + 3})),
            )
            .await;
        assert_eq!(world.state(&payer.client).await, "CANCELED");
    });
}

#[test]
fn when_one_of_two_active_subscriptions_ends_the_other_one_is_the_current_one() {
    in_shared_world(async |world| {
        let payer = Payer::new("two");
        let newer = payer.with_subscription("newer");
        world.register(&payer.client, Some(&payer.customer)).await;
        world.decide(&payer.subscription("created", T0, "active")).await;
        let period =
            json!({"start_date": T0 + 50, "items": {"data": [{"id": "si_2", "current_period_end": T0 + 9_000_000}]}});
        world
            .decide(&newer.subscription("created", T0 + 50, "active").with_object(period))
            .await;
        assert_eq!(
            world.client(&payer.client).await["stripe_subscription_id"],
            newer.subscription.as_str()
        );
        world.decide(&newer.subscription("deleted", T0 + 60, "canceled")).await;
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["stripe_subscription_id"].as_str()),
            (Some("ACTIVE"), Some(payer.subscription.as_str()))
        );
        let end: i64 = world
            .number(&format!(
                "SELECT extract(epoch FROM current_period_end)::bigint FROM client_billing WHERE client_id = '{}'",
                payer.client
            ))
            .await;
        assert_eq!(end, T0 + 2_592_000);
        // The timeline's last word was decided with the right subscription in mind.
        world.decide(&payer.subscription("updated", T0 + 70, "past_due")).await;
        assert_eq!(world.state(&payer.client).await, "PAST_DUE");
    });
}

#[test]
fn checkout_and_first_invoice_are_one_act_in_either_order_and_at_any_distance() {
    in_shared_world(async |world| {
        for distance in [5, 600] {
            for checkout_first in [true, false] {
                let payer = Payer::new("act");
                world.register(&payer.client, Some(&payer.customer)).await;
                let invoice = format!("in_{}", payer.client);
                let (first, second) = (T0, T0 + distance);
                let (early, late) = if checkout_first {
                    (first, second)
                } else {
                    (second, first)
                };
                let checkout = payer.checkout(early, &format!("cs_{}", payer.client), None);
                let paid = payer.first_invoice("paid", late, &invoice);
                let succeeded = payer.first_invoice("payment_succeeded", late, &invoice);
                let order = if checkout_first {
                    [&checkout, &paid, &succeeded]
                } else {
                    [&paid, &succeeded, &checkout]
                };
                for event in order {
                    world.decide(event).await;
                }
                assert_eq!(
                    told(&world, &payer.client).await,
                    [
                        "applied/state_changed TRIAL_PENDING→ACTIVE",
                        "semantic_duplicate/intent/act_known",
                        "semantic_duplicate/intent/act_known"
                    ],
                    "{distance} s, checkout first: {checkout_first}"
                );
                assert_eq!(world.client(&payer.client).await["version"], 1);
                let renewal = payer.invoice("paid", T0 + 2_592_000, &format!("in_{}_2", payer.client));
                world.decide(&renewal).await;
                assert_eq!(
                    told(&world, &payer.client).await.pop().unwrap(),
                    "applied/facts_recorded ACTIVE→ACTIVE",
                    "a renewal is another act"
                );
            }
        }
    });
}

#[test]
fn the_window_never_swallows_an_unrelated_invoice() {
    in_shared_world(async |world| {
        let payer = Payer::new("window");
        let other = payer.with_subscription("other");
        world.register(&payer.client, Some(&payer.customer)).await;
        world.decide(&payer.checkout(T0, "cs_window", None)).await;
        let one_off = payer
            .invoice("paid", T0 + 1, "in_one_off")
            .with_object(json!({"parent": null, "billing_reason": "manual"}));
        let row = world.decide(&one_off).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("ignored", "invoice_without_subscription")
        );
        world.decide(&other.invoice("paid", T0 + 2, "in_other")).await;
        assert_ne!(
            told(&world, &payer.client).await.pop().unwrap(),
            "semantic_duplicate/intent/act_known"
        );
        let about = format!(
            "stripe_subscription_id = '{}' AND object_id = 'in_other' AND paid_at IS NOT NULL",
            other.subscription
        );
        assert_eq!(world.count("billing_payments", &about).await, 1);
        // It counts: the first subscription ends, the client is paid by the other one.
        world.decide(&payer.subscription("deleted", T0 + 3, "canceled")).await;
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["stripe_subscription_id"].as_str()),
            (Some("ACTIVE"), Some(other.subscription.as_str()))
        );
    });
}

#[test]
fn a_payment_of_nothing_activates_nobody_and_hides_no_real_one() {
    in_shared_world(async |world| {
        let payer = Payer::new("zero");
        world.register(&payer.client, Some(&payer.customer)).await;
        world.decide(&payer.subscription("created", T0, "trialing")).await;
        world
            .decide(
                &payer
                    .first_invoice("paid", T0 + 1, "in_zero")
                    .with_object(json!({"amount_paid": 0, "amount_due": 0})),
            )
            .await;
        assert_eq!(told(&world, &payer.client).await.pop().unwrap(), "ignored/zero_amount");
        world.decide(&payer.invoice("paid", T0 + 30, "in_real")).await;
        assert_eq!(
            told(&world, &payer.client).await.pop().unwrap(),
            "applied/facts_recorded TRIAL_ACTIVE→TRIAL_ACTIVE"
        );
    });
}
