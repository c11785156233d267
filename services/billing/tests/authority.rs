//! Guard 3: Stripe may confirm a contract, it may never define one (BIL-2, BIL-3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use domain::billing::authority::Binding;
use serde_json::{Value, json};
use support::events::{Payer, T0, naming};
use support::{Event, SOON, World, in_own_world, in_shared_world, unique};
use testkit::eventually;

/// Registers a client of any payment source, without a customer.
async fn register_as(world: &World, client: &str, source: &str) {
    let (status, body) = world
        .put(client, &json!({"org_id": "org_1", "payment_source": source}))
        .await;
    assert_eq!(status, 201, "{body}");
}

async fn alerts(world: &World) -> Vec<Value> {
    testkit::eventually(SOON, || async { world.count("outbox", "true").await == 0 }).await;
    world
        .drain("alerts.raise")
        .await
        .into_iter()
        .map(|(_, body)| body)
        .collect()
}

#[test]
fn a_checkout_that_names_a_client_who_does_not_pay_by_stripe_changes_nothing_and_is_told() {
    in_own_world(Binding::FirstUse, async |world| {
        for source in ["NONE", "MANUAL"] {
            let (victim, attacker) = (Payer::new("victim"), Payer::new("attacker"));
            register_as(&world, &victim.client, source).await;
            let before = world.client(&victim.client).await;
            let spoof = attacker.checkout(T0, "cs_spoof", Some(&victim.client));
            let row = world.decide(&spoof).await;
            assert_eq!(
                (row.status.as_str(), row.client.as_deref()),
                ("decided", Some(victim.client.as_str()))
            );
            assert_eq!(world.client(&victim.client).await, before);
            let timeline = world.timeline(&victim.client).await;
            assert_eq!(timeline.len(), 1);
            assert_eq!(timeline[0].short(), "rejected/authority/payment_source_is_not_stripe");
            assert_eq!(timeline[0].details["found"]["customer"], attacker.customer.as_str());
            assert_eq!(timeline[0].details["expected"]["payment_source"], source);
            assert_eq!(
                world
                    .count("billing_customers", &format!("client_id = '{}'", victim.client))
                    .await,
                0
            );
            world.send_all(std::iter::repeat_n(&spoof, 3)).await;
            testkit::eventually(SOON, || async { world.row(&spoof.id).await.deliveries == 4 }).await;
            let alerts = alerts(&world).await;
            assert_eq!(alerts.len(), 1, "{alerts:?}");
            assert_eq!(alerts[0]["key"], format!("spoofed_metadata:{}", victim.client));
            assert_eq!(alerts[0]["details"]["event_id"], spoof.id.as_str());
        }
    });
}

#[test]
fn a_checkout_by_the_customer_of_another_client_changes_neither() {
    in_own_world(Binding::FirstUse, async |world| {
        let (victim, attacker) = (Payer::new("victim"), Payer::new("attacker"));
        world.register(&victim.client, None).await;
        world.register(&attacker.client, Some(&attacker.customer)).await;
        let spoof = attacker.checkout(T0, "cs_spoof", Some(&victim.client));
        let row = world.decide(&spoof).await;
        assert_eq!(row.client.as_deref(), Some(victim.client.as_str()));
        for client in [&victim.client, &attacker.client] {
            assert_eq!(world.client(client).await["version"], 0);
            assert_eq!(world.state(client).await, "TRIAL_PENDING");
        }
        let timeline = world.timeline(&victim.client).await;
        assert_eq!(timeline[0].short(), "rejected/authority/customer_of_another_client");
        assert_eq!(timeline[0].details["expected"]["client"], victim.client.as_str());
        let org = format!("event_id = '{}' AND org_id = 'org_1'", spoof.id);
        assert_eq!(
            world.count("billing_decisions", &org).await,
            1,
            "the victim's organisation sees it"
        );
        assert_eq!(world.timeline(&attacker.client).await, []);
        let alerts = alerts(&world).await;
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert_eq!(alerts[0]["key"], format!("spoofed_metadata:{}", victim.client));
        assert_eq!(alerts[0]["severity"], "critical");
    });
}

#[test]
fn nothing_of_a_refused_event_counts_later() {
    in_shared_world(async |world| {
        let (victim, attacker) = (Payer::new("victim"), Payer::new("attacker"));
        register_as(&world, &victim.client, "NONE").await;
        world
            .decide(&naming(&attacker.subscription("created", T0, "active"), &victim.client))
            .await;
        world
            .decide(&naming(&attacker.invoice("paid", T0, "in_spoof"), &victim.client))
            .await;
        world.register(&victim.client, None).await;
        assert_eq!(world.state(&victim.client).await, "TRIAL_PENDING");
        let about = format!("client_id = '{}'", victim.client);
        for table in ["billing_subscriptions", "billing_payments", "billing_customers"] {
            assert_eq!(world.count(table, &about).await, 0, "{table}");
        }
    });
}

#[test]
fn a_subscription_of_another_client_is_never_taken_over() {
    in_shared_world(async |world| {
        let (owner, thief) = (Payer::new("owner"), Payer::new("thief"));
        for payer in [&owner, &thief] {
            world.register(&payer.client, Some(&payer.customer)).await;
        }
        world.decide(&owner.subscription("created", T0, "active")).await;
        let stolen = Payer {
            subscription: owner.subscription.clone(),
            ..thief.clone()
        };
        world.decide(&stolen.subscription("deleted", T0 + 10, "canceled")).await;
        world.decide(&stolen.invoice("paid", T0 + 20, "in_stolen")).await;
        assert_eq!(world.state(&owner.client).await, "ACTIVE");
        assert_eq!(world.state(&thief.client).await, "TRIAL_PENDING");
        for decision in world.timeline(&thief.client).await {
            assert_eq!(decision.short(), "rejected/authority/subscription_of_another_client");
        }
    });
}

#[test]
fn metadata_binds_once_and_is_never_looked_at_again() {
    in_shared_world(async |world| {
        let (payer, other) = (Payer::new("bound"), Payer::new("other"));
        world.register(&payer.client, None).await;
        world.register(&other.client, None).await;
        world
            .decide(&naming(&payer.subscription("created", T0, "trialing"), &payer.client))
            .await;
        assert_eq!(
            world.client(&payer.client).await["stripe_customer_id"],
            payer.customer.as_str()
        );
        let bound = format!("client_id = '{}' AND bound_by = 'metadata'", payer.client);
        assert_eq!(world.count("billing_customers", &bound).await, 1);
        // Other metadata on the bound customer's objects is no more than a note.
        world
            .decide(&naming(&payer.subscription("updated", T0 + 1, "active"), &other.client))
            .await;
        world
            .decide(&naming(&payer.subscription("updated", T0 + 2, "past_due"), "nobody"))
            .await;
        world.decide(&payer.subscription("updated", T0 + 3, "unpaid")).await;
        assert_eq!(world.client(&payer.client).await["version"], 3);
        assert_eq!(world.client(&other.client).await["stripe_customer_id"], Value::Null);
        assert_eq!(world.timeline(&other.client).await, []);
        // A second customer does not get in by naming a client that has one.
        let second = payer.with_customer("second").with_subscription("second");
        let row = world
            .decide(&naming(
                &second.subscription("created", T0 + 9, "active"),
                &payer.client,
            ))
            .await;
        assert_eq!(
            (row.status.as_str(), row.reason.as_str()),
            ("waiting", "customer_not_registered")
        );
        assert_eq!(world.state(&payer.client).await, "PAST_DUE");
        let last = world.timeline(&payer.client).await.pop().unwrap();
        assert_eq!(
            last.short(),
            "waiting/authority/customer_not_registered",
            "whoever asks why can see it"
        );
        // Once our side says so, it counts; the first still does.
        world.register(&payer.client, Some(&second.customer)).await;
        assert_eq!(
            world.decided(&row_id(&world, &second.subscription).await).await.outcome,
            "applied"
        );
        assert_eq!(
            world.client(&payer.client).await["stripe_customer_id"],
            second.customer.as_str()
        );
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        world.decide(&payer.subscription("deleted", T0 + 20, "canceled")).await;
        assert_eq!(
            world.timeline(&payer.client).await.pop().unwrap().short(),
            "ignored/identity/not_the_current_subscription"
        );
    });
}

async fn row_id(world: &World, subscription: &str) -> String {
    let sql = "SELECT stripe_event_id FROM billing_events WHERE strpos(payload, $1) > 0";
    world.sql.query_one(sql, &[&subscription]).await.unwrap().get(0)
}

#[test]
fn where_only_registered_customers_count_metadata_binds_nobody() {
    in_own_world(Binding::RegisteredOnly, async |world| {
        let (payer, session) = (Payer::new("strict"), "cs_strict");
        world.register(&payer.client, None).await;
        let named = naming(&payer.subscription("created", T0, "active"), &payer.client);
        let paid = payer.checkout(T0, session, Some(&payer.client));
        for event in [&named, &paid] {
            let row = world.decide(event).await;
            assert_eq!(
                (row.status.as_str(), row.reason.as_str()),
                ("waiting", "customer_not_registered")
            );
        }
        assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING");
        // The session is registered late, and what waited is decided.
        let body = json!({"org_id": "org_1", "payment_source": "STRIPE", "checkout_session_id": session});
        assert_eq!(world.put(&payer.client, &body).await.0, 200);
        assert_eq!(world.decided(&paid.id).await.outcome, "applied");
        assert_eq!(world.decided(&named.id).await.outcome, "applied");
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        let by_customer = Payer::new("strict");
        world.register(&by_customer.client, Some(&by_customer.customer)).await;
        world.decide(&by_customer.subscription("created", T0, "active")).await;
        assert_eq!(world.state(&by_customer.client).await, "ACTIVE");
    });
}

#[test]
fn a_registered_checkout_session_binds_without_metadata_in_either_order() {
    in_shared_world(async |world| {
        for put_first in [true, false] {
            let payer = Payer::new("session");
            let session = format!("cs_{}", payer.client);
            let body = json!({"org_id": "org_1", "payment_source": "STRIPE", "checkout_session_id": session});
            let paid = payer.checkout(T0, &session, None);
            if put_first {
                assert_eq!(world.put(&payer.client, &body).await.0, 201);
                world.decide(&paid).await;
            } else {
                assert_eq!(world.decide(&paid).await.status, "waiting");
                assert_eq!(world.put(&payer.client, &body).await.0, 201);
            }
            assert_eq!(world.decided(&paid.id).await.outcome, "applied");
            assert_eq!(world.state(&payer.client).await, "ACTIVE");
            let bound = format!("client_id = '{}' AND bound_by = 'checkout_session'", payer.client);
            assert_eq!(world.count("billing_customers", &bound).await, 1);
        }
    });
}

/// A checkout that is complete and brought no money: a trial or a full discount, or money that is on its way for days.
fn unpaid(payer: &Payer, session: &str, status: &str, named: Option<&str>) -> Event {
    let amount = if status == "unpaid" { 4900 } else { 0 };
    payer
        .checkout(T0, session, named)
        .with_object(json!({"payment_status": status, "amount_total": amount}))
}

#[test]
fn a_checkout_without_a_payment_binds_as_a_paid_one_and_activates_nobody() {
    in_shared_world(async |world| {
        for status in ["no_payment_required", "unpaid"] {
            for by_session in [true, false] {
                for checkout_first in [true, false] {
                    let payer = Payer::new("trial");
                    let session = format!("cs_{}", payer.client);
                    let registered = by_session.then_some(&session);
                    let body =
                        json!({"org_id": "org_1", "payment_source": "STRIPE", "checkout_session_id": registered});
                    assert_eq!(world.put(&payer.client, &body).await.0, 201);
                    let named = (!by_session).then_some(payer.client.as_str());
                    let bought = unpaid(&payer, &session, status, named);
                    let started = payer.subscription("created", T0, "trialing");
                    if checkout_first {
                        world.decide(&bought).await;
                        assert_eq!(world.state(&payer.client).await, "TRIAL_PENDING", "{status}");
                    } else {
                        assert_eq!(world.decide(&started).await.reason, "customer_unknown");
                        world.decide(&bought).await;
                    }
                    if checkout_first {
                        world.decide(&started).await;
                    }
                    assert_eq!(world.decided(&started.id).await.outcome, "applied");
                    assert_eq!(world.state(&payer.client).await, "TRIAL_ACTIVE", "{status}");
                    let row = world.row(&bought.id).await;
                    let reason = if status == "unpaid" {
                        "checkout_not_paid"
                    } else {
                        "zero_amount"
                    };
                    assert_eq!((row.outcome.as_str(), row.reason.as_str()), ("ignored", reason));
                    let bound_by = if by_session { "checkout_session" } else { "metadata" };
                    let bound = format!("client_id = '{}' AND bound_by = '{bound_by}'", payer.client);
                    assert_eq!(world.count("billing_customers", &bound).await, 1);
                    let paid = format!("client_id = '{}'", payer.client);
                    assert_eq!(world.count("billing_payments", &paid).await, 0);
                }
            }
        }
    });
}

#[test]
fn a_checkout_without_a_payment_that_claims_somebody_else_is_told() {
    in_own_world(Binding::FirstUse, async |world| {
        for status in ["no_payment_required", "unpaid"] {
            let (free, payer, stranger, neighbour) = (
                Payer::new("free"),
                Payer::new("payer"),
                Payer::new("stranger"),
                Payer::new("neighbour"),
            );
            register_as(&world, &free.client, "NONE").await;
            world.register(&payer.client, None).await;
            world.register(&neighbour.client, Some(&neighbour.customer)).await;
            for (by, of, reason) in [
                (&stranger, &free, "payment_source_is_not_stripe"),
                (&neighbour, &payer, "customer_of_another_client"),
            ] {
                let session = format!("cs_{}", by.client);
                let row = world.decide(&unpaid(by, &session, status, Some(&of.client))).await;
                assert_eq!((row.outcome.as_str(), row.reason.as_str()), ("rejected", reason));
                let alerts = alerts(&world).await;
                assert_eq!(alerts.len(), 1, "{alerts:?}");
                assert_eq!(alerts[0]["key"], format!("spoofed_metadata:{}", of.client));
            }
        }
    });
}

/// Nothing is decided by what was bought once; who claims to be somebody else in it is a forger all the same (BIL-3).
#[test]
fn something_bought_once_in_somebody_elses_name_is_told_and_nothing_else_of_it_matters() {
    in_own_world(Binding::FirstUse, async |world| {
        let (free, manual, payer, neighbour, stranger) = (
            Payer::new("free"),
            Payer::new("manual"),
            Payer::new("payer"),
            Payer::new("neighbour"),
            Payer::new("stranger"),
        );
        register_as(&world, &free.client, "NONE").await;
        register_as(&world, &manual.client, "MANUAL").await;
        world.register(&payer.client, None).await;
        world.register(&neighbour.client, Some(&neighbour.customer)).await;
        let once = json!({"mode": "payment", "subscription": null, "invoice": null});
        let rejected = ("rejected", "payment_source_is_not_stripe");
        let ignored = ("ignored", "checkout_without_subscription");
        for (by, named, (outcome, reason), told) in [
            (&stranger, Some(&free), rejected, 1),
            (&neighbour, Some(&payer), ("rejected", "customer_of_another_client"), 1),
            (&stranger, Some(&manual), ignored, 0),
            (&stranger, Some(&payer), ignored, 0),
            (&neighbour, Some(&neighbour), ignored, 0),
            (&stranger, Some(&stranger), ignored, 0),
            (&stranger, None, ignored, 0),
        ] {
            let named = named.map(|of| of.client.as_str());
            let session = unique("cs_once");
            let row = world
                .decide(&by.checkout(T0, &session, named).with_object(once.clone()))
                .await;
            assert_eq!(
                (row.outcome.as_str(), row.reason.as_str()),
                (outcome, reason),
                "{named:?}"
            );
            let alerts = alerts(&world).await;
            assert_eq!(alerts.len(), told, "{named:?}: {alerts:?}");
        }
        let nobody = format!("stripe_customer_id = '{}'", stranger.customer);
        assert_eq!(world.count("billing_customers", &nobody).await, 0, "it binds nobody");
    });
}

/// What came with no money may bind nothing that is known to be another client's.
#[test]
fn a_trial_checkout_of_another_clients_subscription_binds_nobody() {
    in_shared_world(async |world| {
        let (owner, thief) = (Payer::new("owner"), Payer::new("thief"));
        world.register(&owner.client, Some(&owner.customer)).await;
        world.register(&thief.client, None).await;
        world.decide(&owner.subscription("created", T0, "trialing")).await;
        let stolen = Payer {
            subscription: owner.subscription.clone(),
            ..thief.clone()
        };
        let session = format!("cs_{}", thief.client);
        let row = world
            .decide(&unpaid(&stolen, &session, "no_payment_required", Some(&thief.client)))
            .await;
        assert_eq!(row.reason, "subscription_of_another_client");
        assert_eq!(world.client(&thief.client).await["stripe_customer_id"], Value::Null);
    });
}

#[test]
fn what_only_names_a_client_is_not_for_its_organisation_to_read() {
    in_shared_world(async |world| {
        let (victim, stranger) = (Payer::new("named_only"), Payer::new("somebody"));
        let (status, _) = world
            .put(&victim.client, &json!({"org_id": "org_1", "payment_source": "NONE"}))
            .await;
        assert_eq!(status, 201);
        let spoof = stranger.checkout(T0, &format!("cs_{}", stranger.client), Some(&victim.client));
        let row = world.decide(&spoof).await;
        assert_eq!(
            (row.outcome.as_str(), row.client.as_deref()),
            ("rejected", Some(victim.client.as_str()))
        );
        let own = Payer::new("own_body");
        world.register(&own.client, Some(&own.customer)).await;
        world.decide(&own.subscription("updated", T0, "active")).await;
        let readable = |client: &str| format!("client_id = '{client}' AND org_id IS NOT NULL");
        assert_eq!(world.count("billing_events", &readable(&victim.client)).await, 0);
        assert_eq!(world.count("billing_events", &readable(&own.client)).await, 1);
    });
}

#[test]
fn a_client_that_comes_to_pay_by_stripe_gets_what_its_own_customer_was_refused_and_nothing_else() {
    in_shared_world(async |world| {
        let (payer, stranger) = (Payer::new("changes"), Payer::new("claims"));
        let manual = json!({"org_id": "org_1", "payment_source": "MANUAL", "stripe_customer_id": payer.customer});
        assert_eq!(world.put(&payer.client, &manual).await.0, 201);
        let own = payer.subscription("updated", T0, "active");
        assert_eq!(world.decide(&own).await.reason, "payment_source_is_not_stripe");
        let claim = stranger.checkout(T0, &format!("cs_{}", stranger.client), Some(&payer.client));
        assert_eq!(world.decide(&claim).await.outcome, "rejected");

        world.register(&payer.client, None).await;
        eventually(SOON, || async { world.state(&payer.client).await == "ACTIVE" }).await;
        let row = world.row(&claim.id).await;
        assert_eq!((row.status.as_str(), row.outcome.as_str()), ("decided", "rejected"));
        assert_eq!(world.client(&payer.client).await["stripe_customer_id"], payer.customer);
    });
}

/// What was rejected while a client did not pay by Stripe is decided once it does and its customer is known, whichever our side says first.
#[test]
fn what_was_rejected_for_the_source_is_decided_when_the_customer_is_registered_after_the_source() {
    in_own_world(Binding::RegisteredOnly, async |world| {
        let put = async |client: &str, more: Value| {
            let body = support::events::merge(json!({"org_id": "org_1", "payment_source": "STRIPE"}), more);
            assert!(world.put(client, &body).await.0 < 300);
        };
        let unpaying = json!({"org_id": "org_1", "payment_source": "NONE"});
        let named = |payer: &Payer| {
            let metadata = json!({"metadata": {"client_id": payer.client}});
            payer.subscription("updated", T0, "active").with_object(metadata)
        };

        let payer = Payer::new("later");
        assert_eq!(world.put(&payer.client, &unpaying).await.0, 201);
        assert_eq!(
            world.decide(&named(&payer)).await.reason,
            "payment_source_is_not_stripe"
        );
        put(&payer.client, json!({})).await;
        assert_eq!(
            world.state(&payer.client).await,
            "TRIAL_PENDING",
            "only metadata speak for it"
        );
        put(&payer.client, json!({"stripe_customer_id": payer.customer})).await;
        eventually(SOON, || async { world.state(&payer.client).await == "ACTIVE" }).await;

        // A registered session binds the customer, and the customer's rejected subscription comes with it.
        let payer = Payer::new("session");
        let session = unique("cs");
        assert_eq!(world.put(&payer.client, &unpaying).await.0, 201);
        assert_eq!(
            world.decide(&named(&payer)).await.reason,
            "payment_source_is_not_stripe"
        );
        let trial = payer
            .checkout(T0, &session, Some(&payer.client))
            .with_object(json!({"payment_status": "no_payment_required"}));
        assert_eq!(world.decide(&trial).await.reason, "payment_source_is_not_stripe");
        put(&payer.client, json!({})).await;
        put(&payer.client, json!({"checkout_session_id": session})).await;
        eventually(SOON, || async { world.state(&payer.client).await == "ACTIVE" }).await;
    });
}
