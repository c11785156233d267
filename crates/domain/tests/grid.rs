//! The rules as a document: generates `docs/BILLING-STATES.md` and fails while the committed file differs from it.
//!
//! `UPDATE_DOCS=1 cargo test -p domain --test grid` rewrites the file, so that a change of a rule is a diff of one table. Each kind of
//! fact is decided by the code under test at each place where a client can stand; a new state, or a new kind of fact, stops the build of
//! this test until it has its rows.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods)] // UPDATE_DOCS is a word to this test, no configuration of Holdfast's

mod table;

use std::fmt::Write as _;

use domain::billing::client::Client;
use domain::billing::contract::PaymentSource;
use domain::billing::decision::{Decision, Guard, Outcome};
use domain::billing::state::{ClientState, Speaker, may_become};
use domain::billing::subscription::Status;
use table::{Kind, Standing};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/BILLING-STATES.md");

#[test]
fn the_document_tells_the_rules() {
    let told = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, told).expect("docs/BILLING-STATES.md can be written");
        return;
    }
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    let mut lines = committed.lines().zip(told.lines()).enumerate();
    if let Some((number, (old, new))) = lines.find(|(_, (old, new))| old != new) {
        panic!(
            "docs/BILLING-STATES.md differs from the rules in line {}\n  the file says  {old}\n  the rules say  {new}\n\
             UPDATE_DOCS=1 cargo test -p domain --test grid rewrites it.",
            number + 1
        );
    }
    assert_eq!(
        committed, told,
        "docs/BILLING-STATES.md is shorter or longer than the rules"
    );
}

/// What BIL-2, BIL-4 and BIL-5 promise of every cell, whatever its words are.
#[test]
fn every_cell_keeps_the_promises() {
    for standing in Standing::all() {
        for kind in Kind::ALL {
            let before = standing.client();
            let (after, decision) = decide(standing, *kind);
            let case = format!("{standing:?}, {kind:?}: {decision:?}");
            assert_eq!(before.state, standing.state, "{case}");
            assert_eq!(decision.changed_state(), before.state != after.state, "{case}");
            assert_eq!(
                after.version - before.version,
                i64::from(decision.changed_state()),
                "{case}"
            );
            match decision.outcome {
                Outcome::Applied => assert!(decision.guard.is_none() && decision.transition.is_some(), "{case}"),
                Outcome::SemanticDuplicate => assert_eq!(decision.guard, Some(Guard::Intent), "{case}"),
                Outcome::Stale => assert_eq!(decision.guard, Some(Guard::Order), "{case}"),
                Outcome::Rejected => assert!(
                    matches!(decision.guard, Some(Guard::Authority | Guard::Transition)),
                    "{case}"
                ),
                Outcome::Ignored => assert!(matches!(decision.guard, None | Some(Guard::Identity)), "{case}"),
                Outcome::Waiting | Outcome::Parked => panic!("no fact waits or parks: {case}"),
            }
            if let Some(transition) = decision.transition.filter(|_| decision.changed_state()) {
                let speaker = if before.speaker == after.speaker {
                    Speaker::Same
                } else {
                    Speaker::Another
                };
                assert!(may_become(transition.from, transition.to, speaker), "{case}");
            }
            let cut_off = after.state == ClientState::Canceled && before.state != ClientState::Canceled;
            assert!(
                !cut_off || kind.ends_the_current_subscription() || before.subscriptions.is_empty(),
                "{case}"
            );
            let again = decide_on(after.clone(), *kind).0;
            assert_eq!(
                (again.state, again.version),
                (after.state, after.version),
                "{case}, repeated"
            );
        }
    }
}

fn decide(standing: Standing, kind: Kind) -> (Client, Decision) {
    decide_on(standing.client(), kind)
}

fn decide_on(mut client: Client, kind: Kind) -> (Client, Decision) {
    let decision = client.observe(&kind.fact());
    (client, decision)
}

fn document() -> String {
    let mut text = String::from(
        "# States of a client\n\n\
         Written by `cargo test -p domain --test grid` from the rules themselves; do not edit. `UPDATE_DOCS=1` before that command\n\
         writes it anew. The rules are in `crates/domain/src/billing`.\n\n",
    );
    graph(&mut text);
    statuses(&mut text);
    grid(&mut text);
    text
}

fn graph(text: &mut String) {
    text.push_str(
        "## Transitions\n\n\
         A client's state is derived from its subscriptions, and one of these speaks for it. Facts arrive in any order, so a step may\n\
         skip what lay between. Any state of the box may become any other one of the box.\n\n",
    );
    text.push_str(&diagram());
    for (speaker, title) in [
        (
            Speaker::Same,
            "The same subscription speaks as before (or none, as before)",
        ),
        (Speaker::Another, "Another subscription speaks, or the first one"),
    ] {
        let _ = write!(text, "\n### {title}\n\n| from \\ to |");
        for to in ClientState::ALL {
            let _ = write!(text, " {to} |");
        }
        text.push_str("\n| --- |");
        text.push_str(&" :-: |".repeat(ClientState::ALL.len()));
        for from in ClientState::ALL {
            let _ = write!(text, "\n| **{from}** |");
            for to in ClientState::ALL {
                text.push_str(match (from == to, may_become(from, to, speaker)) {
                    (true, false) => " · |",
                    (false, true) => " yes |",
                    (false, false) => " **no** |",
                    (true, true) => " itself |",
                });
            }
        }
        text.push('\n');
    }
    text.push('\n');
}

/// States that may all become one another are drawn as one box, and what leads out of it or into it as one arrow.
fn diagram() -> String {
    let may = |from, to, speaker| from == to || may_become(from, to, speaker);
    let mut boxed: Vec<ClientState> = Vec::new();
    for state in ClientState::ALL {
        if boxed
            .iter()
            .all(|other| may(state, *other, Speaker::Same) && may(*other, state, Speaker::Same))
        {
            boxed.push(state);
        }
    }
    let mut text =
        String::from("```mermaid\nstateDiagram-v2\n    [*] --> Open\n    state Open {\n        direction LR\n");
    for state in &boxed {
        let _ = writeln!(text, "        {state}");
    }
    text.push_str("    }\n");
    for outside in ClientState::ALL.into_iter().filter(|state| !boxed.contains(state)) {
        for (speaker, when) in [
            (Speaker::Same, "the subscription that speaks"),
            (Speaker::Another, "another subscription"),
        ] {
            let out = boxed
                .iter()
                .filter(|state| may_become(**state, outside, speaker))
                .count();
            let back = boxed
                .iter()
                .filter(|state| may_become(outside, **state, speaker))
                .count();
            assert!(
                [0, boxed.len()].contains(&out) && [0, boxed.len()].contains(&back),
                "the box has loose ends"
            );
            if out > 0 {
                let _ = writeln!(text, "    Open --> {outside}: by {when}");
            }
            if back > 0 {
                let _ = writeln!(text, "    {outside} --> Open: by {when}");
            }
        }
    }
    text.push_str("```\n");
    text
}

fn statuses(text: &mut String) {
    text.push_str(
        "## What a subscription says of its client\n\n\
         Of several subscriptions the one of the highest place is heard; among equals the one that started last.\n\n\
         | status at Stripe | final | state | place | with collection paused | place |\n| --- | :-: | --- | :-: | --- | :-: |\n",
    );
    let mut places: Vec<_> = Status::ALL
        .iter()
        .flat_map(|status| [false, true].map(|paused| table::snapshot(*status, paused).voice()))
        .collect();
    places.sort_unstable();
    places.dedup();
    for status in Status::ALL {
        let said = |paused| {
            let snapshot = table::snapshot(status, paused);
            let place = places.iter().rev().position(|voice| *voice == snapshot.voice());
            format!("{} | {}", snapshot.state(), place.map_or(0, |place| place + 1))
        };
        let is_final = if status.is_final() { "yes" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {is_final} | {} | {} |",
            status.as_str(),
            said(false),
            said(true)
        );
    }
    text.push('\n');
}

fn grid(text: &mut String) {
    text.push_str(
        "## What becomes of a fact\n\n\
         Each section is one place where a client can stand; each row is one kind of fact that arrives there and passed guards 1\n\
         and 2 and the question whose it is (guard 3). In all sections *the current subscription* is the one that is told in the\n\
         title, or, where there is none, the first that is heard of; *another* one started later. `to` is set where the state\n\
         changes. What guard 3 rejects for its price or currency is merged apart: it may lower the state later, and counts once that is\n\
         agreed. Whatever is named by guards 4 to 7 was merged.\n\n",
    );
    let _ = writeln!(
        text,
        "No row is reached for a client with payment source {} or {}: guard 3 stops every event of theirs.\n",
        PaymentSource::None,
        PaymentSource::Manual
    );
    for standing in Standing::all() {
        let _ = write!(
            text,
            "### {}: {}\n\n| fact | outcome | guard | reason | to |\n| --- | --- | --- | --- | --- |\n",
            standing.state, standing.because
        );
        for kind in Kind::ALL {
            let (after, decision) = decide(standing, *kind);
            let to = if decision.changed_state() {
                format!("**{}**", after.state)
            } else {
                String::new()
            };
            let guard = decision.guard.map_or("", Guard::word);
            let _ = writeln!(
                text,
                "| {} | {} | {guard} | {} | {to} |",
                kind.told(),
                decision.outcome,
                decision.reason
            );
        }
        text.push('\n');
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
}

trait Numbered {
    fn word(self) -> &'static str;
}

impl Numbered for Guard {
    fn word(self) -> &'static str {
        match self {
            Self::Idempotency => "2 idempotency",
            Self::Authority => "3 authority",
            Self::Identity => "4 identity",
            Self::Order => "5 order",
            Self::Intent => "6 intent",
            Self::Transition => "7 transition",
        }
    }
}
