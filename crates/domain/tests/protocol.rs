//! The protocol of operations, explored exhaustively over the same `decide` that the product uses (ESC-4): two workers, a crash
//! between every commit and call, answers lost, calls that arrive late, keys that Stripe forgets, webhooks in any order.
//!
//! The counts are kept in `docs/ESCROW-PROTOCOL.md`; `UPDATE_DOCS=1 cargo test -p domain --test protocol` rewrites it. A protocol that
//! was bent on purpose must be found out: that is how the model shows that it can see.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods)] // UPDATE_DOCS is a word to this test, no configuration of Holdfast's

#[path = "document/mod.rs"]
mod document;
#[path = "protocol/ends.rs"]
mod ends;
#[path = "protocol/model.rs"]
mod model;
#[path = "protocol/tables.rs"]
mod tables;

use std::fmt::Write as _;

use model::{Flaw, World};
use stateright::{Checker, HasDiscoveries, Model};

const ONE_CALL: World = World {
    shares: 1,
    flaw: Flaw::None,
    whims: false,
    every_fate: true,
    asks_again: false,
    most_attempts: 2,
    most_calls: 2,
};

const WORLDS: [(&str, World); 4] = [
    ("one share, every answer that Stripe can give", ONE_CALL),
    (
        "one share, an escrow that changes its mind, and a person who sends failed calls on",
        World {
            whims: true,
            every_fate: false,
            most_attempts: 2,
            most_calls: 2,
            ..ONE_CALL
        },
    ),
    (
        "one share, a client that asks again within one call",
        World {
            asks_again: true,
            most_calls: 1,
            ..ONE_CALL
        },
    ),
    (
        "two shares of one charge, answers that are plain",
        World {
            shares: 2,
            every_fate: false,
            most_attempts: 1,
            most_calls: 1,
            ..ONE_CALL
        },
    ),
];

const FLAWS: [(Flaw, &str); 8] = [
    (
        Flaw::NewKeyOnUnknown,
        "an unknown outcome is tried again under a new key",
    ),
    (Flaw::TimeOutIsFailure, "a time-out counts as a failure"),
    (Flaw::ServerErrorIsFailure, "a 5xx counts as a failure"),
    (
        Flaw::OldKeyWithoutLooking,
        "a key is used again after Stripe may have forgotten it, without looking",
    ),
    (
        Flaw::NothingFoundCountsAtOnce,
        "\"nothing found\" counts at once, while a call may still be travelling",
    ),
    (
        Flaw::RefusalOfOneOfSeveral,
        "a refusal counts although an earlier call under the same key is unaccounted for",
    ),
    (
        Flaw::LastRefusalOfOneCall,
        "a client that asks again within one call believes the last refusal",
    ),
    (
        Flaw::SendsAfterItsLease,
        "a worker sends after its lease has ended (what the protocol assumes, broken)",
    ),
];

#[test]
fn the_protocol_holds_in_every_reachable_state_and_the_document_tells_how_many_there_are() {
    let mut text = String::from(
        "# The protocol of a call that moves money\n\n\
         Written by `cargo test -p domain --test protocol` from the rules themselves; do not edit. `UPDATE_DOCS=1` before that command\n\
         writes it anew. The rules are in `crates/domain/src/escrow/operation`, and told in words at its head.\n\n",
    );
    tables::operations(&mut text);
    tables::errors(&mut text);
    text.push_str(
        "## What was explored\n\n\
         Two workers, a Stripe with idempotency keys, and everything that can go wrong between them: a crash between every commit and\n\
         call, answers lost, calls that arrive after their worker gave up, keys forgotten, webhooks at any time and repeated. Every\n\
         reachable state was visited, and in each: no share is paid twice; never more out than in; what has succeeded was paid; what has\n\
         failed was not. And from each an end can be reached, where every call has succeeded or waits for a person.\n\n\
         | world | reachable states | steps between them | ends | longest way |\n| --- | --: | --: | --: | --: |\n",
    );
    for (name, world) in WORLDS {
        explore(&mut text, name, &world);
    }
    text.push_str(
        "\n## What the exploration can see\n\n\
         Each of these mistakes, made on purpose, is found, as a share that is paid twice. The shortest way there:\n\n\
         | mistake | steps to the second payment |\n| --- | --: |\n",
    );
    for (flaw, told) in FLAWS {
        let steps = find(flaw);
        let _ = writeln!(text, "| {told} | {steps} |");
    }
    document::check("ESCROW-PROTOCOL.md", "protocol", &text);
}

fn explore(text: &mut String, name: &str, world: &World) {
    let started = std::time::Instant::now();
    let checker = world
        .clone()
        .checker()
        .timeout(std::time::Duration::from_secs(900))
        .spawn_bfs()
        .join();
    checker.assert_properties();
    let walk = ends::walk(world);
    println!(
        "{name}: {} states, {} steps, {} ends, {:?}",
        walk.states,
        walk.steps,
        walk.ends,
        started.elapsed()
    );
    if let Some(stuck) = walk.stuck {
        panic!("{name}: nothing leads to an end from {stuck:#?}");
    }
    // Two explorers that know nothing of each other came to the same number.
    assert_eq!(walk.states, checker.unique_state_count(), "{name}");
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {} | {} |",
        walk.states,
        walk.steps,
        walk.ends,
        checker.max_depth()
    );
}

/// The shortest way to a second payment under a flaw.
fn find(flaw: Flaw) -> usize {
    let world = World {
        flaw,
        asks_again: flaw == Flaw::LastRefusalOfOneCall,
        ..ONE_CALL
    };
    let twice = HasDiscoveries::AnyOf(std::collections::BTreeSet::from(["no share is paid twice"]));
    let checker = world.checker().finish_when(twice).spawn_bfs().join();
    let path = checker
        .discovery("no share is paid twice")
        .unwrap_or_else(|| panic!("{flaw:?} is not found out"));
    let actions = path.into_actions();
    println!("{flaw:?}: {actions:?}");
    actions.len()
}
