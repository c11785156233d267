//! Convergence (BIL-6) through the real pipeline: true histories of the model, as Stripe would post them in three API versions, by
//! several instances at once, in one great disorder with repeats, for clients that are registered before, meanwhile and after.
//! Each ends in the model's truth; and a replay of everything afterwards changes nothing.
//!
//! `PROOF_SEED` repeats a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, and the model is shared with the domain's"
)]

mod bodies;
mod history;
#[path = "../../../../crates/domain/tests/model/mod.rs"]
mod model;
mod replay;
mod stripe_stub;
#[path = "../support/mod.rs"]
mod support;

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::iter;
use serde_json::json;

use history::{History, Registered};
use model::Stripe;
use model::dice::Dice;
use model::script::Script;
use stripe_stub::StripeStub;
use support::{Event, World, in_world_that_reads_from};

const HISTORIES: usize = 210;
const INSTANCES: usize = 3;
/// Within this everything is done, also on a busy machine.
const DONE: Duration = Duration::from_secs(600);
/// Publishes that wait for their confirms together.
const AT_ONCE: usize = 128;

#[test]
fn two_hundred_histories_end_in_the_truth_and_a_replay_of_everything_changes_nothing() {
    let seed = std::env::var("PROOF_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one("convergence"));
    let mut dice = Dice::new(seed);
    let histories: Vec<History> = (0..HISTORIES)
        .map(|number| {
            // One in five is long: what takes the time is the number of events.
            let most = if number % 5 == 0 { 40 } else { 16 };
            let stripe = std::iter::repeat_with(|| Script::any(&mut dice, most).play())
                .find(can_be_told)
                .unwrap();
            History::new(number, stripe, &mut dice)
        })
        .collect();
    let stub = StripeStub::open(&histories);
    in_world_that_reads_from(
        || stub.start(),
        async |world| {
            let began = Instant::now();
            for _ in 1..INSTANCES {
                world.start_another();
            }
            let deliveries = deliver(&world, &histories, &mut dice).await;
            all_is_decided(&world, histories.iter().map(|history| history.events.len()).sum()).await;
            for history in &histories {
                history.is_true(&world).await.unwrap_or_else(|why| {
                    panic!("PROOF_SEED={seed}, {}: {why}\n{}", history.payer.client, history.stripe);
                });
            }
            nothing_went_wrong(&world).await;
            let took = began.elapsed();
            let replayed = replay::everything_changes_nothing(&world).await;
            tell(&histories, deliveries, replayed, took, seed);
        },
    );
}

/// Whether the end of a history is known to anybody.
fn can_be_told(stripe: &Stripe) -> bool {
    !stripe.events.is_empty() && stripe.secrets().is_empty()
}

/// Sends every event in one disorder with repeats, and registers each client before, meanwhile or after.
async fn deliver(world: &World, histories: &[History], dice: &mut Dice) -> usize {
    let of = |when: Registered| histories.iter().filter(move |history| history.registered == when);
    join_all(of(Registered::Before).map(|history| history.register(world))).await;
    let mut deliveries: Vec<&Event> = histories.iter().flat_map(|history| &history.events).collect();
    let again: Vec<&Event> = deliveries.iter().copied().filter(|_| dice.percent(40)).collect();
    deliveries.extend(again);
    dice.shuffle(&mut deliveries);
    let sent = iter(&deliveries).for_each_concurrent(AT_ONCE, |event| world.send(event));
    let meanwhile = iter(of(Registered::Meanwhile)).for_each_concurrent(4, |history| history.register(world));
    tokio::join!(sent, meanwhile);
    join_all(of(Registered::After).map(|history| history.register(world))).await;
    deliveries.len()
}

/// Every event is archived, nothing waits, nothing is left to be read, and no repeat is under way.
async fn all_is_decided(world: &World, events: usize) {
    const OPEN: &str = "SELECT (SELECT count(*) FROM billing_events WHERE status <> 'decided') \
                        + (SELECT count(*) FROM billing_subscriptions WHERE undecided) \
                        + (SELECT count(*) FROM outbox)";
    let events = i64::try_from(events).unwrap();
    // Not by counting deliveries: an event that waited comes once more.
    testkit::eventually(DONE, || async { world.count("billing_events", "true").await == events }).await;
    testkit::eventually(DONE, || async { world.number(OPEN).await == 0 }).await;
    testkit::eventually(DONE, || async {
        let stats = world.broker.stats("billing.events").await;
        stats.is_some_and(|stats| stats.ready + stats.unacknowledged == 0)
    })
    .await;
}

async fn nothing_went_wrong(world: &World) {
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(world.number(deadlocks).await, 0);
    assert_eq!(world.broker.ready("billing.events.parked").await, Some(0));
    // Every change of a state was announced, once per version and in their order.
    let mut last = std::collections::BTreeMap::<String, (i64, String)>::new();
    for (_, said) in world.drain(support::ANNOUNCED).await {
        let client = said["client_id"].as_str().unwrap().to_owned();
        let version = said["version"].as_i64().unwrap();
        let (before, state) = last.get(&client).cloned().unwrap_or((0, said["from"].to_string()));
        assert_eq!((version, said["from"].to_string()), (before + 1, state), "{said}");
        last.insert(client, (version, said["to"].to_string()));
    }
    for (client, (version, state)) in last {
        let shown = world.client(&client).await;
        assert_eq!(
            (shown["version"].as_i64(), shown["state"].to_string()),
            (Some(version), state),
            "{client}"
        );
    }
}

fn tell(histories: &[History], deliveries: usize, replayed: usize, took: Duration, seed: u64) {
    let count = |fits: &dyn Fn(&History) -> bool| histories.iter().filter(|history| fits(history)).count();
    let events: usize = histories.iter().map(|history| history.events.len()).sum();
    let mut ends = std::collections::BTreeMap::<&str, usize>::new();
    for history in histories {
        *ends.entry(history.stripe.truth().state).or_default() += 1;
    }
    println!(
        "through the pipeline: {} histories, {events} events in three API versions, {deliveries} deliveries to {INSTANCES} \
         instances in {:.1} s; registered before/meanwhile/after: {}/{}/{}; {} to be read from Stripe; ends {}; then \
         {replayed} events replayed; PROOF_SEED={seed}",
        histories.len(),
        took.as_secs_f64(),
        count(&|history| history.registered == Registered::Before),
        count(&|history| history.registered == Registered::Meanwhile),
        count(&|history| history.registered == Registered::After),
        count(&|history| !history.stripe.riddles().is_empty()),
        json!(ends)
    );
}
