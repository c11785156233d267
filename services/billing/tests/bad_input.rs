//! What cannot be read parks alone and visibly; what is not billing's is ignored by a named rule (BIL-12, ING-6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::collections::BTreeMap;

use domain::billing::authority::Binding;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use serde_json::{Value, json};
use support::events::{Event, Payer, T0};
use support::{SOON, World, in_own_world, in_shared_world};

/// The reasons of what is parked, by message id.
async fn parked(world: &World, wanted: u32) -> BTreeMap<String, String> {
    let queue = "billing.events.parked";
    testkit::eventually(SOON, || async { world.broker.ready(queue).await == Some(wanted) }).await;
    let channel = world.broker.channel().await;
    let mut reasons = BTreeMap::new();
    while let Some(message) = channel
        .basic_get(queue.into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
    {
        let headers = message.properties.headers().clone().unwrap();
        let reason = match headers.inner().get("x-parked-reason") {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => format!("{other:?}"),
        };
        let id = message.properties.message_id().clone().unwrap().to_string();
        assert!(reasons.insert(id, reason).is_none(), "parked twice");
    }
    reasons
}

fn unreadable(payer: &Payer) -> Vec<(Event, &'static str)> {
    let subscription = || payer.subscription("updated", T0, "active");
    let invoice = || payer.invoice("paid", T0, "in_bad");
    let checkout = || payer.checkout(T0, "cs_bad", None);
    let raw = |event: Event, from: &str, to: &str| {
        let body = event.body.replacen(from, to, 1);
        assert_ne!(body, event.body, "{from}");
        Event { body, ..event }
    };
    vec![
        (
            subscription().with(json!({"data": null})),
            "the event carries no object",
        ),
        (
            subscription().with(json!({"data": {"object": null}})),
            "the event carries no object",
        ),
        (
            subscription().with(json!({"data": {"object": 7}})),
            "subscription is not an object",
        ),
        (
            subscription().with_object(json!({"object": "invoice"})),
            "the object is of kind invoice, not subscription",
        ),
        (
            subscription().with_object(json!({"customer": null})),
            "subscription.customer is missing",
        ),
        (
            subscription().with_object(json!({"customer": {"object": "customer"}})),
            "subscription.customer.id is missing",
        ),
        (
            subscription().with_object(json!({"customer": "cus with blanks"})),
            "subscription.customer has a character other than visible ASCII",
        ),
        (
            subscription().with_object(json!({"id": 7})),
            "subscription.id is neither an id nor an object with one",
        ),
        (
            subscription().with_object(json!({"id": "in_1"})),
            "subscription.id does not begin with sub_",
        ),
        (
            subscription().with_object(json!({"status": null})),
            "subscription.status is missing",
        ),
        (
            subscription().with_object(json!({"status": "sleeping"})),
            "subscription.status \"sleeping\" is not one that Stripe documents",
        ),
        (
            subscription().with_object(json!({"status": ["active"]})),
            "subscription.status is not a text",
        ),
        (
            subscription().with_object(json!({"cancel_at_period_end": "no"})),
            "subscription.cancel_at_period_end is neither true nor false",
        ),
        (
            subscription().with_object(json!({"start_date": "yesterday"})),
            "subscription.start_date is not a time in whole unix seconds",
        ),
        (
            subscription().with_object(json!({"start_date": 1.5})),
            "subscription.start_date is not a time in whole unix seconds",
        ),
        (
            subscription().with_object(json!({"current_period_end": -1_000_000_000_000_i64})),
            "subscription.current_period_end lies outside the years 1970 to 9999",
        ),
        (
            subscription().with_object(json!({"current_period_end": 9_000_000_000_000_i64})),
            "subscription.current_period_end lies outside the years 1970 to 9999",
        ),
        (
            subscription().with_object(json!({"trial_end": i64::MAX})),
            "subscription.trial_end lies outside the years 1970 to 9999",
        ),
        (
            subscription().with_object(json!({"start_date": i64::MIN})),
            "subscription.start_date lies outside the years 1970 to 9999",
        ),
        (
            subscription().with_object(json!({"currency": "dollars"})),
            "subscription.currency is not a currency code of three letters",
        ),
        (
            subscription().with_object(json!({"metadata": {"client_id": "a\0b"}})),
            "subscription.metadata.client_id contains the character U+0000, which cannot be stored",
        ),
        (
            subscription().with_object(json!({"metadata": "client_id"})),
            "subscription.metadata is not an object",
        ),
        (
            invoice().with_object(json!({"customer": null})),
            "invoice.customer is missing",
        ),
        (
            invoice().with_object(json!({"amount_paid": -1})),
            "invoice.amount_paid is negative",
        ),
        (
            invoice().with_object(json!({"amount_paid": "4900"})),
            "invoice.amount_paid is not an integer of minor units",
        ),
        (
            raw(
                invoice(),
                "\"amount_paid\": 4900",
                "\"amount_paid\": 92233720368547758080",
            ),
            "invoice.amount_paid is larger than 64 bits can hold",
        ),
        (
            invoice().with_object(json!({"currency": "€"})),
            "invoice.currency is not a currency code of three letters",
        ),
        (
            invoice().with_object(json!({"currency": null})),
            "invoice.currency is missing",
        ),
        // As a version would show it that has found another place for the subscription.
        (
            invoice().with_object(json!({"parent": null})),
            "invoice.subscription is missing",
        ),
        (
            invoice().with_object(json!({"parent": null, "billing_reason": "subscription_renewed_in_another_way"})),
            "invoice.subscription is missing",
        ),
        (
            checkout().with_object(json!({"customer": null})),
            "checkout_session.customer is missing",
        ),
        (
            checkout().with_object(json!({"amount_total": -4900})),
            "checkout_session.amount_total is negative",
        ),
    ]
}

#[test]
fn events_that_cannot_be_read_park_with_a_readable_reason_and_change_nothing() {
    in_own_world(Binding::FirstUse, async |world| {
        let payer = Payer::new("bad");
        world.register(&payer.client, Some(&payer.customer)).await;
        let bad = unreadable(&payer);
        world.send_all(bad.iter().map(|(event, _)| event)).await;
        let reasons = parked(&world, u32::try_from(bad.len()).unwrap()).await;
        for (event, reason) in &bad {
            let row = world.row(&event.id).await;
            assert_eq!(
                (row.status.as_str(), row.outcome.as_str(), row.reason.as_str()),
                ("parked", "parked", "unreadable")
            );
            assert_eq!(row.payload, event.body);
            assert_eq!(
                reasons.get(&event.id).map(String::as_str),
                Some(*reason),
                "{}",
                event.body
            );
        }
        assert_eq!(world.client(&payer.client).await["version"], 0);
        world.decide(&payer.subscription("updated", T0, "active")).await;
        assert_eq!(world.state(&payer.client).await, "ACTIVE", "the consumer goes on");
        testkit::eventually(SOON, || async {
            world
                .broker
                .ready("alerts.raise")
                .await
                .is_some_and(|alerts| alerts > 0)
        })
        .await;
    });
}

#[test]
fn bodies_that_are_no_events_park_without_a_row() {
    in_own_world(Binding::FirstUse, async |world| {
        let bodies: [(&str, &[u8]); 9] = [
            ("b1", b""),
            ("b2", b"\xff\xfe{}"),
            ("b3", b"hello"),
            ("b4", b"[]"),
            ("b5", b"{}"),
            (
                "b6",
                br#"{"id": "evt_b6", "object": "charge", "type": "invoice.paid", "created": 1}"#,
            ),
            (
                "b7",
                br#"{"id": "evt_b7", "object": "event", "type": "invoice.paid", "created": 99999999999999}"#,
            ),
            (
                "b8",
                br#"{"id": "evt_b8", "object": "event", "type": "invoice.paid", "created": -1}"#,
            ),
            (
                "b9",
                br#"{"id": "evt_b9", "object": "event", "type": "invoice.paid", "created": 1, "id": "evt_other"}"#,
            ),
        ];
        for (id, body) in bodies {
            world.send_bytes(id, body.to_vec()).await;
        }
        let reasons = parked(&world, 9).await;
        let wanted = [
            ("b1", "the body is empty"),
            ("b2", "the body is not UTF-8"),
            ("b3", "the body is not JSON at line 1, column 1"),
            ("b4", "the body is JSON but not an object"),
            ("b5", "the event has no id"),
            ("b6", "the body's object field says neither event nor v2.*"),
            ("b7", "the event's created lies outside the years 1970 to 9999"),
            ("b8", "the event's created lies outside the years 1970 to 9999"),
            ("b9", "the event has more than one id"),
        ];
        let wanted: BTreeMap<String, String> = wanted.map(|(id, reason)| (id.to_owned(), reason.to_owned())).into();
        assert_eq!(reasons, wanted);
        assert_eq!(world.count("billing_events", "true").await, 0);
    });
}

#[test]
fn a_poisonous_message_in_a_batch_parks_alone() {
    in_own_world(Binding::FirstUse, async |world| {
        let payers: Vec<Payer> = (0..60).map(|_| Payer::new("neighbour")).collect();
        for payer in &payers {
            world.register(&payer.client, Some(&payer.customer)).await;
        }
        let mut events: Vec<Event> = payers
            .iter()
            .map(|payer| payer.subscription("created", T0, "active"))
            .collect();
        events.insert(20, payers[0].subscription("updated", T0, "sleeping"));
        // One that the database itself refuses, which fails its whole batch: neighbours are then tried one by one.
        world
            .sql
            .batch_execute("ALTER TABLE billing_subscriptions ADD CONSTRAINT poison CHECK (stripe_subscription_id NOT LIKE '%poison')")
            .await
            .unwrap();
        let poison = payers[1]
            .with_subscription("poison")
            .subscription("created", T0 - 1, "active");
        events.insert(40, poison.clone());
        world.send_all(&events).await;
        world.send_bytes("garbage", &b"garbage"[..]).await;
        for event in events.iter().filter(|event| event.id != poison.id) {
            world.row(&event.id).await;
        }
        for payer in &payers {
            assert_eq!(world.state(&payer.client).await, "ACTIVE");
        }
        assert_eq!(parked(&world, 2).await.len(), 2);
        assert!(world.find(&poison.id).await.is_none(), "it is tried again later");
        world
            .sql
            .batch_execute("ALTER TABLE billing_subscriptions DROP CONSTRAINT poison")
            .await
            .unwrap();
        assert_eq!(world.decided(&poison.id).await.outcome, "applied");
    });
}

#[test]
fn odd_but_readable_events_are_applied() {
    in_shared_world(async |world| {
        let payer = Payer::new("odd");
        world.register(&payer.client, Some(&payer.customer)).await;
        let step = |at: i64, status: &str, odd: Value| payer.subscription("updated", at, status).with_object(odd);
        let states = [
            (step(0, "active", json!({})), "ACTIVE"),
            (
                step(
                    T0,
                    "past_due",
                    json!({"customer": {"id": payer.customer, "object": "customer", "deleted": true}}),
                ),
                "PAST_DUE",
            ),
            (
                step(
                    T0 + 1,
                    "active",
                    json!({"start_date": null, "trial_end": null, "currency": null, "items": null, "metadata": null}),
                ),
                "ACTIVE",
            ),
            (
                step(
                    T0 + 2,
                    "past_due",
                    json!({"new_field": {"deep": [[[[{}]]]]}, "huge": 1e300, "currency": "EUR"}),
                ),
                "PAST_DUE",
            ),
            (
                step(T0 + 3, "active", json!({"current_period_end": 253_402_300_799_i64})),
                "ACTIVE",
            ),
        ];
        let ahead = world.decide(&step(253_402_300_799, "canceled", json!({}))).await;
        assert_eq!(ahead.outcome, "parked", "what has not happened outranks nothing");
        for (event, state) in &states {
            world.decide(event).await;
            assert_eq!(world.state(&payer.client).await, *state, "{}", event.body);
        }
        assert_eq!(
            world.client(&payer.client).await["current_period_end"],
            "9999-12-31T23:59:59Z"
        );
        let maximal = payer
            .invoice("paid", T0, "in_maximal")
            .with_object(json!({"amount_paid": i64::MAX}));
        assert_eq!(world.decide(&maximal).await.status, "decided");
        assert_eq!(
            world
                .number("SELECT amount FROM billing_payments WHERE object_id = 'in_maximal'")
                .await,
            i64::MAX
        );
    });
}

#[test]
fn what_is_not_billings_is_archived_and_ignored_by_name() {
    in_shared_world(async |world| {
        let payer = Payer::new("ignored");
        world.register(&payer.client, Some(&payer.customer)).await;
        let active = || payer.subscription("created", T0, "active");
        let checkout = |changes: Value| payer.checkout(T0, "cs_ignored", None).with_object(changes);
        let of_connect = Event {
            endpoint: "connect",
            ..active().with(json!({"account": "acct_1"}))
        };
        let cases = [
            (active().with(json!({"livemode": true})), "livemode_mismatch"),
            (active().with(json!({"livemode": null})), "livemode_mismatch"),
            (active().with(json!({"account": "acct_1"})), "connected_account"),
            (of_connect, "connected_account"),
            (
                Event {
                    endpoint: "connect",
                    ..active()
                },
                "connected_account",
            ),
            (
                active().with(json!({"type": "customer.subscription.reimagined", "id": "evt_future"})),
                "no_effect_on_state",
            ),
            (
                active().with(json!({"type": "customer.subscription.trial_will_end", "id": "evt_will"})),
                "advisory",
            ),
            (
                active().with(json!({"type": "invoice.upcoming", "id": "evt_upcoming"})),
                "advisory",
            ),
            (
                checkout(json!({"mode": "payment", "subscription": null})),
                "checkout_without_subscription",
            ),
            (checkout(json!({"payment_status": "unpaid"})), "checkout_not_paid"),
            (checkout(json!({"payment_status": "mystery"})), "checkout_not_paid"),
            (
                payer
                    .invoice("paid", T0, "in_ignored")
                    .with_object(json!({"parent": null, "customer": null, "billing_reason": "manual"})),
                "invoice_without_subscription",
            ),
        ];
        for (event, reason) in &cases {
            world.publish(event.direct()).await;
            let row = world.row(&event.id).await;
            assert_eq!(
                (row.outcome.as_str(), row.guard.as_deref(), row.reason.as_str()),
                ("ignored", None, *reason)
            );
            assert_eq!(row.payload, event.body);
        }
        let client = world.client(&payer.client).await;
        assert_eq!(
            (client["state"].as_str(), client["version"].as_i64()),
            (Some("TRIAL_PENDING"), Some(0))
        );
    });
}
