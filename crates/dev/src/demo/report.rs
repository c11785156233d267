//! What is printed when the story is over.

use std::collections::BTreeMap;

use super::door::Line;
use super::evidence::{Archived, Raised};
use super::paper::{Cell, Ink, Paper, WIDTH, cell, count, grouped, table};
use super::promises::{Facts, Group, examples};
use super::stage::Stage;

/// Rows of a table that are shown one by one.
const TYPES: usize = 12;
const STORY_LINES: usize = 12;

/// Everything up to the promises.
pub(super) async fn tell(stage: &Stage, facts: &Facts) -> anyhow::Result<()> {
    let narrator = &stage.narrator;
    let paper = narrator.paper();
    narrator.chapter("What came in");
    narrator.print(&came_in(paper, facts));
    narrator.chapter("What was decided, and why");
    narrator.print(&decisions(paper, facts));
    narrator.chapter("Why is this client in this state?");
    for (player, what) in &facts.marks.stories {
        let lines = stage.door.timeline(&player.id).await?;
        let state = facts
            .evidence
            .clients
            .get(&player.id)
            .map_or("unknown", |standing| &standing.state);
        let head = format!("  {} is {}", paper.ink(Ink::Bold, &player.id), in_state(paper, state));
        narrator.print(&format!("{head}: {what}."));
        narrator.print(&story(paper, &lines));
    }
    narrator.chapter("Alerts that were raised");
    narrator.print(&alerts(paper, facts));
    narrator.chapter("Where to look");
    narrator.print(&places(paper, stage, facts));
    Ok(())
}

fn came_in(paper: Paper, facts: &Facts) -> String {
    let mut by_type: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for row in &facts.evidence.archived {
        *by_type.entry(&row.kind).or_default().entry(&row.outcome).or_default() += 1;
    }
    let mut types: Vec<(&str, usize, BTreeMap<&str, usize>)> = by_type
        .into_iter()
        .map(|(kind, outcomes)| (kind, outcomes.values().sum(), outcomes))
        .collect();
    types.sort_by_key(|(kind, total, _)| (std::cmp::Reverse(*total), *kind));
    let mut rows = vec![head(&["EVENTS", "TYPE", "OUTCOMES"])];
    let rest = types.split_off(types.len().min(TYPES));
    for (kind, total, outcomes) in types {
        let words: Vec<String> = outcomes
            .iter()
            .map(|(outcome, number)| format!("{number} {outcome}"))
            .collect();
        rows.push(vec![
            cell(grouped(total)).right(),
            cell(kind),
            cell(words.join(", ")).ink(Ink::Dim),
        ]);
    }
    if !rest.is_empty() {
        let total = rest.iter().map(|(_, total, _)| total).sum();
        rows.push(vec![
            cell(grouped(total)).right(),
            cell(format!("of {} other types", rest.len())).ink(Ink::Dim),
        ]);
    }
    let attempts: usize = facts.deliveries.acknowledged.values().sum();
    let refused: usize = facts.marks.forged.values().sum();
    let sum = format!(
        "  {} in {}; {} refused at the door",
        count(facts.evidence.archived.len(), "event"),
        format_args!("{} deliveries", grouped(attempts)),
        grouped(refused)
    );
    format!("{}{sum}", table(paper, &rows))
}

fn decisions(paper: Paper, facts: &Facts) -> String {
    let mut groups: BTreeMap<(usize, &str, &str), usize> = BTreeMap::new();
    let mut guards: BTreeMap<&str, &str> = BTreeMap::new();
    for row in &facts.evidence.archived {
        let reason = row.reason.as_deref().unwrap_or("-");
        *groups.entry((place(row), &row.outcome, reason)).or_default() += 1;
        guards.insert(reason, row.guard.as_deref().unwrap_or("-"));
    }
    let mut rows = vec![head(&["EVENTS", "OUTCOME", "GUARD", "REASON", "IN OTHER WORDS"])];
    for ((_, outcome, reason), number) in groups {
        let guard = guards.get(reason).copied().unwrap_or("-");
        rows.push(vec![
            cell(grouped(number)).right(),
            in_outcome(outcome),
            cell(guard),
            cell(reason),
            cell(words(reason)).ink(Ink::Dim),
        ]);
    }
    table(paper, &rows).trim_end().to_owned()
}

/// In the order in which people care.
fn place(row: &Archived) -> usize {
    let order = [
        "applied",
        "semantic_duplicate",
        "stale",
        "waiting",
        "rejected",
        "parked",
        "ignored",
    ];
    order
        .iter()
        .position(|outcome| *outcome == row.outcome)
        .unwrap_or(order.len())
}

fn words(reason: &str) -> &'static str {
    match reason {
        "state_changed" => "the client's state is another one now",
        "facts_recorded" => "counts, and the state stays",
        "snapshot_known" => "another event said the same",
        "act_known" => "this payment took effect already",
        "newer_snapshot_known" => "came late; something newer is known",
        "not_the_current_subscription" => "another subscription speaks",
        "subscription_has_ended" => "it has ended and stays so",
        "no_such_transition" => "no such step",
        "payment_source_is_not_stripe" => "the client does not pay by Stripe",
        "customer_of_another_client" => "names one client, is another's",
        "subscription_of_another_client" => "belongs to another client",
        "price_not_contracted" => "not the price that was agreed",
        "customer_unknown" => "nobody registered this customer",
        "client_unknown" => "its client is not known yet",
        "customer_not_registered" => "the client has another customer",
        "connected_account" => "of somebody else's account",
        "livemode_mismatch" => "of live mode, in a test system",
        "thin_event" => "carries no object",
        "no_effect_on_state" => "says nothing about the state",
        "advisory" => "announces, changes nothing",
        "invoice_without_subscription" => "a one-off",
        "zero_amount" => "a payment of nothing",
        "no_handler" => "archived, nobody handles it",
        "not_an_escrow" => "of a payment that holds nothing for others",
        "not_a_recipient" => "of an account that nothing is held for",
        "operation_seen" => "tells what became of a call of ours",
        "known" => "says what our own call had said",
        _ => "",
    }
}

fn story(paper: Paper, lines: &[Line]) -> String {
    let tells = |line: &&Line| {
        let is_change = line.from != line.to;
        let is_odd = matches!(line.outcome.as_str(), "stale" | "rejected" | "waiting" | "parked");
        let is_milestone =
            line.r#type.ends_with("subscription.created") || line.r#type.ends_with("subscription.deleted");
        is_change || is_odd || is_milestone
    };
    let told: Vec<&Line> = lines.iter().filter(tells).collect();
    let skipped = told.len().saturating_sub(STORY_LINES);
    let mut rows = Vec::new();
    for line in told.iter().take(STORY_LINES) {
        let what = match (&line.from, &line.to) {
            (Some(from), Some(to)) if from != to => cell(format!("{from} → {to}")).ink(Ink::Bold),
            _ => cell(line.outcome.clone()).ink(Ink::Dim),
        };
        let reason = line.reason.as_deref().unwrap_or_default();
        let why = if line.from == line.to { words(reason) } else { "" };
        let at = line.created.format("%d %b %H:%M:%S").to_string();
        rows.push(vec![
            cell(at).ink(Ink::Dim),
            cell(&*line.r#type),
            what,
            cell(why).ink(Ink::Dim),
        ]);
    }
    let rest = lines.len() - told.len() + skipped;
    let more = format!("  and {} that changed nothing", count(rest, "more decision"));
    format!("{}{}\n", table(paper, &rows), paper.ink(Ink::Dim, &more))
}

fn alerts(paper: Paper, facts: &Facts) -> String {
    let rows: Vec<Vec<Cell>> = facts
        .evidence
        .alerts
        .iter()
        .flat_map(|alert| raised(facts, alert))
        .collect();
    table(paper, &rows).trim_end().to_owned()
}

/// An alert, and how often it was raised since the start; its sentence below it.
fn raised(facts: &Facts, alert: &Raised) -> [Vec<Cell>; 2] {
    let before = facts.before.get(&alert.key).copied().unwrap_or_default();
    let ink = match alert.severity.as_str() {
        "critical" => Ink::Bad,
        "warning" => Ink::Notable,
        _ => Ink::Dim,
    };
    let first = vec![
        cell(&*alert.severity).ink(ink),
        cell(format!("{} ×", alert.occurrences - before)).right(),
        cell(&*alert.key).ink(Ink::Bold),
    ];
    [first, vec![cell(""), cell(""), cell(&*alert.summary).ink(Ink::Dim)]]
}

fn places(paper: Paper, stage: &Stage, facts: &Facts) -> String {
    let state = &stage.state;
    let example = facts
        .marks
        .stories
        .first()
        .map_or("ada", |(player, _)| player.id.as_str());
    let row = |name: &str, text: String| vec![cell(name).ink(Ink::Dim), cell(text)];
    let rows = [
        row(
            "Holdfast",
            format!("{0}   (/healthz, /readyz, /metrics)", state.base_url),
        ),
        row("Stripe", format!("{}/_sim/deliveries", state.stripe_api_url)),
        row("logs", state.log_folder.clone()),
        row("database", format!("psql {}", state.database_url)),
        row("everything", "cargo dev status --json".to_owned()),
        row(
            "a client",
            format!(
                "curl -H \"Authorization: Bearer $TOKEN\" {}/api/clients/{example}",
                state.base_url
            ),
        ),
        row(
            "its story",
            format!(
                "curl -H \"Authorization: Bearer $TOKEN\" {}/api/clients/{example}/timeline",
                state.base_url
            ),
        ),
        row("", "TOKEN=$(cargo dev status --json | jq -r .service_token)".to_owned()),
    ];
    let mut text = String::new();
    for line in rows {
        text.push_str(&table_row(paper, &line));
    }
    text.trim_end().to_owned()
}

/// A row whose second cell is to be copied, so it is never cut.
fn table_row(paper: Paper, row: &[Cell]) -> String {
    let [name, text] = row else { return String::new() };
    format!("  {}{}\n", name.padded(paper, 12), text.padded(paper, 0))
}

/// The promises, and the last line.
pub(super) fn promises(paper: Paper, groups: &[Group]) -> String {
    let mut text = String::new();
    for (name, promises) in groups {
        text.push_str(&format!("  {}\n", paper.ink(Ink::Accent, name)));
        for promise in promises {
            let (sign, ink) = if promise.held {
                ("✓", Ink::Good)
            } else {
                ("✗", Ink::Bad)
            };
            let used = promise.text.chars().count() + promise.numbers.chars().count() + 8;
            let dots = paper.ink(Ink::Dim, &".".repeat(WIDTH.saturating_sub(used).max(2)));
            text.push_str(&format!(
                "    {} {} {dots} {}\n",
                paper.ink(ink, sign),
                promise.text,
                promise.numbers
            ));
            for line in examples(&promise.wrong).iter().filter(|_| !promise.held) {
                text.push_str(&format!("        {}\n", paper.ink(Ink::Bad, line)));
            }
        }
    }
    text
}

/// How many held, of how many.
pub(super) fn score(groups: &[Group]) -> (usize, usize) {
    let all = groups.iter().flat_map(|(_, promises)| promises);
    (all.clone().filter(|promise| promise.held).count(), all.count())
}

fn head(names: &[&str]) -> Vec<Cell> {
    names
        .iter()
        .map(|name| {
            let one = cell(*name).ink(Ink::Dim);
            if *name == "EVENTS" { one.right() } else { one }
        })
        .collect()
}

fn in_outcome(outcome: &str) -> Cell {
    let one = cell(outcome);
    match outcome {
        "applied" => one.ink(Ink::Good),
        "rejected" | "parked" => one.ink(Ink::Bad),
        "waiting" => one.ink(Ink::Notable),
        _ => one,
    }
}

fn in_state(paper: Paper, state: &str) -> String {
    let ink = match state {
        "ACTIVE" | "TRIAL_ACTIVE" => Ink::Good,
        "CANCELED" | "PAST_DUE" => Ink::Bad,
        _ => Ink::Notable,
    };
    paper.ink(ink, state)
}
