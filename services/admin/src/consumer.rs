//! The two consumers: alerts on their way into their table, and events that no service owns on their way into the archive.

use std::sync::Arc;

use bus::consumer::{self, BatchHandler, ConsumerSpec};
use bus::topology::QueueFamily;
use bus::{AlertRaiser, BrokerConfig, DatabaseWatch, Intake, Publisher};
use db::Database;
use service_kit::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::NAME;

/// What both consumers are made of.
#[derive(Clone)]
pub(crate) struct Consumers {
    pub(crate) broker: BrokerConfig,
    pub(crate) publisher: Publisher,
    pub(crate) database: Database,
    pub(crate) alerts: AlertRaiser,
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
}

impl Consumers {
    /// Consumes a queue until the stop, then drains.
    pub(crate) async fn run(self, queue: &'static str, handler: impl BatchHandler, intake: Intake) {
        let clock = self.clock;
        let spec = ConsumerSpec {
            intake,
            ..ConsumerSpec::new(
                self.broker,
                QueueFamily::new(queue),
                self.publisher,
                self.alerts.clone(),
                Arc::new(move || clock.now()),
            )
        };
        let handler = DatabaseWatch {
            name: NAME,
            database: self.database,
            handler,
            alerts: self.alerts,
        };
        let drained = consumer::run(spec, handler, self.stop).await;
        if drained.unfinished > 0 {
            tracing::warn!(
                queue,
                unfinished = drained.unfinished,
                "messages go back to their queue"
            );
        }
    }
}
