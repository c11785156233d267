//! What was held for others: where it is now, by the simulator's own book of what really moved.

use std::process::Stdio;

use anyhow::Context;
use serde_json::Value;

use super::{Facts, Promise, compare};
use crate::demo::stage::{Moved, Stage};
use crate::paths::Paths;

pub(super) async fn check(stage: &Stage, facts: &Facts) -> anyhow::Result<Vec<Promise>> {
    let mut promises = vec![
        ended(stage, facts).await?,
        moved(stage, facts).await?,
        simultaneous(facts),
        balanced(stage).await?,
    ];
    promises.extend(breaker(facts));
    Ok(promises)
}

async fn ended(stage: &Stage, facts: &Facts) -> anyhow::Result<Promise> {
    let mut right = 0;
    let mut wrong = Vec::new();
    for deal in &facts.marks.deals {
        let escrow = stage.door.escrow(&deal.id).await?;
        let status = escrow.get("status").and_then(Value::as_str).unwrap_or_default();
        if status == deal.ends {
            right += 1;
        } else {
            wrong.push(format!("{} is {status} and should be {}", deal.id, deal.ends));
        }
    }
    let text = "every escrow came to its end by itself, or by one command of a person";
    Ok(compare(text, right, facts.marks.deals.len(), "escrows", wrong))
}

async fn moved(stage: &Stage, facts: &Facts) -> anyhow::Result<Promise> {
    let mut right = 0;
    let mut wrong = Vec::new();
    for deal in &facts.marks.deals {
        // By its group, which is also on what somebody else may have made.
        let book = stage.stripe.look(&format!("ledger?transfer_group={}", deal.id)).await?;
        let amounts = |kind: &str| {
            let entries = book.get(kind).and_then(Value::as_array).into_iter().flatten();
            let mut amounts: Vec<i64> = entries.filter_map(|entry| entry.get("amount")?.as_i64()).collect();
            amounts.sort_unstable();
            amounts
        };
        let found = Moved {
            captures: amounts("captures"),
            transfers: amounts("transfers"),
            reversals: amounts("reversals"),
            refunds: amounts("refunds"),
        };
        if found == deal.moved {
            right += 1;
        } else {
            wrong.push(format!(
                "{}: Stripe moved {found:?}, agreed was {:?}",
                deal.id, deal.moved
            ));
        }
    }
    let text = "Stripe moved what was agreed, to the cent and once, also where its answer was lost";
    Ok(compare(text, right, facts.marks.deals.len(), "escrows", wrong))
}

fn simultaneous(facts: &Facts) -> Promise {
    let answers = facts.marks.simultaneous.unwrap_or_default();
    let wrong = (answers != [202, 409]).then(|| format!("they were answered {answers:?}"));
    let text = "of two simultaneous releases one won, and the other was told so";
    let mut promise = compare(
        text,
        2 - wrong.iter().count(),
        2,
        "answers",
        wrong.into_iter().collect(),
    );
    promise.numbers = format!("{} and {}", answers[0], answers[1]);
    promise
}

async fn balanced(stage: &Stage) -> anyhow::Result<Promise> {
    let program = Paths::here()?.programs(false).join("holdfast");
    let output = tokio::process::Command::new(program)
        .args(["ledger", "check", "--json"])
        .env("DATABASE_URL", &stage.state.database_url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("running holdfast ledger check")?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut wrong: Vec<String> = list("problems").iter().map(ToString::to_string).collect();
    if !output.status.success() && wrong.is_empty() {
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        wrong.push(format!("it ended with {}: {told}", output.status));
    }
    let rules = list("rules").len();
    let green = rules.saturating_sub(wrong.len());
    Ok(compare(
        "the ledger of double entries holds (holdfast ledger check)",
        green,
        rules,
        "rules",
        wrong,
    ))
}

fn breaker(facts: &Facts) -> Option<Promise> {
    let runs = facts.marks.breaker.as_ref()?;
    let told = facts
        .evidence
        .alerts
        .iter()
        .any(|alert| alert.key == "refund_breaker:run_amount");
    let checks = [
        // One that came by the timer may have tripped in our place; then ours had less to give back.
        (
            runs.tripped || runs.given_back.iter().sum::<i64>() < 2,
            "the breaker did not trip",
        ),
        (told, "nobody was told"),
    ];
    let wrong = checks.iter().filter(|(holds, _)| !holds);
    let wrong: Vec<String> = wrong.map(|(_, what)| (*what).to_owned()).collect();
    let mut promise = compare(
        "the refund breaker stopped a run, told a person, and left the rest to the next",
        checks.len() - wrong.len(),
        checks.len(),
        "checks",
        wrong,
    );
    promise.numbers = format!("{} in {} runs", runs.one_after_the_other(), runs.given_back.len());
    Some(promise)
}
