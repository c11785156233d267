//! Refunds and disputes are recorded, in whatever order they arrive, and change no state (BIL-7).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use domain::billing::authority::Binding;
use futures_util::future::join_all;
use serde_json::json;
use support::events::{Payer, T0, naming, permutations};
use support::{Event, SOON, World, in_own_world, in_shared_world, unique};

/// An active client, and what happens to a payment of its: partly paid back, then disputed, lost, and won after all.
async fn payer(world: &World) -> (Payer, Vec<Event>) {
    let payer = Payer::new("charged");
    world.register(&payer.client, Some(&payer.customer)).await;
    world.decide(&payer.subscription("updated", T0, "active")).await;
    let (refund, dispute) = (format!("re_{}", payer.client), format!("du_{}", payer.client));
    let events = vec![
        payer.charge("succeeded", T0 + 1, 0),
        payer.refund("created", T0 + 10, &refund, "pending"),
        payer.refund("updated", T0 + 11, &refund, "succeeded"),
        payer.charge("refunded", T0 + 11, 1000),
        payer.dispute("created", T0 + 20, &dispute, "needs_response"),
        payer.dispute("closed", T0 + 30, &dispute, "lost"),
        payer.dispute("closed", T0 + 40, &dispute, "won"),
    ];
    (payer, events)
}

/// What the API shows of them.
async fn recorded(world: &World, payer: &Payer) -> serde_json::Value {
    let (status, body) = world.get(&format!("/api/clients/{}/explanation", payer.client)).await;
    assert_eq!(status, 200, "{body}");
    json!({
        "state": body["client"]["state"], "version": body["client"]["version"], "refunds": body["refunds"],
        "disputes": body["disputes"], "waiting": body["waiting"]
    })
}

#[test]
fn refunds_and_disputes_come_to_the_same_in_any_order_and_leave_the_state_alone() {
    in_shared_world(async |world| {
        let mut orders = permutations(&[0, 1, 2, 3, 4, 5, 6]);
        // Every 83rd of 5 040: each event comes first, last and beside each other one.
        orders = orders.into_iter().step_by(83).collect();
        let lives = orders.into_iter().map(|order| {
            let world = world.clone();
            async move {
                let (payer, events) = payer(&world).await;
                for step in &order {
                    world.send(&events[*step]).await;
                }
                for event in &events {
                    world.decided(&event.id).await;
                }
                let (refund, dispute) = (format!("re_{}", payer.client), format!("du_{}", payer.client));
                let expected = json!({
                    "state": "ACTIVE", "version": 1, "waiting": [],
                    "refunds": [{"id": refund, "charge": payer.charge_id(), "status": "succeeded", "amount": 1000,
                                 "currency": "eur"}],
                    "disputes": [{"id": dispute, "charge": payer.charge_id(), "status": "won", "amount": 4900,
                                  "currency": "eur"}]
                });
                assert_eq!(recorded(&world, &payer).await, expected, "{order:?}");
                let sql = format!(
                    "SELECT amount_refunded FROM billing_charges WHERE stripe_charge_id = '{}'",
                    payer.charge_id()
                );
                assert_eq!(world.number(&sql).await, 1000, "{order:?}");
            }
        });
        assert_eq!(join_all(lives).await.len(), 61);
    });
}

#[test]
fn a_dispute_raises_one_alert_even_of_a_charge_that_nobody_knows() {
    in_own_world(Binding::FirstUse, async |world| {
        let (known, events) = payer(&world).await;
        for event in [&events[0], &events[4], &events[5], &events[6]] {
            world.decide(event).await;
        }
        let stranger = Payer::new("stranger");
        let dispute = stranger.dispute("created", T0, "du_stranger", "warning_needs_response");
        let row = world.decide(&dispute).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("waiting", "charge_unknown")
        );
        // The same event again says nothing new.
        world.send(&dispute).await;
        world.deliveries(&dispute.id, 2).await;
        let guest = Payer::new("guest");
        let charge = guest.charge("succeeded", T0, 0).with_object(json!({"customer": null}));
        assert_eq!(world.decide(&charge).await.reason, "charge_without_customer");
        let row = world
            .decide(&guest.dispute("created", T0, "du_guest", "needs_response"))
            .await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("ignored", "charge_without_customer")
        );

        let mut alerts: Vec<(String, String)> = world
            .alerts(4)
            .await
            .iter()
            .map(|alert| {
                let text = |name: &str| alert[name].as_str().unwrap().to_owned();
                (text("subject"), text("kind"))
            })
            .collect();
        alerts.sort();
        let of = |subject: &str| (subject.to_owned(), "dispute".to_owned());
        let mut expected = vec![of("du_guest"), of("du_stranger")];
        // Opened and lost; that it was won in the end asks nobody to do anything.
        expected.extend([of(&format!("du_{}", known.client)), of(&format!("du_{}", known.client))]);
        expected.sort();
        assert_eq!(alerts, expected);
    });
}

/// Escrow tells of its own: whether a refund is made again by itself, so that nobody pays it by hand beside that, only it knows.
#[test]
fn of_an_escrows_refund_billing_tells_nobody_and_of_its_dispute_what_escrow_tells() {
    in_own_world(Binding::FirstUse, async |world| {
        let escrow = "INSERT INTO escrow_transactions (id, status, currency, amount, fee, capture, on_authorization_expiry, expires_at, \
                      payment_intent_id, charge_id, authorized, captured, created_by, created_at, updated_at) \
                      VALUES ('esc_1', 'held', 'eur', 4900, 0, 'automatic', 'refuse', now(), 'pi_escrow', 'ch_escrow', true, 4900, 't', \
                      now(), now())";
        world.sql.execute(escrow, &[]).await.unwrap();
        let payer = Payer::new("guest");
        for (number, theirs) in [
            (0, json!({"payment_intent": "pi_escrow"})),
            (1, json!({"payment_intent": null, "charge": "ch_escrow"})),
        ] {
            let (refund, dispute) = (format!("re_escrow_{number}"), format!("du_escrow_{number}"));
            world
                .decide(
                    &payer
                        .refund("failed", T0, &refund, "failed")
                        .with_object(theirs.clone()),
                )
                .await;
            for (kind, status) in [
                ("created", "needs_response"),
                ("funds_withdrawn", "needs_response"),
                ("updated", "under_review"),
            ] {
                let event = payer.dispute(kind, T0, &dispute, status).with_object(theirs.clone());
                world.decide(&event).await;
            }
        }
        let nobodys = json!({"payment_intent": "pi_nobodys"});
        world
            .decide(&payer.refund("failed", T0, "re_nobodys", "failed").with_object(nobodys))
            .await;
        world
            .decide(
                &payer
                    .refund("updated", T0, "re_canceled", "canceled")
                    .with_object(json!({"payment_intent": "pi_nobodys"})),
            )
            .await;
        let mut keys: Vec<String> = world
            .alerts(4)
            .await
            .iter()
            .map(|alert| alert["key"].to_string())
            .collect();
        keys.sort();
        let disputed = "\"escrow_attention:esc_1/dispute_opened\"";
        let refunds = ["\"refund_failed:re_canceled\"", "\"refund_failed:re_nobodys\""];
        assert_eq!(keys, [disputed, disputed, refunds[0], refunds[1]]);
    });
}

#[test]
fn a_refund_that_fails_after_it_had_succeeded_is_told_to_a_person() {
    in_own_world(Binding::FirstUse, async |world| {
        let (payer, events) = payer(&world).await;
        let refund = format!("re_{}", payer.client);
        for event in [&events[0], &events[2]] {
            world.decide(event).await;
        }
        world.decide(&payer.refund("failed", T0 + 90, &refund, "failed")).await;
        let late = world
            .decide(&payer.refund("updated", T0 + 91, &refund, "succeeded"))
            .await;
        assert_eq!((late.outcome.as_str(), late.guard.as_deref()), ("stale", Some("order")));
        assert_eq!(recorded(&world, &payer).await["refunds"][0]["status"], "failed");
        let alerts = world.alerts(1).await;
        assert_eq!(
            (alerts[0]["kind"].as_str(), alerts[0]["subject"].as_str()),
            (Some("refund_failed"), Some(refund.as_str()))
        );
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
    });
}

#[test]
fn a_twin_event_of_a_refund_has_one_effect() {
    in_shared_world(async |world| {
        let (payer, events) = payer(&world).await;
        world.decide(&events[0]).await;
        world.decide(&events[2]).await;
        let twin = events[2].with(json!({"id": unique("evt_twin")}));
        let row = world.decide(&twin).await;
        assert_eq!(
            (row.outcome.as_str(), row.guard.as_deref()),
            ("semantic_duplicate", Some("intent"))
        );
        assert_eq!(recorded(&world, &payer).await["refunds"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_charge_never_speaks_for_another_client_than_the_one_it_was_recorded_for() {
    in_shared_world(async |world| {
        let (owner, events) = payer(&world).await;
        world.decide(&events[0]).await;
        let (other, _) = payer(&world).await;
        let stolen = events[3].with_object(json!({"customer": other.customer}));
        let row = world.decide(&stolen).await;
        assert_eq!(
            (row.outcome.as_str(), row.guard.as_deref()),
            ("rejected", Some("authority"))
        );
        let sql = format!(
            "SELECT amount_refunded FROM billing_charges WHERE stripe_charge_id = '{}' AND client_id = '{}'",
            owner.charge_id(),
            owner.client
        );
        assert_eq!(world.number(&sql).await, 0);
    });
}

/// Registers a client with its customer, paying by what is given.
async fn pays_by(world: &World, payer: &Payer, source: &str) {
    let body = json!({"org_id": "org_1", "payment_source": source, "stripe_customer_id": payer.customer});
    assert!(world.put(&payer.client, &body).await.0 < 300);
}

/// What the timeline says of an event, first to last.
async fn told(world: &World, payer: &Payer, event: &Event) -> Vec<String> {
    let timeline = world.timeline(&payer.client).await;
    let of_it = timeline.iter().filter(|decided| decided.event == event.id);
    of_it.map(support::Decided::short).collect()
}

#[test]
fn what_is_said_of_a_charge_is_refused_in_any_order_to_whoever_does_not_pay_by_stripe_and_counts_once_it_does() {
    const REFUSED: &str = "rejected/authority/payment_source_is_not_stripe";
    in_shared_world(async |world| {
        let sources = ["NONE", "MANUAL"].iter().cycle();
        let lives = permutations(&[0, 1, 2])
            .into_iter()
            .zip(sources)
            .map(|(order, source)| {
                let world = world.clone();
                async move {
                    let payer = Payer::new("free");
                    pays_by(&world, &payer, source).await;
                    let (refund, dispute) = (format!("re_{}", payer.client), format!("du_{}", payer.client));
                    let events = [
                        payer.charge("refunded", T0 + 1, 1000),
                        payer.refund("created", T0 + 2, &refund, "succeeded"),
                        payer.dispute("created", T0 + 3, &dispute, "needs_response"),
                    ];
                    for step in &order {
                        world.decide(&events[*step]).await;
                    }
                    for event in &events {
                        world.decided(&event.id).await;
                        assert_eq!(told(&world, &payer, event).await, [REFUSED], "{order:?}");
                    }
                    let nothing = json!({
                        "state": "TRIAL_PENDING", "version": 0, "refunds": [], "disputes": [], "waiting": []
                    });
                    assert_eq!(recorded(&world, &payer).await, nothing, "{order:?}");
                    let of_it = format!("client_id = '{}' AND amount_refunded = ", payer.client);
                    assert_eq!(world.count("billing_charges", &format!("{of_it} 0")).await, 1);

                    pays_by(&world, &payer, "STRIPE").await;
                    for event in &events {
                        testkit::eventually(SOON, || async { world.row(&event.id).await.outcome == "applied" }).await;
                    }
                    let shown = recorded(&world, &payer).await;
                    assert_eq!(
                        (
                            &shown["refunds"][0]["id"],
                            &shown["disputes"][0]["id"],
                            &shown["waiting"]
                        ),
                        (&json!(refund), &json!(dispute), &json!([])),
                        "{order:?}"
                    );
                    assert_eq!(world.count("billing_charges", &format!("{of_it} 1000")).await, 1);
                }
            });
        assert_eq!(join_all(lives).await.len(), 6);
    });
}

#[test]
fn a_charge_that_only_names_a_client_which_does_not_pay_by_stripe_is_not_noted_as_its() {
    in_shared_world(async |world| {
        let (free, stranger) = (Payer::new("free"), Payer::new("stranger"));
        pays_by(&world, &free, "MANUAL").await;
        let refund = stranger.refund("created", T0, &format!("re_{}", stranger.client), "succeeded");
        let charge = naming(&stranger.charge("succeeded", T0, 0), &free.client);
        assert_eq!(world.decide(&charge).await.outcome, "rejected");
        assert_eq!(world.decide(&refund).await.reason, "charge_unknown");

        pays_by(&world, &free, "STRIPE").await;
        world.register(&stranger.client, Some(&stranger.customer)).await;
        let owner = format!("stripe_charge_id = '{}'", stranger.charge_id());
        assert_eq!(world.count("billing_charges", &owner).await, 0);
        assert_eq!(world.row(&charge.id).await.outcome, "rejected");
    });
}

#[test]
fn a_dispute_is_told_to_a_person_whoever_pays_by_what() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("free");
        pays_by(&world, &payer, "MANUAL").await;
        world.decide(&payer.charge("succeeded", T0, 0)).await;
        let dispute = payer.dispute("created", T0, "du_free", "needs_response");
        for times in 1..=2 {
            world.send(&dispute).await;
            world.deliveries(&dispute.id, times).await;
        }
        let alerts = world.alerts(1).await;
        assert_eq!(alerts[0]["key"], "dispute:du_free");
        assert_eq!(alerts[0]["details"]["client"], payer.client.as_str());
    });
}
