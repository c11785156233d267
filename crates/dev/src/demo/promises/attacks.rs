//! Those who should not be believed were not, and a person was told once.

use std::collections::BTreeSet;

use super::{Facts, LIVEMODE, Promise, compare};

pub(super) fn forged(facts: &Facts) -> Promise {
    let mut wrong = Vec::new();
    if facts.evidence.forged > 0 {
        wrong.push(format!("{} rows speak of forged events", facts.evidence.forged));
    }
    for (code, sent) in &facts.marks.forged {
        let refused = facts.refusals.get(code).copied().unwrap_or_default();
        if refused != u64::try_from(*sent).unwrap_or_default() {
            wrong.push(format!("{sent} were refused as {code}, the counter says {refused}"));
        }
    }
    let is_about_them = |key: &str| key.starts_with("webhook_signature:");
    let expected = facts.marks.alerts.iter().filter(|(key, _)| is_about_them(key));
    wrong.extend(expected.filter_map(|(key, times)| alert_problem(facts, key, *times)));
    let alerts = facts
        .evidence
        .alerts
        .iter()
        .filter(|alert| is_about_them(&alert.key))
        .count();
    let sent: usize = facts.marks.forged.values().sum();
    let mut promise = compare(
        "forged deliveries left a count and one alert per cause, no more",
        sent,
        sent,
        "",
        wrong,
    );
    promise.numbers = format!("{sent} forged, {} rows, {alerts} alerts", facts.evidence.forged);
    promise
}

/// One unresolved alert with this key, raised so often since the start.
fn alert_problem(facts: &Facts, key: &str, expected: i64) -> Option<String> {
    let raised = raised(facts, key);
    (raised != expected).then(|| format!("alert {key} was raised {raised} times, and not {expected}"))
}

/// How often an alert was raised since the start.
fn raised(facts: &Facts, key: &str) -> i64 {
    let before = facts.before.get(key).copied().unwrap_or_default();
    let now = facts.evidence.alerts.iter().find(|alert| alert.key == key);
    now.map_or(0, |alert| alert.occurrences - before)
}

pub(super) fn spoofed(facts: &Facts) -> Promise {
    let mut wrong = Vec::new();
    let mut held = 0;
    for victim in &facts.marks.victims {
        let key = format!("spoofed_metadata:{victim}");
        let alerted = facts.evidence.alerts.iter().any(|alert| alert.key == key);
        let standing = facts.evidence.clients.get(victim);
        match (alerted, standing.map(|standing| standing.version)) {
            (true, Some(0)) => held += 1,
            (false, _) => wrong.push(format!("nobody was told that {victim} was named")),
            (true, _) => wrong.push(format!("{victim} has changed")),
        }
    }
    let text = "spoofed checkouts changed nothing, and a person was told";
    compare(text, held, facts.marks.victims.len(), "victims", wrong)
}

pub(super) fn outside(facts: &Facts) -> Promise {
    let rows = facts.evidence.rows();
    let mut wrong = Vec::new();
    // Repeats and twins are alerted on as well, so its number is not known.
    if raised(facts, LIVEMODE) == 0 {
        wrong.push("nobody was told of the event of live mode".to_owned());
    }
    for id in &facts.marks.outside {
        match rows.get(id.as_str()).and_then(|rows| rows.first()) {
            None => wrong.push(format!("{id} is not in the archive")),
            Some(row) if row.outcome != "ignored" => wrong.push(format!("{id} ({}) was {}", row.kind, row.outcome)),
            Some(_) => {}
        }
    }
    let all = facts.marks.outside.len();
    let fine = all.saturating_sub(wrong.len());
    compare(
        "what is none of billing's business was kept, and ignored by a named rule",
        fine,
        all,
        "events",
        wrong,
    )
}

pub(super) fn alerts(facts: &Facts) -> Promise {
    let keys: BTreeSet<&str> = facts.evidence.alerts.iter().map(|alert| alert.key.as_str()).collect();
    let all = facts.evidence.alerts.len();
    let more = facts.evidence.repeated_keys;
    let wrong = if more > 0 {
        vec![format!("{more} keys have several unresolved alerts")]
    } else {
        Vec::new()
    };
    compare(
        "one unresolved alert per cause and subject",
        keys.len(),
        all,
        "alerts",
        wrong,
    )
}
