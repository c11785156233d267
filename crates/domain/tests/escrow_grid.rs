//! The rules of escrow as a document: generates `docs/ESCROW-STATES.md` and fails while the committed file differs from it.
//!
//! `UPDATE_DOCS=1 cargo test -p domain --test escrow_grid` rewrites the file, so that a change of a rule is a diff of one table.

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
#[path = "escrow_table/mod.rs"]
mod escrow_table;

use std::fmt::Write as _;

use domain::escrow::decide::{Effect, EscrowDecision, decide};
use domain::escrow::decision::Decision;
use domain::escrow::held::{Escrow, Task};
use domain::escrow::notice::Notice;
use domain::escrow::state::{EscrowStatus, may_become};
use escrow_table::{Kind, Place, account, has_rows};

#[test]
fn the_document_tells_the_rules() {
    document::check("ESCROW-STATES.md", "escrow_grid", &text());
}

/// What holds in every cell, whatever its words are.
#[test]
fn every_cell_keeps_the_promises() {
    for place in Place::all() {
        for kind in Kind::ALL {
            let before = place.escrow();
            let case = format!("{place:?}, {kind:?}");
            assert_eq!(before.status, place.status, "{case}");
            let (input, now) = kind.input(&before);
            assert!(has_rows(&input));
            let Decision::Apply { next, effects } = decide(&before, &input, now) else {
                continue;
            };
            assert!(
                before.status == next.status || may_become(before.status, next.status),
                "{case}: to {}",
                next.status
            );
            let pays = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::Begin {
                        task: Task::Transfer(_),
                        ..
                    }
                )
            };
            if before.is_frozen() && next.is_frozen() {
                assert!(
                    !effects.iter().any(|effect| matches!(effect, Effect::Begin { .. })),
                    "{case}: moves while frozen"
                );
            }
            if effects.iter().any(pays) {
                assert_eq!(next.status, EscrowStatus::Processing, "{case}");
            }
            let again = decide(&next, &input, now);
            let is_a_notice = effects
                .iter()
                .all(|effect| matches!(effect, Effect::Notify(Notice::PayoutTrouble(_))));
            assert!(
                !moves(&again) || is_a_notice,
                "{case}: repeated, moves money again: {again:?}"
            );
        }
    }
}

/// Whether money would move.
fn moves(decision: &EscrowDecision) -> bool {
    match decision {
        Decision::Apply { effects, .. } => effects
            .iter()
            .any(|effect| matches!(effect, Effect::Begin { .. } | Effect::Post(_))),
        Decision::AlreadyApplied | Decision::Refused(_) => false,
    }
}

fn text() -> String {
    let mut text = String::from(
        "# States of an escrow\n\n\
         Written by `cargo test -p domain --test escrow_grid` from the rules themselves; do not edit. `UPDATE_DOCS=1` before that command\n\
         writes it anew. The rules are in `crates/domain/src/escrow`.\n\n\
         The status is derived from what is known of the money and from what was asked; so a step may skip what lay between.\n\n",
    );
    graph(&mut text);
    grid(&mut text);
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

fn graph(text: &mut String) {
    text.push_str("## Transitions\n\n| from \\ to |");
    for to in EscrowStatus::ALL {
        let _ = write!(text, " {to} |");
    }
    text.push_str("\n| --- |");
    text.push_str(&" :-: |".repeat(EscrowStatus::ALL.len()));
    for from in EscrowStatus::ALL {
        let _ = write!(text, "\n| **{from}** |");
        for to in EscrowStatus::ALL {
            text.push_str(match (from == to, may_become(*from, *to)) {
                (true, false) => " · |",
                (false, true) => " yes |",
                (false, false) => "  |",
                (true, true) => " itself |",
            });
        }
    }
    text.push_str("\n\n");
}

fn grid(text: &mut String) {
    text.push_str(
        "## What becomes of a command or a fact\n\n\
         Each section is one place where an escrow of EUR 100.00 can stand: EUR 10.00 are the platform's, EUR 63.00 are A's, EUR 27.00\n\
         are B's. It is captured on release, and before its authorisation ends. Commands are set in italics, all else are facts. Rows\n\
         that are *known already* are left out. Amounts are in cents.\n\n",
    );
    for place in Place::all() {
        let _ = write!(
            text,
            "### {}: {}\n\n| what | decision | to | recipients | what follows |\n| --- | --- | --- | --- | --- |\n",
            place.status, place.because
        );
        for kind in Kind::ALL {
            row(text, &place.escrow(), *kind);
        }
        text.push('\n');
    }
}

fn row(text: &mut String, escrow: &Escrow, kind: Kind) {
    let (input, now) = kind.input(escrow);
    let _ = match decide(escrow, &input, now) {
        Decision::AlreadyApplied => Ok(()),
        Decision::Refused(reason) => writeln!(text, "| {} | refused: {reason} | | | |", kind.told()),
        Decision::Apply { next, effects } => {
            let to = if next.status == escrow.status {
                String::new()
            } else {
                format!("**{}**", next.status)
            };
            let recipients: Vec<_> = next.recipient_statuses().iter().map(ToString::to_string).collect();
            let effects: Vec<_> = effects.iter().map(told).collect();
            writeln!(
                text,
                "| {} | applied | {to} | {} | {} |",
                kind.told(),
                recipients.join(", "),
                effects.join("; ")
            )
        }
    };
}

fn told(effect: &Effect) -> String {
    let name = |of: &domain::ids::AccountId| if *of == account("a") { "A" } else { "B" };
    match effect {
        Effect::Begin { task, amount, number } => {
            let on = match task {
                Task::Capture | Task::Cancel | Task::Refund => String::new(),
                Task::Transfer(to) => format!(" to {}", name(to)),
                Task::Reverse(from, _) => format!(" from {}", name(from)),
            };
            format!("job {number}: **{}** {}{on}", task.kind(), amount.minor)
        }
        Effect::Post(posting) => {
            let moved: i64 = posting.moves().iter().map(|it| it.amount).sum();
            format!("post {} {moved}", posting.kind)
        }
        Effect::ReadAccount(of) => format!("read the account of {}", name(of)),
        Effect::Notify(notice) => format!("tell {}", notice.as_str()),
    }
}
