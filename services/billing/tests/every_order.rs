//! The cases that a payments backend has been caught by before, each in every order of delivery: forged metadata, one purchase told
//! by several events at any distance, the end of an old subscription while a new one is current, and twins.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::events::{Payer, T0, naming, permutations};
use support::{Decided, Event, World, in_shared_world, unique};

const DUPLICATE: &str = "semantic_duplicate/intent/act_known";

/// Runs a case in every order of so many steps, all orders side by side.
async fn in_every_order<F: Future<Output = ()>>(steps: usize, case: impl Fn(Vec<usize>) -> F) {
    let all: Vec<usize> = (0..steps).collect();
    join_all(permutations(&all).into_iter().map(case)).await;
}

/// What the timeline says of an event for good.
async fn told(world: &World, client: &str, event: &Event) -> String {
    let timeline = world.timeline(client).await;
    let last = timeline.iter().rfind(|decided| decided.event == event.id);
    last.map(Decided::short).unwrap_or_default()
}

async fn state_and_version(world: &World, client: &str) -> (String, i64) {
    let shown = world.client(client).await;
    (
        shown["state"].as_str().unwrap().to_owned(),
        shown["version"].as_i64().unwrap(),
    )
}

async fn register_free(world: &World, client: &str) {
    let body = json!({"org_id": "org_1", "payment_source": "NONE"});
    assert_eq!(world.put(client, &body).await.0, 201);
}

#[test]
fn forged_metadata_changes_nobody_in_any_order() {
    in_shared_world(async |world| in_every_order(5, |order| forgery(world.clone(), order)).await);
}

/// A stranger claims to pay for a client that pays nothing; somebody else's customer claims to pay for the payer; the payer pays.
async fn forgery(world: Arc<World>, order: Vec<usize>) {
    let (payer, neighbour, stranger) = (Payer::new("payer"), Payer::new("neighbour"), Payer::new("stranger"));
    let free = unique("free");
    register_free(&world, &free).await;
    world.register(&payer.client, Some(&payer.customer)).await;
    world.register(&neighbour.client, Some(&neighbour.customer)).await;
    let session = |payer: &Payer| format!("cs_{}", payer.client);
    let events = [
        stranger.checkout(T0, &session(&stranger), Some(&free)),
        naming(&stranger.subscription("created", T0, "active"), &free),
        naming(
            &stranger.first_invoice("paid", T0 + 1, &format!("in_{}", stranger.client)),
            &free,
        ),
        neighbour.checkout(T0 + 2, &session(&neighbour), Some(&payer.client)),
        payer.subscription("created", T0 + 3, "active"),
    ];
    let mut paid = false;
    for step in &order {
        world.decide(&events[*step]).await;
        paid |= *step == 4;
        let payer_is = if paid { ("ACTIVE", 1) } else { ("TRIAL_PENDING", 0) };
        for (client, (state, version)) in [
            (&payer.client, payer_is),
            (&neighbour.client, ("TRIAL_PENDING", 0)),
            (&free, ("TRIAL_PENDING", 0)),
        ] {
            let is = state_and_version(&world, client).await;
            assert_eq!(is, (state.to_owned(), version), "{client} in {order:?} after {step}");
        }
    }
    for event in &events[..3] {
        let told = told(&world, &free, event).await;
        assert_eq!(told, "rejected/authority/payment_source_is_not_stripe", "{order:?}");
    }
    let told = told(&world, &payer.client, &events[3]).await;
    assert_eq!(told, "rejected/authority/customer_of_another_client", "{order:?}");
    let once = format!("event_id = '{}' AND client_id = '{free}'", events[0].id);
    assert_eq!(world.count("billing_decisions", &once).await, 1);
}

#[test]
fn checkout_and_invoice_of_one_purchase_activate_once_at_any_distance_and_in_any_order() {
    in_shared_world(async |world| {
        for (distance, checkout_first) in [(5, true), (5, false), (600, true), (600, false)] {
            in_every_order(4, |order| purchase(world.clone(), order, distance, checkout_first)).await;
        }
    });
}

/// Step 0 is the registration, so that the events before it wait.
async fn purchase(world: Arc<World>, order: Vec<usize>, distance: i64, checkout_first: bool) {
    let payer = Payer::new("purchase");
    let (at_checkout, at_invoice) = if checkout_first {
        (T0, T0 + distance)
    } else {
        (T0 + distance, T0)
    };
    let invoice = format!("in_{}", payer.client);
    let events = [
        payer.checkout(at_checkout, &format!("cs_{}", payer.client), None),
        payer.first_invoice("paid", at_invoice, &invoice),
        payer.first_invoice("payment_succeeded", at_invoice, &invoice),
    ];
    for step in &order {
        match step.checked_sub(1) {
            None => world.register(&payer.client, Some(&payer.customer)).await,
            Some(event) => drop(world.decide(&events[event]).await),
        }
    }
    let mut said = Vec::new();
    for event in &events {
        let row = world.decided(&event.id).await;
        said.push((
            row.outcome,
            row.guard,
            row.reason,
            told(&world, &payer.client, event).await,
        ));
    }
    said.sort();
    let duplicate = || {
        let word = |text: &str| text.to_owned();
        (
            word("semantic_duplicate"),
            Some(word("intent")),
            word("act_known"),
            word(DUPLICATE),
        )
    };
    let case = format!("{order:?}, {distance} s apart, checkout first: {checkout_first}");
    assert_eq!(said[1..], [duplicate(), duplicate()], "{case}");
    assert_eq!(said[0].3, "applied/state_changed TRIAL_PENDING→ACTIVE", "{case}");
    assert_eq!(
        state_and_version(&world, &payer.client).await,
        ("ACTIVE".to_owned(), 1),
        "{case}"
    );
    // What is another act is none of this purchase, however near it lies.
    let renewal = payer.invoice("paid", T0 + 601 + 61, &format!("{invoice}_2"));
    world.decide(&renewal).await;
    assert_eq!(
        told(&world, &payer.client, &renewal).await,
        "applied/facts_recorded ACTIVE→ACTIVE",
        "{case}"
    );
}

#[test]
fn the_end_of_the_old_subscription_never_ends_the_new_one_in_any_order() {
    in_shared_world(async |world| in_every_order(5, |order| upgrade(world.clone(), order)).await);
}

async fn upgrade(world: Arc<World>, order: Vec<usize>) {
    const DELETED: usize = 2;
    let old = Payer::new("upgraded");
    let new = old.with_subscription("new");
    world.register(&old.client, Some(&old.customer)).await;
    let started = json!({"start_date": T0 + 100, "created": T0 + 100});
    let events = [
        old.subscription("created", T0, "active"),
        new.subscription("created", T0 + 100, "active").with_object(started),
        old.subscription("deleted", T0 + 101, "canceled"),
        new.checkout(T0 + 101, &format!("cs_{}", old.client), None),
        old.subscription("updated", T0 + 99, "past_due"),
    ];
    let mut is_upgraded = false;
    for step in &order {
        let row = world.decide(&events[*step]).await;
        is_upgraded |= matches!(step, 1 | 3);
        if !is_upgraded {
            continue;
        }
        let shown = world.client(&old.client).await;
        assert_eq!(shown["state"], "ACTIVE", "{order:?} after {step}");
        if *step == DELETED && shown["stripe_subscription_id"] == new.subscription.as_str() {
            let was_heard = row.outcome == "applied";
            let named = (row.outcome.as_str(), row.guard.as_deref(), row.reason.as_str());
            assert!(
                was_heard || named == ("ignored", Some("identity"), "not_the_current_subscription"),
                "{order:?}: {named:?}"
            );
        }
    }
    let shown: Value = world.client(&old.client).await;
    assert_eq!(
        (shown["state"].as_str(), shown["stripe_subscription_id"].as_str()),
        (Some("ACTIVE"), Some(new.subscription.as_str())),
        "{order:?}"
    );
}

#[test]
fn twins_have_one_effect_and_the_second_names_its_guard_in_any_order() {
    in_shared_world(async |world| in_every_order(4, |order| twins(world.clone(), order)).await);
}

/// Two events with ids of their own for one occurrence, twice.
async fn twins(world: Arc<World>, order: Vec<usize>) {
    let payer = Payer::new("twins");
    world.register(&payer.client, Some(&payer.customer)).await;
    let twin = |event: &Event| event.with(json!({"id": unique("evt_twin")}));
    let (active, paid) = (
        payer.subscription("updated", T0, "active"),
        payer.invoice("paid", T0 + 1, &format!("in_{}", payer.client)),
    );
    let events = [active.clone(), twin(&active), paid.clone(), twin(&paid)];
    let mut seen = [false; 2];
    for step in &order {
        let row = world.decide(&events[*step]).await;
        let pair = step / 2;
        let named = (row.outcome.as_str(), row.guard.as_deref(), row.reason.as_str());
        match (std::mem::replace(&mut seen[pair], true), pair) {
            (false, _) => assert_eq!((named.0, named.1), ("applied", None), "{order:?}: {named:?}"),
            (true, 0) => assert_eq!(
                named,
                ("semantic_duplicate", Some("intent"), "snapshot_known"),
                "{order:?}"
            ),
            (true, _) => assert_eq!(named, ("semantic_duplicate", Some("intent"), "act_known"), "{order:?}"),
        }
    }
    assert_eq!(
        state_and_version(&world, &payer.client).await,
        ("ACTIVE".to_owned(), 1),
        "{order:?}"
    );
}
