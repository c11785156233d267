//! Row-level security: the live check list, and a look as the tenant role.

use std::process::Stdio;

use anyhow::Context;
use serde_json::Value;
use tokio_postgres::error::SqlState;

use super::{Facts, Promise, compare};
use crate::demo::evidence;
use crate::demo::paper::grouped;
use crate::demo::stage::Stage;
use crate::paths::Paths;

/// What a tenant must not be able to do; each table with some way to write it.
const FORBIDDEN: [&str; 6] = [
    "INSERT INTO organizations (id) VALUES ('mine')",
    "UPDATE client_billing SET state = 'ACTIVE'",
    "DELETE FROM billing_events",
    "INSERT INTO billing_decisions (id) VALUES (NULL)",
    "UPDATE billing_customers SET client_id = 'mine'",
    "DELETE FROM org_members",
];

pub(super) async fn check(stage: &Stage, facts: &Facts) -> anyhow::Result<Vec<Promise>> {
    Ok(vec![
        verified(stage).await?,
        own_rows_only(stage, facts).await?,
        reads_only(stage).await?,
    ])
}

async fn verified(stage: &Stage) -> anyhow::Result<Promise> {
    let program = Paths::here()?.programs(false).join("holdfast");
    let output = tokio::process::Command::new(program)
        .args(["migrate", "verify", "--json"])
        .env("MIGRATOR_DATABASE_URL", &stage.state.database_url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("running holdfast migrate verify")?;
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let checks: Vec<&Value> = list
        .get("checks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let word = |check: &Value, name: &str| check.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let red: Vec<&&Value> = checks
        .iter()
        .filter(|check| word(check, "verdict") == "failed")
        .collect();
    let mut wrong: Vec<String> = red
        .iter()
        .map(|check| format!("{}: {}", word(check, "name"), word(check, "detail")))
        .collect();
    if !output.status.success() && wrong.is_empty() {
        wrong.push(format!(
            "it ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let green = checks.len() - red.len();
    Ok(compare(
        "holdfast migrate verify is green",
        green,
        checks.len(),
        "checks",
        wrong,
    ))
}

async fn own_rows_only(stage: &Stage, facts: &Facts) -> anyhow::Result<Promise> {
    let tenant = evidence::connect(&stage.state.tenant_database_url).await?;
    let mut wrong = Vec::new();
    let (mut seen, mut own) = (0, 0);
    let mut hidden = 0;
    for table in [
        "client_billing",
        "billing_events",
        "billing_decisions",
        "billing_subscriptions",
    ] {
        let count = format!("SELECT count(*), count(*) FILTER (WHERE org_id IS DISTINCT FROM $1) FROM {table}");
        let as_tenant = tenant.query_one(&count, &[&stage.state.org_id]).await;
        let as_tenant = as_tenant.with_context(|| format!("reading {table} as the tenant"))?;
        let everything = stage.database.query_one(&count, &[&stage.state.org_id]).await;
        let everything = everything.with_context(|| format!("reading {table}"))?;
        let (visible, foreign): (i64, i64) = (as_tenant.get(0), as_tenant.get(1));
        let (all, of_others): (i64, i64) = (everything.get(0), everything.get(1));
        if foreign != 0 || visible != all - of_others {
            wrong.push(format!(
                "{table}: {visible} visible, {foreign} of them foreign, {} own",
                all - of_others
            ));
        }
        seen += visible;
        own += all - of_others;
        hidden += of_others;
    }
    if hidden == 0 || facts.players.iter().all(|player| player.org == stage.state.org_id) {
        wrong.push("there was nothing to hide".to_owned());
    }
    let (seen, own) = (usize::try_from(seen)?, usize::try_from(own)?);
    let mut promise = compare(
        "the tenant role sees its own organisation's rows only",
        seen,
        own,
        "rows",
        wrong,
    );
    promise.numbers = format!("{}, {} hidden", promise.numbers, grouped(usize::try_from(hidden)?));
    Ok(promise)
}

async fn reads_only(stage: &Stage) -> anyhow::Result<Promise> {
    let tenant = evidence::connect(&stage.state.tenant_database_url).await?;
    let mut refused = 0;
    let mut wrong = Vec::new();
    for statement in FORBIDDEN {
        match tenant.batch_execute(&format!("BEGIN; {statement}; ROLLBACK")).await {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => refused += 1,
            Err(error) => wrong.push(format!("{statement}: {error}")),
            Ok(()) => wrong.push(format!("{statement} went through")),
        }
        drop(tenant.batch_execute("ROLLBACK").await);
    }
    Ok(compare(
        "and writes nothing",
        refused,
        FORBIDDEN.len(),
        "statements refused",
        wrong,
    ))
}
