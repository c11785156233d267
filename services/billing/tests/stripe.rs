//! What events leave open is read from Stripe: the objects of thin events, the last of several states of one second, and charges that
//! no event has shown. Everything else is decided without a call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use db::billing::waiting::find_unknown_charges;
use db::{Database, DatabaseConfig};
use serde_json::json;
use service_kit::clock::Clock;
use support::events::{Payer, T0, thin};
use support::{Event, SOON, Shop, World, in_world_with_stripe, unique};
use testkit::eventually;

const LOOK: &str = "SELECT count(*) FROM billing_subscriptions WHERE undecided";

/// A client that owns what the shop has sold.
async fn owner(world: &World, shop: &Shop) -> Payer {
    let client = unique("reader");
    world.register(&client, Some(&shop.customer)).await;
    Payer {
        client,
        customer: shop.customer.clone(),
        subscription: shop.subscription.clone(),
    }
}

fn subscription_url(shop: &Shop) -> String {
    format!("/v1/subscriptions/{}", shop.subscription)
}

#[test]
fn a_thin_event_is_decided_by_its_object_and_archived_as_it_came() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        let event = thin(
            "customer.subscription.updated",
            "subscription",
            &subscription_url(&shop),
        );
        let row = world.decide(&event).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("applied", "state_changed")
        );
        assert_eq!(
            (row.payload, row.client),
            (event.body.clone(), Some(payer.client.clone()))
        );
        assert_eq!(world.state(&payer.client).await, "ACTIVE");

        let invoice = shop
            .get(&format!("/v1/invoices?subscription={}", shop.subscription))
            .await;
        let invoice = invoice["data"][0]["id"].as_str().unwrap().to_owned();
        let paid = thin("invoice.paid", "invoice", &format!("/v1/invoices/{invoice}"));
        assert_eq!(world.decide(&paid).await.outcome, "applied");
        let charge = shop.get("/v1/charges").await["data"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let charged = thin("charge.succeeded", "charge", &format!("/v1/charges/{charge}"));
        assert_eq!(world.decide(&charged).await.outcome, "applied");
    });
}

#[test]
fn the_guards_hold_for_thin_events_too() {
    in_world_with_stripe(async |world, shop| {
        let (status, _) = world
            .put(
                "free",
                &json!({"org_id": "org_1", "payment_source": "NONE", "stripe_customer_id": shop.customer}),
            )
            .await;
        assert_eq!(status, 201);
        let url = subscription_url(&shop);
        let row = world
            .decide(&thin("customer.subscription.updated", "subscription", &url))
            .await;
        assert_eq!(
            (row.outcome.as_str(), row.guard.as_deref(), row.reason.as_str()),
            ("rejected", Some("authority"), "payment_source_is_not_stripe")
        );
        assert_eq!(world.state("free").await, "TRIAL_PENDING");

        let of_an_account = thin("customer.subscription.updated", "subscription", &url);
        let of_an_account = Event {
            body: of_an_account.body.replace("\"context\":null", "\"context\":\"acct_1\""),
            ..of_an_account
        };
        assert_eq!(world.decide(&of_an_account).await.reason, "connected_account");

        let live = thin("customer.subscription.updated", "subscription", &url);
        let live = Event {
            body: live.body.replace("\"livemode\":false", "\"livemode\":true"),
            ..live
        };
        assert_eq!(world.decide(&live).await.reason, "livemode_mismatch");
    });
}

#[test]
fn a_thin_event_that_leads_nowhere_is_decided_or_parked_with_a_reason() {
    in_world_with_stripe(async |world, _shop| {
        for (url, why) in [
            ("/v1/subscriptions/sub_gone", "has no such object"),
            (
                "https://evil.example/v1/subscriptions/sub_1",
                "does not begin with /v1/",
            ),
            ("/v1/webhook_endpoints/we_1", "is not read"),
        ] {
            let row = world
                .decide(&thin("customer.subscription.updated", "subscription", url))
                .await;
            assert_eq!(row.outcome, "parked", "{url}");
            let details = world
                .sql
                .query_one(
                    "SELECT details->>'problem' FROM billing_decisions ORDER BY id DESC LIMIT 1",
                    &[],
                )
                .await
                .unwrap();
            let problem: String = details.get(0);
            assert!(problem.contains(why), "{problem}");
        }
        let silent = thin("customer.updated", "customer", "/v1/customers/cus_1");
        assert_eq!(world.decide_direct(&silent).await.reason, "no_effect_on_state");
    });
}

#[test]
fn an_object_that_cannot_be_read_now_is_read_when_stripe_is_back() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        shop.fault(&json!({"path": "/v1/subscriptions", "method": "GET", "kind": 500, "times": 2}))
            .await;
        let event = thin(
            "customer.subscription.updated",
            "subscription",
            &subscription_url(&shop),
        );
        let row = world.decide(&event).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("waiting", "object_not_read")
        );
        world.decided(&event.id).await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        let alert = &world.alerts(1).await[0];
        assert_eq!(alert["kind"], "stripe_api_failure");
    });
}

#[test]
fn a_thin_event_waits_while_stripe_says_that_it_is_asked_too_often() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        shop.fault(
            &json!({"path": "/v1/subscriptions", "method": "GET", "kind": 429, "reason": "global-rate", "times": 3}),
        )
        .await;
        let event = thin(
            "customer.subscription.updated",
            "subscription",
            &subscription_url(&shop),
        );
        let row = world.decide(&event).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str()),
            ("waiting", "object_not_read")
        );
        assert_eq!(world.decided(&event.id).await.outcome, "applied");
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
        assert_eq!(
            world.alerts(1).await[0]["key"],
            "stripe_api_failure:billing/rate_limited"
        );
    });
}

#[test]
fn after_an_outage_every_thin_event_is_decided_soon_and_snapshots_never_waited() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        shop.fault(&json!({"path": "/v1/", "method": "GET", "kind": 500, "times": 2}))
            .await;
        let url = subscription_url(&shop);
        let thin: Vec<Event> = (0..120)
            .map(|_| thin("customer.subscription.updated", "subscription", &url))
            .collect();
        world.send_all(&thin).await;
        let snapshot = payer.subscription("updated", T0, "active");
        assert_eq!(world.decide(&snapshot).await.status, "decided");
        eventually(SOON, || async {
            world
                .count("billing_events", "type LIKE 'v1.%' AND status = 'decided'")
                .await
                == 120
        })
        .await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
        assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
    });
}

#[test]
fn two_states_of_one_second_are_settled_by_reading_the_subscription_once() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        let pause = [("pause_collection[behavior]", "void")];
        shop.post(&subscription_url(&shop), &pause).await;
        let paused = json!({"pause_collection": {"behavior": "void"}});
        let tied = [
            payer.subscription("updated", T0, "active"),
            payer.subscription("updated", T0, "active").with_object(paused),
        ];
        world.send_all(&tied).await;
        for event in &tied {
            world.decided(&event.id).await;
        }
        // Until it is read, the reading counts that cuts nobody off; then the truth does.
        eventually(SOON, || async { world.state(&payer.client).await == "PAUSED" }).await;
        assert_eq!(world.number(LOOK).await, 0);
        let timeline = world.timeline(&payer.client).await;
        let read: Vec<_> = timeline
            .iter()
            .filter(|one| one.event.starts_with("read.subscription:"))
            .collect();
        assert_eq!(read.len(), 1, "{timeline:?}");
        assert_eq!(
            (read[0].from.as_deref(), read[0].to.as_deref()),
            (Some("ACTIVE"), Some("PAUSED"))
        );
        // What was read is no event and has no place in the archive.
        assert_eq!(world.count("billing_events", "true").await, 2);

        // An event that happens after the reading goes before it.
        let later = payer.subscription("updated", Clock::System.unix_seconds() + 1, "active");
        world.decide(&later).await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE");
    });
}

#[test]
fn a_dispute_of_a_charge_that_no_event_has_shown_finds_its_client_by_reading() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        let charge = shop.get("/v1/charges").await["data"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let dispute = payer
            .dispute("created", T0, "du_unknown", "needs_response")
            .with_object(json!({"charge": charge}));
        world.send(&dispute).await;
        let row = world.decided(&dispute.id).await;
        assert_eq!(
            (row.outcome.as_str(), row.client),
            ("applied", Some(payer.client.clone()))
        );
        let (_, body) = world.get(&format!("/api/clients/{}/explanation", payer.client)).await;
        assert_eq!(body["disputes"][0]["id"], "du_unknown");
    });
}

#[test]
fn stripe_is_not_asked_about_what_events_decide() {
    in_world_with_stripe(async |world, shop| {
        let payer = owner(&world, &shop).await;
        // Whoever asked would be refused, and a person told of it.
        shop.fault(&json!({"path": "/v1/", "method": "GET", "kind": 500, "times": 1000}))
            .await;
        let events = [
            payer.subscription("created", T0, "incomplete"),
            payer.subscription("updated", T0 + 1, "active"),
            payer.invoice("paid", T0 + 1, "in_1"),
            payer.charge("succeeded", T0 + 1, 0),
            payer.refund("created", T0 + 9, "re_known", "succeeded"),
        ];
        for event in &events {
            let row = world.decide(event).await;
            assert_eq!(row.status, "decided", "{row:?}");
        }
        let thin = thin(
            "customer.subscription.updated",
            "subscription",
            &subscription_url(&shop),
        );
        assert_eq!(world.decide(&thin).await.status, "waiting", "the fault is there");
        let alerts = world.alerts(1).await;
        assert_eq!(alerts[0]["kind"], "stripe_api_failure");
    });
}

#[test]
fn a_charge_of_a_client_that_does_not_pay_by_stripe_is_read_once_and_counts_when_the_contract_changes() {
    in_world_with_stripe(async |world, shop| {
        let contract =
            |source: &str| json!({"org_id": "org_1", "payment_source": source, "stripe_customer_id": shop.customer});
        assert_eq!(world.put("manual", &contract("MANUAL")).await.0, 201);
        let charge = shop.get("/v1/charges").await["data"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let payer = Payer {
            client: "manual".to_owned(),
            customer: shop.customer.clone(),
            subscription: shop.subscription.clone(),
        };
        let refund = payer
            .refund("created", T0, "re_manual", "succeeded")
            .with_object(json!({"charge": charge}));
        assert_eq!(world.decide(&refund).await.reason, "charge_unknown");
        let row = world.decided(&refund.id).await;
        assert_eq!(
            (row.outcome.as_str(), row.reason.as_str(), row.client.as_deref()),
            ("rejected", "payment_source_is_not_stripe", Some("manual"))
        );
        // The next one waits for nobody, and needs no Stripe.
        shop.fault(&json!({"path": "/v1/", "method": "GET", "kind": 500, "times": 1000}))
            .await;
        let next = refund.with(json!({"id": unique("evt_next"), "data": {"object": {"id": "re_next"}}}));
        assert_eq!(world.decide(&next).await.outcome, "rejected");

        assert_eq!(world.put("manual", &contract("STRIPE")).await.0, 200);
        for event in [&refund, &next] {
            eventually(SOON, || async { world.row(&event.id).await.outcome == "applied" }).await;
        }
        assert_eq!(world.count("billing_charges", "amount = 4900").await, 1);
    });
}

#[test]
fn a_charge_whose_customer_nobody_knows_is_read_once_until_it_is_registered() {
    in_world_with_stripe(async |world, shop| {
        let charge = shop.get("/v1/charges").await["data"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let refund = Payer::new("late")
            .refund("created", T0, "re_late", "succeeded")
            .with_object(json!({"charge": charge}));
        assert_eq!(world.decide(&refund).await.reason, "charge_unknown");
        eventually(SOON, || async {
            world.count("billing_events", "read_again_at = 'infinity'").await == 1
        })
        .await;
        // Nothing is left to be read, by whoever looks next.
        let database = Database::open(&DatabaseConfig::new(world.db.service_url().into(), "test")).unwrap();
        let unknown = find_unknown_charges(&database.conn().await.unwrap(), 25, &[])
            .await
            .unwrap();
        assert_eq!(unknown, [""; 0]);
        assert_eq!(world.row(&refund.id).await.status, "waiting");

        let payer = owner(&world, &shop).await;
        let row = world.decided(&refund.id).await;
        assert_eq!((row.outcome.as_str(), row.client), ("applied", Some(payer.client)));
    });
}
