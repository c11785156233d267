//! The promises, each checked against the database, the broker, and the simulator's own record.

mod attacks;
mod escrows;
mod tenancy;

use std::collections::{BTreeMap, BTreeSet};

use super::cast::{Player, Source};
use super::evidence::{Baseline, Evidence};
use super::listener::Announcement;
use super::paper::grouped;
use super::stage::{Marks, Stage};
use super::stripe::Deliveries;
use super::truth;
use super::witness::Record;

/// The alert about events of the other mode.
pub(super) const LIVEMODE: &str = "livemode_mismatch:platform";
/// Examples that are shown of what is wrong.
const EXAMPLES: usize = 3;

/// A promise, and whether it held.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) text: String,
    pub(super) held: bool,
    /// The numbers that were compared.
    pub(super) numbers: String,
    /// What is wrong, a line each.
    pub(super) wrong: Vec<String>,
}

/// A group of promises with its heading.
pub(super) type Group = (&'static str, Vec<Promise>);

/// Everything that the promises are checked on.
pub(super) struct Facts {
    pub(super) evidence: Evidence,
    pub(super) before: Baseline,
    pub(super) deliveries: Deliveries,
    pub(super) record: Record,
    pub(super) heard: Vec<Announcement>,
    pub(super) queues: BTreeMap<String, u32>,
    pub(super) parked_before: BTreeMap<String, u32>,
    pub(super) players: Vec<Player>,
    pub(super) truth: BTreeMap<String, String>,
    pub(super) marks: Marks,
    /// Refusals at the front door by code, since the start.
    pub(super) refusals: BTreeMap<String, u64>,
}

impl Facts {
    /// Looks at everything.
    pub(super) async fn gather(
        stage: &Stage,
        since: chrono::DateTime<chrono::Utc>,
        parked_before: BTreeMap<String, u32>,
    ) -> anyhow::Result<Self> {
        let marks = stage.marks();
        let players = stage.cast.players();
        Ok(Self {
            evidence: Evidence::gather(&stage.database, since, &stage.cast, &marks.forged_ids).await?,
            before: stage.before.clone(),
            deliveries: stage.stripe.deliveries().await?,
            record: stage.witness.record(),
            heard: stage.listener.heard(),
            queues: stage.listener.queues().await?,
            parked_before,
            truth: truth::states(&stage.stripe, &players).await?,
            players,
            marks,
            refusals: stage.door.webhooks().await?,
        })
    }
}

/// Checks all of them.
pub(super) async fn check(stage: &Stage, facts: &Facts) -> anyhow::Result<Vec<Group>> {
    Ok(vec![
        (
            "Nothing is lost",
            vec![delivered(facts), archived(facts), byte_for_byte(facts)],
        ),
        (
            "Everything is decided, once",
            vec![decided(facts), repeats(facts), queues(facts)],
        ),
        (
            "Nobody is wronged",
            vec![states(facts), not_by_stripe(facts), upgrades(facts), money_back(facts)],
        ),
        ("Money moves once", escrows::check(stage, facts).await?),
        (
            "Nobody is fooled",
            vec![
                attacks::forged(facts),
                attacks::spoofed(facts),
                attacks::outside(facts),
                attacks::alerts(facts),
            ],
        ),
        ("Others are told", vec![announced(facts)]),
        ("Organisations are apart", tenancy::check(stage, facts).await?),
    ])
}

/// Holds when two numbers are equal, there is something to compare, and nothing is wrong: a story in which nothing happened
/// keeps no promise.
fn compare(text: &str, found: usize, expected: usize, noun: &str, wrong: Vec<String>) -> Promise {
    let held = expected > 0 && found == expected && wrong.is_empty();
    Promise {
        text: text.to_owned(),
        held,
        numbers: format!("{} of {} {noun}", grouped(found), grouped(expected)),
        wrong,
    }
}

fn delivered(facts: &Facts) -> Promise {
    let by_state = &facts.deliveries.by_state;
    let planned: usize = by_state.values().sum();
    let done = by_state.get("delivered").copied().unwrap_or_default();
    let other = by_state.iter().filter(|(state, _)| *state != "delivered");
    let wrong = other.map(|(state, number)| format!("{number} {state}")).collect();
    compare(
        "every delivery that Stripe planned was answered 200",
        done,
        planned,
        "deliveries",
        wrong,
    )
}

fn archived(facts: &Facts) -> Promise {
    let rows = facts.evidence.rows();
    let acknowledged = &facts.deliveries.acknowledged;
    let count = |id: &str| rows.get(id).map_or(0, Vec::len);
    let mut wrong: Vec<String> = acknowledged
        .keys()
        .filter(|id| count(id) != 1)
        .map(|id| format!("{id} is in the archive {} times", count(id)))
        .collect();
    let unknown = rows.keys().filter(|id| !acknowledged.contains_key(**id));
    wrong.extend(unknown.map(|id| format!("{id} is in the archive, and Stripe knows of no answer to it")));
    let once = acknowledged.keys().filter(|id| count(id) == 1).count();
    let text = "every event that was answered 200 is in the archive, once";
    compare(text, once, acknowledged.len(), "events", wrong)
}

fn byte_for_byte(facts: &Facts) -> Promise {
    let mut same = 0;
    let mut wrong = Vec::new();
    for row in &facts.evidence.archived {
        let sent = facts
            .record
            .get(&row.id)
            .map(|seen| seen.taken.as_slice())
            .unwrap_or_default();
        let payload = row.payload.as_deref().unwrap_or_default().as_bytes();
        if sent.iter().any(|body| body == payload) {
            same += 1;
        } else {
            wrong.push(format!(
                "{} differs from all {} bodies that were sent",
                row.id,
                sent.len()
            ));
        }
    }
    let text = "every archived body is what was sent, byte for byte";
    compare(text, same, facts.evidence.archived.len(), "bodies", wrong)
}

fn decided(facts: &Facts) -> Promise {
    let strangers: BTreeSet<&str> = facts.marks.strangers.iter().map(String::as_str).collect();
    let mut waiting = 0;
    let mut wrong = Vec::new();
    for row in &facts.evidence.archived {
        match row.outcome.as_str() {
            "waiting"
                if row
                    .waiting_for
                    .iter()
                    .filter_map(|name| name.strip_prefix("customer:"))
                    .any(|one| strangers.contains(one)) =>
            {
                waiting += 1;
            }
            "waiting" | "parked" => wrong.push(format!("{} ({}) is {}", row.id, row.kind, row.outcome)),
            _ => {}
        }
    }
    let all = facts.evidence.archived.len();
    let fine = all - wrong.len();
    let mut promise = compare(
        "every event is decided; only those of strangers wait",
        fine,
        all,
        "events",
        wrong,
    );
    promise.numbers = format!("{}, {waiting} wait", promise.numbers);
    promise
}

/// Each event has one final decision, and its row counts how often it came.
fn repeats(facts: &Facts) -> Promise {
    let mut finals: BTreeMap<&str, usize> = BTreeMap::new();
    for one in facts.evidence.decided.iter().filter(|one| one.outcome != "waiting") {
        *finals.entry(&one.event).or_default() += 1;
    }
    let twice = finals.iter().filter(|(_, times)| **times > 1);
    let mut wrong: Vec<String> = twice
        .map(|(id, times)| format!("{id} was decided {times} times"))
        .collect();
    let rows = facts.evidence.rows();
    let mut came_again = 0;
    let mut seen_again = 0;
    for (id, times) in facts.deliveries.acknowledged.iter().filter(|(_, times)| **times > 1) {
        came_again += times - 1;
        let counted: i32 = rows
            .get(id.as_str())
            .into_iter()
            .flatten()
            .map(|row| row.deliveries)
            .sum();
        let counted = usize::try_from(counted).unwrap_or_default();
        if counted >= *times {
            seen_again += times - 1;
        } else {
            wrong.push(format!("{id} came {times} times, its row says {counted}"));
        }
    }
    compare(
        "every repeat was noticed and had no effect",
        seen_again,
        came_again,
        "repeats",
        wrong,
    )
}

fn queues(facts: &Facts) -> Promise {
    let before = |name: &str| facts.parked_before.get(name).copied().unwrap_or_default();
    let full = facts.queues.iter().filter(|(name, count)| **count > before(name));
    let mut wrong: Vec<String> = full.map(|(name, count)| format!("{name} holds {count}")).collect();
    if facts.evidence.outbox > 0 {
        wrong.push(format!("the outbox holds {}", facts.evidence.outbox));
    }
    let all = facts.queues.len() + 1;
    let empty = all - wrong.len();
    compare(
        "queues and outbox are empty, nothing was parked",
        empty,
        all,
        "empty",
        wrong,
    )
}

fn states(facts: &Facts) -> Promise {
    let mut same = 0;
    let mut wrong = Vec::new();
    for player in &facts.players {
        let found = facts
            .evidence
            .clients
            .get(&player.id)
            .map_or("unknown", |standing| &standing.state);
        let expected = facts.truth.get(&player.id).map_or("unknown", String::as_str);
        if found == expected {
            same += 1;
        } else {
            wrong.push(format!(
                "{} is {found}, by Stripe's own subscriptions {expected}",
                player.id
            ));
        }
    }
    let text = "every client's state is what Stripe's own subscriptions say";
    compare(text, same, facts.players.len(), "clients", wrong)
}

fn not_by_stripe(facts: &Facts) -> Promise {
    let others: Vec<&Player> = facts
        .players
        .iter()
        .filter(|player| player.source != Source::Stripe)
        .collect();
    let changed = others.iter().filter(|player| {
        let standing = facts.evidence.clients.get(&player.id);
        standing.is_none_or(|standing| standing.version != 0 || standing.state != "TRIAL_PENDING")
    });
    let wrong: Vec<String> = changed.map(|player| format!("{} has changed", player.id)).collect();
    let fine = others.len() - wrong.len();
    compare(
        "clients that do not pay by Stripe never changed",
        fine,
        others.len(),
        "clients",
        wrong,
    )
}

fn upgrades(facts: &Facts) -> Promise {
    let upgraded: BTreeSet<&str> = facts.marks.upgraded.iter().map(|player| player.id.as_str()).collect();
    let cut_off = facts.evidence.decided.iter().filter(|one| {
        let is_theirs = one.client.as_deref().is_some_and(|client| upgraded.contains(client));
        is_theirs && one.changed_state() && one.from.as_deref() == Some("ACTIVE")
    });
    let wrong: Vec<String> = cut_off
        .map(|one| {
            let (client, to) = (
                one.client.as_deref().unwrap_or_default(),
                one.to.as_deref().unwrap_or_default(),
            );
            format!("{client} went from ACTIVE to {to} by {}", one.kind)
        })
        .collect();
    let fine = upgraded.len().saturating_sub(wrong.len());
    compare(
        "an upgrade never cut a paying client off, not even for a moment",
        fine,
        upgraded.len(),
        "clients",
        wrong,
    )
}

/// That neither changed a state is part of [`states`].
fn money_back(facts: &Facts) -> Promise {
    let mut wrong = Vec::new();
    let mut found = 0;
    for (client, id, status) in &facts.marks.money_back {
        let row = (client.clone(), id.clone(), (*status).to_owned());
        let told = !id.starts_with("du_")
            || facts
                .evidence
                .alerts
                .iter()
                .any(|alert| alert.key == format!("dispute:{id}"));
        match (facts.evidence.money_back.contains(&row), told) {
            (true, true) => found += 1,
            (true, false) => wrong.push(format!("nobody was told of {id}")),
            (false, _) => wrong.push(format!("{id} of {client} is not on record as {status}")),
        }
    }
    compare(
        "refunds and disputes are on record with their client, and a person was told of the dispute",
        found,
        facts.marks.money_back.len(),
        "refunds and disputes",
        wrong,
    )
}

fn announced(facts: &Facts) -> Promise {
    let mut expected = 0;
    let mut wrong = Vec::new();
    let mut right = 0;
    for player in &facts.players {
        let version = facts
            .evidence
            .clients
            .get(&player.id)
            .map_or(0, |standing| standing.version);
        let decided = facts
            .evidence
            .decided
            .iter()
            .filter(|one| one.client.as_deref() == Some(&player.id) && one.changed_state());
        let decided = i64::try_from(decided.count()).unwrap_or(i64::MAX);
        let heard: Vec<&Announcement> = facts.heard.iter().filter(|one| one.client_id == player.id).collect();
        expected += usize::try_from(version).unwrap_or_default();
        let mut state = "TRIAL_PENDING";
        for number in 1..=version {
            let of_version: Vec<&&Announcement> = heard.iter().filter(|one| one.version == number).collect();
            match of_version.as_slice() {
                [one] if one.from == state => {
                    right += 1;
                    state = &one.to;
                }
                [one] => {
                    wrong.push(format!(
                        "{} version {number} starts at {}, not at {state}",
                        player.id, one.from
                    ));
                    state = &one.to;
                }
                several => wrong.push(format!(
                    "{} version {number}: {} announcements",
                    player.id,
                    several.len()
                )),
            }
        }
        if decided != version {
            wrong.push(format!("{}: {decided} changes decided, version {version}", player.id));
        }
    }
    let text = "every change of state was announced once, the versions without a gap";
    compare(text, right, expected, "changes", wrong)
}

/// The lines about what is wrong, the first few.
pub(super) fn examples(wrong: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = wrong.iter().take(EXAMPLES).cloned().collect();
    if wrong.len() > EXAMPLES {
        lines.push(format!("… and {} more", wrong.len() - EXAMPLES));
    }
    lines
}
