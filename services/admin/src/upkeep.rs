//! What runs by a timer on every replica; each step is idempotent and safe beside others.

use std::time::Duration;

use bus::AlertRaiser;
use db::{Database, DbError};
use domain::alert::{Alert, AlertKind};
use service_kit::clock::Clock;
use tokio_util::sync::CancellationToken;

/// How late an alert ends whose cause is gone, beside the minute for which it is left alone.
const RESOLVE_EVERY: Duration = Duration::from_secs(15);
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// Months are made half a year ahead, so that many rounds may fail before one is missing.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3600);
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Keeps `holdfast_alerts_unresolved{severity}` true.
pub(crate) async fn count_alerts(database: Database, stop: CancellationToken) {
    loop {
        if let Err(error) = count_once(&database).await {
            tracing::debug!(error = db::error::chain(&error), "unresolved alerts were not counted");
        }
        if pause(COUNT_EVERY, &stop).await {
            return;
        }
    }
}

async fn count_once(database: &Database) -> Result<(), DbError> {
    let counts = db::alerts::count_unresolved_by_severity(&database.conn().await?).await?;
    for (severity, count) in counts {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float, and nobody has 2^53 alerts"
        )]
        metrics::gauge!("holdfast_alerts_unresolved", "severity" => severity.as_str()).set(count as f64);
    }
    Ok(())
}

/// Resolves alerts that say what is so no longer.
pub(crate) async fn resolve_what_is_over(database: Database, clock: Clock, stop: CancellationToken) {
    loop {
        if let Err(error) = resolve_once(&database, &clock).await {
            tracing::debug!(
                error = db::error::chain(&error),
                "alerts whose cause is gone were not resolved"
            );
        }
        if pause(RESOLVE_EVERY, &stop).await {
            return;
        }
    }
}

async fn resolve_once(database: &Database, clock: &Clock) -> Result<(), DbError> {
    let conn = database.conn().await?;
    for key in db::escrow::passing::resolve_what_is_over(&conn, clock.now()).await? {
        tracing::info!(alert.key = key, "an alert was resolved: its cause is gone");
    }
    Ok(())
}

/// Makes months ahead, and tells a person when rows lie outside of all of them.
pub(crate) async fn keep_partitions(database: Database, alerts: AlertRaiser, stop: CancellationToken) {
    loop {
        let next = match partitions_once(&database, &alerts).await {
            Ok(()) => PARTITIONS_EVERY,
            Err(error) => {
                tracing::warn!(error = db::error::chain(&error), "partitions were not looked after");
                TRY_AGAIN_AFTER
            }
        };
        if pause(next, &stop).await {
            return;
        }
    }
}

async fn partitions_once(database: &Database, alerts: &AlertRaiser) -> Result<(), DbError> {
    let conn = database.conn().await?;
    let made = db::partitions::ensure_partitions(&conn).await?;
    if made > 0 {
        tracing::info!(made, "made partitions for months to come");
    }
    for (table, rows) in db::partitions::default_partition_count(&conn).await? {
        if rows > 0 {
            let summary =
                format!("{table} has rows of months that have no partition; they lie in its DEFAULT partition");
            alerts.raise(Alert::new(AlertKind::PartitionDefaultUsed, table, summary).with("rows", rows));
        }
    }
    Ok(())
}

/// Waits, and says whether the stop came first.
async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(time) => false,
    }
}
