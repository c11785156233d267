//! Counting what is parked, also what the broker parked by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::alert::{Alert, AlertKind};
use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use super::ConsumerSpec;

/// Sets `holdfast_parked_messages{queue}` on a timer, and raises an alert for messages that no consumer parked: those
/// that exceeded the delivery limit. Never returns; whoever polls it drops it.
pub(super) async fn parked(connection: &Connection, spec: &ConsumerSpec, by_us: Arc<AtomicU64>) {
    let queue = spec.family.parked_queue();
    let gauge = metrics::gauge!("holdfast_parked_messages", "queue" => spec.family.name.clone());
    let mut timer = tokio::time::interval(spec.parked_check);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut expected = 0_u64;
    loop {
        timer.tick().await;
        let ours = by_us.swap(0, Ordering::Relaxed);
        match count(connection, &queue).await {
            Ok(count) => {
                gauge.set(f64::from(count));
                let count = u64::from(count);
                if count > expected.saturating_add(ours) {
                    let summary = format!("messages of {} were set aside", spec.family.name);
                    let alert = Alert::new(AlertKind::MessageParked, spec.family.name.as_str(), summary);
                    spec.alerts.raise(alert.with("parked", count));
                }
                expected = count;
            }
            Err(error) => tracing::debug!(%queue, %error, "parked messages could not be counted"),
        }
    }
}

/// A channel of its own, since asking for a queue that does not exist closes it.
async fn count(connection: &Connection, queue: &str) -> Result<u32, lapin::Error> {
    let name = ShortString::try_new(queue).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions {
        passive: true,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: false,
    };
    let declared = channel.queue_declare(name, options, FieldTable::default()).await?;
    channel
        .close(lapin::protocol::constants::REPLY_SUCCESS, "counted".into())
        .await?;
    Ok(declared.message_count())
}
