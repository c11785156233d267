//! Counting what is parked, also what the broker parked by itself.
//!
//! Consumers of one process that share a queue count together: one of them looks, and knows what all of them have parked. What another
//! process parks looks like the broker's doing; its alert has the same key, and only its count is too high then.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::alert::{Alert, AlertKind};
use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use tokio::sync::Mutex;

use super::ConsumerSpec;

/// What the consumers of a process that share a queue have parked, and which of them looks.
#[derive(Debug, Default)]
pub struct ParkedTally {
    by_us: AtomicU64,
    looking: Mutex<()>,
}

impl ParkedTally {
    /// One more was parked.
    pub(super) fn add(&self) {
        self.by_us.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.by_us.load(Ordering::Relaxed)
    }
}

/// Sets `holdfast_parked_messages{queue}` on a timer, and raises an alert for messages that no consumer parked: those that exceeded the
/// delivery limit. Waits while another consumer of this process looks. Never returns; whoever polls it drops it.
pub(super) async fn parked(connection: &Connection, spec: &ConsumerSpec) {
    let _looking = spec.parked.looking.lock().await;
    let queue = spec.family.parked_queue();
    let gauge = metrics::gauge!("holdfast_parked_messages", "queue" => spec.family.name.clone());
    let mut timer = tokio::time::interval(spec.parked_check);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = Known {
        count: 0,
        by_us: spec.parked.so_far(),
        unexplained: false,
    };
    loop {
        timer.tick().await;
        match count(connection, &queue).await {
            Ok(count) => {
                gauge.set(f64::from(count));
                if known.is_the_brokers_doing(u64::from(count), spec.parked.so_far()) {
                    let summary = format!("messages of {} were set aside", spec.family.name);
                    let alert = Alert::new(AlertKind::MessageParked, spec.family.name.as_str(), summary);
                    spec.alerts.raise(alert.with("parked", count));
                }
            }
            Err(error) => tracing::debug!(%queue, %error, "parked messages could not be counted"),
        }
    }
}

/// What was counted before.
struct Known {
    count: u64,
    by_us: u64,
    /// There were more than we had parked.
    unexplained: bool,
}

impl Known {
    /// Whether there are more than before, and more than we have parked since, at two looks in a row: a message is in the queue a moment
    /// before it is in our tally.
    fn is_the_brokers_doing(&mut self, count: u64, by_us: u64) -> bool {
        let expected = self.count.saturating_add(by_us.saturating_sub(self.by_us));
        if count > expected && !self.unexplained {
            self.unexplained = true;
            return false;
        }
        *self = Self {
            count,
            by_us,
            unexplained: false,
        };
        count > expected
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_here_parked_is_the_brokers_doing_and_is_told_once() {
        let mut known = Known {
            count: 0,
            by_us: 0,
            unexplained: false,
        };
        for (what, count, by_us, told) in [
            ("nothing happened", 0, 0, false),
            ("one was parked by us, and is not in the tally yet", 1, 0, false),
            ("now it is", 1, 1, false),
            ("the broker parked one", 2, 1, false),
            ("it is still there", 2, 1, true),
            ("it is told already", 2, 1, false),
            ("a person took both out", 0, 1, false),
            ("two consumers parked one each", 2, 3, false),
        ] {
            assert_eq!(known.is_the_brokers_doing(count, by_us), told, "{what}");
        }
    }
}
